"""Metrics of predictions: confusion, recall per class, balanced error, bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from coos_mlflow.plates.schema import UNLABELLED

_DRAWS = 1000
"""Bootstrap repetitions; the ends of a 95 % interval then vary by about 2 % of its width."""


@dataclass(frozen=True)
class WellCounts:
    """Confusion matrices by well, from which bootstrap intervals are drawn.

    Parameters
    ----------
    plates, wells : ndarray of str, shape (w,)
        Sorted by plate, then well.
    counts : ndarray of int64, shape (w, classes, classes)
        Rows are true classes, columns predicted ones.
    """

    plates: np.ndarray
    wells: np.ndarray
    counts: np.ndarray

    @classmethod
    def from_rows(cls, rows: list[list[Any]], n_classes: int) -> WellCounts:
        """Return the counts that `as_rows` returned."""
        plates, wells, *counted = zip(*rows, strict=True) if rows else [()] * 5
        true, predicted, cells = np.array(counted, np.int64)
        return _by_well(np.array(plates), np.array(wells), true, predicted, cells, n_classes)

    def as_rows(self) -> list[list[Any]]:
        """Return ``[plate, well, true, predicted, cells]`` for all counts above 0, JSON-ready."""
        return [
            [str(self.plates[w]), str(self.wells[w]), int(t), int(p), int(self.counts[w, t, p])]
            for w, t, p in np.argwhere(self.counts)
        ]

    @property
    def vary(self) -> bool:
        """Whether some plate has two or more wells, which the bootstrap needs."""
        return len(self.plates) > len(np.unique(self.plates))

    @property
    def decided(self) -> WellCounts:
        """Each well as a single count, under the label that most of its cells have.

        Scoring decides a well by its votes too, weighted by the recalls of left-out Training plates
        (`coos_mlflow.drift.wells.decided_classes`). Bare votes need no calibration, and
        no probabilities, of which those of kNN and forests are often 0. Of labels with equally many
        votes the first class is taken. Wells that hold several classes count 0.
        """
        held = self.counts.sum(axis=-1) > 0
        (of_one,) = np.nonzero(held.sum(axis=1) == 1)
        label = self.counts.sum(axis=1).argmax(axis=-1)
        counts = np.zeros_like(self.counts)
        counts[of_one, held[of_one].argmax(axis=1), label[of_one]] = 1
        return WellCounts(self.plates, self.wells, counts)

    @property
    def by_plate(self) -> dict[str, np.ndarray]:
        """Confusion matrix of each plate, int64, shape (classes, classes)."""
        return {
            str(plate): self.counts[self.plates == plate].sum(axis=0)
            for plate in np.unique(self.plates)
        }

    def drawn_errors(self, draws: int, seed: int) -> np.ndarray:
        """Return the balanced error in % (draws,) of wells drawn with replacement in each plate.

        Cells of a well resemble each other, so drawing cells would give too narrow an interval.
        For the same seed, the same wells are drawn for all models on the same cells.
        """
        weights = _draw_wells(self.plates, draws, np.random.default_rng(seed))
        return balanced_error(np.einsum("dw,wij->dij", weights, self.counts))

    def same_cells(self, other: WellCounts) -> bool:
        """Return whether both have the same number of cells of each class in each well."""
        return (
            np.array_equal(self.plates, other.plates)
            and np.array_equal(self.wells, other.wells)
            and np.array_equal(self.counts.sum(axis=-1), other.counts.sum(axis=-1))
        )


@dataclass(frozen=True)
class Evaluation:
    """Predictions of one split compared with its labels.

    Parameters
    ----------
    confusion : ndarray of int64, shape (classes, classes)
        Rows are true classes, columns predicted ones.
    interval : tuple of float
        95 % interval of the balanced error in %; NaN where no plate has two wells.
    by_well : WellCounts, optional
        None where the counts are not those of one model.
    """

    confusion: np.ndarray
    interval: tuple[float, float]
    by_well: WellCounts | None = None

    @property
    def balanced_error(self) -> float:
        """Balanced classification error in %, 100 * (1 - mean recall) (Lu et al. 2019)."""
        return float(balanced_error(self.confusion))

    @property
    def well_confusion(self) -> np.ndarray | None:
        """Wells by true class and by the class that their cells decide together; None if unknown.

        See `WellCounts.decided`.
        """
        return None if self.by_well is None else self.by_well.decided.counts.sum(axis=0)

    @property
    def well_error(self) -> float:
        """Balanced error in % of wells; NaN if unknown, and where no well holds one class alone."""
        confusion = self.well_confusion
        if confusion is None or not confusion.any():
            return float("nan")
        return float(balanced_error(confusion))

    @property
    def recalls(self) -> list[float]:
        """Recall per class; NaN for a class without cells."""
        return [float(r) for r in recalls(self.confusion)]

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.confusion.sum())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Evaluation:
        """Return the evaluation that `as_dict` returned."""
        low, high = (np.nan if bound is None else bound for bound in values["interval"])
        wells = values.get("wells")
        confusion = np.array(values["confusion"], np.int64)
        by_well = None if wells is None else WellCounts.from_rows(wells, len(confusion))
        return cls(confusion, (low, high), by_well)

    def as_dict(self) -> dict[str, Any]:
        """Return all fields and metrics, JSON-ready, NaN as None."""
        return {
            "balanced_error": self.balanced_error,
            "interval": [None if np.isnan(bound) else bound for bound in self.interval],
            "recalls": [None if np.isnan(r) else r for r in self.recalls],
            "confusion": self.confusion.tolist(),
            "n_cells": self.n_cells,
            "well_error": None if np.isnan(self.well_error) else self.well_error,
            "wells": None if self.by_well is None else self.by_well.as_rows(),
        }


def evaluate(
    labels: np.ndarray,
    predicted: np.ndarray,
    plates: np.ndarray,
    wells: np.ndarray,
    n_classes: int,
    *,
    draws: int = _DRAWS,
    seed: int = 0,
) -> Evaluation:
    """Compare predictions with labels; see `WellCounts.drawn_errors` for the interval.

    Parameters
    ----------
    labels, predicted : ndarray of int64, shape (n,)
        Classes from 0. Cells with the label `UNLABELLED` are left out.
    plates, wells : ndarray of str, shape (n,)
        Plate and well of each cell.
    n_classes : int
    draws : int
        Bootstrap repetitions.
    seed : int
        Seed of the bootstrap.
    """
    known = labels != UNLABELLED
    by_well = _by_well(plates[known], wells[known], labels[known], predicted[known], 1, n_classes)
    interval = _middle(by_well.drawn_errors(draws, seed)) if by_well.vary else (np.nan, np.nan)
    return Evaluation(by_well.counts.sum(axis=0), interval, by_well)


def difference(
    of: Evaluation, than: Evaluation, *, draws: int = _DRAWS, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % interval of the balanced error of `of` minus that of `than`, in %.

    Both are evaluated on the same wells in each bootstrap repetition. The difficulty of a well,
    which is the same for both, cancels. The interval can therefore exclude 0 where the intervals
    of the two errors overlap.

    Returns
    -------
    tuple of float or None
        None where the two are not of the same cells, or no plate has two wells.
    """
    one, other = of.by_well, than.by_well
    if one is None or other is None or not (one.vary and one.same_cells(other)):
        return None
    return _middle(one.drawn_errors(draws, seed) - other.drawn_errors(draws, seed))


