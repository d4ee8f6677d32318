"""The contract of an error estimator, what it is given, and how one is found by its key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from coos_mlflow._utils.plugins import load_plugins
from coos_mlflow.drift.label_shift import adapted
from coos_mlflow.drift.temperature import scaled


@dataclass(frozen=True)
class Answers:
    """What a model said of the cells of a plate.

    Parameters
    ----------
    probabilities : ndarray, shape (n, 7)
        As the model gave them.
    wells : ndarray of int64, shape (n,), or None
        Number of each cell's well, from 0; None where the file names no wells.
    temperature : float
        See `coos_mlflow.drift.temperature`.
    prior : ndarray of float64, shape (7,)
        Shares of the classes in Training.
    """

    probabilities: np.ndarray
    wells: np.ndarray | None
    temperature: float
    prior: np.ndarray

    @cached_property
    def labels(self) -> np.ndarray:
        """Predicted classes, int64, shape (n,)."""
        labels: np.ndarray = self.probabilities.argmax(axis=1)
        return labels

    @cached_property
    def calibrated(self) -> np.ndarray:
        """Probabilities after temperature scaling, shape (n, 7)."""
        return scaled(self.probabilities, self.temperature)

    @cached_property
    def posteriors(self) -> np.ndarray:
        """Calibrated probabilities after the plate's own mix of classes, shape (n, 7)."""
        return adapted(self.calibrated, self.prior)[1]

    def confidence(self) -> np.ndarray:
        """Return the calibrated probability of each cell's label, shape (n,)."""
        best: np.ndarray = self.calibrated.max(axis=1)
        return best


@dataclass(frozen=True)
class Estimator:
    """Says what the true classes of a plate's cells probably are, without labels.

    Parameters
    ----------
    title : str
        What the report calls it.
    meaning : str
        How it reasons, for a biologist.
    needs_wells : bool
        Whether it reads which well a cell comes from; it then takes each to hold one class.
    fit : callable
        ``fit(answers, truth)`` of left-out Training answers and their true classes, int64 (n,),
        to the array that it will need.
    truths : callable
        ``truths(answers, fitted)`` to the probabilities of the true classes, float64 (n, 7), rows
        summing to 1.
    """

    title: str
    meaning: str
    needs_wells: bool
    fit: Callable[[Answers, np.ndarray], np.ndarray]
    truths: Callable[[Answers, np.ndarray], np.ndarray]


@cache
def estimators() -> dict[str, Estimator]:
    """Return all estimators by key, the stem of their file, in the order of the keys."""
    return load_plugins(__package__, "ESTIMATOR")
