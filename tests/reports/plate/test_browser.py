"""The pages in Chromium, offline: wells tell their figures, filter the cells, ask for nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.interaction import POINTER_TOUCH
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from waiting import PATIENCE

from coos_mlflow.reports.overview import render_overview
from coos_mlflow.reports.plate.html import render
from coos_mlflow.reports.plate.summary import summarise

README_PICTURE = Path(__file__).parents[3] / "docs" / "images" / "report.png"

pytestmark = pytest.mark.slow


@pytest.fixture
def report(scored) -> str:
    return render(summarise(*scored(wells=("A01", "A02", "B02", "C03", "P24"))))


def text_of(page: WebDriver, selector: str) -> str:
    return page.find_element(By.CSS_SELECTOR, selector).text


def wells(page: WebDriver, number: int) -> list[WebElement]:
    return page.find_elements(By.CSS_SELECTOR, f'g.w[data-w="{number}"]')


def visible_cells(page: WebDriver) -> list[str]:
    script = """return [...document.querySelectorAll("#cells figure[data-w]")]
        .filter((cell) => cell.checkVisibility()).map((cell) => cell.dataset.w)"""
    return page.execute_script(script)


def pressed(page: WebDriver) -> list[str | None]:
    marked = page.find_elements(By.CSS_SELECTOR, "g.w[aria-pressed=true]")
    return [well.get_attribute("data-w") for well in marked]


def test_the_screenshot_of_the_readme_can_be_taken(opened, report, tmp_path):
    """`README_REPORT=demo/scores/new_plate/report.html` renews the picture from that report."""
    source = os.environ.get("README_REPORT")
    target = README_PICTURE if source else tmp_path / "report.png"
    page = opened(Path(source).read_text(encoding="utf-8") if source else report, width=1100)
    size = {"width": 1100, "height": 1461, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert page.save_screenshot(str(target))
    with Image.open(target) as picture:
        assert picture.size == (1100, 1461)
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50  # an empty page has one


def test_a_well_pointed_at_tells_its_figures_in_all_maps(opened, scored, report):
    page = opened(report)
    told = [
        well["n_cells"] for well in scored(wells=("A01", "A02", "B02", "C03", "P24"))[0]["wells"]
    ]
    for number, name in ((2, "B02"), (4, "P24")):
        for well in wells(page, number):
            ActionChains(page).move_to_element(well).perform()
            figures = text_of(page, "#well-figures")
            assert figures.startswith(f"{name}: ER, probability 98.7%; ")
            assert f"; {told[number]} cells; ER " in figures
            hot = page.find_elements(By.CSS_SELECTOR, "g.w.hot")
            assert [w.get_attribute("data-w") for w in hot] == [str(number)] * 4
    assert "B02" not in text_of(page, "#well-figures")


def test_a_click_leaves_the_cells_of_that_well_and_escape_shows_all(opened, report):
    page = opened(report)
    before = visible_cells(page)
    assert len(set(before)) > 2
    wells(page, 3)[1].click()
    assert set(visible_cells(page)) == {"3"}
    assert pressed(page) == ["3"] * 4
    assert text_of(page, "#well-filter") == "Showing the cells of well C03 alone."
    assert page.find_elements(By.CSS_SELECTOR, ".reference figure")[0].is_displayed()
    page.find_element(By.CSS_SELECTOR, "body").send_keys(Keys.ESCAPE)
    assert visible_cells(page) == before
    assert pressed(page) == []
    assert not page.find_element(By.ID, "show-all").is_displayed()


def test_the_button_and_a_second_click_show_all(opened, report):
    page = opened(report)
    before = visible_cells(page)
    for undo in (lambda: page.find_element(By.ID, "show-all").click(), wells(page, 0)[0].click):
        wells(page, 0)[0].click()
        assert set(visible_cells(page)) == {"0"}
        undo()
        assert visible_cells(page) == before


def test_the_keyboard_reaches_every_well(opened, report):
    page = opened(report)
    stops = page.find_elements(By.CSS_SELECTOR, 'g.w[tabindex="0"]')
    assert len(stops) == 4
    page.execute_script("arguments[0].focus()", stops[0])
    for key, name in (
        (Keys.ARROW_RIGHT, "A02"),
        (Keys.ARROW_DOWN, "B02"),
        (Keys.ARROW_LEFT, "A01"),
    ):
        ActionChains(page).send_keys(key).perform()
        assert text_of(page, "#well-figures").startswith(f"{name}: ")
    ActionChains(page).send_keys(Keys.ENTER).perform()
    assert set(visible_cells(page)) == {"0"}
    ActionChains(page).send_keys(Keys.ESCAPE).perform()
    assert pressed(page) == []


def test_a_tap_chooses_the_well_under_the_finger(opened, report):
    page = opened(report, width=390)
    well = wells(page, 2)[0]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", well)
    finger = ActionBuilder(page, mouse=PointerInput(POINTER_TOUCH, "finger"))
    finger.pointer_action.move_to(well).pointer_down().pointer_up()
    finger.perform()
    WebDriverWait(page, PATIENCE).until(lambda page: pressed(page) == ["2"] * 4)
    assert set(visible_cells(page)) == {"2"}
    assert text_of(page, "#well-figures").startswith("B02: ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_pages_fit_and_follow_the_colour_scheme(opened, scored, make_entry, scheme, width):
    name = "a-plate-with-a-long-name-and-no-blank"
    plates = [make_entry(f"{name}{n}", "shifted", 3.0 + n) for n in range(2)]
    drift, pictures = scored(plates, wells=("A01", "B02", "C03", "P24"))
    drift["plate_file"]["name"] = f"{name}.h5"
    for page in (render_overview([(name, drift)]), render(summarise(drift, pictures))):
        browser = opened(page, width, scheme)
        assert browser.execute_script("return document.documentElement.scrollWidth") == width
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert colour == {"light": "rgb(251, 250, 248)", "dark": "rgb(21, 24, 28)"}[scheme]


def test_the_answer_fits_on_the_first_screen_of_a_phone(opened, scored, make_entry):
    entry = make_entry(verdict="shifted", distance=30.0)
    page = opened(render(summarise(*scored([entry], simulated=(True, True)))), width=390)
    for selector in (".simulated", ".verdict h1", ".trust", "#estimate b", "#estimate em"):
        assert page.find_element(By.CSS_SELECTOR, selector).rect["y"] < 800


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "'\"><img src=x onerror=alert(1)>",
        "</style></title></script><script>alert(1)</script>",
        "]]>--><svg/onload=alert(1)>",
        "{{ 7*7 }}\u202eevil\0",
        "z" * 10_000,
    ],
    ids=range(6),
)
def test_hostile_names_come_out_as_text(opened, scored, make_entry, name):
    drift, pictures = scored([make_entry(name), make_entry("b")], wells=(name, "B02"))
    drift["plate_file"]["name"] = drift["model"]["name"] = name
    page = opened(render(summarise(drift | {"command": name}, pictures)))
    seen = name[:20].replace("\0", "�").replace("\u202e", "�")
    assert seen in text_of(page, "header")
    ActionChains(page).move_to_element(wells(page, 0)[0]).perform()
    assert text_of(page, "#well-figures").startswith(seen)
    wells(page, 0)[0].click()
    assert seen in text_of(page, "#well-filter")
    assert page.find_elements(By.CSS_SELECTOR, "[onerror],[onload],img[src=x]") == []
    assert page.execute_script("return document.scripts.length") == 1


def test_a_script_that_is_not_the_pages_own_does_not_run(opened, report):
    page = opened(report)
    page.execute_script(
        """const script = document.createElement("script");
        script.textContent = "window.strange = 1"; document.body.append(script);"""
    )
    assert page.execute_script("return window.strange") is None
    (refused,) = page.get_log("browser")
    assert "Content Security Policy" in refused["message"]


def test_without_scripts_the_figures_are_still_there(opened, report):
    page = opened("<p>")
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page = opened(report)
        titles = page.find_elements(By.CSS_SELECTOR, 'g.w[data-w="2"] > title')
        assert [t.get_property("textContent")[:5] for t in titles] == ["B02: "] * 4
        assert page.find_element(By.ID, "well").get_dom_attribute("hidden") is not None
        assert page.find_elements(By.CSS_SELECTOR, "#cells figure[hidden]") == []
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
