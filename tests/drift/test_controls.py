"""Wells of known class: coverage of the intervals, and what measured errors change."""

from __future__ import annotations

import json

import numpy as np
import pytest

from coos_mlflow.drift import controls
from coos_mlflow.drift.assessment import assess
from coos_mlflow.drift.recall_intervals import intervals
from coos_mlflow.plates.layout import NONE

IDS = {"has_plate_ids": True, "has_well_ids": True}


@pytest.mark.parametrize("recall", [0.5, 0.9, 0.98])
@pytest.mark.parametrize(("wells", "cells"), [(1, 40), (2, 10), (4, 100), (8, 40)])
@pytest.mark.parametrize("correlation", [0.02, 0.15])
def test_intervals_cover_the_recall_of_beta_binomial_wells(wells, cells, recall, correlation):
    """Nominal 95 %; 150 draws have a standard error of 1.8 %. The script has the whole grid."""
    rng = np.random.default_rng([wells, cells, round(100 * recall), round(100 * correlation)])
    concentration = 1 / correlation - 1
    held = 0
    for _ in range(150):
        own = rng.beta(recall * concentration, (1 - recall) * concentration, wells)
        sizes = np.maximum(rng.poisson(cells * rng.choice([1 / 3, 5 / 3], wells)), 1)
        right = rng.binomial(sizes, own)
        (low,), (high,), _ = intervals(right, sizes, np.zeros(wells, dtype=int))
        assert 0 <= low <= right.sum() / sizes.sum() <= high <= 1
        held += low <= recall <= high
    assert held / 150 >= 0.9


@pytest.mark.parametrize("recall", [0.7, 0.95])
def test_intervals_cover_the_balanced_error_of_several_classes(recall):
    rng = np.random.default_rng(5)
    label = np.repeat(np.arange(5), 3)
    held = 0
    for _ in range(150):
        right = rng.binomial(30, rng.beta(recall * 9, (1 - recall) * 9, 15))
        *_, (low, high) = intervals(right, np.full(15, 30), label)
        held += low <= 100 * (1 - recall) <= high
    assert held / 150 >= 0.9


def test_intervals_narrow_with_wells_and_never_trust_many_cells_of_one():
    def width(wells: int, cells: int) -> float:
        right = np.full(wells, round(0.9 * cells))
        lows, highs, _ = intervals(right, np.full(wells, cells), np.zeros(wells, dtype=int))
        return float(highs[0] - lows[0])

    assert width(8, 40) < width(4, 40) < width(2, 40) < width(1, 40)
    assert width(1, 4000) > 0.2 > 4 * np.sqrt(0.09 / 4000)


def test_measured_figures_have_the_values_computed_by_hand():
    votes = np.array([[9.0, 1, 0], [6, 4, 0], [0, 20, 0], [5, 5, 5]])
    found = controls.measure(
        votes,
        np.array(["P"] * 4),
        np.array(["A1", "A2", "A3", "A4"]),
        np.array([0, 0, 1, 0]),
        np.array([0, 0, 1, NONE]),
        n_cells=100,
    )
    assert (found["n_wells"], found["n_cells"], found["covers"]) == (3, 40, 0.4)
    assert found["balanced_error"] == pytest.approx(100 * (1 - (15 / 20 + 1) / 2))
    assert found["wrong_labels"] == pytest.approx(100 * 5 / 40)
    assert found["classes"] == [0, 1]
    assert found["recalls"] == [0.75, 1.0, None]
    assert found["recall_highs"][1] == 1.0
    assert found["low"] < found["balanced_error"] < found["high"]
    assert found["none"] == {"n_wells": 1, "n_cells": 15}
    assert found["misread"] == []
    json.dumps(found, allow_nan=False)


