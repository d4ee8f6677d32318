"""Choose the remedy for a plate by leaving labelled wells out, and measure what it gains.

Every remedy is fitted without a tenth of the wells and judged on them. The one with the smallest
left-out loss is best. The loss is the negative log probability of the true class, with every class
counting alike: on fifty cells it tells more than mistakes, of which there are few.

What the best remedy gains is measured on labelled cells that were left out: the choice among the
remedies and the fit are repeated without each tenth of the cells. There its loss must be smaller
than that of none by more than chance, and it must make fewer mistakes. Otherwise nothing is chosen.
Here cells are left out, not wells: the labelled cells are a random sample of the plate, so what
befalls a left-out one befalls the cells that nobody looked at, which lie in the same wells as
labelled ones. For the same reason intervals come from cells drawn anew within each class.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from coos_mlflow.labelling.adapt.cells import LabelledCells, corrected, for_fit
from coos_mlflow.labelling.adapt.remedies import Remedy, remedies
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.model.correction import Correction

FOLDS, INNER_FOLDS = 10, 5
"""Parts of the wells that are left out in turn, and parts of the rest when the choice is repeated
without one of these."""

MARGIN = 1.64
"""Standard errors by which a remedy must be better than none: one time in twenty by chance."""

LEAST_PROBABILITY = 1e-3
"""Of a true class in the loss, so that a single mislabelled cell does not decide."""

LEVEL, DRAWS = 0.95, 1000
"""Of the intervals, and draws of cells for each."""

PRIOR_CELLS = 0.5
"""Imaginary cells of each kind, right and wrong, in every draw, as with Jeffreys' prior: sixty
cells without a mistake do not prove that there is none."""


@dataclass(frozen=True)
class Trial:
    """A remedy with one of its strengths, judged on left-out wells.

    Parameters
    ----------
    key : str
        Of `remedies`.
    strength : float
    loss : float
        Mean negative log probability of the true class.
    error : float
        Balanced error in %.
    """

    key: str
    strength: float
    loss: float
    error: float

    @property
    def remedy(self) -> Remedy:
        """The remedy."""
        return remedies()[self.key]


@dataclass(frozen=True)
class Figure:
    """A value in % with its 95 % interval.

    Parameters
    ----------
    value, low, high : float
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Gain:
    """Balanced error on labelled cells before and after, and the change in points."""

    before: Figure
    after: Figure
    change: Figure


@dataclass(frozen=True)
class Choice:
    """The remedies that were tried, what the best one gains, and whether that is enough.

    Parameters
    ----------
    trials : tuple of Trial
        The best first.
    gain : Gain or None
        Of the best; None where no class has two labelled cells.
    chosen : Trial or None
        The best, if it is better than none.
    """

    trials: tuple[Trial, ...]
    gain: Gain | None
    chosen: Trial | None


def choose(model: CellModel, cells: LabelledCells, controls: LabelledCells | None = None) -> Choice:
    """Try every remedy on left-out wells, and choose the best one or none.

    Parameters
    ----------
    model : CellModel
        Without a correction.
    cells : LabelledCells
    controls : LabelledCells, optional
        Cells of control wells, which teach and are not judged.
    """
    counted = judged(cells)
    if not counted.any():
        return Choice((), None, None)
    after = cells.probabilities.astype(np.float64)
    for taught, held in _by_cell(cells, FOLDS):
        rest = cells.select(taught)
        tried = ranked(model, rest, controls, INNER_FOLDS)
        if tried:
            fitted = fit(model, tried[0], rest, controls)
            after[held] = corrected(model, fitted, cells.select(held))
    own, after = cells.select(counted), after[counted]
    wrong, wrong_after = _wrong(own, own.probabilities), _wrong(own, after)
    gain = Gain(
        before=_figure(own, wrong, (0.0, 1.0)),
        after=_figure(own, wrong_after, (0.0, 1.0)),
        change=_figure(own, wrong_after - wrong, (-1.0, 0.0, 1.0)),
    )
    gained = _losses(own, own.probabilities) - _losses(own, after)
    better = _balanced(own, gained) > MARGIN * _drawn(own, gained).std()
    trials = ranked(model, cells, controls, FOLDS)
    return Choice(trials, gain, trials[0] if better and gain.change.value < 0 else None)


def ranked(
    model: CellModel,
    cells: LabelledCells,
    controls: LabelledCells | None = None,
    n_folds: int = FOLDS,
) -> tuple[Trial, ...]:
    """Judge every remedy on left-out wells, and return the trials, the best first.

    None where no well can be left out, or no class has two labelled cells.
    """
    folds, counted = _by_well(cells, n_folds), judged(cells)
    if not folds or not counted.any():
        return ()
    own, trials = cells.select(counted), []
    for key, remedy in remedies().items():
        if remedy.needs_classifier and model.classifier is None:
            continue
        for strength in remedy.strengths:
            left_out = np.zeros(cells.probabilities.shape)
            for taught, held in folds:
                fitted = remedy.fit(model, for_fit(cells.select(taught), controls), strength)
                left_out[held] = corrected(model, fitted, cells.select(held))
            found = left_out[counted]
            loss = _balanced(own, _losses(own, found))
            trials.append(Trial(key, strength, loss, 100 * _balanced(own, _wrong(own, found))))
    return tuple(sorted(trials, key=lambda trial: trial.loss))


