"""Penalised multinomial logistic regression that starts from a model's own probabilities."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from coos_mlflow.labelling.adapt.cells import LabelledCells
from coos_mlflow.model.correction import FLOOR

BIAS_PENALTY = 1.0
"""Usual penalty of the squared biases; chosen on development plates."""


def fit(
    cells: LabelledCells, axes: np.ndarray, penalty: float, bias_penalty: float = BIAS_PENALTY
) -> tuple[np.ndarray, np.ndarray]:
    """Fit weights of axes and a bias for each class on top of the log probabilities.

    Minimises

        -sum_i w_i log softmax(log p_i + W a_i + b)[y_i] + penalty/2 |W|^2 + bias_penalty/2 |b|^2

    Parameters
    ----------
    cells : LabelledCells
    axes : ndarray, shape (n, dims)
        Of about unit variance.
    penalty, bias_penalty : float

    Returns
    -------
    weights : ndarray of float64, shape (classes, dims)
    bias : ndarray of float64, shape (classes,)
    """
    n_classes, dims = cells.n_classes, axes.shape[1]
    start = np.log(np.maximum(cells.probabilities, FLOOR), dtype=np.float64)
    inputs = np.column_stack([axes, np.ones(len(cells))])
    truths = np.eye(n_classes)[cells.truths]
    penalties = np.append(np.full(dims, penalty), bias_penalty)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        both = flat.reshape(n_classes, dims + 1)
        logs = log_softmax(start + inputs @ both.T, axis=1)
        value = -(cells.weights * (truths * logs).sum(axis=1)).sum()
        slopes = ((np.exp(logs) - truths) * cells.weights[:, None]).T @ inputs
        return value + (penalties * both**2).sum() / 2, (slopes + penalties * both).ravel()

    found = minimize(loss, np.zeros(n_classes * (dims + 1)), jac=True, method="L-BFGS-B").x
    both = found.reshape(n_classes, dims + 1)
    return both[:, :-1], both[:, -1]
