"""The wells of the report in Chromium: what a well says, and which wells are marked."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from coos_mlflow.reports.plate.html import render
from coos_mlflow.reports.plate.markdown import render_markdown
from coos_mlflow.reports.plate.summary import summarise

SHARES = [0.6, 0, 0.37, 0, 0, 0.03, 0]

pytestmark = pytest.mark.slow


@pytest.fixture
def drift(scored) -> dict:
    """Four wells; the second is torn, and a layout says what it was treated with."""
    found, _ = scored()
    found["layout"] = {"name": "layout.csv", "sha256": "ab" * 32, "columns": ["compound", "dose"]}
    found["wells"][1] |= {
        "n_cells": 75, "confidence": 0.8, "distance": 1.14, "shares": SHARES, "label": 0,
        "probability": 0.9712, "disagree": 0.4,
        "share_lows": [0.42, 0, 0.2, 0, 0, 0, 0], "share_highs": [0.76, 0, 0.55, 0, 0, 0.2, 0],
        "warnings": ["torn between Endoplasmic Reticulum and Golgi", "far from the reference"],
        "layout": {"compound": "<b>DMSO</b>", "dose": 0.5},
    }  # fmt: skip
    return found


def pointed_at(page: WebDriver, drift: dict, scored, tmp_path: Path, width: int) -> str:
    """Open the report and return what is said of the second well when it is pointed at."""
    path = tmp_path / "page.html"
    path.write_text(render(summarise(drift, scored()[1])), encoding="utf-8")
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.get(path.as_uri())
    ActionChains(page).move_to_element(page.find_element(By.CSS_SELECTOR, '[data-w="1"]')).perform()
    return page.find_element(By.ID, "well-figures").text


@pytest.mark.parametrize("width", [1200, 390])
def test_a_well_says_class_shares_warnings_and_treatment(chromium, drift, scored, tmp_path, width):
    assert pointed_at(chromium, drift, scored, tmp_path, width) == (
        "B02: ER, probability 97.1%; 40% of its cells disagree; 75 cells; ER 60%, Golgi 37%, "
        "Cytosol 3%; warning: torn between Endoplasmic Reticulum and Golgi; "
        "warning: far from the reference; compound <b>DMSO</b>; dose 0.5; confidence 80%; "
        "distance 1.1"
    )


def test_a_mark_and_a_legend_show_the_warned_wells(chromium, drift, scored, tmp_path):
    pointed_at(chromium, drift, scored, tmp_path, 1200)
    marks = chromium.find_elements(By.CSS_SELECTOR, "g.w path.warning")
    wells = [mark.find_element(By.XPATH, "..").get_attribute("data-w") for mark in marks]
    assert wells == ["1"]
    assert marks[0].rect["width"] > 5
    legend = chromium.find_element(By.CSS_SELECTOR, ".legend").text
    assert "torn between two classes (1)" in legend
    assert "far from the reference (1)" in legend


def test_mixtures_show_shares_with_intervals(chromium, drift, scored, tmp_path):
    drift["wells_have_classes"] = False
    for well in drift["wells"]:
        well |= {"label": None, "probability": None, "disagree": None, "warnings": []}
    said = pointed_at(chromium, drift, scored, tmp_path, 1200)
    assert said.startswith("B02: 75 cells; ER 60% (42% to 76%), Golgi 37% (20% to 55%), ")
    titles = [title.text for title in chromium.find_elements(By.CSS_SELECTOR, ".map h3")]
    assert titles[:2] == ["Commonest class", "Share of the commonest class"]
    assert chromium.find_elements(By.CSS_SELECTOR, "path.warning") == []


def test_the_text_counts_the_warnings(drift, scored):
    text = " ".join(render_markdown(summarise(drift, scored()[1])).split())
    assert "torn between two classes (1), far from the reference (1); named in wells.csv." in text
    assert "Layout layout.csv: compound, dose; it has no line for 3 of 4 wells." in text