def test_several_plates_are_units_too():
    votes = np.tile([[28.0, 2], [1, 29]], (4, 1))
    how = (np.array([f"A{n}" for n in range(8)]), np.tile([0, 1], 4), np.tile([0, 1], 4))
    one = controls.measure(votes, np.array(["P"] * 8), *how, n_cells=240)
    two = controls.measure(votes, np.repeat(["P", "Q"], 4), *how, n_cells=240)
    assert one["balanced_error"] == two["balanced_error"]
    assert two["low"] <= one["low"] and two["high"] > one["high"]


def known_of(collected, labels=None) -> dict:
    """The true class of each well, which `World` has put into its name; `labels` replaces some."""
    found = {
        (plate, well): int(well.partition("-")[0])
        for plate, wells in collected.well_names.items()
        for well in wells
    }
    return {pair: (labels or {}).get(label, label) for pair, label in found.items()}


def some_of(known: dict) -> dict:
    return {pair: label for pair, label in known.items() if int(pair[1].partition("-")[2]) % 2}


def test_a_map_of_all_wells_replaces_the_estimate_by_what_is_measured(reference, world):
    collected = world.plate((0, 4), seed=6)
    plain = assess(reference, collected, **IDS)
    found = assess(reference, collected, **IDS, known_classes=known_of(collected))
    assert plain["controls"] is None and plain["error"]["answer"] == "estimated"
    error, measured = found["error"], found["controls"]
    assert error["answer"] == "measured" and measured["covers"] == 1
    for key in ("balanced_error", "low", "high", "recalls"):
        assert error[key] == measured[key]
    own = collected.probabilities["new"].argmax(axis=1)
    truth = np.array([int(collected.well_names["new"][n][0]) for n in collected.wells["new"]])
    recalls = [np.mean(own[truth == label] == label) for label in (0, 4)]
    assert measured["balanced_error"] == pytest.approx(100 * (1 - np.mean(recalls)), rel=1e-5)
    assert found["plates"][0]["controls"] == measured
    assert found["plates"][0]["error"]["answer"] == "measured"


def test_controls_that_are_read_well_leave_verdict_and_estimate(reference, world):
    collected = world.plate((0, 4), seed=6)
    plain = assess(reference, collected, **IDS)
    found = assess(reference, collected, **IDS, known_classes=some_of(known_of(collected)))
    assert found["controls"]["agrees"] is True
    assert found["controls"]["misread"] == found["controls"]["missing"] == []
    assert (found["verdict"], found["error"]) == (plain["verdict"], plain["error"])


def test_wells_read_as_another_class_make_the_plate_shifted(reference, world):
    """The labels look like a good plate of class 0; only the map says that half are of class 3."""
    collected = world.plate((0,), seed=6, wells=16)
    known = known_of(collected)
    known = {pair: 3 if int(pair[1][2:]) < 8 else 0 for pair in known}
    plain = assess(reference, collected, **IDS)
    given = {pair: label for pair, label in known.items() if int(pair[1][2:]) % 2}
    found = assess(reference, collected, **IDS, known_classes=given)
    assert plain["verdict"] == "in range"
    assert found["verdict"] == found["plates"][0]["verdict"] == "shifted"
    assert "control wells the balanced error is" in found["reason"]
    assert "distances alone the plate is in range" in found["reason"]
    assert found["controls"]["worse"] and found["controls"]["agrees"] is False
    assert {one["well"] for one in found["controls"]["misread"]} == {
        pair[1] for pair, label in given.items() if label == 3
    }
    (missing,) = found["controls"]["missing"]
    cells = sum(w["n_cells"] for w in found["wells"] if given.get((w["plate"], w["well"])) == 3)
    assert missing == {"class": 3, "expected": pytest.approx(cells / found["n_cells"], rel=1e-5)}
    error = found["error"]
    assert error["answer"] == "at least" and error["high"] is None
    assert error["low"] == plain["error"]["low"]
    assert "too low" in error["reason"]


def test_a_verdict_by_controls_needs_no_distance(reference, world):
    """One well of each of two classes, too few cells for any other verdict."""
    collected = world.plate((0,), seed=6, wells=2, cells=20)
    wrong = dict.fromkeys(known_of(collected), 5)
    plain = assess(reference, collected, **IDS)
    found = assess(reference, collected, **IDS, known_classes=wrong)
    assert (plain["verdict"], found["verdict"]) == ("cannot tell", "shifted")


