"""The plan of the simulated experiment: counts, plates, wells."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.plates.wells import parse_well
from coos_mlflow.simulate import planned_cells
from coos_mlflow.simulate.coos7_layout import plan_dataset, plan_plate
from coos_mlflow.simulate.layout import COLUMNS, ROWS, apportion

TABLE_2 = {"training": 41456, "test1": 10364, "test2": 17021, "test3": 32596, "test4": 30772}


def on_border(well) -> bool:
    return well.row in (1, ROWS) or well.column in (1, COLUMNS)


@pytest.fixture(scope="module")
def full():
    return plan_dataset(1.0, 0)


def units(plans, population):
    return {(p.label, p.plate) for p in plans if p.population == population}


def test_full_scale_has_exactly_the_cells_of_table_2(full):
    for split, count in TABLE_2.items():
        assert sum(plan.cells.get(split, 0) for plan in full) == count
    assert planned_cells(1.0) == TABLE_2


@pytest.mark.parametrize("scale", [1.0, 0.3, 0.1, 0.05, 0.004])
def test_plan_holds_what_planned_cells_says(scale):
    plans = plan_dataset(scale, 3)
    for split, count in planned_cells(scale).items():
        assert sum(plan.cells.get(split, 0) for plan in plans) == count


@pytest.mark.parametrize("scale", [1.0, 0.1, 0.001])
def test_every_plate_and_class_stays_at_any_scale(scale):
    plans = plan_dataset(scale, 0)
    for population, plates, physical in (("training", 4, 20), ("test3", 2, 10), ("test4", 1, 4)):
        found = units(plans, population)
        assert Counter(label for label, _ in found) == dict.fromkeys(range(7), plates)
        shared = Counter(plate for _, plate in found)
        assert len(shared) == physical
        assert set(shared.values()) == {1, 2}
    assert units(plans, "test2") == units(plans, "training")


def test_training_has_eight_double_and_twelve_single_plates(full):
    shared = Counter(plate for _, plate in units(full, "training"))
    assert Counter(shared.values()) == {1: 12, 2: 8}


def test_eight_wells_a_class_and_plate_about_185_cells_a_well(full):
    for population in ("training", "test3", "test4"):
        wells = Counter((p.label, p.plate) for p in full if p.population == population)
        assert set(wells.values()) == {8}
    training = [p.cells["training"] for p in full if p.population == "training"]
    assert np.mean(training) == pytest.approx(185.07, abs=0.01)
    assert min(training) > 100


def test_populations_have_their_own_plates_and_test4_its_own_microscope(full):
    plates = {
        s: {p.plate for p in full if p.population == s} for s in coos7().split_keys if s != "test1"
    }
    assert plates["training"] == plates["test2"]
    assert not plates["training"] & plates["test3"]
    assert not plates["test4"] & (plates["training"] | plates["test3"])
    microscopes = {s: {p.microscope for p in full if p.population == s} for s in plates}
    assert microscopes["training"] == microscopes["test2"] == microscopes["test3"]
    assert len(microscopes["test4"]) == 1
    assert microscopes["test4"] != microscopes["training"]


def test_test3_is_later_than_training(full):
    last = max(p.day for p in full if p.population == "training")
    assert min(p.day for p in full if p.population == "test3") > last


def test_no_well_holds_two_classes_and_test2_lies_at_the_border(full):
    places = [(p.plate, p.row, p.column) for p in full]
    assert len(set(places)) == len(places)
    for plan in full:
        assert 1 <= plan.row <= ROWS
        assert 1 <= plan.column <= COLUMNS
        assert on_border(plan) == (plan.population == "test2")


def test_thinning_takes_wells_and_cells_alike(full):
    small = plan_dataset(0.1, 0)
    for plans, wells, cells in ((full, 8, 185.1), (small, 3, 49.4)):
        training = [p for p in plans if p.population == "training"]
        assert len(training) == 28 * wells
        assert np.mean([p.cells["training"] for p in training]) == pytest.approx(cells, abs=0.1)
    place = {(p.plate, p.label, p.row, p.column) for p in small}
    assert place <= {(p.plate, p.label, p.row, p.column) for p in full}


def test_the_smallest_scale_keeps_wells_wells():
    plans = plan_dataset(1e-6, 0)
    wells = Counter((p.population, p.plate, p.label) for p in plans)
    assert min(wells.values()) == 2
    for split in ("training", "test2", "test3", "test4"):
        assert np.mean([p.cells[split] for p in plans if split in p.cells]) >= 6


def test_well_ids_are_read_as_row_column_field(full):
    plan = full[5]
    well = parse_well(plan.well_id(7))
    assert well is not None
    assert (well.row, well.column, well.field) == (plan.row, plan.column, 7)
    assert sum(plan.cells_per_field()) == plan.n_cells
    assert 10 <= len(plan.cells_per_field()) <= 20


def test_another_seed_places_wells_elsewhere(full):
    other = plan_dataset(1.0, 1)
    assert {(p.plate, p.row, p.column) for p in other} != {(p.plate, p.row, p.column) for p in full}


def test_classes_differ_slightly_in_number(full):
    per_class = Counter()
    for plan in full:
        per_class[plan.label] += plan.cells.get("training", 0)
    shares = np.array([per_class[label] for label in range(7)]) / 41456
    assert shares.min() > 0.12
    assert shares.max() < 0.165
    assert shares.max() / shares.min() > 1.05


def test_apportion_sums_exactly_and_stays_within_one():
    weights = np.array([0.3, 1.7, 1.0, 2.2])
    for total in (0, 1, 7, 1000):
        shares = apportion(total, weights)
        assert shares.sum() == total
        assert np.abs(shares - total * weights / weights.sum()).max() < 1


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5, float("nan")])
def test_scale_outside_its_range_is_refused(scale):
    with pytest.raises(DataError, match="expected a number above 0 and at most 1"):
        plan_dataset(scale, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"like": "test5"}, "expected one of training"),
        ({"classes": (7,)}, r"classes \(7,\)"),
        ({"classes": (1, 1)}, "different numbers"),
        ({"classes": ()}, "different numbers"),
        ({"wells_per_class": 0}, "at least 1 of each"),
        ({"cells_per_well": 0}, "at least 1 of each"),
        ({"wells_per_class": 60}, "420 inner wells asked for, a 384-well plate has 308"),
        ({"seed": -1}, "seed -1"),
        ({"severity": 6.0}, "shift 6 found"),
        ({"severity": float("nan")}, "shift nan found"),
        ({"like": "test2", "wells_per_class": 11}, "77 border wells asked for"),
    ],
)
def test_a_plate_that_cannot_be_is_refused(change, message):
    asked = {
        "like": "training",
        "classes": range(7),
        "seed": 0,
        "wells_per_class": 8,
        "cells_per_well": 5,
        "severity": 1.0,
    }
    with pytest.raises(DataError, match=message):
        plan_plate(**asked | change)


def test_a_plate_like_test2_uses_border_wells_and_the_others_do_not():
    for like in ("training", "test2", "test3", "test4"):
        plans = plan_plate(like, (0, 4), 1, 4, 5, 1.0)
        assert {p.label for p in plans} == {0, 4}
        assert {on_border(p) for p in plans} == {like == "test2"}
