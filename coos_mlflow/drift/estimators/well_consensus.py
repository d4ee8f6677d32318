"""Well consensus: all cells of a well share one class, which they decide together.

Dawid & Skene (1979), Applied Statistics 28(1), 20-28: items (wells) of unknown class are judged by
many observers (cells) whose confusion matrix is unknown too. Both are estimated together by
expectation-maximisation, with the confusions of left-out Training plates as prior.
"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from coos_mlflow.drift.estimators.base import Estimator, Predictions

PRIOR_CELLS = 100.0
"""The prior confusions count as this many cells of each class, about one well of COOS-7."""

CELL_CORRELATION = 0.05
"""Correlation of the errors of cells in one well: the upper end of the measured share (2 % to 5 %)
of variance between wells. The n cells of a well carry as much information as
n / (1 + (n - 1) * 0.05) independent ones (Kish 1965, "Survey Sampling", section 5.4)."""

_PSEUDOCOUNT = 0.5
"""Cells added to each entry of the confusions, so that no rate is 0."""

_MAX_ITERATIONS, _TOLERANCE = 200, 1e-6


def _fit(predictions: Predictions, truth: np.ndarray) -> np.ndarray:
    """Return the rates of each label by true class, shape (classes, classes), rows summing to 1."""
    n = predictions.probabilities.shape[1]
    confusions = np.full((n, n), _PSEUDOCOUNT)
    np.add.at(confusions, (truth, predictions.labels), 1.0)
    rates: np.ndarray = confusions / confusions.sum(axis=1, keepdims=True)
    return rates


def _truths(predictions: Predictions, fitted: np.ndarray) -> np.ndarray:
    assert predictions.wells is not None
    votes = np.zeros((int(predictions.wells.max()) + 1, len(fitted)))
    np.add.at(votes, (predictions.wells, predictions.labels), 1.0)
    return well_classes(votes, fitted)[predictions.wells]


def design_effects(cells: np.ndarray) -> np.ndarray:
    """Return by how much the cells of wells outnumber independent ones (`CELL_CORRELATION`)."""
    return 1 + np.maximum(cells - 1, 0) * CELL_CORRELATION


def well_classes(votes: np.ndarray, prior_rates: np.ndarray) -> np.ndarray:
    """Return the probabilities of the classes of wells.

    Parameters
    ----------
    votes : ndarray, shape (wells, classes)
        Cells of each well by label.
    prior_rates : ndarray, shape (classes, classes)
        Expected share of each label (column) among cells of a class (row), none of them 0.

    Returns
    -------
    ndarray of float64, shape (wells, classes)
    """
    independent_votes = votes / design_effects(votes.sum(axis=1, keepdims=True))
    rates, shares = prior_rates, np.full(len(prior_rates), 1 / len(prior_rates))
    classes = np.zeros_like(votes)
    for _ in range(_MAX_ITERATIONS):
        before = classes
        logs = independent_votes @ np.log(rates).T + np.log(np.maximum(shares, 1e-12))
        classes = softmax(logs, axis=1)
        if np.abs(classes - before).max(initial=0.0) < _TOLERANCE:
            break
        confusions = PRIOR_CELLS * prior_rates + classes.T @ votes
        rates = confusions / confusions.sum(axis=1, keepdims=True)
        shares = classes.mean(axis=0)
    return classes


ESTIMATOR = Estimator(
    title="Well consensus",
    meaning="takes each well to hold one protein, as the wells of Training do, and counts the "
    "cells that disagree with their well",
    blind_to="wells most of whose cells are labelled as one and the same wrong class, and cells of "
    "none of the classes",
    needs_wells=True,
    fit=_fit,
    truths=_truths,
)
