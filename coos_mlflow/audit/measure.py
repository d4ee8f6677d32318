"""The error that labelled cells measure, with intervals.

Each cell has a guess at its true class (`frame.py`). Labelled cells tell how often the guesses of a
stratum are wrong, and the strata are weighted by their cells: the design of the sample, not a model
of the plate, carries the estimate. The predictions of all cells enter through guesses and strata,
as they enter prediction-powered inference (Angelopoulos et al. 2023, Science 382, 669-674; in
strata: Fisch et al. 2024, arXiv 2406.04291).

Intervals are percentiles of draws. The share of wrong guesses in a stratum is beta-distributed
around that of its group, which has Jeffreys' prior; how much strata of a group differ is weighed by
how well it fits the labelled cells. Cells that nobody looked at are drawn with that share. A
stratum without a mistake among its few labelled cells thus stays uncertain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import betaln

from coos_mlflow.audit.frame import GROUPS, Frame
from coos_mlflow.drift.error_estimate import MIN_CLASS_SHARE, nan_to_none
from coos_mlflow.metrics import confusion_matrix, present_classes, recalls
from coos_mlflow.plates.layout import NONE

LEVEL = 0.95
"""Of the intervals."""

DRAWS = 1500

UNLIKE, ALIKE = np.array([0.1, 0.3, 1.0, 3.0]), np.array([30.0])
"""Cells that the share of the group may count as in a stratum, where strata differ and where they
are alike. Few labels cannot tell which holds, so that intervals cover both; chosen on development
plates."""

CLASS_CELLS = 0.25
"""Cells that the model's second guesses count as where a guess is wrong; chosen on development
plates."""


def measure(frame: Frame, rows: np.ndarray, truths: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Measure the error of a plate from labelled cells.

    Parameters
    ----------
    frame : Frame
    rows : ndarray of int64, shape (n,)
        Labelled cells, rows of the frame: the beginning of its sequence, except cells that could
        not be judged. At least one.
    truths : ndarray of int64, shape (n,)
        What they are: a class, or `NONE`.
    seed : int

    Returns
    -------
    dict
        ``balanced_error``, ``low``, ``high``, ``wrong_labels``, ``wrong_low``, ``wrong_high`` in %;
        ``classes``, those that the plate holds; ``recalls``, ``recall_lows`` and
        ``recall_highs``, a fraction or None for each class; ``none`` with ``share``, ``low`` and
        ``high``, the share of cells of no known class. The balanced error is over ``classes``:
        those of labelled cells that are estimated to hold at least 2 % as many cells as the
        commonest. It is None where no labelled cell is of a known class.
    """
    parts = _Parts.of(frame, rows, truths)
    rng = np.random.default_rng(seed)
    point = parts.confusions(UNLIKE, None)
    drawn = [parts.confusions(prior, rng) for prior in (UNLIKE, ALIKE)]
    found = np.isin(np.arange(frame.n_classes), truths)
    classes = np.flatnonzero(found & present_classes(point[0], MIN_CLASS_SHARE))
    values, lows, highs = np.full((3, frame.n_classes), np.nan)
    by_class = [recalls(confusions)[:, classes] for confusions in (point, *drawn)]
    for number, label in enumerate(classes):
        figures = _figures(*(own[:, number] for own in by_class))
        values[label], lows[label], highs[label] = figures
    errors = np.full(3, np.nan)
    if len(classes):
        errors = _figures(*(100 * (1 - np.nanmean(own, axis=1)) for own in by_class))
    wrong_labels = _figures(*(100 * parts.wrong_labels(c) for c in (point, *drawn)))
    none = _figures(*(parts.strangers(c) for c in (point, *drawn)))
    if not np.isin(NONE, truths):
        none[:2] = 0  # nothing says that there is such a cell
    return {
        **dict(zip(("balanced_error", "low", "high"), nan_to_none(errors), strict=True)),
        **dict(
            zip(("wrong_labels", "wrong_low", "wrong_high"), wrong_labels.tolist(), strict=True)
        ),
        "classes": classes.tolist(),
        "recalls": nan_to_none(values),
        "recall_lows": nan_to_none(lows),
        "recall_highs": nan_to_none(highs),
        "none": dict(zip(("share", "low", "high"), none.tolist(), strict=True)),
    }


