"""The page in Chromium: fifty cells by keyboard, touch, widths, colours, tabs, a lost server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from browsers import chromium_in, show_at
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait
from waiting import PATIENCE

from coos_mlflow.audit.labels_file import CANNOT_SEE, NONE_WORDS, read_labels
from coos_mlflow.labelling.app import Page, served
from coos_mlflow.plates.dataset import coos7

pytestmark = pytest.mark.slow

WIDTHS = (390, 820, 1400)
"""A phone, a tablet, a desk."""

LEAST_CONTRAST = 4.5
"""WCAG 2.2, success criterion 1.4.3."""

LEAST_TARGET = 44
"""Pixels of a side of what a finger hits; WCAG 2.2, success criterion 2.5.5."""

CONTRASTS = """
const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => {
  const [r, g, b] = parts(colour).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const under = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (parts(colour)[3] !== 0) return colour;
  }
  return "rgb(255, 255, 255)";
};
const found = [];
for (const e of document.querySelectorAll("body *")) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.checkVisibility() || e.closest(":disabled")) continue;
  const [a, b] = [light(getComputedStyle(e).color), light(under(e))].sort((x, y) => y - x);
  found.push([(a + 0.05) / (b + 0.05), e.textContent.trim().slice(0, 30)]);
}
return found;
"""

TARGETS = """
return [...document.querySelectorAll("button, a, summary")].filter((e) => e.checkVisibility())
  .map((e) => [e.textContent.trim(), e.getBoundingClientRect().width,
               e.getBoundingClientRect().height]);
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory) -> Iterator[WebDriver]:
    with chromium_in(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def page(session) -> Iterator[Page]:
    with served(session) as page:
        yield page


@pytest.fixture
def browser(chromium, page) -> Iterator[WebDriver]:
    """The page, which asks nobody but its own server."""
    show_at(chromium, 1400, "light")
    for log in ("browser", "performance"):
        chromium.get_log(log)
    chromium.get(page.address)
    until(chromium, lambda: chromium.find_element(By.ID, "work").is_displayed())
    yield chromium
    asked = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in asked if m["method"].endswith("WillBeSent")]
    assert urls
    assert all(url.startswith((f"http://127.0.0.1:{page.port}/", "data:")) for url in urls)


def until(browser: WebDriver, true: Callable[[], bool]) -> None:
    WebDriverWait(browser, PATIENCE, poll_frequency=0.02).until(lambda _: true())


def text_of(browser: WebDriver, name: str) -> str:
    return browser.find_element(By.ID, name).text


def press(browser: WebDriver, key: str) -> None:
    ActionChains(browser).send_keys(key).perform()


def label(browser: WebDriver, page: Page, truths: list[str], n: int) -> None:
    """Label n cells by the keys that the page shows."""
    names = coos7().class_names
    for _ in range(n):
        state = page.session.progress()
        press(browser, str(1 + names.index(truths[state["cell"]])))
        words = f"{state['done'] + 1} of {state['target']}"
        until(browser, lambda words=words: text_of(browser, "progress") == words)


def fits(browser: WebDriver, width: int) -> None:
    """Nothing is cut off, too pale, or too small for a finger."""
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    contrasts = browser.execute_script(CONTRASTS)
    assert len(contrasts) > 3 and min(contrasts)[0] >= LEAST_CONTRAST, min(contrasts)
    for words, wide, high in browser.execute_script(TARGETS):
        assert min(wide, high) >= LEAST_TARGET, words


def test_fifty_cells_by_keyboard_give_the_error_of_the_report(browser, page, truths):
    assert text_of(browser, "progress") == "0 of 50"
    label(browser, page, truths, 10)
    assert re.fullmatch(r"range so far: \d+ points wide", text_of(browser, "width"))
    label(browser, page, truths, 39)
    press(browser, "u")
    until(browser, lambda: text_of(browser, "progress") == "48 of 50")
    label(browser, page, truths, 2)
    assert text_of(browser, "all-done-title") == "All 50 cells are labelled"
    press(browser, Keys.ENTER)
    until(browser, lambda: browser.find_element(By.ID, "result").is_displayed())
    folder = page.session.folder
    kept = read_labels(folder / "audit.csv")
    assert [one.label for one in kept] == [truths[one.cell] for one in kept] and len(kept) == 50
    audit = json.loads((folder / "drift.json").read_text())["audit"]
    measured = text_of(browser, "measured").splitlines()
    assert measured[0] == "Balanced error, measured on 50 cells"
    frame = page.session.frame
    true = {cell: truths[cell] for cell in frame.cells.tolist()}
    names = coos7().class_names
    wrong = [
        100 * sum(names[k] != one for k in labels) / len(labels)
        for one in sorted(set(true.values()))
        for labels in [frame.labels[[true[cell] == one for cell in frame.cells.tolist()]]]
    ]
    assert audit["low"] <= sum(wrong) / len(wrong) <= audit["high"]
    browser.get(browser.find_element(By.ID, "report").get_attribute("href"))
    estimate = text_of(browser, "estimate").replace("\xa0", " ")
    assert "measured on 50 cells" in estimate.lower().replace("\n", " ")
    assert measured[1].replace("\xa0", " ") in estimate


