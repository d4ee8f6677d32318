"""The error on a plate without labels: estimate, range, and reasons to give none.

`calibrate` fits the estimators of `estimators/` on Training and measures how far each is off.
`estimate` applies the best of them to new plates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coos_mlflow.drift import CANNOT_TELL, MIN_CELLS_PER_WELL
from coos_mlflow.drift.calibration import fit_temperature
from coos_mlflow.drift.estimators import Predictions, estimators
from coos_mlflow.metrics import balanced_error, confusion_matrix, present_classes, recalls

ESTIMATED, AT_LEAST, MEASURED = "estimated", "at least", "measured"
"""Answers with a figure: with a range, with its lower end alone, or from wells of known class."""

MIN_CLASS_SHARE = 0.02
"""A class with fewer cells than this share of the commonest class counts as absent: estimators
spread a little probability over all classes."""

MIN_MARGIN = 0.5
"""Minimum width, in points, that is added to the bootstrap range on either side."""

DRAWS, RANGE = 400, (5.0, 95.0)
"""Bootstrap draws of wells, and the percentiles of their errors that bound the range."""

RUNNER_UP = 0.4
"""A well is torn when its second label has at least this share of the cells of its first. If the
second were the truth, most of its labels would be wrong."""

MAX_DOUBTFUL_SHARE = 0.25
"""No estimate is given if a larger share of the cells lies in doubtful wells, or on plates farther
than all reference plates."""

Confusions = dict[str, np.ndarray]
"""By estimator, the estimated confusion matrix of each well: true classes in rows, labels in
columns, float64, shape (wells, classes, classes)."""


@dataclass(frozen=True)
class Calibration:
    """The estimators as fitted on Training, from predictions by models that left the plate out.

    Parameters
    ----------
    temperature : float
    prior : ndarray of float64, shape (classes,)
        Shares of the classes.
    fitted : dict of ndarray
        By estimator, the result of its ``fit``.
    off : dict of float
        By estimator, the mean absolute error of its balanced error in points, over plates that it
        was fitted without.
    margin, recall_margin : dict of float
        By estimator, the 90th percentile of the absolute errors of its balanced error over these
        plates, and of its recalls over their classes, in points.
    pure_wells : bool
        Whether each well holds a single class: as in Training, unless wells are mixtures.
    """

    temperature: float
    prior: np.ndarray
    fitted: dict[str, np.ndarray]
    off: dict[str, float]
    margin: dict[str, float]
    recall_margin: dict[str, float]
    pure_wells: bool

    @property
    def label_rates(self) -> np.ndarray | None:
        """Rates of each label by true class, for `well_classes`; None where wells are mixtures."""
        return self.fitted.get("well_consensus") if self.pure_wells else None

    def predictions(self, probabilities: np.ndarray, wells: np.ndarray | None) -> Predictions:
        """Return a model's predictions in the form that the estimators take."""
        return Predictions(probabilities, wells, self.temperature, self.prior)

    def chosen(self, *, has_wells: bool) -> str:
        """Return the usable estimator that was off least on left-out plates."""
        usable = [key for key in self.fitted if self._can_use(key, has_wells)]
        return min(usable, key=lambda key: self.off[key])

    def _can_use(self, key: str, has_wells: bool) -> bool:
        estimator = estimators().get(key)
        # An older reference can name an estimator that has been removed since.
        if estimator is None:
            return False
        return not estimator.needs_wells or (has_wells and self.pure_wells)

    def confusions(self, probabilities: np.ndarray, wells: np.ndarray | None) -> Confusions:
        """Apply every usable estimator to the cells of one plate.

        Parameters
        ----------
        probabilities : ndarray, shape (n, classes)
        wells : ndarray of int64, shape (n,), or None
            From 0, without gaps; None where the file has no ids.
        """
        predictions = self.predictions(probabilities, wells)
        return {
            key: _by_well(predictions, estimator.truths(predictions, self.fitted[key]))
            for key, estimator in estimators().items()
            # A reference older than the estimator has nothing fitted for it.
            if key in self.fitted and self._can_use(key, wells is not None)
        }


