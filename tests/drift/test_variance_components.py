"""Variance components of simulated plates, wells and cells."""

from __future__ import annotations

import numpy as np

from coos_mlflow.drift.variance_components import (
    MIN_PLATE_VARIANCE,
    cell_deviation,
    plate_correlation,
    plate_variance,
    well_variance,
)


def test_variance_components_find_those_of_the_population():
    rng = np.random.default_rng(0)
    plates, wells, cells = 200, 8, 30
    effect = rng.normal(0, np.sqrt(0.3), (plates, 1, 1, 2))
    effect = effect + rng.normal(0, np.sqrt(0.1), (plates, wells, 1, 2))
    values = effect + rng.normal(size=(plates, wells, cells, 2))
    counts = np.full(plates * wells, cells)
    means = values.mean(axis=2).reshape(-1, 2)
    variances = values.var(axis=2).reshape(-1, 2)
    unit = np.repeat(np.arange(plates), wells)
    deviation = cell_deviation(np.zeros_like(unit), counts, variances, 1)
    np.testing.assert_allclose(deviation, 1, atol=0.02)
    np.testing.assert_allclose(well_variance(means, counts, unit), 0.1, atol=0.02)
    noise = np.full((plates, 2), (0.1 + 1 / cells) / wells)
    variance = plate_variance(values.mean(axis=(1, 2)), noise, np.zeros(plates, dtype=int))
    np.testing.assert_allclose(variance, 0.3, atol=0.06)


def test_plates_that_agree_keep_a_least_variance():
    variance = plate_variance(np.zeros((6, 2)), np.full((6, 2), 0.1), np.zeros(6, dtype=int))
    np.testing.assert_array_equal(variance, MIN_PLATE_VARIANCE)


def test_correlation_is_shrunk_by_half_and_ignores_classes():
    rng = np.random.default_rng(0)
    first = rng.normal(size=2000)
    means = np.column_stack([first, first])
    classes = rng.integers(3, size=2000)
    means = means + 100 * classes[:, None] * [1, -1]
    correlation = plate_correlation(means, classes)
    np.testing.assert_allclose(correlation, [[1, 0.5], [0.5, 1]], atol=1e-6)
