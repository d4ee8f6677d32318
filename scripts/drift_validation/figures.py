"""Figures with the number of plates behind them and their confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

CONFIDENCE = 0.95
"""Confidence level of the intervals of shares of plates."""


def k_of_n(hits: Sequence[bool]) -> str:
    """Return the number of hits and of all, in words."""
    return f"{sum(hits)} of {len(hits)}"


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, or None if there are no values."""
    return float(np.mean(values)) if len(values) else None


class Figures:
    """Figures by key, each with its count and, for shares of plates, an interval."""

    def __init__(self, **values: Any) -> None:
        self._values: dict[str, Any] = values
        self._counts: dict[str, str] = {}
        self._intervals: dict[str, list[float]] = {}

    def share(self, key: str, hits: Sequence[bool], *, independent: bool = True) -> None:
        """Add a share, with its exact interval (Clopper & Pearson 1934) if hits are independent."""
        self._values[key] = mean(hits)
        self._counts[key] = k_of_n(hits)
        if independent and len(hits):
            test = binomtest(int(sum(hits)), len(hits))
            low, high = test.proportion_ci(CONFIDENCE, method="exact")
            self._intervals[key] = [float(low), float(high)]

    def mean(self, key: str, values: Sequence[float], count: str) -> None:
        """Add a mean and the number of values."""
        self._values[key] = mean(values)
        self._counts[key] = count

    def note(self, key: str, words: str) -> None:
        """Add a figure in words."""
        self._values[key] = words

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by key, and their ``counts`` and ``intervals`` by the same keys."""
        return self._values | {"counts": self._counts, "intervals": self._intervals}
