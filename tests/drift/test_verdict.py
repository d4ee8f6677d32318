"""Verdicts: few false alarms, detected shifts, no influence of the mix of classes, abstention."""

from __future__ import annotations

import dataclasses
import json
import re
from functools import cache

import numpy as np
import pytest

from coos_mlflow.drift import plate_test, verdict
from coos_mlflow.drift.assessment import Assessor, assess
from coos_mlflow.drift.collect import Collector
from coos_mlflow.drift.error_estimate import AT_LEAST, ESTIMATED
from coos_mlflow.drift.image_quality import RAW_FIGURES, VIEWS
from coos_mlflow.drift.placement import MAX_CHOICES, ComparedPlate, PlateComparison
from coos_mlflow.drift.plate_scale import CLASS_VIEWS, PRIOR_DEVIATION
from coos_mlflow.drift.verdict import (
    ALPHA,
    CANNOT_TELL,
    IN_RANGE,
    LEARNT_VIEWS,
    ODD_WELLS,
    SHIFTED,
    Judge,
)
from coos_mlflow.drift.wells import ODD
from coos_mlflow.plates.dataset import Dataset

IDS = {"has_plate_ids": True, "has_well_ids": True}


@cache
def judge_of(world, **how):
    """The comparison and the judge of a world's reference."""
    comparison = PlateComparison(world.reference(**how), one_class=True)
    return comparison, a_judge(comparison.reference_plates())


def a_judge(known):
    return Judge(known, allowance=dict.fromkeys(VIEWS, 0.0), usual_errors=np.full(7, 0.03))


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

    small, middle, large = shifted_share(0.5), shifted_share(1.8), shifted_share(3.0)
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


@pytest.fixture(scope="module")
def plates_of_populations(populations):
    """Plates of three populations: ordinary ones, shifted ones, and far ones."""
    return [
        plate
        for number, world in enumerate(populations[:3])
        for assessor in [Assessor(world.reference())]
        for size in (0, 1.2, 40)
        for shift in [world.shift(size, number)]
        for classes in ((number % 7,), (0, 5), range(7))
        for plate in assessor.assess(
            world.plate(classes, seed=800, shift=shift), **IDS, effects=False
        )["plates"]
    ]


def test_a_plate_that_passes_a_limit_is_shifted_and_says_which(plates_of_populations):
    for plate in plates_of_populations:
        passed = {
            "plate": any(plate["distances"][view] > plate["usual"][view] for view in VIEWS),
            "class": any(one["shifted"] for one in plate["by_class"]),
        }
        assert ("plate" in plate["exceeded"]) == passed["plate"]
        if len(plate["classes"]) > 1:
            assert ("class" in plate["exceeded"]) == passed["class"]
        assert (plate["score"] > plate["limit"]) == passed["plate"]
        assert bool(plate["exceeded"]) == (plate["verdict"] == SHIFTED)
        for one in plate["by_class"]:
            assert one["shifted"] == (one["score"] > one["limit"])


def test_p_agrees_with_the_verdict(plates_of_populations):
    for plate in plates_of_populations:
        assert (plate["t_p"] <= ALPHA) == (plate["verdict"] == SHIFTED)
        assert min(plate["view_p"].values()) >= 1 / 21 * (1 - 1e-5)
        assert plate["view_p"][plate["stands_out_in"]] == min(plate["view_p"].values())


def test_a_plate_beyond_all_is_far_outside(reference, world):
    assessment = assess(reference, world.plate((1, 2), seed=2, shift=world.shift(40, 0)), **IDS)
    plate = assessment["plates"][0]
    assert assessment["verdict"] == SHIFTED
    assert "far outside what the model knows, beyond all 20 reference plates" in plate["reason"]
    assert plate["known_nearer"] == plate["known_plates"] == 20
    assert plate["beyond"]
    assert assessment["error"]["answer"] == CANNOT_TELL
    assert plate["p"] == plate["smallest_p"] == pytest.approx(1 / 21, rel=1e-5)


