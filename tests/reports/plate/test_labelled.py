"""Labelled cells on the pages: the first screen, what to do with the labels, and the section."""

from __future__ import annotations

import html
import re
from typing import Any

import numpy as np
import pytest
from drift_json import NUMBER, controls_of, numbers_in

from coos_mlflow.cli import tables
from coos_mlflow.reports.overview import rank
from coos_mlflow.reports.plate.doubts import ALWAYS_A_CLASS
from coos_mlflow.reports.plate.headline import headline
from coos_mlflow.reports.plate.html import render
from coos_mlflow.reports.plate.labelled import MAX_USABLE_ERROR, gap_words, off_words, sentences
from coos_mlflow.reports.plate.markdown import render_markdown
from coos_mlflow.reports.plate.summary import summarise


def audit_of(**changes: Any) -> dict[str, Any]:
    recalls = [0.88, None, 0.91, None, None, None, None]
    return {
        "sample": "0123456789ab",
        "seed": 0,
        "skipped": 0,
        "n_cells": 50,
        "cannot_see": 2,
        "labeller": "Ada",
        "labellers": [{"name": "Ada", "n_cells": 52}],
        "agreement": None,
        "balanced_error": 10.6,
        "low": 5.2,
        "high": 17.3,
        "wrong_labels": 9.3,
        "wrong_low": 4.1,
        "wrong_high": 15.9,
        "classes": [0, 2],
        "recalls": recalls,
        "recall_lows": [r and r - 0.11 for r in recalls],
        "recall_highs": [r and r + 0.07 for r in recalls],
        "none": {"share": 0.0, "low": 0.0, "high": 0.063},
        "estimated": 6.4,
        "off": -4.2,
        "level": 0.95,
    } | changes


def pages_of(drift: dict[str, Any], pictures) -> list[str]:
    """The texts of both formats, on one line each."""
    page = summarise(drift, pictures)
    shown = re.sub(r"<[^>]+>", " ", render(page).partition("<script>")[0])
    return [
        " ".join(text.replace("\xa0", " ").replace("\\", "").split())
        for text in (html.unescape(shown), render_markdown(page))
    ]


@pytest.mark.parametrize("verdict", ["in range", "shifted", "cannot tell"])
def test_the_first_screen_says_what_was_measured_in_place_of_the_estimate(
    scored, make_entry, verdict
):
    drift, pictures = scored([make_entry(verdict=verdict)])
    drift["audit"] = audit_of()
    for text in pages_of(drift, pictures):
        top = text.partition("How far from the plates that the model knows")[0]
        assert verdict in top.lower()
        assert "Balanced error, measured on 50 cells" in top
        assert "11 % (5 to 17 %)" in top
        assert "The estimate was 6.4 %, 4.2 points lower but within this range." in top
        assert "estimated" not in top and "if each well holds one protein" not in top
        assert ALWAYS_A_CLASS not in top
        assert "Labelled cells" in text and "assume nothing of how the plate has shifted" in text


@pytest.mark.parametrize("verdict", ["in range", "shifted", "cannot tell"])
@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((5.2, MAX_USABLE_ERROR), "The labels can be used:"),
        ((5.2, MAX_USABLE_ERROR + 0.1), "Check the labels before using them:"),
        ((MAX_USABLE_ERROR + 0.1, 60.0), "Do not use the labels as they are:"),
    ],
)
def test_what_to_do_follows_the_ends_of_the_interval(scored, make_entry, verdict, ends, words):
    drift, _ = scored([make_entry(verdict=verdict, distance=30.0)])
    drift["audit"] = audit_of(low=ends[0], high=ends[1], balanced_error=sum(ends) / 2)
    said = headline(drift)
    assert said["trust"].startswith(words) and "50 labelled cells" in said["trust"]
    assert said["key"] == verdict.replace(" ", "-") and said["reason"] == drift["reason"]
    assert ("--more" in said["advice"]) is words.startswith("Check")


def test_cells_of_no_known_class_count_as_wrong_labels(scored):
    drift, _ = scored()
    drift["audit"] = audit_of(
        wrong_labels=30.0, wrong_low=22.0, wrong_high=40.0,
        none={"share": 0.25, "low": 0.12, "high": 0.36},
    )  # fmt: skip
    said = headline(drift)
    assert said["trust"].startswith("Do not use the labels as they are")
    words = "25\xa0% (12\xa0% to 36\xa0%) are of none of the 7 classes"
    assert words in said["advice"] and words in " ".join(sentences(drift))


