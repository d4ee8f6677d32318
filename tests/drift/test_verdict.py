"""Verdicts: few false alarms, detected shifts, no influence of the mix of classes, abstention."""

from __future__ import annotations

import dataclasses
import json
import re
from functools import cache

import numpy as np
import pytest

from coos_mlflow.drift import verdict
from coos_mlflow.drift.assessment import assess
from coos_mlflow.drift.image_quality import RAW_FIGURES, VIEWS
from coos_mlflow.drift.placement import MAX_CHOICES, ComparedPlate, PlateComparison
from coos_mlflow.drift.verdict import (
    ALPHA,
    CANNOT_TELL,
    IN_RANGE,
    LEARNT_VIEWS,
    SHIFTED,
    Judge,
    _Scale,
)
from coos_mlflow.plates.dataset import Dataset

IDS = {"has_plate_ids": True, "has_well_ids": True}


@cache
def judge_of(world, **how):
    """The comparison and the judge of a world's reference."""
    comparison = PlateComparison(world.reference(**how))
    known = comparison.reference_plates()
    return comparison, Judge(
        known, has_plate_ids=True, has_well_ids=True, allowance=dict.fromkeys(VIEWS, 0.0)
    )


def verdict_of(world, collected):
    comparison, judge = judge_of(world)
    (plate,) = comparison.compare(collected.profile, known=False)
    return judge.judge(plate)["verdict"]


@pytest.fixture(scope="module")
def populations(make_world):
    """Eight populations with their references; some have 2 % of the variance in plates."""
    worlds = [make_world(seed, *((0.05, 0.05) if seed % 2 else (0.02, 0.02))) for seed in range(8)]
    return worlds


def test_false_alarms_are_rare_whatever_the_mix_of_classes(populations):
    alarms = [
        verdict_of(world, world.plate(classes, seed=100 + number)) == SHIFTED
        for world in populations
        for number, classes in enumerate([(0,), (2,), (4,), (6,), (1, 5), (0, 3), tuple(range(7))])
    ]
    assert len(alarms) == 56
    assert np.mean(alarms) <= 0.08


def test_false_alarms_are_rare_when_cells_are_fewer_or_more_than_in_training(populations):
    alarms = [
        verdict_of(world, world.plate((number % 7,), seed=300 + number, cells=cells)) == SHIFTED
        for number, world in enumerate(populations)
        for cells in (8, 8.5, 100, 101)
    ]
    assert np.mean(alarms) <= 0.1


def test_power_rises_with_the_shift(populations):
    def shifted_share(size: float) -> float:
        return float(
            np.mean(
                [
                    verdict_of(
                        world,
                        world.plate((number % 7,), seed=500 + number, shift=world.shift(size, s)),
                    )
                    == SHIFTED
                    for number, world in enumerate(populations)
                    for s in range(2)
                ]
            )
        )

    small, middle, large = shifted_share(0.5), shifted_share(1.2), shifted_share(2.5)
    assert small < middle < large
    assert large >= 0.95


def test_a_shift_in_one_view_is_found_and_named(reference, world):
    shift = np.zeros(16 + len(RAW_FIGURES))
    shift[16:] = 1.5
    assessment = assess(reference, world.plate((3,), seed=1, shift=shift), **IDS)
    plate = assessment["plates"][0]
    assert assessment["verdict"] == SHIFTED
    assert plate["stands_out_in"] == "raw"
    assert "the raw images differ by" in assessment["reason"]
    assert plate["distances"]["features"] < plate["usual"]["features"]
    moved = [move["moved"] for move in assessment["raw_moves"]]
    still = assess(reference, world.plate((3,), seed=1), **IDS)["raw_moves"]
    assert sum(moved) > 8 and sum(move["moved"] for move in still) <= 2
    assert assessment["raw_moves"][-1]["figure"] == "cells per well"
    assert not moved[-1]
    assert assessment["raw_moves"][0]["change"] == pytest.approx(np.exp(1.5), rel=0.3)


def test_a_limit_in_some_view_is_passed_if_and_only_if_shifted(populations):
    for number, world in enumerate(populations[:3]):
        reference = world.reference()
        for size in (0, 1.2):
            shift = world.shift(size, number)
            profile = world.plate((number % 7,), seed=800, shift=shift)
            plate = assess(reference, profile, **IDS)["plates"][0]
            passed = any(plate["distances"][view] > plate["usual"][view] for view in VIEWS)
            assert passed == (plate["verdict"] == SHIFTED)


def test_a_plate_beyond_all_is_far_outside(reference, world):
    assessment = assess(reference, world.plate((1, 2), seed=2, shift=world.shift(40, 0)), **IDS)
    plate = assessment["plates"][0]
    assert assessment["verdict"] == SHIFTED
    assert "far outside what the model knows, beyond all 20 reference plates" in plate["reason"]
    assert plate["known_nearer"] == plate["known_plates"] == 20
    assert plate["beyond"]
    assert assessment["error"]["answer"] == CANNOT_TELL
    assert plate["p"] == plate["smallest_p"] == pytest.approx(1 / 21, rel=1e-5)


