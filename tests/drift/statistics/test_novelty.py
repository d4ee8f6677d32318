"""Novelty of cells against values by hand and known populations."""

from __future__ import annotations

import numpy as np
import pytest

from coos_mlflow.drift.statistics import CellSample
from coos_mlflow.drift.statistics.novelty import (
    FARTHEST,
    STATISTIC,
    cell_novelty,
    class_moments,
    far_share,
)


def sample_of(features: np.ndarray, classes: np.ndarray) -> CellSample:
    return CellSample(classes, classes, np.eye(7)[classes], features, features)


def test_moments_of_classes_are_those_of_their_cells():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 3)) * [1, 2, 3]
    parts = np.split(values, [10, 30])
    centres, spreads = class_moments(
        np.array([1, 1, 1]),
        np.array([len(part) for part in parts]),
        np.stack([part.mean(axis=0) for part in parts]),
        np.stack([part.var(axis=0) for part in parts]),
        2,
    )
    np.testing.assert_allclose(centres[1], values.mean(axis=0))
    np.testing.assert_allclose(spreads[1], values.std(axis=0))
    assert np.isnan(centres[0]).all()


def test_novelty_by_hand_and_for_a_class_without_reference():
    centres = np.array([[0.0, 0.0], [np.nan, np.nan]])
    spreads = np.array([[1.0, 2.0], [np.nan, np.nan]])
    cells = np.array([[3.0, 8.0], [3.0, 8.0]])
    values = cell_novelty(cells, np.array([0, 1]), centres, spreads)
    np.testing.assert_allclose(values, np.sqrt((9 + 16) / 2))


def test_far_share_by_hand():
    classes = np.zeros(100, dtype=np.int64)
    known = sample_of(np.tile([[-1.0], [1.0]], (50, 1)), classes)  # centre 0, deviation 1
    others = sample_of(np.linspace(0, 2, 100)[:, None], classes)  # 1 in 100 is farther than 1.98
    plate = sample_of(np.array([[1.9], [-1.9], [2.1], [-2.1]]), classes[:4])
    assert far_share(plate, known, others) == 0.5


def test_small_reference_classes_do_not_make_ordinary_cells_far():
    rng = np.random.default_rng(1)

    def cells(n: int) -> CellSample:
        return sample_of(rng.normal(size=(n, 16)), np.arange(n) % 7)

    values = [STATISTIC.measure(cells(500), cells(280), seed) for seed in range(60)]
    assert np.mean(values) == pytest.approx(FARTHEST, abs=0.008)


def test_every_tenth_cell_far_off_is_counted():
    rng = np.random.default_rng(2)
    classes = np.arange(2000) % 7
    centres = 50 * rng.normal(size=(7, 4))
    reference = sample_of(centres[classes] + rng.normal(size=(2000, 4)), classes)
    plate = sample_of(centres[classes] + rng.normal(size=(2000, 4)), classes)
    plate.features[::10] += 8
    assert STATISTIC.measure(plate, reference, 0) == pytest.approx(0.11, abs=0.01)