def plate_difference(
    of: Sequence[Evaluation],
    than: Sequence[Evaluation],
    *,
    wells: bool = False,
    draws: int = _DRAWS,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return the 95 % interval of a difference of balanced errors in %, by drawing plates.

    Plates are drawn with replacement, with all of their cells, and the same ones for both sides. It
    is an interval for new plates, where `difference` is one for new wells of these plates. Of few
    plates it is too narrow. A draw without some class counts the others.

    Parameters
    ----------
    of, than : sequence of Evaluation
        Evaluations of two models on the same cells, one for each seed. Errors are averaged over
        the seeds of each side.
    wells : bool
        Whether wells are counted (`WellCounts.decided`), not cells.

    Returns
    -------
    tuple of float or None
        None where the two are not of the same cells, or there is one plate alone.
    """
    known = [evaluation.by_well for evaluation in (*of, *than)]
    counts = [one.decided if wells else one for one in known if one is not None]
    if len(counts) < len(known) or not all(counts[0].same_cells(other) for other in counts):
        return None
    plates = np.array([[*one.by_plate.values()] for one in counts])
    plates = plates[:, plates[0].any(axis=(1, 2))]  # a plate may have mixed wells alone
    n = plates.shape[1]
    if n < 2:
        return None
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    errors = balanced_error(np.einsum("dp,mpij->mdij", drawn, plates))
    return _middle(errors[: len(of)].mean(axis=0) - errors[len(of) :].mean(axis=0))


def confusion_table(evaluation: Evaluation, class_names: Sequence[str]) -> pd.DataFrame:
    """Return the confusion matrix with class names."""
    names = pd.Index(class_names, name="true class")
    return pd.DataFrame(evaluation.confusion, index=names, columns=list(class_names))


def _by_well(
    plates: np.ndarray,
    wells: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    cells: np.ndarray | int,
    n_classes: int,
) -> WellCounts:
    units, unit = np.unique(np.stack([plates, wells]), axis=1, return_inverse=True)
    counts = np.zeros((units.shape[1], n_classes, n_classes), np.int64)
    np.add.at(counts, (unit.ravel(), labels, predicted), cells)
    return WellCounts(units[0], units[1], counts)


def _middle(drawn: np.ndarray) -> tuple[float, float]:
    """Return the bounds of the central 95 %."""
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _draw_wells(plates: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return multiplicities (draws, wells); each plate draws as many wells as it has."""
    weights = np.zeros((draws, len(plates)))
    for plate in np.unique(plates):
        (members,) = np.nonzero(plates == plate)
        even = np.full(len(members), 1 / len(members))
        weights[:, members] = rng.multinomial(len(members), even, size=draws)
    return weights


def recalls(confusions: np.ndarray) -> np.ndarray:
    """Return recalls (..., classes) of confusions, NaN for a class without cells."""
    cells = confusions.sum(axis=-1)
    right = np.einsum("...ii->...i", confusions)
    return np.divide(right, cells, out=np.full(cells.shape, np.nan), where=cells > 0)


def present_classes(confusions: np.ndarray, min_share: float = 0.0) -> np.ndarray:
    """Return which classes of confusions are present, bool, shape (..., classes).

    Parameters
    ----------
    confusions : ndarray, shape (..., classes, classes)
        Rows are true classes.
    min_share : float
        A class with fewer cells than this share of the commonest class counts as absent, and so
        does a class without cells.
    """
    cells = confusions.sum(axis=-1)
    present: np.ndarray = (cells > 0) & (cells >= min_share * cells.max(axis=-1, keepdims=True))
    return present


def balanced_error(confusions: np.ndarray, *, min_share: float = 0.0) -> np.ndarray:
    """Return balanced errors in %: 100 * (1 - mean recall of the classes that are present).

    Parameters
    ----------
    confusions : ndarray, shape (..., classes, classes)
        Rows are true classes, columns predicted ones.
    min_share : float
        The rule for rare classes, see `present_classes`. The default counts every class that has
        cells, as Lu et al. 2019 do.

    Returns
    -------
    ndarray of float64, shape (...)
    """
    present = present_classes(confusions, min_share)
    errors: np.ndarray = 100 * (
        1 - np.nanmean(np.where(present, recalls(confusions), np.nan), axis=-1)
    )
    return errors


def confusion_matrix(
    truth: np.ndarray, predicted: np.ndarray, n_classes: int | None = None
) -> np.ndarray:
    """Count cells by true class (rows) and predicted class (columns), int64.

    `n_classes` is by default as many as occur.
    """
    if n_classes is None:
        n_classes = int(max(truth.max(initial=0), predicted.max(initial=0))) + 1
    confusion = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    return confusion