def compared(logs, *, name="", wells=None, disagreeing=0.0, noise=0.05, cells=120):
    """A plate with these log distances, (classes, views), far above `MIN_DISTANCE`.

    Each class has as many wells as `wells` (classes, wells) has columns, with these log distances.
    """
    logs = np.asarray(logs, dtype=float)
    n = len(logs)
    wells = np.zeros((n, 0)) if wells is None else np.asarray(wells, dtype=float)
    return ComparedPlate(
        plate=name,
        n_cells=cells * n,
        n_wells=8 * n,
        classes=np.arange(n),
        counts=np.full(n, cells),
        squares=np.exp(2 * (logs.T + 5)),
        noise_shares=np.full(n, noise),
        not_judged={},
        disagreeing=np.full(n, disagreeing),
        wells=tuple(f"{label}-{well}" for label in range(n) for well in range(wells.shape[1])),
        well_classes=np.repeat(np.arange(n), wells.shape[1]),
        well_squares=np.exp(2 * (wells.ravel() + 5)),
        raw_deviations=np.zeros((n, len(RAW_FIGURES))),
    )


DEVIATIONS = np.array([PRIOR_DEVIATION[view] for view in VIEWS])


@dataclasses.dataclass
class Population:
    """Log distances of plates: a tenth of their variance is common to the classes of a plate."""

    rng: np.random.Generator
    spread: float = 1.0

    def plate(self, classes=1, wells=8, **how):
        factor = np.linalg.cholesky(0.6 * np.eye(3) + 0.4).T * DEVIATIONS * self.spread
        whole, own = self.rng.normal(size=(2, classes, 3)) @ factor
        units, rest = self.rng.normal(size=(2, classes, wells)) * 0.3 * self.spread
        return compared(
            np.sqrt(0.1) * whole[:1] + np.sqrt(0.9) * own,
            wells=np.sqrt(0.2) * units[:, :1] + np.sqrt(0.8) * rest,
            **how,
        )

    def plates(self, n, **how):
        return [self.plate(**how) for _ in range(n)]


@pytest.fixture(scope="module")
def seven_classes():
    """A population and the judge of its twenty plates of seven classes."""
    population = Population(np.random.default_rng(5))
    return population, a_judge({"training": population.plates(20, classes=7)})


@pytest.mark.parametrize("classes", [1, 2, 7])
@pytest.mark.parametrize("m", [5, 20])
def test_alpha_of_plates_are_shifted_on_average_over_references(m, classes, monkeypatch):
    """Means, deviations and correlations come from the few plates; deviations differ by 6 %."""
    monkeypatch.setattr(plate_test, "DRAWS", 1000)
    rng = np.random.default_rng([m, classes])
    alarms = []
    for _ in range(50):
        population = Population(rng, spread=np.exp(0.06 * rng.normal()))
        judge = a_judge({"training": population.plates(m, classes=classes)})
        new = population.plates(40, classes=classes)
        alarms.append(np.mean([judge.judge(plate)["verdict"] == SHIFTED for plate in new]))
    assert 0.01 < np.mean(alarms) < ALPHA + 0.015


def test_the_rank_is_as_rare_as_it_says(monkeypatch):
    """Of m + 1 exchangeable plates each is equally likely to be the farthest."""
    # Each scale also draws the limit of its verdict, which no rank looks at.
    monkeypatch.setattr(plate_test, "DRAWS", 10)
    population = Population(np.random.default_rng(0))
    m, first = 19, 0
    for _ in range(600):
        *training, new = population.plates(m + 1, wells=0)
        first += a_judge({"training": training}).judge(new)["p"] == 1 / (m + 1)
    assert first / 600 == pytest.approx(1 / (m + 1), abs=0.025)


def test_one_class_of_seven_is_found_and_named(seven_classes):
    population, judge = seven_classes
    named = 0
    for _ in range(50):
        plate = population.plate(classes=7)
        plate.squares[:, 3] *= np.exp(2 * 5 * DEVIATIONS)
        entry = judge.judge(plate)
        shifted = [one["class"] for one in entry["by_class"] if one["shifted"]]
        named += 3 in shifted
        assert entry["verdict"] == SHIFTED or 3 not in shifted
        assert len(shifted) <= 2
    assert named >= 48
    assert [one["class"] for one in entry["by_class"]] == list(range(7))
    assert {one["view"] for one in entry["by_class"]} <= set(CLASS_VIEWS)


def test_odd_wells_are_found_and_named(seven_classes):
    """One well of each class lies far out; no class does as a whole."""
    population, judge = seven_classes
    found = 0
    for _ in range(50):
        plate = population.plate(classes=7)
        plate.well_squares[::8] *= np.exp(2 * 1.5)
        entry = judge.judge(plate)
        if "wells" in entry["exceeded"]:
            found += 1
            odd = {f"{label}-0" for label in range(7)}
            assert len(odd & {*entry["odd_wells"]}) >= 5
            # One in a hundred of the other 49 wells lies beyond 2.5 deviations.
            assert len({*entry["odd_wells"]} - odd) <= 4
            assert entry["exceeded"] != ["wells"] or entry["reason"] == ODD_WELLS
    assert found >= 48


