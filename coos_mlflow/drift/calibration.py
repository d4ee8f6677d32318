"""Corrections of predicted probabilities and class shares.

`fit_temperature` and `scale_probabilities` correct over-confidence. `adapt_to_shares` and
`corrected_shares` correct for a plate whose classes have other shares than Training's (label
shift).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar, nnls

MIN_PROBABILITY = 1e-6
"""Probabilities are clipped to at least this: forests and nearest neighbours can predict 0."""

TEMPERATURES = (0.1, 10.0)
"""Range in which the temperature is searched."""

_MAX_ITERATIONS, _TOLERANCE = 200, 1e-6


def scale_probabilities(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities to the power of 1 / temperature, normalised to sum to 1.

    Parameters
    ----------
    probabilities : ndarray, shape (n, classes)
    temperature : float
        Above 1 makes the model less confident.

    Returns
    -------
    ndarray of float64, shape (n, classes)
    """
    logs = np.log(np.maximum(probabilities, MIN_PROBABILITY)) / temperature
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    normalised: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return normalised


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature with the smallest log loss (Guo et al. 2017, arXiv 1706.04599).

    Parameters
    ----------
    probabilities : ndarray, shape (n, classes)
        Predictions for cells that the model was not fitted on.
    labels : ndarray of int, shape (n,)
        True classes.

    Returns
    -------
    float
        Within `TEMPERATURES`.
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = scale_probabilities(probabilities, float(np.exp(log_temperature)))
        return float(-np.log(np.maximum(scaled[rows, labels], MIN_PROBABILITY)).mean())

    low, high = TEMPERATURES
    bounds = (np.log(low), np.log(high))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def adapt_to_shares(probabilities: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimate a plate's class shares, and adapt calibrated probabilities to them.

    Maximum likelihood by expectation-maximisation (Saerens, Latinne & Decaestecker 2002, Neural
    Computation 14(1), 21-41). On a plate of two proteins, a cell labelled as a third protein then
    gets a low probability for that label, however confident the model is.

    Parameters
    ----------
    probabilities : ndarray, shape (n, classes)
        Calibrated under the shares `prior`.
    prior : ndarray, shape (classes,)
        Shares of the classes in Training. A class with share 0 keeps 0.

    Returns
    -------
    shares : ndarray of float64, shape (classes,)
    posteriors : ndarray of float64, shape (n, classes)
        Rows sum to 1.
    """
    shares = prior
    posteriors = probabilities
    safe_prior = np.where(prior > 0, prior, 1.0)
    # Where the likelihood is flat, more iterations would change nothing that matters.
    for _ in range(_MAX_ITERATIONS):
        posteriors = probabilities * (shares / safe_prior)
        posteriors = posteriors / posteriors.sum(axis=1, keepdims=True)
        before, shares = shares, posteriors.mean(axis=0)
        if np.abs(shares - before).max() < _TOLERANCE:
            break
    return shares, posteriors


def corrected_shares(predicted: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """Estimate the true shares of the classes from the predicted ones.

    Black-box shift estimation (Lipton, Wang & Smola 2018): find the shares p >= 0 that the
    confusion matrix turns into the predicted shares, by least squares, scaled to sum to 1.

    Parameters
    ----------
    predicted : ndarray, shape (classes,)
        Cells per predicted class.
    confusion : ndarray, shape (classes, classes)
        Cells of the reference by true class (rows) and predicted class (columns). A class without
        reference cells is assumed to be always predicted correctly.

    Returns
    -------
    ndarray of float64, shape (classes,)
        Shares that sum to 1.
    """
    shares = predicted / predicted.sum()
    totals = confusion.sum(axis=1, keepdims=True)
    rates = np.where(totals > 0, confusion / np.maximum(totals, 1), np.eye(len(shares)))
    # The last row, with a large weight, makes the shares sum to 1.
    system = np.vstack([rates.T, np.full(len(shares), 100.0)])
    solution, _ = nnls(system, np.append(shares, 100.0))
    return solution / solution.sum()
