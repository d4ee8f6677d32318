"""The page in Chromium, offline: wells, pictures and the switch work by pointer and keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from coos_mlflow.reports.fields.html import render_fields

PICTURE = Path(__file__).parents[3] / "docs" / "images" / "fields_page.png"

pytestmark = pytest.mark.slow


@pytest.fixture
def page(made) -> str:
    return render_fields(*made(n_wells=24, n_fields=4, empty=1, failed=2))


def text_of(browser, selector: str) -> str:
    return browser.find_element(By.CSS_SELECTOR, selector).text


def rows_of(browser) -> list[list[str]]:
    rows = browser.find_elements(By.CSS_SELECTOR, "#chosen-rows tr")
    return [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]


def test_the_screenshot_of_the_documents_can_be_taken(opened, page, tmp_path):
    """`FIELDS_PAGE=plate.fields/fields.html` renews the picture from that page."""
    source = os.environ.get("FIELDS_PAGE")
    target = PICTURE if source else tmp_path / "fields_page.png"
    browser = opened(Path(source).read_text(encoding="utf-8") if source else page, width=1100)
    size = {"width": 1100, "height": 1310, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert browser.save_screenshot(str(target))
    with Image.open(target) as picture:
        assert picture.size == (1100, 1310)
        palette = picture.convert("RGB").quantize(255, method=Image.Quantize.FASTOCTREE)
        assert len(palette.getcolors()) > 50  # an empty page has one
    palette.save(target, optimize=True)


def test_a_click_on_a_well_shows_its_fields_and_pictures(opened, made):
    facts, pictures = made(n_wells=24, n_fields=4, empty=1)
    browser = opened(render_fields(facts, pictures))
    browser.find_element(By.CSS_SELECTOR, 'g.w[data-w="0"]').click()
    assert text_of(browser, "#well-filter") == "Well A01 is chosen."
    assert [row[:2] for row in rows_of(browser)] == [[str(k), "0"] for k in range(1, 5)]
    shown = browser.find_elements(By.CSS_SELECTOR, "#chosen-pictures figure")
    assert len(shown) == sum(one["well"] == "A01" for one in facts["overlays"])
    browser.find_element(By.CSS_SELECTOR, 'g.w[data-w="5"]').click()
    cells = [str(f["n_cells"]) for f in facts["fields"] if f["well"] == "A06"]
    assert [row[1] for row in rows_of(browser)] == cells
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not browser.find_element(By.ID, "chosen").is_displayed()


def test_the_keyboard_reaches_wells_pictures_and_the_switch(opened, page):
    browser = opened(page)
    stops = browser.find_elements(By.CSS_SELECTOR, 'g.w[tabindex="0"]')
    browser.execute_script("arguments[0].focus()", stops[0])
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ENTER).perform()
    assert text_of(browser, "#chosen-name") == "Well B02"
    zoom = browser.find_element(By.CSS_SELECTOR, "#overlays .zoom")
    before = zoom.rect["width"]
    browser.execute_script("arguments[0].focus()", zoom)
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert zoom.rect["width"] > 1.5 * before
    assert zoom.get_attribute("aria-expanded") == "true"
    switch = browser.find_element(By.CSS_SELECTOR, "#quantities input:checked")
    browser.execute_script("arguments[0].focus()", switch)
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    drawn = browser.find_elements(By.CSS_SELECTOR, ".map[data-q]")
    shown = [one.get_attribute("data-q") for one in drawn if one.is_displayed()]
    assert shown == ["saturated_share"]


def test_the_name_of_a_well_in_a_table_leads_to_its_fields(opened, page):
    browser = opened(page)
    button = browser.find_element(By.CSS_SELECTOR, "#wells .to-well")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    assert text_of(browser, "#chosen-name") == "Well A01"
    assert browser.switch_to.active_element.get_attribute("id") == "chosen"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_pages_fit_and_follow_the_colour_scheme(opened, made, scheme, width):
    name = "a-plate-with-a-long-name-and-no-blank"
    facts, pictures = made(n_wells=96, plates=(name, f"{name}2"), failed=2, simulated=True)
    browser = opened(render_fields(facts, pictures), width, scheme)
    for well in (None, 'g.w[data-w="3"]'):
        if well:
            browser.find_element(By.CSS_SELECTOR, well).click()
        assert browser.execute_script("return document.documentElement.scrollWidth") == width
    colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert colour == {"light": "rgb(251, 250, 248)", "dark": "rgb(21, 24, 28)"}[scheme]


def test_the_first_screen_of_a_phone_tells_cells_and_the_gravest_warning(opened, made):
    facts, pictures = made(n_wells=96, empty=12, failed=3, simulated=True)
    browser = opened(render_fields(facts, pictures), width=390)
    for selector in (".simulated", ".verdict h1", ".trust", "#became b"):
        assert browser.find_element(By.CSS_SELECTOR, selector).rect["y"] < 800


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "'\"><img src=x onerror=alert(1)>"])
def test_hostile_names_come_out_as_text(opened, made, name):
    facts, pictures = made(names=(name, "B02"), failed=1)
    facts["fields"][0]["error"] = name
    browser = opened(render_fields(facts, pictures))
    browser.find_element(By.CSS_SELECTOR, 'g.w[data-w="0"]').click()
    assert name in text_of(browser, "#chosen-name")
    assert name in rows_of(browser)[0][-1]
    assert browser.find_elements(By.CSS_SELECTOR, "[onerror],[onload],img[src=x]") == []
    assert browser.execute_script("return document.scripts.length") == 2


def test_without_scripts_all_maps_and_tables_are_still_there(opened, page):
    browser = opened("<p>")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser = opened(page)
        maps = browser.find_elements(By.CSS_SELECTOR, ".map")
        assert len(maps) == 5
        assert all(one.is_displayed() for one in maps)
        assert not browser.find_element(By.ID, "well").is_displayed()
        assert len(browser.find_elements(By.CSS_SELECTOR, "#wells tbody tr")) == 24
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
