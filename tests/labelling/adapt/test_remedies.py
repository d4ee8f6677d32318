"""Every remedy fulfils the contract, and helps with what it is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coos_mlflow.labelling.adapt.cells import corrected, for_fit
from coos_mlflow.labelling.adapt.remedies import remedies
from coos_mlflow.labelling.adapt.remedies._regression import fit as regression


@pytest.fixture(params=[(key, s) for key, one in remedies().items() for s in one.strengths])
def fitted(request):
    """Function that fits a remedy with one of its strengths."""
    key, strength = request.param
    return lambda model, cells: remedies()[key].fit(model, for_fit(cells), strength)


def mistakes(model, correction, cells) -> float:
    return float(np.mean(corrected(model, correction, cells).argmax(axis=1) != cells.truths))


def before(cells) -> float:
    return float(np.mean(cells.probabilities.argmax(axis=1) != cells.truths))


def test_it_says_what_it_is(fitted):
    for remedy in remedies().values():
        assert remedy.title and remedy.meaning and remedy.strengths
        assert [*remedy.strengths] == sorted(remedy.strengths) and remedy.strengths[0] > 0


def test_it_is_the_same_every_time_and_in_every_order(world, fitted):
    cells = world.plate(60, 3, shift=1.0)
    first, again = fitted(world.model, cells), fitted(world.model, cells)
    mixed = fitted(world.model, cells.select(np.random.default_rng(0).permutation(60)))
    for name, array in vars(first).items():
        assert np.isfinite(array).all()
        np.testing.assert_array_equal(array, getattr(again, name))
        np.testing.assert_allclose(array, getattr(mixed, name), atol=1e-2)


def test_it_does_no_harm_to_a_plate_like_training(world, fitted):
    cells, others = world.plate(100, 4), world.plate(4000, 5)
    assert mistakes(world.model, fitted(world.model, cells), others) < before(others) + 0.015


def test_it_helps_a_plate_of_two_classes_that_is_moved(world, fitted):
    cells = world.plate(50, 6, shift=1.6, classes=(1, 4))
    others = world.plate(4000, 7, shift=1.6, classes=(1, 4))
    assert before(others) > 0.1
    assert mistakes(world.model, fitted(world.model, cells), others) < 0.5 * before(others)


def test_it_takes_cells_of_one_class(world, fitted):
    cells = world.plate(20, 8, classes=(2,))
    assert mistakes(world.model, fitted(world.model, cells), cells) <= before(cells)


@pytest.mark.parametrize("key", ["plate_offset", "last_layer"])
def test_a_shift_of_all_classes_is_taken_back(world, key):
    remedy = remedies()[key]
    cells, others = (world.plate(n, n, shift=1.5) for n in (150, 4000))
    correction = remedy.fit(world.model, for_fit(cells), remedy.strengths[0])
    assert mistakes(world.model, correction, others) < 0.7 * before(others)


def test_the_offset_is_the_shift_with_the_other_sign(world):
    correction = remedies()["plate_offset"].fit(
        world.model, for_fit(world.plate(500, 9, shift=1.5)), 0.3
    )
    np.testing.assert_allclose(correction.offset, -1.5, atol=0.25)


def test_the_regression_finds_the_prior_that_labels_show(world):
    """Without a penalty and features, the probabilities of each class sum to its labels."""
    cells = world.plate(70, 10, shift=0.5)
    cells = cells.select(np.flatnonzero(np.arange(70) % 3 > 0))
    weights, bias = regression(cells, np.zeros((len(cells), 0)), 0.0, 1e-9)
    assert weights.shape == (7, 0)
    p = np.maximum(cells.probabilities, 1e-6) * np.exp(bias)
    p /= p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p.sum(axis=0), np.bincount(cells.truths, minlength=7), atol=0.05)


def test_rare_cells_do_not_decide_alone(world):
    cells = world.plate(50, 11)
    huge = replace(cells, weights=np.where(np.arange(50) == 0, 1e6, 1.0))
    weights = for_fit(huge).weights
    assert weights.mean() == pytest.approx(1) and weights.max() < 6


def test_control_cells_do_not_change_how_common_a_class_is(world):
    cells = world.plate(40, 12, classes=(0, 1))
    controls = world.plate(300, 13, classes=(0, 2))
    both = for_fit(cells, controls)
    known = both.select(np.arange(40, 190))
    assert set(known.truths) == {0}
    assert both.weights.sum() == pytest.approx(60)
    assert known.weights.sum() == pytest.approx(15)
    shares = [np.bincount(one.truths, one.weights, 7) for one in (for_fit(cells), both)]
    np.testing.assert_allclose(1.5 * shares[0], shares[1])
