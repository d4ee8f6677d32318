"""The interface of an error estimator, its input, and the lookup by key.

To add an estimator, add a file to this folder that declares ``ESTIMATOR = Estimator(...)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from coos_mlflow._utils.plugins import load_plugins
from coos_mlflow.drift.calibration import adapt_to_shares, scale_probabilities


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for the cells of a plate.

    Parameters
    ----------
    probabilities : ndarray, shape (n, classes)
        As the model predicted them.
    wells : ndarray of int64, shape (n,), or None
        Number of each cell's well, from 0; None where the file names no wells.
    temperature : float
        See `coos_mlflow.drift.calibration.fit_temperature`.
    prior : ndarray of float64, shape (classes,)
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
        """Probabilities after temperature scaling, shape (n, classes)."""
        return scale_probabilities(self.probabilities, self.temperature)

    @cached_property
    def posteriors(self) -> np.ndarray:
        """Calibrated probabilities, adapted to the plate's own class shares, shape (n, classes)."""
        return adapt_to_shares(self.calibrated, self.prior)[1]

    def confidence(self) -> np.ndarray:
        """Return the calibrated probability of each cell's label, shape (n,)."""
        confidence: np.ndarray = self.calibrated.max(axis=1)
        return confidence


@dataclass(frozen=True)
class Estimator:
    """Estimates the true classes of a plate's cells without labels.

    Parameters
    ----------
    title : str
        Its name in the report.
    meaning : str
        How it works, for a biologist.
    blind_to : str
        The kind of error that it does not see, for a biologist.
    needs_wells : bool
        Whether it uses the well of each cell; it then assumes that each well holds one class.
    fit : callable
        ``fit(predictions, truth)`` takes predictions for left-out Training cells and their true
        classes, int64 (n,). It returns the array that ``truths`` needs.
    truths : callable
        ``truths(predictions, fitted)`` returns the probabilities of the true classes, float64
        (n, classes), rows summing to 1.
    """

    title: str
    meaning: str
    blind_to: str
    needs_wells: bool
    fit: Callable[[Predictions, np.ndarray], np.ndarray]
    truths: Callable[[Predictions, np.ndarray], np.ndarray]


@cache
def estimators() -> dict[str, Estimator]:
    """Return all estimators by key, the stem of their file, in the order of the keys."""
    return load_plugins(__package__, "ESTIMATOR")
