"""Several tests of one plate: p-values that stay honest however many views one looks at."""

from __future__ import annotations

import numpy as np


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values adjusted for their number (Holm 1979, Scand. J. Statist. 6, 65-70).

    The chance that any of them is at most alpha, where nothing is to be found, is at most alpha,
    however the tests depend on each other.

    Parameters
    ----------
    p : ndarray, shape (tests,)

    Returns
    -------
    ndarray of float64, shape (tests,)
        At most 1, in the order of `p`.
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(np.asarray(p)[order] * np.arange(len(p), 0, -1))
    back = np.empty(len(p))
    back[order] = np.minimum(adjusted, 1.0)
    return back
