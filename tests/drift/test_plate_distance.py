"""Which classes of a plate are compared, and how far they are."""

from __future__ import annotations

import numpy as np
import pytest

from coos_mlflow.drift.plate_distance import Groups, ReferenceDistance, comparable_units


def test_units_are_the_classes_that_a_plate_carries():
    plates = np.array(["a", "a", "a", "b", "b"])
    classes = np.array([0, 1, 1, 2, 3])
    counts = np.array([100, 15, 9, 40, 11])
    names, labels, cells, unit = comparable_units(plates, classes, counts)
    # Class 1 has 24 of the 25 cells that a quarter of class 0 asks for; class 3 has 11 of 10.
    assert list(zip(names.tolist(), labels.tolist(), cells.tolist(), strict=True)) == [
        ("a", 0, 100),
        ("b", 2, 40),
        ("b", 3, 11),
    ]
    np.testing.assert_array_equal(unit, [0, -1, -1, 1, 2])


def test_where_whole_wells_decide_every_class_of_enough_cells_is_compared():
    plates, classes = np.array(["a", "a", "a"]), np.array([0, 1, 2])
    _, labels, *_ = comparable_units(plates, classes, np.array([1000, 15, 5]), min_share=0.0)
    assert labels.tolist() == [0, 1]


def drawn(seed: int, plates: int = 12, shift: np.ndarray | float = 0.0) -> Groups:
    """Plates of two classes in four wells each: numbers in five dimensions."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{n}" for n in range(plates)], 8)
    classes, counts = np.tile(np.repeat([0, 1], 4), plates), rng.integers(20, 40, plates * 8)
    effects = 0.3 * np.repeat(rng.normal(size=(plates, 5)), 8, axis=0)
    effects = effects + 0.3 * np.repeat(rng.normal(size=(plates * 2, 5)), 4, axis=0)
    means = effects + rng.normal(size=(plates * 8, 5)) * 0.3 + classes[:, None]
    wells = np.tile([f"{n}" for n in range(8)], plates)
    return Groups(names, wells, classes, counts, means + shift, np.full(means.shape, 0.9))


def rescaled(groups: Groups, factor: np.ndarray, offset: np.ndarray) -> Groups:
    return Groups(
        groups.plates,
        groups.wells,
        groups.classes,
        groups.counts,
        groups.means * factor + offset,
        groups.variances * factor**2,
    )


CORRELATION = 0.4 * np.ones((5, 5)) + 0.6 * np.eye(5)


def test_the_distance_does_not_depend_on_units():
    """Each dimension may be measured in another unit, and from another zero."""
    factor, offset = np.array([1, 10, 0.5, 1000, 3]), np.array([0, 5, -2, 1e4, 1])
    reference, new = drawn(0), drawn(1, plates=3, shift=0.5)
    one = ReferenceDistance(reference, 2).with_correlation(CORRELATION)
    other = ReferenceDistance(rescaled(reference, factor, offset), 2).with_correlation(CORRELATION)
    changed = rescaled(new, factor, offset)
    np.testing.assert_allclose(
        other.compare(changed).distances, one.compare(new).distances, rtol=1e-6
    )
    np.testing.assert_allclose(other.compare_wells(changed), one.compare_wells(new), rtol=1e-6)


def test_probabilities_share_one_scale():
    """One factor for all dimensions changes nothing, one for a single dimension does."""
    reference, new = drawn(0), drawn(1, plates=3, shift=0.5)
    before = ReferenceDistance(reference, 2, shared_scale=True).compare(new).distances
    for factor, same in ((np.full(5, 3.0), True), (np.array([1, 1, 1, 1, 30.0]), False)):
        measure = ReferenceDistance(rescaled(reference, factor, 0.0), 2, shared_scale=True)
        after = measure.compare(rescaled(new, factor, 0.0)).distances
        assert np.allclose(after, before, rtol=1e-6) == same


def test_ordinary_plates_have_squares_near_one():
    measure = ReferenceDistance(drawn(0, plates=40), 2)
    compared = measure.compare(drawn(1, plates=200))
    assert len(compared.distances) == 400
    assert compared.distances.mean() == pytest.approx(1, abs=0.2)
    assert measure.compare_wells(drawn(1, plates=200)).mean() == pytest.approx(1, abs=0.2)
    assert measure.compare(drawn(1, plates=200, shift=3.0)).distances.min() > 3


def test_a_change_against_the_correlation_is_farther_than_one_with_it():
    measure = ReferenceDistance(drawn(0), 2)
    correlated = measure.with_correlation(CORRELATION)
    together, apart = np.ones(5), np.array([1, -1, 1, -1, 0]) * np.sqrt(5 / 4)
    plain, aware = (
        [one.compare(drawn(1, plates=1, shift=4 * shift)).distances.mean() for shift in shifts]
        for one, shifts in ((measure, (together, apart)), (correlated, (together, apart)))
    )
    assert aware[1] / aware[0] > 2 * plain[1] / plain[0]


def test_a_plate_that_is_left_out_is_farther():
    reference = drawn(0)
    measure = ReferenceDistance(reference, 2)
    for plate in np.unique(reference.plates):
        own = reference.select(reference.plates == plate)
        there, without = (
            one.compare(own).distances.mean() for one in (measure, measure.leaving_out(plate))
        )
        assert without > there