def test_a_far_plate_whose_controls_are_read_well_says_both(reference, world):
    collected = world.plate((0, 4), seed=6, shift=world.shift(40, 0))
    given = {
        (well["plate"], well["well"]): well["label"]
        for well in assess(reference, collected, **IDS)["wells"]
    }
    found = assess(reference, collected, **IDS, known_classes=given)
    if found["controls"]["worse"]:
        pytest.skip("this shift spoils the labels")
    assert found["verdict"] == "shifted"
    assert "The plate " in found["reason"] and "control wells are read right" in found["reason"]


def test_wells_of_none_of_the_classes_are_counted_apart(reference, world):
    collected = world.plate((0, 4), seed=6)
    known = known_of(collected)
    none = {pair for pair in known if pair[1].endswith("-0")}
    found = assess(
        reference,
        collected,
        **IDS,
        known_classes={pair: NONE if pair in none else label for pair, label in known.items()},
    )
    measured = found["controls"]
    assert measured["none"]["n_wells"] == 2 and measured["n_wells"] == 14
    assert measured["none"]["n_cells"] + measured["n_cells"] == found["n_cells"]
    # All their labels are wrong, which counts in the plain share, but in no class.
    assert found["error"]["answer"] == "measured"
    assert found["error"]["wrong_labels"] > measured["wrong_labels"]
    only = assess(reference, collected, **IDS, known_classes=dict.fromkeys(none, NONE))
    assert only["controls"]["balanced_error"] is None
    assert only["error"]["answer"] == "estimated"


def test_one_bad_plate_of_several_makes_the_file_shifted(reference, world):
    collected = world.plates({"P1": (0,), "P2": (0,), "P3": (0,)}, seed=9, wells=6)
    known = known_of(collected)
    known = {pair: 3 if pair[0] == "P2" else label for pair, label in known.items()}
    found = assess(reference, collected, **IDS, known_classes=known)
    verdicts = {plate["plate"]: plate["verdict"] for plate in found["plates"]}
    assert verdicts["P2"] == found["verdict"] == "shifted"
    assert "On 1 of 3 plates the control wells" in found["reason"] and "P2" in found["reason"]
    assert {one["plate"] for one in found["controls"]["misread"]} == {"P2"}
    by_plate = {plate["plate"]: plate["controls"] for plate in found["plates"]}
    assert by_plate["P1"]["misread"] == [] and by_plate["P2"]["worse"]


def test_an_estimate_above_the_controls_cannot_be_given():
    measured = {
        "balanced_error": 5.0, "low": 3.0, "high": 8.0, "estimated": 20.0, "agrees": False,
        "n_cells": 10, "none": {"n_cells": 0},
    }  # fmt: skip
    error = {
        "answer": "estimated", "balanced_error": 20.0, "low": 18.0, "high": 24.0, "reason": "x",
        "wrong_labels": 20.0, "recalls": [0.8], "recall_lows": [0.7], "recall_highs": [0.9],
    }  # fmt: skip
    found = controls.checked_error(error, measured, 100)
    assert found["answer"] == "cannot tell" and found["balanced_error"] is None
    assert "too high" in found["reason"] and found["recalls"] == [None]


def test_mixed_wells_trust_confidence_alone_and_within_its_record(reference, world):
    collected = world.plate((0, 4), seed=6)
    pure = assess(reference, collected, **IDS)
    mixed = assess(reference, collected, **IDS, mixed_wells=True)
    assert pure["wells_have_classes"] and not mixed["wells_have_classes"]
    chosen = mixed["error_record"]["chosen"]
    assert chosen != "well_consensus"
    worst = abs(reference.record[chosen]["test1"] - reference.errors["test1"])
    error = mixed["error"]
    assert error["high"] - error["low"] > 2 * worst
    assert all(well["label"] is None for well in mixed["wells"])