def _by_well(predictions: Predictions, truths: np.ndarray) -> np.ndarray:
    """Sum the probabilities of true classes by well and label, (wells, classes, classes)."""
    wells, n = predictions.wells, truths.shape[1]
    wells = np.zeros(len(truths), dtype=np.int64) if wells is None else wells
    by_label = np.zeros(((int(wells.max()) + 1) * n, n))
    np.add.at(by_label, wells * n + predictions.labels, truths)
    return by_label.reshape(-1, n, n).transpose(0, 2, 1)


def calibrate(
    probabilities: np.ndarray,
    labels: np.ndarray,
    plates: np.ndarray,
    wells: np.ndarray,
    *,
    mixtures: bool = False,
) -> Calibration:
    """Fit the estimators, and measure the error of each on every plate when fitted on the others.

    Parameters
    ----------
    probabilities : ndarray, shape (n, classes)
        Of Training cells, by models that left out the cell's plate.
    labels : ndarray of int64, shape (n,)
        True classes.
    plates, wells : ndarray of str, shape (n,)
        Ids; wells by name, without the field.
    mixtures : bool
        Whether wells may hold several classes, even if those of Training do not.
    """
    codes = number_ids(plates, wells)
    pure = not mixtures and _are_pure(codes, labels)
    offs: dict[str, list[float]] = {}
    recall_offs: dict[str, list[float]] = {}
    for plate in np.unique(plates):
        rows = plates == plate
        others = ~rows if not rows.all() else rows
        fitted = _fit(probabilities[others], labels[others], codes[others], pure)
        predicted = probabilities[rows].argmax(axis=1)
        truth = confusion_matrix(labels[rows], predicted, probabilities.shape[1])
        confusions = fitted.confusions(probabilities[rows], number_ids(codes[rows]))
        for key, by_well in confusions.items():
            total = by_well.sum(axis=0)
            offs.setdefault(key, []).append(abs(_error(total) - _error(truth)))
            points = 100 * np.abs(recalls(total) - recalls(truth))[_present(truth)]
            recall_offs.setdefault(key, []).extend(points[np.isfinite(points)].tolist())
    return replace(
        _fit(probabilities, labels, codes, pure),
        off={key: float(np.mean(values)) for key, values in offs.items()},
        margin={key: float(np.quantile(values, 0.9)) for key, values in offs.items()},
        # If each class is on a single plate, no left-out plate has a recall: use the widest margin.
        recall_margin={
            key: float(np.quantile(values or [100.0], 0.9)) for key, values in recall_offs.items()
        },
    )


def _fit(
    probabilities: np.ndarray, labels: np.ndarray, wells: np.ndarray, pure: bool
) -> Calibration:
    """Fit all estimators; their errors are still to be measured."""
    temperature = fit_temperature(probabilities, labels)
    prior = np.bincount(labels, minlength=probabilities.shape[1]) / len(labels)
    predictions = Predictions(probabilities, wells, temperature, prior)
    fitted = {
        key: estimator.fit(predictions, labels)
        for key, estimator in estimators().items()
        if pure or not estimator.needs_wells
    }
    return Calibration(temperature, prior, fitted, {}, {}, {}, pure)


def number_ids(*ids: np.ndarray) -> np.ndarray:
    """Return a number for each combination of ids, from 0 without gaps, int64, shape (n,)."""
    codes = np.zeros(len(ids[0]), dtype=np.int64)
    for column in ids:
        names, number = np.unique(column, return_inverse=True)
        codes = codes * len(names) + number
    return np.unique(codes, return_inverse=True)[1]


def _are_pure(wells: np.ndarray, labels: np.ndarray) -> bool:
    return len(np.unique(wells)) == len(np.unique(wells * (labels.max() + 1) + labels))


def _present(confusion: np.ndarray) -> np.ndarray:
    return present_classes(confusion, MIN_CLASS_SHARE)


def _error(confusion: np.ndarray) -> float:
    return float(balanced_error(confusion, min_share=MIN_CLASS_SHARE))


