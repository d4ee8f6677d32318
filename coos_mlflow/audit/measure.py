"""The error that labelled cells measure, with intervals.

Wrong labels are counted in each stratum, and the strata are weighted by their cells: the design of
the sample, not a model of the plate, carries the estimate. The predictions of all cells enter
through the strata, as they enter prediction-powered inference (Angelopoulos et al. 2023, Science
382, 669-674; in strata: Fisch et al. 2024, arXiv 2406.04291). Intervals are those of draws: the
share of wrong labels in a stratum is beta-distributed around that of its group, which is drawn
with Jeffreys' prior, and the cells that nobody looked at are drawn with it. A stratum without a
mistake among its few labelled cells thus stays uncertain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from coos_mlflow.audit.frame import GROUPS, ODD, Frame
from coos_mlflow.drift.error_estimate import MIN_CLASS_SHARE, nan_to_none
from coos_mlflow.metrics import balanced_error, confusion_matrix, present_classes, recalls
from coos_mlflow.plates.layout import NONE

LEVEL = 0.95
"""Of the intervals."""

DRAWS = 4000

PRIOR_CELLS = 1.0
"""Cells that the share of the group counts as in a stratum; chosen on development plates."""


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
        ``classes``, those of which the plate holds cells; ``recalls``, ``recall_lows`` and
        ``recall_highs``, a fraction or None for each class; ``none`` with ``share``, ``low`` and
        ``high``, the share of cells of no known class. The balanced error is over known classes
        that hold at least 2 % as many cells as the commonest; None where no cell is of one.
    """
    strata = _Strata.of(frame, rows, truths)
    rng = np.random.default_rng(seed)
    drawn, point = strata.confusions(rng), strata.confusions(None)
    wrong, strangers = truths != frame.labels[rows], truths == NONE
    errors = _figures(balanced_error(point, min_share=MIN_CLASS_SHARE), _errors(drawn))
    wrong_labels = _figures(*(100 * strata.share(wrong, draw) for draw in (None, rng)))
    none = _figures(*(strata.share(strangers, draw) for draw in (None, rng)))
    present = present_classes(point, MIN_CLASS_SHARE)[0]
    values, lows, highs = np.full((3, frame.n_classes), np.nan)
    for label in np.flatnonzero(present):
        own = recalls(drawn)[:, label]
        own = own[np.isfinite(own)]
        values[label], lows[label], highs[label] = _figures(recalls(point)[:, label], own)
    return {
        **dict(zip(("balanced_error", "low", "high"), nan_to_none(errors), strict=True)),
        **dict(
            zip(("wrong_labels", "wrong_low", "wrong_high"), map(float, wrong_labels), strict=True)
        ),
        "classes": np.flatnonzero(present).tolist(),
        "recalls": nan_to_none(values),
        "recall_lows": nan_to_none(lows),
        "recall_highs": nan_to_none(highs),
        "none": dict(zip(("share", "low", "high"), map(float, none), strict=True)),
    }


def _errors(confusions: np.ndarray) -> np.ndarray:
    errors = balanced_error(confusions, min_share=MIN_CLASS_SHARE)
    found: np.ndarray = errors[np.isfinite(errors)]
    return found