def test_the_rank_is_as_rare_as_it_says(monkeypatch):
    """Of m + 1 exchangeable plates each is equally likely to be the farthest."""
    # Each scale also draws the limit of its verdict, which no rank looks at.
    monkeypatch.setattr(verdict, "null_maxima", lambda m, correlation: np.full(1, np.nan))
    rng = np.random.default_rng(0)
    m, first = 19, 0
    for _ in range(1500):
        *training, new = [_placed(log) for log in rng.normal(size=(m + 1, len(VIEWS)))]
        first += _Scale({"training": training}, 1, np.zeros(len(VIEWS))).rank(new) == 1 / (m + 1)
    assert first / 1500 == pytest.approx(1 / (m + 1), abs=0.015)


def _placed(logs):
    """A plate of one class with these log distances, far above `MIN_DISTANCE`."""
    return ComparedPlate(
        plate="",
        n_cells=100,
        n_wells=4,
        classes=np.array([0]),
        shares=np.array([1.0]),
        squares=np.exp(2 * (logs + 5))[:, None],
        noise_share=0.0,
        raw_deviations=np.zeros((1, len(RAW_FIGURES))),
    )


def test_a_network_that_knows_the_plates_is_allowed_more_in_its_own_views(reference, world):
    seen = dataclasses.replace(reference, training_predictions="cells")
    profile = world.plate((2,), seed=3)
    plain, allowed = (assess(one, profile, **IDS)["plates"][0] for one in (reference, seen))
    assert plain["distances"] == allowed["distances"]
    assert plain["usual"]["raw"] == allowed["usual"]["raw"]
    for view in LEARNT_VIEWS:
        assert allowed["usual"][view] > plain["usual"][view]


def test_label_shift_is_reported_apart(reference, world):
    one = assess(reference, world.plate((2,), seed=3), **IDS)
    assert one["class_shares"]["predicted"][2] > 0.9
    assert one["class_shares"]["corrected"][2] > 0.95
    assert sum(one["class_shares"]["corrected"]) == pytest.approx(1)
    assert one["verdict"] == IN_RANGE


@pytest.mark.parametrize("missing", ["plate", "well"])
def test_without_ids_it_cannot_tell(reference, world, missing):
    ids = {"has_plate_ids": missing != "plate", "has_well_ids": missing != "well"}
    assessment = assess(reference, world.plate((2,), seed=3, shift=world.shift(40, 0)), **ids)
    assert assessment["verdict"] == CANNOT_TELL
    assert f"no {missing} ids" in assessment["reason"]
    assert assessment["plates"][0]["distances"]["raw"] > 5
    assert assessment["plates"][0]["beyond"]
    assert assessment["error"]["answer"] == CANNOT_TELL


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"wells": 8, "cells": 2}, "The plate has 1[0-9] cells; with fewer than 50"),
        ({"wells": 1, "cells": 90}, "All cells come from 1 well"),
    ],
)
def test_too_little_to_judge(reference, world, how, words):
    assessment = assess(reference, world.plate((2,), seed=4, **how), **IDS)
    assert assessment["verdict"] == CANNOT_TELL
    assert re.search(words, assessment["reason"])
    assert assessment["error"]["answer"] == CANNOT_TELL


def test_noisy_plates_are_not_called_in_range(make_world):
    world = make_world(3, 0.005, 0.05)
    reference = world.reference(cells=60)
    plate = assess(reference, world.plate((2,), seed=1, wells=2, cells=30), **IDS)["plates"][0]
    assert plate["noise_share"] > 0.5
    assert plate["verdict"] == CANNOT_TELL
    assert "too few to notice" in plate["reason"]


def test_too_few_reference_plates(world):
    reference = world.reference([(0, 1), (0, 1), (0, 1), (1, 0)])
    assessment = assess(reference, world.plate((0,), seed=4), **IDS)
    assert assessment["verdict"] == CANNOT_TELL
    assert "remembers 4 plates" in assessment["reason"]


def test_one_reference_plate_is_no_reference(world):
    assessment = assess(world.reference([(0, 1)]), world.plate((0,), seed=4), **IDS)
    assert assessment["verdict"] == CANNOT_TELL
    assert assessment["wells"][0]["distance"] is None


def test_classes_that_no_reference_plate_carries(world):
    reference = world.reference([(0, 1)] * 6)
    assessment = assess(reference, world.plate((5,), seed=4, cells=40), **IDS)
    assert assessment["verdict"] == CANNOT_TELL
    assert "too few Training plates that carry the classes" in assessment["reason"]


