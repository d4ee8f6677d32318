"""The rank of a plate among reference plates: a p-value that needs no distribution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def conformal_rank(score: float, reference: Sequence[np.ndarray]) -> float:
    """Return (1 + number of reference plates at least as far) / (number of plates + 1).

    If the plate and the m reference plates are exchangeable, the result is at most alpha in no
    more than a share alpha of plates, whatever the distribution (Vovk, Gammerman & Shafer 2005,
    chapter 2).

    Parameters
    ----------
    score : float
        Distance of the plate.
    reference : sequence of ndarray, shape (choices,)
        Distances of each reference plate; a plate that can be judged in several ways, by one
        class or by another, counts by the share of them that are at least as far.

    Returns
    -------
    float
        At least 1 / (m + 1).
    """
    at_least = sum(float(np.mean(np.asarray(choices) >= score)) for choices in reference)
    return (1 + at_least) / (len(reference) + 1)