def estimate(
    plates: Sequence[Confusions],
    calibration: Calibration,
    *,
    has_wells: bool,
    obstacle: str | None = None,
    no_upper_end: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Estimate the error of plates, or explain why it cannot be estimated.

    Parameters
    ----------
    plates : sequence of dict of ndarray
        From `Calibration.confusions`, for each plate.
    has_wells : bool
        Whether the file names wells.
    obstacle : str or None
        A reason against any estimate, in one sentence.
    no_upper_end : str or None
        Why nothing vouches for an upper end of the range, in one sentence.
    seed : int
        For the bootstrap of plates and wells.

    Returns
    -------
    dict
        ``balanced_error``, ``low``, ``high`` and ``wrong_labels``, the plain share of wrong labels
        (all in %; None without an estimate), ``answer``, ``reason``, ``classes``, ``recalls``,
        ``recall_lows``, ``recall_highs`` (a fraction or None for each class), and ``estimators``,
        the balanced error by each estimator. ``untold`` are the classes whose recall cannot be
        told, ``missing`` those of the model for which no well decides. Without an upper end
        ``high`` is None. The range covers the variation over wells, and over
        plates if there are several. It is widened by the estimator's margin on left-out plates of
        Training.
    """
    chosen = calibration.chosen(has_wells=has_wells)
    totals = {key: sum(plate[key].sum(axis=0) for plate in plates) for key in plates[0]}
    total = np.asarray(totals[chosen])
    entry = {
        "classes": np.flatnonzero(_present(total)).tolist(),
        "estimators": {
            key: _error(np.asarray(totals[key])) if key in totals else None for key in estimators()
        },
    }
    by_well = [plate[chosen] for plate in plates]
    untold: list[int] = []
    missing: list[int] = []
    if estimators()[chosen].needs_wells:
        wells = np.concatenate(by_well)
        obstacle = obstacle or _well_obstacle(wells)
        untold = untold_classes(wells)
        missing = np.setdiff1d(np.arange(len(total)), well_labels(wells)).tolist()
        no_upper_end = no_upper_end or _unsure_classes(untold, missing, len(total))
    entry |= {"untold": untold, "missing": missing}
    if obstacle:
        return without_figures(entry, len(total), obstacle)
    figures = {
        "balanced_error": _error(total),
        "wrong_labels": float(100 * (1 - np.trace(total) / total.sum())),
    }
    rng = np.random.default_rng(seed)
    spread = _range(by_well, calibration.margin[chosen], calibration.recall_margin[chosen], rng)
    for key in ("recalls", "recall_lows", "recall_highs"):
        spread[key] = [None if label in untold else r for label, r in enumerate(spread[key])]
    if no_upper_end:
        spread["high"], spread["recall_lows"] = None, [None] * len(total)
        return entry | figures | spread | {"answer": AT_LEAST, "reason": no_upper_end}
    reason = f"{estimators()[chosen].title} {estimators()[chosen].meaning}."
    return entry | figures | spread | {"answer": ESTIMATED, "reason": reason}


def without_figures(entry: dict[str, Any], n_classes: int, reason: str) -> dict[str, Any]:
    """Return the entry of an error that cannot be told, and why."""
    figures = dict.fromkeys(("balanced_error", "low", "high", "wrong_labels"))
    classes = {key: [None] * n_classes for key in ("recalls", "recall_lows", "recall_highs")}
    return entry | figures | classes | {"answer": CANNOT_TELL, "reason": reason}


def _range(
    plates: list[np.ndarray], margin: float, recall_margin: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Bootstrap plates and wells, and widen the percentiles by the margins."""
    by_well = np.concatenate(plates)
    total = by_well.sum(axis=0)
    present = _present(total)
    drawn = np.einsum("dw,wkl->dkl", _draw_wells(plates, rng), by_well)
    # A draw of whole plates can miss a class, except for traces of probability.
    drawn_recalls = np.where(present & _present(drawn), recalls(drawn), np.nan)
    drawn_recalls = drawn_recalls[np.isfinite(drawn_recalls).any(axis=1)]
    low, high = np.percentile(100 * (1 - np.nanmean(drawn_recalls, axis=1)), RANGE)
    lows, highs = np.full((2, len(total)), np.nan)
    known = np.isfinite(drawn_recalls).any(axis=0)
    lows[known], highs[known] = np.nanpercentile(drawn_recalls[:, known], RANGE, axis=0)
    width, recall_width = max(margin, MIN_MARGIN), max(recall_margin, MIN_MARGIN) / 100
    return {
        "low": max(float(low) - width, 0.0),
        "high": min(float(high) + width, 100.0),
        "recalls": nan_to_none(np.where(present, recalls(total), np.nan)),
        "recall_lows": nan_to_none(np.maximum(lows - recall_width, 0.0)),
        "recall_highs": nan_to_none(np.minimum(highs + recall_width, 1.0)),
    }


def _draw_wells(plates: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return how often each draw takes each well, shape (draws, wells of all plates).

    Plates are drawn as a whole. Within a plate, wells are drawn among those of the same class,
    since the layout of the classes is not random.
    """
    n = len(plates)
    times = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS)
    weights = []
    for number, by_well in enumerate(plates):
        own = np.zeros((DRAWS, len(by_well)))
        classes = by_well.sum(axis=2).argmax(axis=1)
        for label in np.unique(classes):
            members = np.flatnonzero(classes == label)
            shares = np.full(len(members), 1 / len(members))
            own[:, members] = rng.multinomial(len(members), shares, size=DRAWS)
        weights.append(own * times[:, [number]])
    return np.concatenate(weights, axis=1)


def nan_to_none(values: np.ndarray) -> list[float | None]:
    """Return numbers for JSON, None for NaN."""
    return [None if np.isnan(value) else float(value) for value in values]


def lacks_some(missing: Sequence[int], n_classes: int) -> bool:
    """Return whether a plate has wells of most classes, and of some has none.

    A plate of one or two classes of many misses the others by design.
    """
    return 0 < len(missing) < n_classes / 2


def _unsure_classes(untold: list[int], missing: list[int], n_classes: int) -> str | None:
    """Return why classes that are torn or missing leave no upper end, in one sentence, or None."""
    if untold:
        return (
            "Of some classes more than a quarter of the cells lie in wells whose labels are torn "
            "between two classes."
        )
    if lacks_some(missing, n_classes):
        return (
            "Of most classes there are wells, but of some there are none: either the plate does "
            "not have them, or their wells are misread as a whole."
        )
    return None


def _well_obstacle(by_well: np.ndarray) -> str | None:
    """Return why the wells do not determine their class, in one sentence, or None."""
    doubtful = doubtful_wells(by_well)
    if by_well[doubtful].sum() <= MAX_DOUBTFUL_SHARE * by_well.sum():
        return None
    return (
        f"In {doubtful.sum()} of {len(by_well)} wells the labels are torn between two classes, "
        "or too few to tell: either these wells hold more than one protein, or the model fails on "
        "them."
    )


def well_labels(by_well: np.ndarray) -> np.ndarray:
    """Return the commonest label of each well, int64, shape (wells,)."""
    labels: np.ndarray = by_well.sum(axis=1).argmax(axis=1)
    return labels


def untold_classes(by_well: np.ndarray) -> list[int]:
    """Return the classes of which more than `MAX_DOUBTFUL_SHARE` of the cells are in torn wells."""
    votes, labels = by_well.sum(axis=1), well_labels(by_well)
    n = votes.shape[1]
    cells = np.bincount(labels, votes.sum(axis=1), n)
    torn = np.bincount(labels, votes.sum(axis=1) * torn_wells(votes), n)
    return np.flatnonzero(torn > MAX_DOUBTFUL_SHARE * cells).tolist()


def doubtful_wells(by_well: np.ndarray) -> np.ndarray:
    """Return which wells have too few cells or a second label near the first, bool, (wells,)."""
    votes = by_well.sum(axis=1)
    doubtful: np.ndarray = torn_wells(votes) | (votes.sum(axis=1) < MIN_CELLS_PER_WELL)
    return doubtful


def torn_wells(votes: np.ndarray) -> np.ndarray:
    """Return which wells are torn between two labels (`RUNNER_UP`), bool, shape (wells,).

    Parameters
    ----------
    votes : ndarray, shape (wells, classes)
        Cells of each well by label.
    """
    labels = np.sort(votes, axis=1)
    torn: np.ndarray = labels[:, -2] >= RUNNER_UP * labels[:, -1]
    return torn