def test_a_lone_odd_well_makes_no_plate_of_many_wells_shifted(seven_classes):
    population, judge = seven_classes
    shifted = named = 0
    for _ in range(200):
        plate = population.plate(classes=7)
        plate.well_squares[11] *= np.exp(2 * 1.2)  # four deviations
        entry = judge.judge(plate)
        shifted += entry["verdict"] == SHIFTED
        named += plate.wells[11] in entry["odd_wells"]
    assert named >= 120
    assert shifted / 200 <= ALPHA + 0.015


def test_cells_that_disagree_with_their_wells_leave_the_verdict_open(seven_classes):
    _, judge = seven_classes
    ordinary = np.zeros((7, 3))
    for disagreeing, expected in ((0.12, IN_RANGE), (0.14, CANNOT_TELL), (0.4, CANNOT_TELL)):
        entry = judge.judge(
            compared(ordinary, wells=np.full((7, 8), -0.3), disagreeing=disagreeing)
        )
        # Usually 3 % disagree.
        assert entry["verdict"] == expected
        assert entry["judged"]
    assert "40 % of the cells are labelled otherwise than their well, where 3 %" in entry["reason"]
    far = judge.judge(compared(ordinary + 4, wells=np.zeros((7, 8)), disagreeing=0.4))
    assert far["verdict"] == SHIFTED
    few = judge.judge(compared(ordinary - 0.3, disagreeing=0.4, noise=0.6))
    assert (few["verdict"], few["judged"]) == (CANNOT_TELL, False)


def test_sensitivity_tells_near_splits_from_far_ones():
    population = Population(np.random.default_rng(3))
    known = {split: population.plates(20, classes=2) for split in ("training", "near", "far")}
    for plate in known["far"]:
        plate.squares[:] *= np.exp(2 * 5 * DEVIATIONS)[:, None]
    sensitivity = a_judge(known).sensitivity()
    assert sensitivity["of"] == 20
    assert sensitivity["alarms"] <= 3
    assert sensitivity["found"]["near"] < 0.2
    assert sensitivity["found"]["far"] > 0.95
    few = a_judge({"training": known["training"][:4]}).sensitivity()
    assert few == {"alarms": None, "of": 4, "found": {}}


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
        ({"wells": 8, "cells": 2}, r"The plate has \d\d cells; with fewer than 50"),
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
    plate = assess(reference, world.plate((2,), seed=1, wells=3, cells=24), **IDS)["plates"][0]
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
    comparison = PlateComparison(reference, one_class=True)
    training = reference.profiles["training"]
    by_name = {plate.plate: plate for plate in comparison.reference_plates()["training"]}
    assert len(by_name) == 20
    for name in ("t8", "t9", "t10", "t12", "t14"):
        (as_new,) = comparison.compare(training.of_plate(name), known=False)
        assert as_new.distances()["features"] < by_name[name].distances()["features"]


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
    many = compared(np.zeros((24, 3)))
    many.raw_deviations[:] = np.random.default_rng(0).normal(size=many.raw_deviations.shape)
    drawn = many.quality_shift(12)  # of 2,704,156 choices
    assert drawn.shape == (MAX_CHOICES, len(RAW_FIGURES))
    np.testing.assert_array_equal(drawn, many.quality_shift(12))
    assert many.quality_shift(24).shape == (1, len(RAW_FIGURES))
    np.testing.assert_allclose(many.quality_shift(1), many.raw_deviations)


def test_a_class_of_few_cells_weighs_little():
    plate = dataclasses.replace(compared([[1.0] * 3, [3.0] * 3]), noise_shares=np.array([0.1, 0.7]))
    np.testing.assert_allclose(plate.weights, [0.75, 0.25])
    assert plate.noise_share == pytest.approx(0.1 * 0.75 + 0.7 * 0.25)
    assert plate.distances()["raw"] == pytest.approx(np.exp(5 + 1.5))


def with_part(world, *parts, seed=1):
    """A plate of several parts: classes, the number of their wells, the first well, and a shift."""
    collector, rng = Collector(), np.random.default_rng([world.seed, seed])
    for classes, wells, first, shift in parts:
        world.add_plate(
            collector, "new", classes, rng, wells=wells, first_well=first, shift=shift, cells=25
        )
    return collector.build()