def _figures(point: np.ndarray, *drawn: np.ndarray) -> np.ndarray:
    """Return a value and the interval that covers those of all draws, and the value."""
    tail = 50 * (1 - LEVEL)
    ends = np.array([np.nanpercentile(values, [tail, 100 - tail]) for values in drawn])
    return np.array([point[0], min(ends[:, 0].min(), point[0]), max(ends[:, 1].max(), point[0])])


@dataclass(frozen=True)
class _Parts:
    """Labelled cells, and the cells that nobody looked at, by part of a stratum.

    The cells of a part have the same stratum, guess and label.

    Parameters
    ----------
    groups, strata, guesses, labels, unseen : ndarray of int64, shape (parts,)
        Of each part; `unseen` is the number of its cells that nobody looked at.
    part, truth : ndarray of int64, shape (n,)
        Of each labelled cell.
    likely : ndarray of float64, shape (parts, classes)
        Shares of the classes that the cells of a part may be if the guess is wrong.
    """

    groups: np.ndarray
    strata: np.ndarray
    guesses: np.ndarray
    labels: np.ndarray
    unseen: np.ndarray
    part: np.ndarray
    truth: np.ndarray
    likely: np.ndarray

    @classmethod
    def of(cls, frame: Frame, rows: np.ndarray, truths: np.ndarray) -> _Parts:
        guesses = _better_guesses(frame, rows, truths)
        keys = np.stack([frame.groups, frame.strata, guesses, frame.labels])
        kinds, part, cells = np.unique(keys, axis=1, return_inverse=True, return_counts=True)
        part = part.ravel()
        second = frame.probabilities.astype(np.float64) + 1e-6
        second[np.arange(len(frame)), guesses] = 0
        likely = np.zeros((len(cells), frame.n_classes))
        np.add.at(likely, part, second / second.sum(axis=1, keepdims=True))
        unseen = cells - np.bincount(part[rows], minlength=len(cells))
        groups, strata, guessed, labels = kinds
        return cls(
            groups, strata, guessed, labels, unseen, part[rows], truths, likely / cells[:, None]
        )

    @property
    def is_wrong(self) -> np.ndarray:
        """Which labelled cells are not what was guessed, bool, shape (n,)."""
        wrong: np.ndarray = self.guesses[self.part] != self.truth
        return wrong

    @property
    def n_cells(self) -> int:
        """All cells of the plate."""
        return int(self.unseen.sum()) + len(self.truth)

    def wrong_labels(self, confusions: np.ndarray) -> np.ndarray:
        """Return the share of cells whose label is wrong, shape (draws or 1,)."""
        right = np.einsum("dii->d", confusions)
        share: np.ndarray = 1 - right / self.n_cells
        return share

    def strangers(self, confusions: np.ndarray) -> np.ndarray:
        """Return the share of cells of no known class, shape (draws or 1,)."""
        share: np.ndarray = 1 - confusions.sum(axis=(1, 2)) / self.n_cells
        return share

    def confusions(self, prior: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Return confusions of all cells, cells of no known class left out.

        Parameters
        ----------
        prior : ndarray
            `UNLIKE` or `ALIKE`.
        rng : Generator or None
            For draws; None for the best guess alone.

        Returns
        -------
        ndarray of float64, shape (draws or 1, classes, classes)
            True classes in rows.
        """
        n_classes = self.likely.shape[1]
        rates, strangers = self._rates(prior, rng), self._stranger_shares(rng)
        known = self.truth != NONE
        seen = confusion_matrix(self.truth[known], self.labels[self.part[known]], n_classes)
        total = np.zeros((len(rates), n_classes, n_classes)) + seen
        for part in np.flatnonzero(self.unseen).tolist():
            cells, rate, label = self.unseen[part], rates[:, part], self.labels[part]
            mistaken = cells * rate if rng is None else rng.binomial(cells, rate)
            total[:, self.guesses[part], label] += cells - mistaken
            true = self._true_classes(part, strangers[:, self.groups[part], None], rng)
            total[:, :, label] += mistaken[:, None] * true
        return total

    def _rates(self, prior: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Return the share of wrong guesses by part, shape (draws or 1, parts)."""
        n = len(self.groups)
        wrong = np.bincount(self.part, self.is_wrong, minlength=n)
        right = np.bincount(self.part, ~self.is_wrong, minlength=n)
        rates = np.zeros((1 if rng is None else DRAWS, n))
        for group in range(GROUPS):
            own = self.groups == group
            rates[:, own] = _group_rates(wrong[own], right[own], prior, rng)
        return rates

    def _stranger_shares(self, rng: np.random.Generator | None) -> np.ndarray:
        """Return the share of cells of no known class among wrong guesses by group."""
        group = self.groups[self.part]
        n = np.bincount(group[self.is_wrong], minlength=GROUPS)
        none = np.bincount(group[self.truth == NONE], minlength=GROUPS)
        if rng is None:
            return ((none + 0.5) / (n + 1))[None]
        return rng.beta(none + 0.5, n - none + 0.5, (DRAWS, GROUPS))

    def _true_classes(
        self, part: int, strangers: np.ndarray, rng: np.random.Generator | None
    ) -> np.ndarray:
        """Return what the cells of a part are whose guess is wrong, shape (draws or 1, classes).

        The rest of each row is of no known class. What wrongly guessed cells of the whole stratum
        are counts as one cell.
        """
        own = self._counts(self.is_wrong & (self.part == part))
        stratum = self._counts(self.is_wrong & (self.strata[self.part] == self.strata[part]))
        stratum[self.guesses[part]] = 0
        likely = np.concatenate([(1 - strangers) * self.likely[part], strangers], axis=1)
        weights = CLASS_CELLS * likely + own + stratum / max(stratum.sum(), 1)
        if rng is not None:
            weights = rng.standard_gamma(weights) + 1e-300
        shares: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
        return shares[:, :-1]

    def _counts(self, chosen: np.ndarray) -> np.ndarray:
        """Return how many labelled cells are of each class and, last, of none, (classes + 1,)."""
        n = self.likely.shape[1]
        truth = self.truth[chosen]
        return np.bincount(np.where(truth == NONE, n, truth), minlength=n + 1).astype(float)


def _better_guesses(frame: Frame, rows: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Return the frame's guesses, or the labels in groups where labelled cells speak for these."""
    guesses = frame.guesses.copy()
    groups = frame.groups[rows]
    for group in np.unique(groups):
        own = rows[groups == group]
        hits = [
            np.count_nonzero(one[own] == truths[groups == group]) for one in (frame.labels, guesses)
        ]
        if hits[0] > hits[1]:
            of_group = frame.groups == group
            guesses[of_group] = frame.labels[of_group]
    return guesses


def _group_rates(
    wrong: np.ndarray, right: np.ndarray, cells: np.ndarray, rng: np.random.Generator | None
) -> np.ndarray:
    """Return the share of wrong guesses in the parts of a group, shape (draws or 1, parts)."""
    # The grid of the group's share: even steps of the angle are Jeffreys' prior.
    grid = np.sin((np.arange(200) + 0.5) / 200 * np.pi / 2) ** 2
    a = grid[:, None, None] * cells[:, None]
    b = (1 - grid)[:, None, None] * cells[:, None]
    logs = (betaln(a + wrong, b + right) - betaln(a, b)).sum(axis=2)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    if rng is None:
        means = (a + wrong) / (a + b + wrong + right)
        best: np.ndarray = np.einsum("gp,gps->s", weights, means)[None]
        return best
    chosen = rng.choice(weights.size, DRAWS, p=weights.ravel())
    share, prior = grid[chosen // len(cells)], cells[chosen % len(cells)]
    a, b = (share * prior)[:, None], ((1 - share) * prior)[:, None]
    return rng.beta(a + wrong, b + right)
