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
