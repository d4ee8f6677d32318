"""Shares over plates and models, with their spread over models and an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

CONFIDENCE = 0.95

DRAWS = 1000
"""Bootstrap draws of an interval."""


@dataclass(frozen=True)
class Figure:
    """A share or mean over looks.

    Parameters
    ----------
    pooled : float
        Over all looks.
    low, high : float or None
        95 % interval of `pooled`; None for means.
    by_model : tuple of float
        Sorted.
    count : int
        Looks.
    """

    pooled: float
    low: float | None
    high: float | None
    by_model: tuple[float, ...]
    count: int

    @property
    def least(self) -> float:
        """Return the value of the model where it is least."""
        return self.by_model[0]

    @property
    def median(self) -> float:
        """Return the median over models."""
        return float(np.median(self.by_model))

    @property
    def most(self) -> float:
        """Return the value of the model where it is most."""
        return self.by_model[-1]

    def percentile(self, percent: float) -> float:
        """Return a percentile over models."""
        return float(np.percentile(self.by_model, percent))

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "pooled": self.pooled,
            "interval": None if self.low is None else [self.low, self.high],
            "least": self.least,
            "median": self.median,
            "most": self.most,
            "models": len(self.by_model),
            "looks": self.count,
        }


def share(looks: pd.DataFrame, hits: pd.Series) -> Figure | None:
    """Return the share of looks that are hits, or None without looks.

    The models judge the same plates, so that looks are not independent: the interval is of a
    bootstrap that draws models and plates (the pigeonhole bootstrap, Owen 2007, Annals of Applied
    Statistics 1(2), 386-411). Where all looks are hits, or none, it is that of Clopper & Pearson
    (1934) for the number of plates.
    """
    found = mean(looks, hits.astype(float))
    if found is None:
        return None
    low, high = _interval(looks, hits.to_numpy(bool))
    return Figure(found.pooled, low, high, found.by_model, found.count)


def mean(looks: pd.DataFrame, values: pd.Series) -> Figure | None:
    """Return the mean of a value over looks, or None without looks."""
    if len(looks) == 0:
        return None
    by_model = values.groupby(looks["model"]).mean()
    return Figure(float(values.mean()), None, None, tuple(sorted(by_model.tolist())), len(looks))


def _interval(looks: pd.DataFrame, hits: np.ndarray) -> tuple[float, float]:
    plates, plate = np.unique(looks["plate"], return_inverse=True)
    if hits.all() or not hits.any():
        n = len(plates)
        exact = binomtest(n if hits.all() else 0, n).proportion_ci(CONFIDENCE, method="exact")
        return float(exact.low), float(exact.high)
    models, model = np.unique(looks["model"], return_inverse=True)
    rng = np.random.default_rng(0)
    weights = [
        rng.multinomial(n, np.full(n, 1 / n), size=DRAWS)[:, number]
        for n, number in ((len(plates), plate), (len(models), model))
    ]
    together = weights[0] * weights[1]
    totals = together.sum(axis=1)
    drawn = (together @ hits)[totals > 0] / totals[totals > 0]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(low), float(high)