def test_several_plates_have_a_verdict_each(reference, world):
    layouts = {f"p{number}": (number % 7,) for number in range(3)}
    fine = world.plates(layouts, seed=9)
    assessment = assess(reference, fine, **IDS)
    assert [plate["verdict"] for plate in assessment["plates"]] == [IN_RANGE] * 3
    assert assessment["verdict"] == IN_RANGE
    assert assessment["expected_by_chance"] == pytest.approx(0.15)
    shifted = assess(reference, world.plates(layouts, seed=9, shift=world.shift(20, 1)), **IDS)
    assert shifted["verdict"] == SHIFTED
    assert shifted["reason"].startswith("3 of 3 plates are shifted (0.2 expected by chance")


def test_each_plate_is_left_out_of_its_own_comparison(reference, world):
    """Compared as a new plate, a Training plate is nearer: it is part of the reference mean."""
    comparison = PlateComparison(reference)
    training = reference.profiles["training"]
    by_name = {plate.plate: plate for plate in comparison.reference_plates()["training"]}
    assert len(by_name) == 20
    for name in ("t8", "t9", "t10", "t12", "t14"):
        (as_new,) = comparison.compare(training.of_plate(name), known=False)
        assert as_new.distances()["features"] < by_name[name].distances()["features"]


def test_adjusted_p_agree_with_the_verdict_and_never_fall_below_what_m_allows(populations):
    for number, world in enumerate(populations[:3]):
        reference = world.reference()
        for size in (0, 1.2, 40):
            profile = world.plate((number % 7,), seed=900, shift=world.shift(size, number))
            plate = assess(reference, profile, **IDS)["plates"][0]
            assert (plate["t_p"] <= ALPHA) == (plate["verdict"] == SHIFTED)
            smallest = min(plate["view_p"].values())
            assert smallest == pytest.approx(max(plate["t_p"], 1 / 21), rel=1e-4)


def test_it_is_json_and_the_same_every_time(reference, world):
    first, second = (
        json.dumps(assess(reference, world.plate((0, 4), seed=6), **IDS), sort_keys=True)
        for _ in range(2)
    )
    assert first == second
    assert "NaN" not in first
    stored = json.loads(first)
    assert stored["schema_version"] == 6
    assert stored["error_record"]["estimators"][-1]["title"] == "The error of Test1, everywhere"


def test_classes_and_splits_are_those_of_the_data_set(make_world):
    names = ["Golgi", "Cytosol", "Centrosome"]
    dataset = Dataset.from_dict(
        {
            "name": "own",
            "classes": names,
            "crop": 48,
            "splits": [
                {"name": "First", "role": "train", "files": "a.h5"},
                {"name": "Test1", "role": "reference", "files": "b.h5", "meaning": "next week"},
            ],
        },
        "here",
    )
    world = make_world(dataset=dataset)
    reference = world.reference([(0, 1), (1, 2), (2, 0)] * 7)
    found = assess(reference, world.plate((0, 2), seed=6), **IDS)
    assert found["dataset"]["name"] == "own" and found["dataset"]["crop"] == 48
    assert [one["name"] for one in found["dataset"]["classes"]] == names
    assert found["dataset"]["splits"][1] == {
        "key": "test1", "title": "Test1", "meaning": "next week",
    }  # fmt: skip
    assert found["class_shares"]["classes"] == names
    assert {len(well["shares"]) for well in found["wells"]} == {3}
    assert len(found["error"]["recalls"]) == 3
    assert found["plates"][0]["classes"] == [0, 2]
    assert found["verdict"] == IN_RANGE
    shifted = assess(reference, world.plate((0, 2), seed=6, shift=world.shift(9, 1)), **IDS)
    assert shifted["verdict"] == SHIFTED


def test_wells_are_all_there(reference, world):
    assessment = assess(reference, world.plate((0, 4), seed=6), **IDS)
    wells = assessment["wells"]
    assert len(wells) == 16
    assert sum(well["n_cells"] for well in wells) == assessment["n_cells"]
    distances = np.array([well["distance"] for well in wells])
    assert 0.6 < np.median(distances) < 1.6


def test_many_classes_are_compared_by_some_choices_always_the_same():
    rng = np.random.default_rng(0)
    many = ComparedPlate(
        plate="P",
        n_cells=1000,
        n_wells=8,
        classes=np.arange(24),
        shares=np.full(24, 1 / 24),
        squares=rng.uniform(0.5, 2, (3, 24)),
        noise_share=0.1,
        raw_deviations=rng.normal(size=(24, len(RAW_FIGURES))),
    )
    drawn = many.log_distances(12)  # of 2,704,156 choices
    assert drawn.shape == (MAX_CHOICES, 3)
    np.testing.assert_array_equal(drawn, many.log_distances(12))
    assert many.log_distances(24).shape == (1, 3)
    assert many.log_distances(1).shape == (24, 3)