def test_a_plate_of_strangers_alone_has_no_balanced_error(scored, capsys):
    drift, pictures = scored()
    nothing = [None] * 7
    drift["audit"] = audit_of(
        balanced_error=None, low=None, high=None, classes=[], recalls=nothing, recall_lows=nothing,
        recall_highs=nothing, off=None, none={"share": 1.0, "low": 0.9, "high": 1.0},
    )  # fmt: skip
    trust = headline(drift)["trust"]
    assert trust == (
        "Do not use the labels: none of the labelled cells is of a class that the model knows."
    )
    assert all(
        "None of the labelled cells is of a class" in text for text in pages_of(drift, pictures)
    )
    tables.show_audit(drift)
    assert "None of the labelled cells is of a class" in " ".join(capsys.readouterr().out.split())


def test_the_section_has_recalls_people_and_agreement(scored):
    drift, pictures = scored()
    drift["audit"] = audit_of(
        skipped=3,
        labellers=[{"name": "Ada", "n_cells": 52}, {"name": "<b>Bo", "n_cells": 21}],
        agreement={"n_cells": 20, "agree": 0.95, "kappa": 0.93},
    )
    page, text = pages_of(drift, pictures)
    assert "<b>Bo" not in render(summarise(drift, pictures))
    for said in (page, text):
        assert "88 % (77 to 95 %)" in said and "91 % (80 to 98 %)" in said
        assert "labelled by 2 people: Ada (52)" in said
        assert "95 % are the same (Cohen's kappa 0.93)" in said
        assert "2 more cells could not be judged" in said
        assert "3 cells have no label though later ones have" in said
        assert "up to 6.3 % of all cells may be" in said
        assert "Not in the balanced error, for want of labelled cells: " in said
        assert "Wrong labels: 9.3 % (4.1 % to 16 %)" in said


def test_controls_stay_apart(scored):
    drift, pictures = scored()
    drift |= {"audit": audit_of(), "controls": controls_of()}
    assert headline(drift)["trust"].startswith("The 16 control wells are read right")
    assert "The labels can be used: on 50" in headline(drift)["trust"]
    page = render(summarise(drift, pictures))
    assert page.index('id="labelled"') < page.index('id="controls"')
    assert "97 % (91 to 99 %)" in page.replace("\xa0", " ")


def test_pages_without_labels_have_no_section(scored):
    for text in pages_of(*scored()):
        assert "Labelled cells" not in text and "measured on 5" not in text


@pytest.mark.parametrize(
    ("off", "words"),
    [
        (-7.3, "The estimate was 3.3 %, 7.3 points too low."),
        (14.14, "The estimate was 25 %, 14.1 points too high."),
        (-4.2, "The estimate was 6.4 %, 4.2 points lower but within this range."),
        (3.0, "The estimate was 14 %, 3.0 points higher but within this range."),
        (0.01, "The estimate was 11 % too."),
        (None, ""),
    ],
)
def test_how_far_the_estimate_was_off(off, words):
    said = off_words(audit_of(off=off, estimated=None if off is None else 10.6 + off))
    said = said.replace("\N{NO-BREAK SPACE}", " ")
    assert words in said and bool(said) is bool(words)


def test_gaps_are_told_only_where_there_are_some():
    assert gap_words(audit_of()) == ""
    assert gap_words(audit_of(skipped=1)).startswith("1 cell has no label though later ones")


def test_numbers_of_the_section_are_numbers_of_drift_json(scored):
    drift, pictures = scored()
    drift["audit"] = audit_of(agreement={"n_cells": 20, "agree": 0.95, "kappa": 0.93})
    page = html.unescape(render(summarise(drift, pictures)))
    section = page[page.index('<section id="labelled">') :].partition("</section>")[0]
    known = np.array(sorted(numbers_in(drift["audit"]) | {len(drift["dataset"]["classes"])}))
    known = np.abs(np.concatenate([known, 100 * known]))
    found = re.findall(r">([^<>]+)<", re.sub(r'<text class="tick".*?</text>', "", section))
    numbers = [number for part in found for number in NUMBER.findall(part)]
    assert len(numbers) > 20
    for text in numbers:
        half = 0.5 * 10.0 ** -len(text.partition(".")[2]) + 1e-9
        assert np.abs(known - abs(float(text))).min() <= half, text


def test_the_overview_shows_what_was_measured(scored):
    drift, _ = scored()
    rows = rank([("a", drift | {"audit": audit_of()}), ("b", drift)])["rows"]
    by_name = {row["link"]: row for row in rows}
    assert by_name["./a/report.html"]["error"]["value"] == 10.6
    assert by_name["./a/report.html"]["assumptions"] == "measured on 50 cells"
    assert by_name["./b/report.html"]["error"]["value"] == 6.4


def test_the_terminal_shows_figures_with_their_intervals(scored, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    drift, _ = scored()
    drift["audit"] = audit_of()
    tables.show_audit(drift)
    said = " ".join(capsys.readouterr().out.replace("\xa0", " ").split())
    assert "measured on 50 cells" in said and "95 % interval" in said
    assert "11 % (5.2 to 17.3 %)" in said and "88 % (77 to 95 %)" in said