def fit(
    model: CellModel, trial: Trial, cells: LabelledCells, controls: LabelledCells | None = None
) -> Correction:
    """Fit the remedy of a trial to labelled cells, and to those of control wells."""
    return trial.remedy.fit(model, for_fit(cells, controls), trial.strength)


def judged(cells: LabelledCells) -> np.ndarray:
    """Return which cells can be judged: those of classes with two cells or more, bool, (n,).

    When the only cell of a class is left out, nothing is left to teach its class.
    """
    found: np.ndarray = np.bincount(cells.truths)[cells.truths] > 1
    return found


def in_one_well(cells: LabelledCells) -> np.ndarray:
    """Return the classes whose labelled cells, two or more, are all in one well, int64."""
    return np.array(
        [
            label
            for label in np.unique(cells.truths)
            if (cells.truths == label).sum() > 1
            and len(np.unique(cells.wells[cells.truths == label])) == 1
        ],
        np.int64,
    )


def _by_well(cells: LabelledCells, n_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide cells by well, the wells of each class evenly, so that each class stays taught.

    Cells of a class that is in one well alone are divided by cell.
    """
    groups = cells.wells.copy()
    single = np.isin(cells.truths, in_one_well(cells))
    groups[single] = groups.max() + 1 + np.arange(np.count_nonzero(single))
    # No more parts than the commonest class has cells, as the library asks.
    count = min(n_folds, len(np.unique(groups)), int(np.bincount(cells.truths).max()))
    if count < 2:
        return []
    with warnings.catch_warnings():
        # A class may have fewer cells than there are folds.
        warnings.filterwarnings("ignore", "The least populated class")
        return list(StratifiedGroupKFold(count).split(groups, cells.truths, groups))


def _by_cell(cells: LabelledCells, n_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide cells at random, those of each class evenly."""
    order = np.lexsort((np.random.default_rng(0).permutation(len(cells)), cells.truths))
    part = np.empty(len(cells), np.int64)
    part[order] = np.arange(len(cells)) % n_folds
    return [
        (np.flatnonzero(part != fold), np.flatnonzero(part == fold))
        for fold in range(min(n_folds, len(cells)))
    ]


def _losses(cells: LabelledCells, probabilities: np.ndarray) -> np.ndarray:
    own = probabilities[np.arange(len(cells)), cells.truths]
    found: np.ndarray = -np.log(np.maximum(own, LEAST_PROBABILITY))
    return found


def _wrong(cells: LabelledCells, probabilities: np.ndarray) -> np.ndarray:
    """Return 1 for each mistake and 0 for each true label, shape (n,)."""
    wrong: np.ndarray = (probabilities.argmax(axis=1) != cells.truths).astype(np.float64)
    return wrong


def _balanced(cells: LabelledCells, values: np.ndarray) -> float:
    """Return the weighted mean of values of cells, every class counting alike."""
    return float(_balanced_of(cells, values, np.ones((1, len(cells))))[0])


def _balanced_of(
    cells: LabelledCells, values: np.ndarray, times: np.ndarray, levels: tuple[float, ...] = ()
) -> np.ndarray:
    """Return the balanced mean for numbers of times that each cell counts, shape (draws,).

    With `levels`, the values that cells can have, draws hold half an imaginary cell of each.
    """
    rng, classes = np.random.default_rng(1), np.unique(cells.truths)
    means = []
    for label in classes:
        own = cells.truths == label
        weights = times[:, own] * cells.weights[own]
        imagined = rng.standard_gamma(PRIOR_CELLS / len(classes), (len(times), len(levels)))
        imagined *= cells.weights[own].mean()
        total = weights.sum(axis=1) + imagined.sum(axis=1)
        means.append((weights @ values[own] + imagined @ np.array(levels)) / total)
    found: np.ndarray = np.mean(means, axis=0)
    return found


def _drawn(cells: LabelledCells, values: np.ndarray, levels: tuple[float, ...] = ()) -> np.ndarray:
    """Return the balanced mean of cells drawn with replacement in each class, shape (DRAWS,)."""
    rng, times = np.random.default_rng(0), np.zeros((DRAWS, len(cells)))
    for label in np.unique(cells.truths):
        own = np.flatnonzero(cells.truths == label)
        times[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), DRAWS)
    return _balanced_of(cells, values, times, levels)


def _figure(cells: LabelledCells, values: np.ndarray, levels: tuple[float, ...]) -> Figure:
    value = 100 * _balanced(cells, values)
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(100 * _drawn(cells, values, levels), [tail, 100 - tail])
    return Figure(value, float(min(low, value)), float(max(high, value)))