def test_a_shifted_class_is_named_in_the_report(assessor, world):
    shift = np.concatenate([np.zeros(16), np.full(len(RAW_FIGURES), 1.2)])
    plate = with_part(world, (range(6), 8, 0, None), ((6,), 8, 0, shift))
    assessment = assessor.assess(plate, **IDS, effects=False)
    (entry,) = assessment["plates"]
    assert assessment["verdict"] == SHIFTED
    assert [one["class"] for one in entry["by_class"] if one["shifted"]] == [6]
    assert [one["view"] for one in entry["by_class"] if one["shifted"]] == ["raw"]


def test_odd_wells_are_named_in_the_report(assessor, world):
    shift = np.concatenate([np.zeros(16), np.full(len(RAW_FIGURES), 2.0)])
    plate = with_part(world, (range(7), 7, 0, None), (range(7), 1, 7, shift))
    assessment = assessor.assess(plate, **IDS, effects=False)
    (entry,) = assessment["plates"]
    odd = {f"{label}-7" for label in range(7)}
    assert assessment["verdict"] == SHIFTED
    assert {*entry["odd_wells"]} == odd
    assert {well["well"] for well in assessment["wells"] if ODD in well["warnings"]} == odd


def test_one_well_far_beyond_all_is_shifted_and_says_so_first(assessor, world):
    one = world.plate((2,), seed=4, wells=1, cells=90, shift=world.shift(40, 0))
    assessment = assessor.assess(one, **IDS, effects=False)
    (entry,) = assessment["plates"]
    assert entry["n_wells"] == 1
    assert (entry["verdict"], entry["beyond"], entry["judged"]) == (SHIFTED, True, True)
    assert entry["reason"].startswith("The plate lies far outside what the model knows")
    assert "All cells come from 1 well" in entry["reason"]
    assert assessment["error"]["answer"] == CANNOT_TELL
    near = world.plate((2,), seed=4, wells=1, cells=90)
    assert assessor.assess(near, **IDS, effects=False)["verdict"] == CANNOT_TELL


def test_the_error_of_a_shifted_plate_has_no_upper_end(assessor, world):
    shift = np.concatenate([np.zeros(16), np.full(len(RAW_FIGURES), 1.0)])
    for own, answer in ((None, ESTIMATED), (shift, AT_LEAST)):
        assessment = assessor.assess(world.plate((2, 4), seed=3, shift=own), **IDS, effects=False)
        (entry,) = assessment["plates"]
        assert not entry["beyond"] or own is not None
        error = assessment["error"]
        assert error["answer"] == (CANNOT_TELL if entry["beyond"] else answer)
        if answer == ESTIMATED:
            assert error["low"] <= error["balanced_error"] <= error["high"]
            assert error["missing"] == [0, 1, 3, 5, 6]
        elif not entry["beyond"]:
            assert error["high"] is None and error["low"] <= error["balanced_error"]


def test_disagreement_within_wells_leaves_a_lower_end_of_the_error(assessor, world, monkeypatch):
    monkeypatch.setattr(verdict, "MAX_EXTRA_DISAGREEMENT", -100.0)
    assessment = assessor.assess(world.plate((2, 4), seed=3), **IDS, effects=False)
    assert assessment["verdict"] == CANNOT_TELL
    assert assessment["plates"][0]["judged"]
    assert assessment["error"]["answer"] == AT_LEAST
    assert assessment["error"]["high"] is None


def test_wells_that_hold_mixtures_are_compared_by_the_labels_of_their_cells(reference, world):
    assessor = Assessor(reference, mixed_wells=True)
    found = assessor.assess(world.plate((0, 4), seed=6), **IDS, effects=False)
    assert not found["wells_have_classes"]
    assert {well["label"] for well in found["wells"]} == {None}
    assert found["plates"][0]["odd_wells"] == []
    assert found["plates"][0]["disagreeing"] == 0
    assert found["plates"][0]["classes"] == [0, 4]
    assert found["verdict"] == IN_RANGE
    shifted = world.plate((0, 4), seed=6, shift=world.shift(9, 1))
    assert assessor.assess(shifted, **IDS, effects=False)["verdict"] == SHIFTED


def test_an_assessor_assesses_as_assess_does_and_effects_can_be_left_out(
    reference, assessor, world
):
    plate = world.plate((0, 4), seed=6)
    alone, again = assess(reference, plate, **IDS), assessor.assess(plate, **IDS)
    assert alone == again
    without = assessor.assess(plate, **IDS, effects=False)
    assert alone["plates"][0].pop("effects")
    assert without["plates"][0].pop("effects") == {}
    assert without == alone
