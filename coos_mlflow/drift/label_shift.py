"""The mix of classes on a plate, corrected for the model's mistakes."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls


def corrected_shares(predicted: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """Estimate the true shares of the classes from the predicted ones.

    Black-box shift estimation (Lipton, Wang & Smola 2018): the shares p that a confusion matrix
    turns into the predicted shares, here in least squares over p >= 0 and scaled to sum to 1.

    Parameters
    ----------
    predicted : ndarray, shape (classes,)
        Cells per predicted class.
    confusion : ndarray, shape (classes, classes)
        Cells of the reference by true class (rows) and predicted class (columns). A class that
        the reference does not hold is taken as never mistaken.

    Returns
    -------
    ndarray of float64, shape (classes,)
        Shares that sum to 1.
    """
    shares = predicted / predicted.sum()
    totals = confusion.sum(axis=1, keepdims=True)
    rates = np.where(totals > 0, confusion / np.maximum(totals, 1), np.eye(len(shares)))
    # The heavy last row asks for a sum of 1.
    system = np.vstack([rates.T, np.full(len(shares), 100.0)])
    solution, _ = nnls(system, np.append(shares, 100.0))
    return solution / solution.sum()


def adapted(
    probabilities: np.ndarray, prior: np.ndarray, rounds: int = 200, near: float = 1e-6
) -> tuple[np.ndarray, np.ndarray]:
    """Fit calibrated probabilities to a plate whose classes have other shares than Training's.

    Maximum likelihood by expectation and maximisation (Saerens, Latinne & Decaestecker 2002,
    Neural Computation 14(1), 21-41). On a plate of two proteins a cell taken for a third is then
    known to be a mistake, however sure the model is.

    Parameters
    ----------
    probabilities : ndarray, shape (n, classes)
        Calibrated under the shares `prior`.
    prior : ndarray, shape (classes,)
        Shares of the classes in Training; a class with 0 stays out.
    rounds : int
        At most so many; where the likelihood is flat, more change nothing that matters.
    near : float
        The shares have settled when none changes by more.

    Returns
    -------
    shares : ndarray of float64, shape (classes,)
    posteriors : ndarray of float64, shape (n, classes)
        Rows sum to 1.
    """
    shares = prior
    posteriors = probabilities
    safe = np.where(prior > 0, prior, 1.0)
    for _ in range(rounds):
        posteriors = probabilities * (shares / safe)
        posteriors = posteriors / posteriors.sum(axis=1, keepdims=True)
        before, shares = shares, posteriors.mean(axis=0)
        if np.abs(shares - before).max() < near:
            break
    return shares, posteriors
