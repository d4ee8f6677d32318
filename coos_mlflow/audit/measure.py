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

DRAWS = 4000

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
    strata = _Strata.of(frame, rows, truths)
    rng = np.random.default_rng(seed)
    point = strata.confusions(UNLIKE, None)
    drawn = [strata.confusions(prior, rng) for prior in (UNLIKE, ALIKE)]
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
    wrong_labels = _figures(*(100 * strata.wrong_labels(c) for c in (point, *drawn)))
    none = _figures(*(strata.strangers(c) for c in (point, *drawn)))
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
class _Strata:
    """Labelled cells by stratum, and the cells that nobody looked at.

    Parameters
    ----------
    groups, labelled : ndarray of int64, shape (strata,)
        Group, and number of labelled cells.
    stratum, guess, label, truth : ndarray of int64, shape (n,)
        Of each labelled cell.
    parts : ndarray of int64, shape (parts, 4)
        Stratum, guess, label, and number of cells that nobody looked at.
    likely : ndarray of float64, shape (parts, classes)
        Shares of the classes that the cells of a part may be if the guess is wrong.
    """

    groups: np.ndarray
    labelled: np.ndarray
    stratum: np.ndarray
    guess: np.ndarray
    label: np.ndarray
    truth: np.ndarray
    parts: np.ndarray
    likely: np.ndarray

    @classmethod
    def of(cls, frame: Frame, rows: np.ndarray, truths: np.ndarray) -> _Strata:
        n, n_classes = int(frame.strata.max()) + 1, frame.n_classes
        groups = np.zeros(n, np.int64)
        groups[frame.strata] = frame.groups
        others = np.setdiff1d(np.arange(len(frame)), rows)
        keys = np.stack([frame.strata, frame.guesses, frame.labels], axis=1)[others]
        kinds, kind, cells = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        second = frame.probabilities[others].astype(np.float64) + 1e-6
        second[np.arange(len(others)), frame.guesses[others]] = 0
        likely = np.zeros((len(kinds), n_classes))
        np.add.at(likely, kind.ravel(), second / second.sum(axis=1, keepdims=True))
        stratum = frame.strata[rows]
        return cls(
            groups,
            np.bincount(stratum, minlength=n),
            stratum,
            frame.guesses[rows],
            frame.labels[rows],
            truths,
            np.column_stack([kinds, cells]),
            likely / np.maximum(cells, 1)[:, None],
        )

    @property
    def n_cells(self) -> int:
        """All cells of the plate."""
        return int(self.parts[:, 3].sum()) + len(self.truth)

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
        seen = confusion_matrix(self.truth[known], self.label[known], n_classes)
        total = np.zeros((len(rates), n_classes, n_classes)) + seen
        for (stratum, guess, label, cells), likely in zip(self.parts, self.likely, strict=True):
            rate = rates[:, stratum]
            mistaken = cells * rate if rng is None else rng.binomial(cells, rate)
            total[:, guess, label] += cells - mistaken
            true = self._true_classes(stratum, guess, label, likely, strangers, rng)
            total[:, :, label] += mistaken[:, None] * true
        return total

    def _rates(self, prior: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Return the share of wrong guesses by stratum, shape (draws or 1, strata)."""
        wrong = np.bincount(self.stratum, self.guess != self.truth, minlength=len(self.groups))
        right = self.labelled - wrong
        found = []
        for group in range(GROUPS):
            own = self.groups == group
            found.append(_group_rates(wrong[own], right[own], prior, rng))
        rates = np.zeros((len(found[0]), len(self.groups)))
        for group, of_group in enumerate(found):
            rates[:, self.groups == group] = of_group
        return rates

    def _stranger_shares(self, rng: np.random.Generator | None) -> np.ndarray:
        """Return the share of cells of no known class among wrong guesses by group."""
        wrong = self.guess != self.truth
        group = self.groups[self.stratum]
        n = np.bincount(group[wrong], minlength=GROUPS)
        none = np.bincount(group[self.truth == NONE], minlength=GROUPS)
        if rng is None:
            return ((none + 0.5) / (n + 1))[None]
        return rng.beta(none + 0.5, n - none + 0.5, (DRAWS, GROUPS))

    def _true_classes(
        self,
        stratum: int,
        guess: int,
        label: int,
        likely: np.ndarray,
        strangers: np.ndarray,
        rng: np.random.Generator | None,
    ) -> np.ndarray:
        """Return what cells are whose guess is wrong, shape (draws or 1, classes).

        The rest of each row is of no known class.
        """
        own = (self.stratum == stratum) & (self.guess != self.truth)
        # An odd cell may be what its own label says, whichever label that is.
        right = own & (self.label == self.truth)
        others = self.truth[own & ~right & (self.truth != guess) & (self.truth != label)]
        share = strangers[:, self.groups[stratum], None]
        counts = np.bincount(
            np.where(others == NONE, len(likely), others), minlength=len(likely) + 1
        )
        counts[label] += np.count_nonzero(right)
        prior = CLASS_CELLS * np.concatenate([(1 - share) * likely, share], axis=1)
        weights = prior + counts
        if rng is not None:
            weights = rng.standard_gamma(weights) + 1e-300
        shares: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
        return shares[:, :-1]


def _group_rates(
    wrong: np.ndarray, right: np.ndarray, cells: np.ndarray, rng: np.random.Generator | None
) -> np.ndarray:
    """Return the share of wrong guesses in the strata of a group, shape (draws or 1, strata)."""
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
