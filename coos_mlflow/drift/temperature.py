"""Temperature scaling: one number that makes a model's probabilities as sure as they are right."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

LEAST_PROBABILITY = 1e-6
"""Probabilities below count as this: forests and neighbours say 0 where they have no vote."""

_COOLEST, _HOTTEST = 0.1, 10.0


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities to the power of 1 / temperature, scaled to sum to 1.

    Parameters
    ----------
    probabilities : ndarray, shape (n, classes)
    temperature : float
        Above 1 makes them less sure.

    Returns
    -------
    ndarray of float64, shape (n, classes)
    """
    logs = np.log(np.maximum(probabilities, LEAST_PROBABILITY)) / temperature
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    normed: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return normed


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature of least log loss (Guo et al. 2017, arXiv 1706.04599).

    Parameters
    ----------
    probabilities : ndarray, shape (n, classes)
        Of cells that the model was not fitted on.
    labels : ndarray of int, shape (n,)
        True classes.

    Returns
    -------
    float
        From 0.1 to 10.
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        right = scaled(probabilities, float(np.exp(log_temperature)))[rows, labels]
        return float(-np.log(np.maximum(right, LEAST_PROBABILITY)).mean())

    bounds = (np.log(_COOLEST), np.log(_HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))
