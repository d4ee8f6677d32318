"""Wild plates and plates with a single cause, on disk and in memory."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.wells import parse_well
from coos_mlflow.simulate import (
    SINGLE_CAUSES,
    WILD,
    simulate_fields,
    simulate_plate,
    simulate_plate_cells,
    simulate_plates,
)
from coos_mlflow.simulate.coos7_layout import SHIFTS, plan_plate
from coos_mlflow.simulate.disturbances import KINDS, BleedThrough, CoarseSteps
from coos_mlflow.simulate.experiment import state_of
from coos_mlflow.simulate.population import EFFECTS
from coos_mlflow.simulate.wild import wild_disturbances, wild_shift

SIZE = {"wells_per_class": 1, "cells_per_well": 4}


def disturbances(seed: int):
    return plan_plate(WILD, (0,), seed, 1, 1, 1.0)[0].disturbances


def seed_with(kind: type) -> int:
    """Return the first seed whose plate has a disturbance of a kind."""
    return next(s for s in range(100) if any(isinstance(one, kind) for one in disturbances(s)))


def of_kind(kind: type):
    return next(one for one in disturbances(seed_with(kind)) if isinstance(one, kind))


def test_a_seed_gives_one_plate_and_another_seed_another():
    plates = [simulate_plate_cells(like=WILD, seed=seed, **SIZE, jobs=1) for seed in (2, 2, 3)]
    for name, values in plates[0].items():
        np.testing.assert_array_equal(values, plates[1][name])
    assert (plates[0]["images"] != plates[2]["images"]).mean() > 0.5


def test_all_classes_wells_and_ids_are_there():
    cells = simulate_plate_cells(like=WILD, seed=1, wells_per_class=2, cells_per_well=5)
    assert (cells["images"].shape, cells["images"].dtype) == ((70, 2, 64, 64), np.uint16)
    assert Counter(cells["labels"].tolist()) == dict.fromkeys(range(7), 10)
    assert set(cells["plates"]) == {"new1"}
    assert set(cells["microscopes"]) == {WILD}
    assert len({parse_well(well).name for well in cells["wells"]}) == 14
    plans = plan_plate(WILD, range(7), 1, 2, 5, 1.0)
    label_of = {f"{plan.row:03d}{plan.column:03d}": plan.label for plan in plans}
    labels = [label_of[well[:6]] for well in cells["wells"]]
    np.testing.assert_array_equal(cells["labels"], labels)


def test_all_wells_of_a_plate_share_shift_and_disturbances():
    plans = plan_plate(WILD, range(7), 5, 3, 2, 1.0)
    assert len({plan.disturbances for plan in plans}) == 1
    assert all(plan.shift == plans[0].shift for plan in plans)


def test_a_plate_has_one_to_three_disturbances_in_the_order_of_the_light():
    plates = [wild_disturbances(np.random.default_rng(seed)) for seed in range(2000)]
    numbers = Counter(map(len, plates))
    assert set(numbers) == {1, 2, 3}
    assert min(numbers.values()) > 2000 / 3 * 0.85
    for plate in plates:
        places = [KINDS.index(type(one)) for one in plate]
        assert places == sorted(set(places))
    kinds = Counter(type(one) for plate in plates for one in plate)
    assert set(kinds) == set(KINDS)
    # Two of the seven on average.
    for count in kinds.values():
        assert count == pytest.approx(2000 * 2 / 7, rel=0.15)


def test_shifts_have_students_tails_and_the_scale_of_plates():
    plates = [wild_shift(np.random.default_rng(seed)) for seed in range(2000)]
    assert all(set(plate) == set(EFFECTS) for plate in plates)
    for name, effect in EFFECTS.items():
        draws = np.array([plate[name] for plate in plates]) / (2.5 * (effect.plate or 0.04))
        assert np.abs(draws).max() == pytest.approx(4.0)
        # Quantiles of t with 3 degrees of freedom in tables: 0.765 at 75 %, 2.353 at 95 %.
        assert np.mean(np.abs(draws) < 0.765) == pytest.approx(0.5, abs=0.05)
        assert np.mean(np.abs(draws) > 2.353) == pytest.approx(0.1, abs=0.03)
        assert np.mean(draws) == pytest.approx(0.0, abs=0.15)
    photons, pool = ([plate[name] for plate in plates] for name in ("photons", "pool"))
    assert abs(np.corrcoef(photons, pool)[0, 1]) < 0.1


def test_a_wild_plate_is_none_of_the_others():
    assert all(
        plan.disturbances == () for like in SHIFTS for plan in plan_plate(like, (0,), 0, 2, 2, 1)
    )
    wild = plan_plate(WILD, (2,), 0, 2, 2, 1.0)
    own = {state_of(plan, 0).cell_photons for plan in wild}
    for like in (*SHIFTS, *SINGLE_CAUSES):
        other = plan_plate(like, (2,), 0, 2, 2, 1.0)
        assert not own & {state_of(plan, 0).cell_photons for plan in other}


def test_a_shift_of_zero_leaves_the_disturbances():
    none, one, two = (plan_plate(WILD, (0,), 4, 1, 1, shift)[0] for shift in (0.0, 1.0, 2.0))
    assert set(none.shift.values()) == {0.0}
    assert none.disturbances == one.disturbances == two.disturbances
    assert two.shift == {name: 2 * value for name, value in one.shift.items()}


MEANS = {
    ("training", 0): 208.27748107910156,
    ("test4", 3): 245.9759521484375,
}
"""Mean counts of plates before there were wild ones."""


@pytest.mark.parametrize(("like", "seed"), MEANS)
def test_other_plates_are_drawn_as_before(like, seed):
    cells = simulate_plate_cells(like=like, seed=seed, classes=(1, 4), **SIZE)
    # Another random number anywhere changes the mean by about a count.
    assert cells["images"].mean() == pytest.approx(MEANS[like, seed], abs=0.01)


def test_the_disturbances_reach_cells_and_whole_fields():
    seed, step = seed_with(CoarseSteps), of_kind(CoarseSteps).step
    cells = simulate_plate_cells(like=WILD, seed=seed, classes=(0,), **SIZE)
    assert (cells["images"] % step == 0).all()
    (field,) = simulate_fields(
        like=WILD, seed=seed, classes=(0,), wells_per_class=1, fields_per_well=1, size=(90, 80)
    )
    assert field.counts.shape == (2, 90, 80)
    assert (field.counts % step == 0).all()


def test_bleed_through_shows_the_nucleus_in_the_protein_channel():
    seed, golgi = seed_with(BleedThrough), {"classes": (2,), "wells_per_class": 1}
    wild = simulate_plate_cells(like=WILD, seed=seed, **golgi, cells_per_well=20, shift=0.0)
    plain = simulate_plate_cells(like="training", seed=seed, **golgi, cells_per_well=20)
    correlation = [
        np.mean([np.corrcoef(*cell.reshape(2, -1))[0, 1] for cell in cells["images"]])
        for cells in (plain, wild)
    ]
    assert correlation[0] < 0.2
    assert correlation[1] > correlation[0] + 0.1


def test_a_file_says_what_goes_wrong_on_the_plate(tmp_path):
    path = simulate_plate(tmp_path / "wild.h5", like=WILD, seed=3, classes=(0,), **SIZE)
    with open_plate(path) as plate:
        assert plate.simulated
        assert plate.attrs["like"] == WILD
        assert plate.attrs["disturbances"] == "; ".join(map(repr, disturbances(3)))
    plain = simulate_plate(tmp_path / "plain.h5", classes=(0,), **SIZE)
    with open_plate(plain) as plate:
        assert "disturbances" not in plate.attrs


def test_a_file_of_several_plates_holds_each_of_them(tmp_path):
    done: list[int] = []
    asked = {"like": WILD, "classes": (0, 3), "wells_per_class": 2, "cells_per_well": 3}
    path = simulate_plates(tmp_path / "new" / "p.h5", 3, seed=8, **asked, on_progress=done.append)
    with open_plate(path) as plate:
        images = np.concatenate([batch.images for batch in plate.batches()])
        assert plate.attrs["like"] == WILD
    assert sum(done) == len(images) == 36
    for number in range(3):
        single = simulate_plate_cells(seed=8 + number, **asked)
        mine = plate.plates == f"new{8 + number}"
        np.testing.assert_array_equal(images[mine], single["images"])
        np.testing.assert_array_equal(plate.labels[mine], single["labels"])
        np.testing.assert_array_equal(plate.wells[mine], single["wells"])
    with pytest.raises(OutputError, match="is there already"):
        simulate_plates(path, 1, **asked)


def test_no_plates_are_refused(tmp_path):
    with pytest.raises(DataError, match="0 plates asked for"):
        simulate_plates(tmp_path / "new" / "p.h5", 0)
    with pytest.raises(DataError, match="wild, defocus"):
        simulate_plates(tmp_path / "new" / "p.h5", 1, like="tame")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", SINGLE_CAUSES)
def test_a_single_cause_is_the_plate_of_training_but_for_one_factor(name):
    factor, times = SINGLE_CAUSES[name]
    base, caused = (plan_plate(like, range(7), 6, 2, 3, 1.0) for like in ("training", name))
    for one, other in zip(base, caused, strict=True):
        assert (one.row, one.column, one.label) == (other.row, other.column, other.label)
        changed = {key for key in EFFECTS if one.shift[key] != other.shift[key]}
        assert changed == {factor}
        assert math.exp(other.shift[factor]) == pytest.approx(times)
    before, after = state_of(base[0], 6), state_of(caused[0], 6)
    if factor == "photons":
        assert after.cell_photons == pytest.approx(times * before.cell_photons)
    else:
        light = times**2 if factor == "pixel_um" else 1.0
        for field, value in before.instrument._asdict().items():
            expected = times if field == factor else light if field == "background" else 1.0
            assert getattr(after.instrument, field) == pytest.approx(expected * value), field
