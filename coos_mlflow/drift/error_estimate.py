"""The error on a plate without labels: what the estimators say, with a range or "cannot tell"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coos_mlflow.drift.estimators import Answers, estimators
from coos_mlflow.drift.temperature import fit_temperature
from coos_mlflow.metrics import recalls
from coos_mlflow.plates.schema import CLASSES

ESTIMATED, CANNOT_TELL = "estimated", "cannot tell"

LEAST_PRESENT = 0.02
"""Share of the commonest class below which a class is held not to be on the plate."""

LEAST_MARGIN = 0.5
"""Points by which the range reaches beyond the bootstrap's at least, on either side."""

DRAWS, RANGE = 400, (5.0, 95.0)
"""Bootstrap draws of wells, and the percentiles of their errors that the range runs between."""

RUNNER_UP = 0.5
"""A well is in doubt when its second label has this share of the cells of its first: were the
second the truth, most of the labels that seem right would be wrong."""

LEAST_CELLS = 5
"""Cells below which a well cannot outvote its mistakes: where two labels of three are right, three
or more of five are so in four of five wells."""

MOST_DOUBT = 0.25
"""Share of the cells in doubtful wells, or on plates farther than all that is known, above which
no estimate is given."""

N = len(CLASSES)

Confusions = dict[str, np.ndarray]
"""By estimator: how many cells of each well it holds to be of each true class (rows) among those of
each label (columns), float64, shape (wells, 7, 7)."""


@dataclass(frozen=True)
class Calibration:
    """What the estimators learnt on Training, from predictions that left the plate out.

    Parameters
    ----------
    temperature : float
    prior : ndarray of float64, shape (7,)
        Shares of the classes.
    fitted : dict of ndarray
        What each estimator needs.
    off : dict of float
        How far each was off, on average over plates that it was fitted without, in points of
        balanced error.
    margin, recall_margin : dict of float
        Points within which its balanced error was for nine in ten of these plates, and its recalls
        for nine in ten of their classes.
    pure_wells : bool
        Whether each well of Training holds a single class.
    """

    temperature: float
    prior: np.ndarray
    fitted: dict[str, np.ndarray]
    off: dict[str, float]
    margin: dict[str, float]
    recall_margin: dict[str, float]
    pure_wells: bool

    def answers(self, probabilities: np.ndarray, wells: np.ndarray | None) -> Answers:
        """Return a model's answers as the estimators take them."""
        return Answers(probabilities, wells, self.temperature, self.prior)

    def chosen(self, *, has_wells: bool) -> str:
        """Return the estimator that was off least on left-out plates of those that can be used."""
        usable = [key for key in self.fitted if self._can_use(key, has_wells)]
        return min(usable, key=lambda key: self.off[key])

    def _can_use(self, key: str, has_wells: bool) -> bool:
        one = estimators().get(key)  # None for one that this version no longer has
        return one is not None and (not one.needs_wells or (has_wells and self.pure_wells))

    def confusions(self, probabilities: np.ndarray, wells: np.ndarray | None) -> Confusions:
        """Ask every estimator that can be used about the cells of one plate.

        Parameters
        ----------
        probabilities : ndarray, shape (n, 7)
        wells : ndarray of int64, shape (n,), or None
            From 0, without gaps; None where the file has no ids.
        """
        answers = self.answers(probabilities, wells)
        return {
            key: _by_well(answers, estimator.truths(answers, self.fitted[key]))
            for key, estimator in estimators().items()
            if key in self.fitted and self._can_use(key, wells is not None)
        }


def _by_well(answers: Answers, truths: np.ndarray) -> np.ndarray:
    wells = np.zeros(len(truths), dtype=np.int64) if answers.wells is None else answers.wells
    by_label = np.zeros(((int(wells.max()) + 1) * N, N))
    np.add.at(by_label, wells * N + answers.labels, truths)
    return by_label.reshape(-1, N, N).transpose(0, 2, 1)