@pytest.mark.parametrize("width", WIDTHS)
def test_every_screen_fits_and_can_be_read_and_touched(browser, page, truths, label_fast, width):
    def everywhere() -> None:
        for scheme in ("light", "dark"):
            show_at(browser, width, scheme)
            fits(browser, width)

    everywhere()
    composite = browser.find_element(By.ID, "composite").rect
    assert composite["width"] == composite["height"] >= 256
    press(browser, "n")
    until(browser, lambda: browser.find_element(By.ID, "neighbours").is_displayed())
    assert len(browser.find_elements(By.CSS_SELECTOR, "#neighbours img")) == 12
    everywhere()
    press(browser, "?")
    until(browser, lambda: browser.find_element(By.ID, "help").is_displayed())
    everywhere()
    press(browser, Keys.ESCAPE)
    label_fast(49)
    browser.refresh()
    until(browser, lambda: text_of(browser, "progress") == "49 of 50")
    label(browser, page, truths, 1)
    everywhere()
    browser.find_element(By.ID, "measure").click()
    until(browser, lambda: browser.find_element(By.ID, "result").is_displayed())
    everywhere()


@pytest.fixture
def label_fast(session, truths) -> Callable[[int], None]:
    """Function that labels n cells without the page."""

    def run(n: int) -> None:
        for _ in range(n):
            cell = session.progress()["cell"]
            session.record(cell, truths[cell])

    return run


def test_two_tabs_cannot_label_a_cell_twice(browser, page, truths):
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(page.address)
    until(browser, lambda: browser.find_element(By.ID, "work").is_displayed())
    label(browser, page, truths, 2)
    now = browser.find_element(By.ID, "composite").get_attribute("src")
    browser.close()
    browser.switch_to.window(first)
    assert browser.find_element(By.ID, "composite").get_attribute("src") != now
    press(browser, "1")
    until(browser, lambda: "has its label already" in text_of(browser, "error"))
    assert browser.find_element(By.ID, "composite").get_attribute("src") == now
    assert text_of(browser, "progress") == "2 of 50" and page.session.n_labelled == 2
    label(browser, page, truths, 1)
    assert text_of(browser, "error") == ""


def test_fingers_and_keys_that_tremble_label_one_cell(browser, page):
    button = browser.find_element(By.CSS_SELECTOR, "#classes button")
    ActionChains(browser).double_click(button).perform()
    until(browser, lambda: text_of(browser, "progress") == "1 of 50")
    script = """for (let n = 0; n < 9; n++) document.dispatchEvent(
        new KeyboardEvent("keydown", {key: "2", repeat: n > 0}))"""
    browser.execute_script(script)
    until(browser, lambda: text_of(browser, "progress") == "2 of 50")
    assert page.session.n_labelled == 2
    assert text_of(browser, "undo").endswith(f"Undo: {coos7().class_names[1]}")


def test_finish_asks_before_it_shows_the_models_labels(browser, page, truths):
    finish = browser.find_element(By.ID, "finish")
    assert not finish.is_enabled()
    label(browser, page, truths, 3)
    finish.click()
    assert "3 of 50 cells are labelled" in text_of(browser, "sure-text")
    press(browser, Keys.ENTER)  # goes on labelling
    until(browser, lambda: not browser.find_element(By.ID, "sure").is_displayed())
    assert browser.find_element(By.ID, "work").is_displayed()
    label(browser, page, truths, 1)
    finish.click()
    browser.find_element(By.CSS_SELECTOR, "#sure [value=yes]").click()
    until(browser, lambda: browser.find_element(By.ID, "result").is_displayed())
    browser.find_element(By.ID, "go-on").click()
    until(browser, lambda: browser.find_element(By.ID, "work").is_displayed())
    label(browser, page, truths, 1)
    assert text_of(browser, "progress") == "5 of 50"


def test_other_answers_have_keys_and_more_cells_and_the_end_have_buttons(browser, page, label_fast):
    for key, done in (("0", 1), ("x", 2), (Keys.BACKSPACE, 1), ("x", 2)):
        press(browser, key)
        until(browser, lambda done=done: text_of(browser, "progress") == f"{done} of 50")
    assert [*page.session.said.values()] == [NONE_WORDS, CANNOT_SEE]
    label_fast(48)
    browser.refresh()
    until(browser, lambda: browser.find_element(By.ID, "all-done").is_displayed())
    browser.find_element(By.ID, "more-cells").click()
    until(browser, lambda: text_of(browser, "progress") == "50 of 100")
    browser.find_element(By.ID, "finish").click()
    browser.find_element(By.CSS_SELECTOR, "#sure [value=yes]").click()
    until(browser, lambda: browser.find_element(By.ID, "result").is_displayed())
    browser.find_element(By.ID, "close").click()
    until(browser, lambda: browser.find_element(By.ID, "closed").is_displayed())
    assert page.closed.is_set()


def test_a_page_whose_program_has_ended_says_so(chromium, session):
    show_at(chromium, 1400, "light")
    with served(session) as page:
        chromium.get(page.address)
        until(chromium, lambda: chromium.find_element(By.ID, "work").is_displayed())
    press(chromium, "1")
    until(chromium, lambda: "start coos label again" in text_of(chromium, "error"))
    assert session.n_labelled == 0
    chromium.get_log("browser")


def test_an_old_link_says_so(browser, page):
    browser.get(f"http://127.0.0.1:{page.port}/?token=old")
    assert "of an earlier start" in browser.find_element(By.TAG_NAME, "body").text
    browser.get_log("browser")
