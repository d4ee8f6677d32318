"""The error on a plate without labels: what the estimators say, with a range or "cannot tell"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from coos_mlflow.data.cells import CLASSES
from coos_mlflow.drift.estimators import Answers, estimators
from coos_mlflow.drift.inference.temperature import fit_temperature

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
        How far each was off, on average over the left-out plates, in points of balanced error.
    margin : dict of float
        Points within which it was for nine in ten of these plates.
    pure_wells : bool
        Whether each well of Training holds a single class.
    """

    temperature: float
    prior: np.ndarray
    fitted: dict[str, np.ndarray]
    off: dict[str, float]
    margin: dict[str, float]
    pure_wells: bool

    def answers(self, probabilities: np.ndarray, wells: np.ndarray | None) -> Answers:
        """Return a model's answers as the estimators take them."""
        return Answers(probabilities, wells, self.temperature, self.prior)

    def chosen(self, *, has_wells: bool) -> str:
        """Return the estimator that was off least on left-out plates of those that can be used."""
        usable = [key for key in self.fitted if self._can_use(key, has_wells)]
        return min(usable, key=lambda key: self.off[key])

    def _can_use(self, key: str, has_wells: bool) -> bool:
        return not estimators()[key].needs_wells or (has_wells and self.pure_wells)

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
    """Fit the estimators and see how far each is off, plate by plate.

    Parameters
    ----------
    probabilities : ndarray, shape (n, 7)
        Of Training cells, by fits that left out the cell's plate.
    labels : ndarray of int64, shape (n,)
        True classes.
    plates, wells : ndarray of str, shape (n,)
        Ids; wells by name, whatever the field.
    """
    temperature = fit_temperature(probabilities, labels)
    prior = np.bincount(labels, minlength=N) / len(labels)
    codes = numbered(plates, wells)
    answers = Answers(probabilities, codes, temperature, prior)
    fitted = {key: e.fit(answers, labels) for key, e in estimators().items()}
    bare = Calibration(temperature, prior, fitted, {}, {}, _are_pure(codes, labels))
    offs: dict[str, list[float]] = {key: [] for key in fitted}
    for plate in np.unique(plates):
        rows = plates == plate
        truth = balanced_error(true_confusion(labels[rows], answers.labels[rows]))
        found = bare.confusions(probabilities[rows], numbered(wells[rows]))
        for key, confusions in found.items():
            offs[key].append(abs(balanced_error(confusions.sum(axis=0)) - truth))
    known = {key: values for key, values in offs.items() if values}
    return Calibration(
        temperature,
        prior,
        {key: fitted[key] for key in known},
        {key: float(np.mean(values)) for key, values in known.items()},
        {key: float(np.quantile(values, 0.9)) for key, values in known.items()},
        bare.pure_wells,
    )


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
    found: Confusions,
    calibration: Calibration,
    *,
    has_wells: bool,
    in_range: bool,
    beyond: bool,
    seed: int = 0,
) -> dict[str, Any]:
    """Say how large the error is, or that one cannot tell.

    Parameters
    ----------
    found : dict of ndarray
        What `Calibration.confusions` returned; those of several plates joined along the wells.
    has_wells : bool
        Whether the file names wells.
    in_range : bool
        Whether the plate differs from Training's no more than they do from each other; confidence
        is worth nothing on others.
    beyond : bool
        Whether it lies farther than every reference plate; no estimator has a record there.
    seed : int
        Draws the wells.

    Returns
    -------
    dict
        ``balanced_error``, ``low``, ``high`` (%; None where one cannot tell), ``answer``,
        ``reason``, ``classes``, ``recalls``, ``recall_lows``, ``recall_highs`` (a fraction or None
        for each class), and ``estimators``, the balanced error that each comes to.
    """
    chosen = calibration.chosen(has_wells=has_wells)
    by_well = found[chosen]
    total = by_well.sum(axis=0)
    held = present(total)
    values = {key: balanced_error(wells.sum(axis=0)) for key, wells in found.items()}
    entry = {
        "classes": np.flatnonzero(held).tolist(),
        "estimators": {key: values.get(key) for key in estimators()},
    }
    obstacle = _obstacle(chosen, by_well, in_range, beyond)
    if obstacle:
        unknown = dict.fromkeys(("balanced_error", "low", "high"))
        recalls = {key: [None] * N for key in ("recalls", "recall_lows", "recall_highs")}
        return entry | unknown | recalls | {"answer": CANNOT_TELL, "reason": obstacle}
    margin = max(calibration.margin[chosen], LEAST_MARGIN)
    return (
        entry
        | {"balanced_error": values[chosen], "answer": ESTIMATED}
        | {"reason": f"{estimators()[chosen].title} {estimators()[chosen].meaning}."}
        | _range(by_well, held, margin, np.random.default_rng(seed))
    )