def calibrate(
    probabilities: np.ndarray, labels: np.ndarray, plates: np.ndarray, wells: np.ndarray
) -> Calibration:
    """Fit the estimators, and see how far each is off on every plate when fitted on the others.

    Parameters
    ----------
    probabilities : ndarray, shape (n, 7)
        Of Training cells, by fits that left out the cell's plate.
    labels : ndarray of int64, shape (n,)
        True classes.
    plates, wells : ndarray of str, shape (n,)
        Ids; wells by name, whatever the field.
    """
    codes = numbered(plates, wells)
    pure = _are_pure(codes, labels)
    offs: dict[str, list[float]] = {}
    recall_offs: dict[str, list[float]] = {}
    for plate in np.unique(plates):
        rows = plates == plate
        others = ~rows if not rows.all() else rows
        without = _fit(probabilities[others], labels[others], codes[others], pure)
        truth = true_confusion(labels[rows], probabilities[rows].argmax(axis=1))
        for key, found in without.confusions(probabilities[rows], numbered(codes[rows])).items():
            total = found.sum(axis=0)
            offs.setdefault(key, []).append(abs(balanced_error(total) - balanced_error(truth)))
            points = 100 * np.abs(recalls(total) - recalls(truth))[present(truth)]
            recall_offs.setdefault(key, []).extend(points[np.isfinite(points)].tolist())
    return replace(
        _fit(probabilities, labels, codes, pure),
        off={key: float(np.mean(values)) for key, values in offs.items()},
        margin={key: float(np.quantile(values, 0.9)) for key, values in offs.items()},
        # Of classes on a single plate nothing is known once it is left out: the widest margin.
        recall_margin={
            key: float(np.quantile(values or [100.0], 0.9)) for key, values in recall_offs.items()
        },
    )


def _fit(
    probabilities: np.ndarray, labels: np.ndarray, wells: np.ndarray, pure: bool
) -> Calibration:
    """Fit all estimators, with nothing known yet of how far they are off."""
    temperature = fit_temperature(probabilities, labels)
    prior = np.bincount(labels, minlength=N) / len(labels)
    answers = Answers(probabilities, wells, temperature, prior)
    fitted = {
        key: one.fit(answers, labels)
        for key, one in estimators().items()
        if pure or not one.needs_wells
    }
    return Calibration(temperature, prior, fitted, {}, {}, {}, pure)


def numbered(*ids: np.ndarray) -> np.ndarray:
    """Return a number for each combination of ids, from 0 without gaps, int64, shape (n,)."""
    codes = np.zeros(len(ids[0]), dtype=np.int64)
    for column in ids:
        names, own = np.unique(column, return_inverse=True)
        codes = codes * len(names) + own
    return np.unique(codes, return_inverse=True)[1]


def _are_pure(wells: np.ndarray, labels: np.ndarray) -> bool:
    return len(np.unique(wells)) == len(np.unique(wells * N + labels))


