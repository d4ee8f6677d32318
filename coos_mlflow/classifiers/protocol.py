"""Settings of the classifiers (`Protocol`), their presets and titles.

`fit` fits classifiers by these settings.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from coos_mlflow.classifiers.forest_search import SEARCHES, min_cells_for_halving
from coos_mlflow.classifiers.kinds import kind_of, kinds
from coos_mlflow.errors import DataError

if TYPE_CHECKING:
    from coos_mlflow.plates.splits import TrainingData

TITLES = {key: kind.title for key, kind in kinds().items()}
"""Classifiers by key; those of the paper come first, under the names of its Table 3."""

FOLDS = ("stratified", "plate")

AUTO = "auto"

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"search_samples": 100, "cv_folds": 5},
    "quick": {"search_samples": 6, "cv_folds": 3},
}
"""Fields of `Protocol` by preset: the paper's, or a protocol of minutes on two cores."""

_FOLD_SETTINGS = ("cv_folds", "folds", "seed")


@dataclass(frozen=True)
class Protocol:
    """Settings for fitting and comparing classifiers.

    Parameters
    ----------
    neighbours : int
        k of kNN (Lu et al. 2019: 11).
    inverse_penalty : float
        C of the logistic regression (scikit-learn's default in 2019: 1).
    search : {"random", "halving"}
        Search for a forest's parameters: "random" as in the paper, or "halving", which is faster.
    search_samples : int
        Draws from `coos_mlflow.classifiers.forest_search.FOREST_GRID` (Lu et al. 2019: 100).
    cv_folds : int
        Folds of cross-validation on Training (Lu et al. 2019: 5).
    folds : {"stratified", "plate"}
        "stratified" as in the paper; "plate" keeps the cells of a plate in one fold.
    seed : int
        Seed of the folds, the search and the forest.
    """

    neighbours: int = 11
    inverse_penalty: float = 1.0
    search: str = "random"
    search_samples: int = 100
    cv_folds: int = 5
    folds: str = "stratified"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("folds", FOLDS), ("search", SEARCHES)):
            value = getattr(self, name)
            if value not in known:
                raise DataError(f"{name}={value!r} found, expected one of {', '.join(known)}.")
        for name, minimum in (("neighbours", 1), ("search_samples", 1), ("cv_folds", 2)):
            if getattr(self, name) < minimum:
                raise DataError(f"{name}={getattr(self, name)} found, expected at least {minimum}.")
        if not 0 < self.inverse_penalty < np.inf:
            raise DataError(f"inverse_penalty={self.inverse_penalty} found, expected above 0.")
        if not 0 <= self.seed < 2**32:
            raise DataError(f"seed={self.seed} found, expected 0 to 4294967295.")

    def params(self) -> dict[str, Any]:
        """Return all settings, JSON-ready."""
        return asdict(self)

    def params_of(self, kind: str) -> dict[str, Any]:
        """Return the settings on which a classifier and its reported errors depend."""
        names = (*kind_of(kind).settings, *_FOLD_SETTINGS)
        return {name: getattr(self, name) for name in names}

    def check(self, y: np.ndarray, plates: np.ndarray) -> None:
        """Check that Training has enough classes, cells and plates for these settings.

        Parameters
        ----------
        y : ndarray of int64, shape (n,)
        plates : ndarray of str, shape (n,)

        Raises
        ------
        DataError
            Naming the setting that needs more data.
        """
        counts = np.unique(y, return_counts=True)[1]
        if len(counts) < 2:
            raise DataError(f"Training holds {len(counts)} class, expected at least 2.")
        available, unit = counts.min(), "cells of the rarest class"
        if self.folds == "plate":
            available, unit = len(np.unique(plates)), "plates"
        if self.cv_folds > available:
            raise DataError(
                f"cv_folds={self.cv_folds} found, but Training has {available} {unit}; ask for "
                "fewer."
            )
        cells_of_fit = len(y) * (self.cv_folds - 1) // self.cv_folds
        if self.neighbours > cells_of_fit:
            raise DataError(
                f"neighbours={self.neighbours} found, but a fold is fitted on about {cells_of_fit} "
                "cells."
            )
        minimum = min_cells_for_halving(y, self.cv_folds)
        if self.search == "halving" and len(y) < minimum:
            raise DataError(
                f"search='halving' found, but Training has {len(y)} cells, expected at least "
                f"{minimum}; ask for search='random' or fewer cv_folds."
            )


def check_protocol(preset: str, overrides: dict[str, Any]) -> None:
    """Check settings before any work is done.

    Raises
    ------
    DataError
        For an unknown preset, or a value that `Protocol` does not take.
    """
    if preset not in (AUTO, *PRESETS):
        raise DataError(f"preset={preset!r} found, expected {AUTO}, {' or '.join(PRESETS)}.")
    Protocol(**overrides)


def choose_preset(preset: str, data: TrainingData) -> str:
    """Return the preset's name; "auto" is "paper" on real data and "quick" on simulated data."""
    if preset != AUTO:
        return preset
    return "quick" if data.simulated else "paper"
