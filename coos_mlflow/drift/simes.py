"""Whether any of several plates is unusual, allowing for how many there are."""

from __future__ import annotations

import numpy as np


def simes(p: np.ndarray) -> float:
    """Return Simes' p: the least of n p_(i) / i over the sorted p_(1) <= ... <= p_(n).

    Small when one plate is very unusual or when many are a little; for a single plate it is the
    plate's own p. Simes (1986), Biometrika 73(3), 751-754, doi:10.1093/biomet/73.3.751.

    Parameters
    ----------
    p : ndarray of float, shape (n,), n >= 1
        One p of each plate, independent or positively dependent.
    """
    ordered = np.sort(np.asarray(p, dtype=np.float64))
    return float((len(ordered) * ordered / np.arange(1, len(ordered) + 1)).min())
