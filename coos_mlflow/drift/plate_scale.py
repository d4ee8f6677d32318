"""The scale on which plates are far: their scores, and the limits of these scores.

`verdict` says what follows from them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.drift.placement import ComparedPlate
from coos_mlflow.drift.plate_test import (
    PRIOR_FREEDOM,
    NullPlates,
    conformal_rank,
    far_mean,
    moderated_deviation,
    view_correlation,
)

PRIOR_DEVIATION = {"softmax": 0.45, "features": 0.40, "raw": 0.32}
"""Prior standard deviation of the log distances of classes over plates, by view. New plates of ten
development registries had 0.47, 0.37 and 0.30; that of the features is set higher, since their
means differed most from registry to registry."""

PRIOR_WELL_DEVIATION = 0.30
"""The same for wells; those of the development registries had 0.26 to 0.30."""

CLASS_VIEWS = ("softmax", "raw")
"""Views that are tested class by class. With few plates the distances of single classes in the
representation are the least certain: on plates made for development they raised most false alarms
and found least."""

ODD_WELL, LONE_ODD_WELL = 2.5, 3.3
"""Scores of a well, in deviations, above which it is named: where the plate's wells are odd
together, and otherwise. On plates simulated for development from Training's population, 1 % and
0.1 to 0.4 % of the wells exceeded them."""

ReferencePlates = dict[str, list[ComparedPlate]]
"""By split, the reference's own plates."""


_TESTED = tuple(VIEWS.index(view) for view in CLASS_VIEWS)


class PlateScale:
    """Standardises log distances by those of the Training plates, each compared with the others.

    Parameters
    ----------
    known : dict of list of ComparedPlate
        The reference plates by split.
    allowance : dict of float
        By view, the standard deviations that a new plate may lie farther.
    alpha : float
        Share of new plates of Training's population that may exceed a limit.
    """

    def __init__(self, known: ReferencePlates, allowance: dict[str, float], alpha: float) -> None:
        self._alpha = alpha
        training = known["training"]
        self._m = len(training)
        logs = np.concatenate([plate.logs.T for plate in training])
        self._freedom = float(len(logs) - 1)
        self._mean, self._correlation = logs.mean(axis=0), view_correlation(logs)
        prior = np.array([PRIOR_DEVIATION[view] for view in VIEWS])
        self._deviation = self._moderated(logs.std(axis=0, ddof=1), prior)
        wells = np.concatenate([plate.well_logs for plate in training])
        self._has_wells = len(wells) > 1
        if self._has_wells:
            self._well_mean = wells.mean()
            self._well_deviation = self._moderated(
                wells.std(ddof=1), np.array(PRIOR_WELL_DEVIATION)
            )
        self._allowance = np.array([allowance[view] for view in VIEWS])
        self._training = [self._reach(plate, new=False) for plate in training]
        self._others = [
            self._reach(plate, new=True)
            for split, plates in known.items()
            if split != "training"
            for plate in plates
        ]
        self._null: dict[tuple[tuple[float, ...], tuple[int, ...]], NullPlates] = {}

    def _moderated(self, deviation: np.ndarray, prior: np.ndarray) -> np.ndarray:
        return moderated_deviation(deviation, self._freedom, prior)

    def _scores(self, plate: ComparedPlate, *, new: bool) -> np.ndarray:
        """Return the standardised log distances, (classes, views), less the allowance if new."""
        scores: np.ndarray = (plate.logs.T - self._mean) / self._deviation
        return scores - self._allowance if new else scores

    def _reach(self, plate: ComparedPlate, *, new: bool) -> float:
        """Return how far a plate is in its farthest view, for comparison with other plates."""
        return float((plate.weights @ self._scores(plate, new=new)).max())

    def _well_scores(self, plate: ComparedPlate) -> np.ndarray:
        if len(plate.wells) == 0 or not self._has_wells:
            return np.zeros(0)
        scores: np.ndarray = (plate.well_logs - self._well_mean) / self._well_deviation
        return scores - self._allowance.mean()

    def _null_of(self, plate: ComparedPlate) -> NullPlates:
        weights = tuple(np.round(plate.weights, 2).tolist())
        wells = tuple(np.bincount(plate.well_classes).tolist()) if self._has_wells else ()
        key = tuple(sorted(weights)), tuple(sorted(n for n in wells if n))
        if key not in self._null:
            self._null[key] = NullPlates(
                self._m, self._freedom + PRIOR_FREEDOM, self._correlation, *key, _TESTED
            )
        return self._null[key]

    def _statistics(
        self, plate: ComparedPlate, *, new: bool
    ) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Return the scores of classes (classes, views) and wells, and the tested statistics."""
        by_class, wells = self._scores(plate, new=new), self._well_scores(plate)
        views = plate.weights @ by_class / self._null_of(plate).expected
        scores = {"plate": float(views.max()), "class": float(by_class[:, _TESTED].max())}
        if len(wells):
            scores["wells"] = float(far_mean(wells))
        return by_class, wells, scores

    def margin(self, plate: ComparedPlate, *, new: bool) -> float:
        """Return the largest excess of a statistic over its limit, negative below all limits."""
        scores = self._statistics(plate, new=new)[2]
        limits = self._null_of(plate).limits(self._alpha)
        return max(scores[name] - limit for name, limit in limits.items())

    def figures(self, plate: ComparedPlate) -> dict[str, Any]:
        """Return the scores of a plate, their limits and p."""
        null = self._null_of(plate)
        limits = null.limits(self._alpha)
        by_class, wells, scores = self._statistics(plate, new=True)
        views = plate.weights @ by_class / null.expected
        exceeded = [name for name, limit in limits.items() if scores[name] > limit]
        reach = self._reach(plate, new=True)
        known = [*self._training, *self._others]
        view_p, floor = null.view_p(views), 1 / (self._m + 1)
        usual = np.exp(
            self._mean + (limits["plate"] * null.expected + self._allowance) * self._deviation
        )
        return {
            "p": conformal_rank(reach, self._training),
            "score": scores["plate"],
            "limit": limits["plate"],
            "t_p": null.p(scores),
            "exceeded": exceeded,
            "noise_share": plate.noise_share,
            "known_plates": len(known),
            "known_nearer": sum(other < reach for other in known),
            "distances": plate.distances(),
            "usual": dict(zip(VIEWS, usual.tolist(), strict=True)),
            "view_p": {
                view: max(float(own), floor) for view, own in zip(VIEWS, view_p, strict=True)
            },
            "stands_out_in": VIEWS[int(views.argmax())],
            "by_class": self._by_class(
                plate,
                by_class[:, _TESTED],
                limits.get("class", limits["plate"] * null.expected),
            ),
            "odd_wells": _odd(plate.wells, wells, together="wells" in exceeded),
        }

    def _by_class(
        self, plate: ComparedPlate, scores: np.ndarray, limit: float
    ) -> list[dict[str, Any]]:
        return [
            {
                "class": int(label),
                "n_cells": int(n),
                "score": float(own.max()),
                "limit": limit,
                "view": CLASS_VIEWS[int(own.argmax())],
                "shifted": bool(own.max() > limit),
            }
            for label, n, own in zip(plate.classes, plate.counts, scores, strict=True)
        ]


def _odd(names: tuple[str, ...], scores: np.ndarray, *, together: bool) -> list[str]:
    limit = ODD_WELL if together else LONE_ODD_WELL
    return [names[n] for n in np.flatnonzero(scores > limit)]