def true_confusion(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count cells by true class (rows) and label (columns), float64, shape (7, 7)."""
    confusion = np.zeros((N, N))
    np.add.at(confusion, (truth, labels), 1.0)
    return confusion


def present(confusion: np.ndarray) -> np.ndarray:
    """Tell which classes a confusion matrix holds, bool, shape (7,)."""
    cells = confusion.sum(axis=1)
    held: np.ndarray = cells >= LEAST_PRESENT * cells.max()
    return held


def balanced_error(confusion: np.ndarray) -> float:
    """Return the mean share of mistakes over the classes that are there, in %."""
    held = present(confusion)
    return float(100 * (1 - np.mean(np.diag(confusion)[held] / confusion.sum(axis=1)[held])))


def estimate(
    plates: Sequence[Confusions],
    calibration: Calibration,
    *,
    has_wells: bool,
    obstacle: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Say how large the error is, or that one cannot tell.

    Parameters
    ----------
    plates : sequence of dict of ndarray
        What `Calibration.confusions` returned for each plate.
    has_wells : bool
        Whether the file names wells.
    obstacle : str or None
        A reason to believe no estimate, in one sentence.
    seed : int
        Draws plates and wells.

    Returns
    -------
    dict
        ``balanced_error``, ``low``, ``high`` and ``wrong_labels``, the plain share of labels (%;
        None where one cannot tell), ``answer``, ``reason``, ``classes``, ``recalls``,
        ``recall_lows``, ``recall_highs`` (a fraction or None for each class), and
        ``estimators``, the balanced error that each comes to. The range tells how much the
        figure would vary with other wells, and other plates if there are several, widened by what
        it was off by on left-out plates of Training.
    """
    chosen = calibration.chosen(has_wells=has_wells)
    totals = {key: sum(plate[key].sum(axis=0) for plate in plates) for key in plates[0]}
    total = np.asarray(totals[chosen])
    entry = {
        "classes": np.flatnonzero(present(total)).tolist(),
        "estimators": {
            key: balanced_error(np.asarray(totals[key])) if key in totals else None
            for key in estimators()
        },
    }
    by_well = [plate[chosen] for plate in plates]
    if estimators()[chosen].needs_wells:
        obstacle = obstacle or _torn(np.concatenate(by_well))
    if obstacle:
        figures = dict.fromkeys(("balanced_error", "low", "high", "wrong_labels"))
        classes = {key: [None] * N for key in ("recalls", "recall_lows", "recall_highs")}
        return entry | figures | classes | {"answer": CANNOT_TELL, "reason": obstacle}
    words = f"{estimators()[chosen].title} {estimators()[chosen].meaning}."
    figures = {
        "balanced_error": balanced_error(total),
        "wrong_labels": float(100 * (1 - np.trace(total) / total.sum())),
    }
    rng = np.random.default_rng(seed)
    spread = _range(by_well, calibration.margin[chosen], calibration.recall_margin[chosen], rng)
    return entry | figures | spread | {"answer": ESTIMATED, "reason": words}


def _range(
    plates: list[np.ndarray], margin: float, recall_margin: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Draw plates and wells anew, and add what left-out plates of Training were off by."""
    by_well = np.concatenate(plates)
    total = by_well.sum(axis=0)
    held = present(total)
    drawn = np.einsum("dw,wkl->dkl", _drawn_wells(plates, rng), by_well)
    # A draw of whole plates can lack a class, but for crumbs of probability.
    there = drawn.sum(axis=2)
    there = held & (there >= LEAST_PRESENT * there.max(axis=1, keepdims=True))
    found = np.where(there, recalls(drawn), np.nan)
    found = found[there.any(axis=1)]
    low, high = np.percentile(100 * (1 - np.nanmean(found, axis=1)), RANGE)
    lows, highs = np.full((2, N), np.nan)
    drawn_once = ~np.isnan(found).all(axis=0)
    lows[drawn_once], highs[drawn_once] = np.nanpercentile(found[:, drawn_once], RANGE, axis=0)
    reach, recall_reach = max(margin, LEAST_MARGIN), max(recall_margin, LEAST_MARGIN) / 100
    return {
        "low": max(float(low) - reach, 0.0),
        "high": min(float(high) + reach, 100.0),
        "recalls": listed(np.where(held, recalls(total), np.nan)),
        "recall_lows": listed(np.maximum(lows - recall_reach, 0.0)),
        "recall_highs": listed(np.minimum(highs + recall_reach, 1.0)),
    }


def _drawn_wells(plates: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return how often each draw takes each well, shape (draws, wells of all plates).

    Wells are drawn among those of the same class on their plate, since the layout is no accident;
    plates, of which there may be one, as a whole.
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


def listed(values: np.ndarray) -> list[float | None]:
    """Return numbers as JSON takes them: None for NaN."""
    return [None if np.isnan(value) else float(value) for value in values]


def _torn(by_well: np.ndarray) -> str | None:
    """Return why wells do not tell their class, in one sentence, or None."""
    doubt = doubtful_wells(by_well)
    if by_well[doubt].sum() <= MOST_DOUBT * by_well.sum():
        return None
    return (
        f"In {int(doubt.sum())} of {len(by_well)} wells the labels are torn between two classes, "
        "or too few to tell: either these wells hold more than one protein, or the model fails on "
        "them."
    )


def doubtful_wells(by_well: np.ndarray) -> np.ndarray:
    """Tell which wells have hardly any cells or a second label near the first, bool, (wells,)."""
    labels = np.sort(by_well.sum(axis=1), axis=1)
    doubt: np.ndarray = labels[:, -2] >= RUNNER_UP * labels[:, -1]
    doubt |= labels.sum(axis=1) < LEAST_CELLS
    return doubt