def _figures(point: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return a value with its interval, which includes it; NaN without draws."""
    if not len(drawn) or not np.isfinite(point[0]):
        return np.full(3, np.nan)
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return np.array([point[0], min(low, point[0]), max(high, point[0])])


@dataclass(frozen=True)
class _Strata:
    """Labelled cells by stratum, and the cells that nobody looked at by part of a stratum.

    A part holds the cells of a stratum with one predicted class.

    Parameters
    ----------
    groups, labelled : ndarray of int64, shape (strata,)
        Group, and number of labelled cells.
    stratum : ndarray of int64, shape (n,)
        Of each labelled cell.
    label, truth : ndarray of int64, shape (n,)
        Predicted class of each labelled cell, and what it is.
    unseen : ndarray of int64, shape (strata, classes)
        Other cells of each part.
    likely : ndarray of float64, shape (strata, classes, classes)
        Of each part, the shares of the classes that its cells may be if their label is wrong.
    """

    groups: np.ndarray
    labelled: np.ndarray
    stratum: np.ndarray
    label: np.ndarray
    truth: np.ndarray
    unseen: np.ndarray
    likely: np.ndarray

    @classmethod
    def of(cls, frame: Frame, rows: np.ndarray, truths: np.ndarray) -> _Strata:
        n, n_classes = int(frame.strata.max()) + 1, frame.n_classes
        groups = np.zeros(n, np.int64)
        groups[frame.strata] = frame.groups
        stratum, label = frame.strata[rows], frame.labels[rows]
        unseen = np.zeros((n, n_classes), np.int64)
        np.add.at(unseen, (frame.strata, frame.labels), 1)
        np.subtract.at(unseen, (stratum, label), 1)
        others = frame.probabilities.astype(np.float64)
        others[np.arange(len(frame)), frame.labels] = 0
        others = np.where(
            (frame.groups == ODD)[:, None], np.eye(n_classes)[frame.usual], others + 1e-9
        )
        others[np.arange(len(frame)), frame.labels] = 0
        likely = np.zeros((n, n_classes, n_classes))
        np.add.at(likely, (frame.strata, frame.labels), others / others.sum(axis=1, keepdims=True))
        likely /= np.maximum(likely.sum(axis=2, keepdims=True), 1e-12)
        return cls(
            groups, np.bincount(stratum, minlength=n), stratum, label, truths, unseen, likely
        )

    def rates(self, hits: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Return the share of a property among cells that nobody looked at.

        Parameters
        ----------
        hits : ndarray of bool, shape (n,)
            Which labelled cells have it.
        rng : Generator or None
            For draws; None for the best guess alone.

        Returns
        -------
        ndarray, shape (draws or 1, strata)
        """
        found = np.bincount(self.stratum, hits, minlength=len(self.groups))
        by_group = np.bincount(self.groups, found, minlength=GROUPS)
        n_group = np.bincount(self.groups, self.labelled, minlength=GROUPS)
        if rng is None:
            usual = np.where(n_group > 0, by_group / np.maximum(n_group, 1), 0.5)[None]
        else:
            usual = rng.beta(by_group + 0.5, n_group - by_group + 0.5, (DRAWS, GROUPS))
        prior = np.clip(usual[:, self.groups], 1e-6, 1 - 1e-6) * PRIOR_CELLS
        yes, no = found + prior, self.labelled - found + PRIOR_CELLS - prior
        if rng is None:
            share: np.ndarray = (found + usual[:, self.groups] * PRIOR_CELLS) / (yes + no)
            return share
        return rng.beta(yes, no)

    def share(self, hits: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Return the share of all cells that have a property, shape (draws or 1,)."""
        unseen, rates = self.unseen.sum(axis=1), self.rates(hits, rng)
        more = unseen * rates if rng is None else rng.binomial(unseen, rates)
        total: np.ndarray = (more.sum(axis=1) + hits.sum()) / (unseen.sum() + len(hits))
        return total

    def confusions(self, rng: np.random.Generator | None) -> np.ndarray:
        """Return confusions of all cells, cells of no known class left out.

        Returns
        -------
        ndarray of float64, shape (draws or 1, classes, classes)
            True classes in rows.
        """
        n_classes = self.unseen.shape[1]
        wrong = self.label != self.truth
        rates = self.rates(wrong, rng)
        draws = len(rates)
        known = self.truth != NONE
        total = np.zeros((draws, n_classes, n_classes))
        total += confusion_matrix(self.truth[known], self.label[known], n_classes)
        for stratum, label in np.argwhere(self.unseen):
            cells, rate = self.unseen[stratum, label], rates[:, stratum]
            mistaken = cells * rate if rng is None else rng.binomial(cells, rate)
            total[:, label, label] += cells - mistaken
            total[:, :, label] += mistaken[:, None] * self._true_classes(stratum, label, rng)
        return total

    def _true_classes(
        self, stratum: int, label: int, rng: np.random.Generator | None
    ) -> np.ndarray:
        """Return what wrongly labelled cells of a part are, shape (draws or 1, classes).

        The rest of each row is of no known class.
        """
        n_classes = self.unseen.shape[1]
        own = self.truth[(self.stratum == stratum) & (self.truth != self.label)]
        counts = np.bincount(own[own != NONE], minlength=n_classes).astype(np.float64)
        counts[label] = 0
        weights = np.append(counts + PRIOR_CELLS * self.likely[stratum, label], (own == NONE).sum())
        if rng is None:
            return (weights / weights.sum())[None, :-1]
        drawn: np.ndarray = np.zeros((DRAWS, n_classes + 1))
        some = weights > 0
        drawn[:, some] = rng.dirichlet(weights[some], DRAWS)
        return drawn[:, :-1]
