"""Variance components of simulated plates, wells and cells."""

from __future__ import annotations

import numpy as np

from coos_mlflow.drift.variance_components import (
    CORRELATION_SHRINKAGE,
    MIN_PLATE_VARIANCE,
    cell_correlation,
    cell_deviation,
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


def test_cells_are_correlated_as_drawn_and_shrunk_by_half():
    """Cells of a well with a correlation of 0.8, whatever the means of wells and classes."""
    rng = np.random.default_rng(0)
    factor = np.linalg.cholesky(np.array([[1, 0.8, 0], [0.8, 1, 0], [0, 0, 1]]))
    classes = np.repeat(np.arange(3), 2000)
    wells = np.arange(6000) // 50
    values = rng.normal(size=(6000, 3)) @ factor.T
    values = values + rng.normal(size=(120, 3))[wells] * 10 + 100 * classes[:, None] * [1, -1, 1]
    found = cell_correlation(values, wells, classes, np.ones((3, 3)))
    np.testing.assert_allclose(found, [[1, 0.4, 0], [0.4, 1, 0], [0, 0, 1]], atol=0.02)
    assert np.linalg.eigvalsh(found).min() >= CORRELATION_SHRINKAGE


def test_each_class_counts_in_its_own_deviation():
    """The class that varies a hundred times as much does not decide alone."""
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1], 4000)
    first = rng.normal(size=8000)
    values = np.column_stack([first, np.where(classes == 0, first, -first)])
    values[classes == 1] *= 100
    wells, deviation = np.arange(8000) // 50, np.array([[1.0, 1.0], [100.0, 100.0]])
    found = cell_correlation(values, wells, classes, deviation)
    np.testing.assert_allclose(found, np.eye(2), atol=0.02)
    np.testing.assert_allclose(
        cell_correlation(7 * values, wells, classes, 7 * deviation), found, atol=1e-12
    )


def test_a_dimension_that_does_not_vary_is_independent():
    values = np.column_stack([np.arange(20.0), np.full(20, 3.0)])
    zeros = np.zeros(20, dtype=int)
    found = cell_correlation(values, zeros, zeros, np.ones((1, 2)))
    np.testing.assert_array_equal(found, np.eye(2))
