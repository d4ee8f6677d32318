"""How many robust deviations a figure of a plate lies from those of the reference plates."""

from __future__ import annotations

import numpy as np

MOVED = 3.5
"""Above this a figure is called moved (Iglewicz & Hoaglin 1993, "How to detect outliers")."""


def robust_z(values: np.ndarray, reference: np.ndarray, least: np.ndarray | float) -> np.ndarray:
    """Return (value - median) / (1.4826 * median absolute deviation) in each dimension.

    Parameters
    ----------
    values : ndarray, shape (dims,)
        Figures of the plate.
    reference : ndarray, shape (plates, dims)
        The same figures of the reference plates.
    least : ndarray, shape (dims,), or float
        Lower limit of the deviation, for plates that happen to agree; above 0.
    """
    median = np.median(reference, axis=0)
    spread = 1.4826 * np.median(np.abs(reference - median), axis=0)
    return (values - median) / np.maximum(spread, least)
