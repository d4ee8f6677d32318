"""Every effect size fulfils the interface, for all files in the folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from _coos7 import CLASSES

from coos_mlflow.drift import effect_sizes as effects
from coos_mlflow.drift.effect_sizes import MAX_CELLS, MIN_CELLS_PER_PLATE, describe, effect_sizes
from coos_mlflow.drift.image_quality import RAW_FIGURES
from coos_mlflow.drift.statistics import CellSample, Statistic, base, statistics

DIMS = 16
CENTRES = 2 * np.random.default_rng(99).normal(size=(len(CLASSES), DIMS))
EVERY = pytest.mark.parametrize("key", list(statistics()))


def cells(
    n: int, seed: int, shift: float = 0.0, classes: Sequence[int] = range(7), wells: int = 42
) -> CellSample:
    """Draw cells in wells of one class each; `shift` is in deviations of single cells."""
    rng = np.random.default_rng(seed)
    well = rng.integers(wells, size=n)
    label = np.array(classes)[well % len(classes)]
    effect = 0.1 * rng.normal(size=(wells, DIMS + len(RAW_FIGURES)))[well]
    values = effect + rng.normal(size=effect.shape) + shift
    logits = rng.normal(size=(n, len(CLASSES)))
    logits[np.arange(n), label] += 5 - shift
    weight = np.exp(logits)
    return CellSample(
        wells=1000 * seed + well,
        classes=label,
        softmax=(weight / weight.sum(axis=1, keepdims=True)).astype(np.float32),
        features=(CENTRES[label] + values[:, :DIMS]).astype(np.float32),
        raw=values[:, DIMS:].astype(np.float32),
    )


@pytest.fixture(scope="module")
def reference() -> CellSample:
    return cells(2500, 1)


@pytest.fixture(scope="module")
def sizes(reference: CellSample) -> dict[str, float | None]:
    return effect_sizes(cells(2500, 2, shift=0.5), reference)


def test_every_file_of_the_folder_is_a_statistic():
    stems = {path.stem for path in Path(base.__file__).parent.glob("*.py")}
    assert set(statistics()) == stems - {"__init__", "base"}
    assert len(statistics()) >= 6


@EVERY
def test_the_same_cells_do_not_differ(key, reference):
    same = reference.select(np.arange(MAX_CELLS))
    value = statistics()[key].measure(same, same, 0)
    assert isinstance(value, float)
    assert value == pytest.approx(0, abs=0.02)


@EVERY
def test_other_cells_of_the_population_hardly_differ(key, reference):
    assert statistics()[key].measure(cells(2000, 3), reference, 0) == pytest.approx(0, abs=0.15)


@EVERY
def test_a_larger_shift_has_a_larger_effect(key, reference):
    values = [
        statistics()[key].measure(cells(1000, 4, shift), reference, 0)
        for shift in (0.0, 0.4, 0.8, 1.6)
    ]
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()
    assert values[-1] > 0.1


@EVERY
def test_the_seed_decides_and_no_other_randomness(key, reference):
    plate, measure = cells(1000, 5, 0.5), statistics()[key].measure
    np.random.seed(1)  # noqa: NPY002
    first, state = measure(plate, reference, 7), np.random.get_state()[1]  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert measure(plate, reference, 7) == first
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert measure(plate, reference, 8) == pytest.approx(first, rel=0.2)


@EVERY
def test_cells_are_left_as_they_came(key, reference):
    plate = cells(300, 6)
    before = [values.copy() for values in vars(plate).values()]
    statistics()[key].measure(plate, reference, 0)
    for old, new in zip(before, vars(plate).values(), strict=True):
        np.testing.assert_array_equal(old, new)


@EVERY
def test_more_cells_of_the_same_shift_have_no_larger_effect(key, reference):
    few, many = (
        np.mean([statistics()[key].measure(cells(n, s, 1.0), reference, 0) for s in (10, 11)])
        for n in (300, 1500)
    )
    assert few == pytest.approx(many, rel=0.2, abs=0.06)  # a p-value would fall to nothing


@EVERY
def test_the_order_of_the_cells_does_not_matter(key, reference, sizes):
    rng = np.random.default_rng(0)
    plate = cells(2500, 2, shift=0.5)
    turned = effect_sizes(
        plate.select(rng.permutation(len(plate))), reference.select(rng.permutation(2500))
    )
    assert turned[key] == pytest.approx(sizes[key], rel=1e-9)
    shuffled = statistics()[key].measure(plate.select(rng.permutation(2500)), reference, 0)
    assert shuffled == pytest.approx(statistics()[key].measure(plate, reference, 0), rel=0.2)


@EVERY
@pytest.mark.parametrize("classes", [[2], [0, 5], [3, 3, 4]])
def test_the_mix_of_classes_does_not_count(key, reference, classes):
    plate = cells(1500, 8, classes=classes)
    assert effect_sizes(plate, reference)[key] == pytest.approx(0, abs=0.18)


@pytest.mark.parametrize("key", ["mmd", "energy"])
def test_the_mix_of_classes_would_count_without_drawing_by_it(key, reference):
    plate = cells(1500, 8, classes=[2])
    assert statistics()[key].measure(plate, reference, 0) > 0.2
    assert effect_sizes(plate, reference)[key] < 0.01


@EVERY
def test_a_one_class_plate_is_as_far_as_its_shift(key, reference, sizes):
    moved = effect_sizes(cells(1500, 9, 0.8, classes=[2]), reference)[key]
    still = effect_sizes(cells(1500, 9, 0.0, classes=[2]), reference)[key]
    assert moved > still + 0.03


def drawn(monkeypatch, plate: CellSample, reference: CellSample, seed: int = 0):
    """Return the two samples that `effect_sizes` passes to a statistic."""
    taken: list[CellSample] = []

    def take(one: CellSample, other: CellSample, _: int) -> float:
        taken.extend([one, other])
        return 0.0

    monkeypatch.setattr(effects, "statistics", lambda: {"probe": Statistic("", "", take)})
    effect_sizes(plate, reference, seed)
    return taken


def test_both_sides_are_drawn_once_each_and_in_the_plates_shares(monkeypatch, reference):
    plate = cells(9000, 20, classes=[0, 0, 0, 4, 4, 6])
    here, there = drawn(monkeypatch, plate, reference)
    assert len(here) == MAX_CELLS
    shares = np.bincount(plate.classes, minlength=7) / len(plate)
    for side in (here, there):
        counts = np.bincount(side.classes, minlength=7)
        np.testing.assert_allclose(counts, shares * len(side), atol=1)
        assert len(np.unique(side.features, axis=0)) == len(side)
    # Class 0 has half of the plate and a seventh of the reference: all its cells are taken.
    in_reference = np.bincount(reference.classes, minlength=7)
    assert np.bincount(there.classes)[0] == pytest.approx(in_reference[0], abs=1)


def test_cells_left_over_go_to_the_classes_that_are_owed_most(monkeypatch, reference):
    monkeypatch.setattr(effects, "MAX_CELLS", 99)
    plate = cells(200, 20)
    plate.classes[:] = np.repeat([0, 2, 5], [100, 50, 50])
    here, there = drawn(monkeypatch, plate, reference)
    for side in (here, there):  # owed 49.5, 24.75 and 24.75
        assert np.bincount(side.classes)[[0, 2, 5]].tolist() == [49, 25, 25]


def test_another_seed_draws_other_cells(monkeypatch, reference):
    first, second = (drawn(monkeypatch, cells(5000, 21), reference, s)[0] for s in (0, 1))
    assert not np.array_equal(first.features, second.features)


def test_a_class_that_the_reference_lacks_and_mistaken_cells_are_left_out(monkeypatch, reference):
    plate = cells(2000, 22, classes=[1, 3, 5])
    plate.classes[:40] = 6
    here, there = drawn(monkeypatch, plate, reference.select(reference.classes != 3))
    assert set(here.classes) == set(there.classes) == {1, 5}


def test_nothing_to_compare_gives_none(reference):
    nothing = dict.fromkeys(statistics())
    assert effect_sizes(cells(MIN_CELLS_PER_PLATE - 1, 23, classes=[0]), reference) == nothing
    assert effect_sizes(cells(0, 23), reference) == nothing
    other = reference.select(reference.classes != 2)
    assert effect_sizes(cells(500, 24, classes=[2]), other) == nothing
    few = reference.select(np.flatnonzero(reference.classes == 2)[: MIN_CELLS_PER_PLATE - 1])
    assert effect_sizes(cells(500, 24, classes=[2]), few) == nothing


def test_one_well_leaves_only_the_classifier_without_a_number(reference):
    values = effect_sizes(cells(200, 25, classes=[2], wells=1), reference)
    assert [key for key, value in values.items() if value is None] == ["classifier_two_sample"]
    assert all(isinstance(value, float) for value in values.values() if value is not None)


def test_the_description_is_short_and_plain():
    rows = describe()
    assert [row["key"] for row in rows] == list(statistics())
    for row in rows:
        assert 0 < len(row["title"]) <= 40
        assert row["meaning"].endswith(".")
        assert len(row["meaning"]) <= 160
    assert len({row["title"] for row in rows}) == len(rows)
