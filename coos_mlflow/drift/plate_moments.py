"""Mean and deviation of plates, of which some can be judged in several ways."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def plate_moments(reference: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation over plates, each plate with the same weight.

    Parameters
    ----------
    reference : sequence of ndarray, shape (choices, ...)
        Scores of each of m >= 2 plates; a plate that can be judged in several ways, by one class
        or by another, divides its weight among them.

    Returns
    -------
    mean, deviation : ndarray of float64, shape (...)
        The deviation has m - 1 degrees of freedom.
    """
    m = len(reference)
    scores = np.concatenate([np.asarray(choices, dtype=np.float64) for choices in reference])
    weights = np.concatenate([np.full(len(choices), 1 / len(choices)) for choices in reference])
    mean = np.average(scores, axis=0, weights=weights)
    variance = np.average((scores - mean) ** 2, axis=0, weights=weights) * m / (m - 1)
    return mean, np.sqrt(variance)
