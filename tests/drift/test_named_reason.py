"""A reason names the classes and wells that make a plate shifted, in one place for all pages."""

from __future__ import annotations

from typing import Any

import pytest

from coos_mlflow.drift.verdict import MAX_NAMED, ODD_WELLS, ONE_CLASS, named_reason, overall

NAMES = ("ER", "Golgi", "Cytosol")


def entry_of(*exceeded: str, **changes: Any) -> dict[str, Any]:
    reasons = {"class": ONE_CLASS, "wells": ODD_WELLS}
    return {
        "plate": "P7",
        "verdict": "shifted",
        "reason": reasons.get(next(iter(exceeded), ""), "As it is."),
        "exceeded": list(exceeded),
        "by_class": [],
        "odd_wells": [],
        "n_wells": 42,
        "n_cells": 840,
        "score": 2.0,
        "t_p": 0.001,
    } | changes


def class_of(label: int, score: float) -> dict[str, Any]:
    return {"class": label, "score": score, "limit": 3.0, "view": "raw", "shifted": score > 3}


def test_shifted_classes_are_named_the_farthest_first():
    classes = [class_of(0, 3.4), class_of(1, 5.25), class_of(2, 1.0)]
    reason = named_reason(entry_of("class", by_class=classes), NAMES)
    assert reason == (
        f"{ONE_CLASS} Golgi differs in the raw images (5.2 standard deviations, up to 3.0 is "
        "usual); ER differs in the raw images (3.4 standard deviations, up to 3.0 is usual)."
    )


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (1, "1 of 42 wells looks like none of the classes: W0."),
        (5, "5 of 42 wells look like none of the classes: W0, W1, W2, W3, W4."),
        (7, "7 of 42 wells look like none of the classes: W0, W1, W2, W3, W4 and 2 more."),
    ],
)
def test_odd_wells_are_counted_and_the_first_named(n, words):
    wells = [f"W{number}" for number in range(n)]
    assert named_reason(entry_of("wells", odd_wells=wells), NAMES) == f"{ODD_WELLS} {words}"
    assert MAX_NAMED == 5


def test_names_of_wells_cannot_hide_control_characters():
    assert "\x1b" not in named_reason(entry_of("wells", odd_wells=["A\x1b[31m"]), NAMES)


def test_nothing_is_added_where_the_plate_as_a_whole_or_none_is_shifted():
    odd = {"by_class": [class_of(0, 9.0)], "odd_wells": ["A01"]}
    assert named_reason(entry_of("plate", "class", **odd), NAMES) == "As it is."
    in_range = entry_of(**odd) | {"verdict": "in range", "exceeded": []}
    assert named_reason(in_range, NAMES) == "As it is."
    not_compared = entry_of() | {"verdict": "cannot tell", "exceeded": None}
    assert named_reason(not_compared, NAMES) == "As it is."


def test_the_reason_of_a_file_speaks_of_its_farthest_plate():
    plates = [entry_of("class"), entry_of() | {"verdict": "in range", "t_p": 0.4}]
    verdict, reason = overall(plates)
    assert verdict == "shifted"
    assert reason.startswith("1 of 2 plates is shifted (0.1 expected by chance if none were). ")
    assert "The farthest looks ordinary as a whole, but the cells of single classes" in reason