def _range(
    by_well: np.ndarray, held: np.ndarray, margin: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Draw wells anew, and add what left-out plates of Training were off by."""
    drawn = np.einsum("dw,wkl->dkl", _drawn_wells(by_well, rng), by_well)
    cells = drawn.sum(axis=2)
    right = np.einsum("dkk->dk", drawn)
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = np.where((cells > 0) & held, right / cells, np.nan)
    errors = 100 * (1 - np.nanmean(recalls, axis=1))
    low, high = np.percentile(errors, RANGE)
    lows, highs = np.full((2, N), np.nan)
    lows[held], highs[held] = np.nanpercentile(recalls[:, held], RANGE, axis=0)
    total = by_well.sum(axis=0)
    own = np.where(held, np.diag(total) / np.maximum(total.sum(axis=1), 1e-12), np.nan)
    reach = margin / 100
    return {
        "low": max(float(low) - margin, 0.0),
        "high": min(float(high) + margin, 100.0),
        "recalls": listed(own),
        "recall_lows": listed(np.maximum(lows - reach, 0.0)),
        "recall_highs": listed(np.minimum(highs + reach, 1.0)),
    }


def _drawn_wells(by_well: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how often each draw takes each well, shape (draws, wells).

    Wells are drawn among those of the same class: the layout of a plate is no accident.
    """
    weights = np.zeros((DRAWS, len(by_well)))
    classes = by_well.sum(axis=2).argmax(axis=1)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        shares = np.full(len(members), 1 / len(members))
        weights[:, members] = rng.multinomial(len(members), shares, size=DRAWS)
    return weights


def listed(values: np.ndarray) -> list[float | None]:
    """Return numbers as JSON takes them: None for NaN."""
    return [None if np.isnan(value) else float(value) for value in values]


def _obstacle(chosen: str, by_well: np.ndarray, in_range: bool, beyond: bool) -> str | None:
    """Return why no estimate can be given, in one sentence, or None."""
    if beyond:
        return (
            "No plate of Training or the test sets lies as far from Training, so that nothing "
            "tells whether an estimate could be believed."
        )
    if not estimators()[chosen].needs_wells:
        if in_range:
            return None
        return (
            "Without wells that each hold one class, only the model's confidence tells of its "
            "error, and confidence misleads on plates unlike those of Training."
        )
    doubt = doubtful_wells(by_well)
    share = by_well[doubt].sum() / by_well.sum()
    if share <= MOST_DOUBT:
        return None
    return (
        f"In {int(doubt.sum())} of {len(by_well)} wells the labels are torn between two classes: "
        "either these wells hold more than one protein, or the model fails on them."
    )


def doubtful_wells(by_well: np.ndarray) -> np.ndarray:
    """Tell in which wells a second label comes near the first, bool, shape (wells,)."""
    labels = np.sort(by_well.sum(axis=1), axis=1)
    doubt: np.ndarray = labels[:, -2] >= RUNNER_UP * labels[:, -1]
    return doubt
