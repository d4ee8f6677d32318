"""Wells of known class on the pages: the first sentence, and the section in both formats."""

from __future__ import annotations

import pytest
from drift_json import controls_of

from coos_mlflow.reports.plate.controls import sentences
from coos_mlflow.reports.plate.headline import headline
from coos_mlflow.reports.plate.html import render
from coos_mlflow.reports.plate.markdown import render_markdown
from coos_mlflow.reports.plate.summary import summarise
from coos_mlflow.reports.plate.wording import estimate, notes

RIGHT = "The 16 control wells are read right in 96 % (92 to 98 %)."


@pytest.mark.parametrize("verdict", ["in range", "shifted", "cannot tell"])
def test_the_first_sentence_says_how_well_controls_are_read(scored, make_entry, verdict):
    drift, _ = scored([make_entry(verdict=verdict)])
    without = headline(drift)["trust"]
    drift["controls"] = controls_of()
    assert headline(drift)["trust"] == f"{RIGHT} {without}"


def test_both_pages_have_the_section_and_say_what_is_missing_and_misread(scored):
    drift, pictures = scored()
    drift["controls"] = controls_of(
        misread=[{"plate": "P7", "well": "B02", "class": 4, "label": 2, "n_cells": 30}],
        missing=[{"class": 4, "expected": 0.12}],
        none={"n_wells": 1, "n_cells": 20},
    )
    page = summarise(drift, pictures)
    html, text = render(page), " ".join(render_markdown(page).split())
    for page_text in (html, text.replace("\\", "")):
        said = page_text.replace("\xa0", " ")
        assert RIGHT in said
        assert "Early Endosome is not found in any well, though 12 % of the cells" in said
        assert "Well read wholly wrong: B02 (Early Endosome, read as Golgi)." in said
        assert "1 well with 20 cells holds none of the classes" in said
        assert "97 % (91 to 99 %)" in said
    assert '<section id="controls">' in html and "## Controls" in text


def test_pages_without_a_map_have_no_section(scored):
    page = summarise(*scored())
    assert "Controls" not in render(page) and "Controls" not in render_markdown(page)


def test_an_estimate_that_controls_refute_is_called_so(scored):
    drift, _ = scored()
    drift["controls"] = controls_of(agrees=False, estimated=1.2)
    assert any("estimate cannot be trusted" in one for one in sentences(drift))
    drift["error"] |= {"answer": "at least", "high": None, "low": 3.0}
    found = estimate(drift["error"])
    assert found["value_words"] == "At least 3.0\xa0%"
    assert found["range_words"] == "best guess 6.4\xa0%"
    assert headline(drift)["trust"].endswith("at least 3.0\xa0% (best guess 6.4\xa0%).")


def test_a_measured_error_is_not_called_estimated(scored):
    drift, pictures = scored()
    drift["controls"] = controls_of(covers=1.0)
    drift["error"] |= {"answer": "measured", "reason": "The plate map says it."}
    page = summarise(drift, pictures)
    assert page["error"]["estimate"]["how"] == "measured"
    assert "Balanced error, measured" in render(page)
    assert "Balanced error, measured" in render_markdown(page)
    assert "measured to be wrong" in page["headline"]["trust"]
    assert page["first"]["assumptions"] == ""


def test_wells_of_none_of_the_classes_alone_say_only_that(scored):
    drift, pictures = scored()
    empty = dict.fromkeys(("balanced_error", "low", "high", "wrong_labels", "estimated", "agrees"))
    drift["controls"] = controls_of(
        n_wells=0, classes=[], none={"n_wells": 2, "n_cells": 50}, **empty
    )
    assert headline(drift)["trust"].startswith("The labels can be used")
    assert "2 wells with 50 cells hold none" in render(summarise(drift, pictures))


def test_mixed_wells_are_told_what_is_lost(scored):
    drift, _ = scored()
    assert not any("check each other" in note for note in notes(drift))
    drift["wells_have_classes"] = False
    assert any("the cells of a well do not check each other" in note for note in notes(drift))
