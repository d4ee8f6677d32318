"""The verdict on plates: in range, shifted, or cannot tell, with a reason in plain words.

The score of a plate is its largest standardised log distance over the views. The plate is shifted
if the score exceeds the 95th percentile of the scores of new plates of the Training population,
assuming normal log distances. This is one test for all views (max-T, see `plate_test`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coos_mlflow.drift import CANNOT_TELL, IN_RANGE, MIN_CELLS_PER_PLATE, SHIFTED
from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.drift.placement import ComparedPlate
from coos_mlflow.drift.plate_test import (
    conformal_rank,
    null_maxima,
    p_value,
    plate_moments,
    simes,
    view_correlation,
)

ALPHA = 0.05
"""False alarm rate: share of unshifted plates, and of files of unshifted plates, that may be called
shifted. A file is also shifted if one of its shifted plates is farther than all reference
plates."""

MIN_REFERENCE_PLATES = 5
"""With fewer reference plates no limit is computed."""

MIN_WELLS = 2
"""With fewer wells an unusual well cannot be distinguished from an unusual plate."""

MAX_NOISE_SHARE = 0.5
"""Maximum share of the expected distance that may come from having few cells. Above it, even a very
unusual plate would look ordinary."""

MAX_UNJUDGED_SHARE = 0.05
"""Maximum share of a file's cells on plates that cannot be judged."""

MIN_LOG_DEVIATION = 0.1
"""Minimum standard deviation of log distances over plates: 10 % of a distance."""

SEEN_ALLOWANCE = 1.0
"""Allowance, in standard deviations, for new plates in the views that a network computes, if the
network was trained on the plates of its reference. It has then learnt to ignore the peculiarities
of these plates, but not those of new ones. On simulated plates of Training's population, new plates
lay 0.6 to 1.5 deviations farther in these views. These plates are not those on which the verdict
was validated (docs/drift.md)."""

LEARNT_VIEWS = ("softmax", "features")
"""Views that depend on the representation."""

VIEW_WORDS = {
    "softmax": "the model's answers differ by",
    "features": "what the model sees differs by",
    "raw": "the raw images differ by",
}

ReferencePlates = dict[str, list[ComparedPlate]]
"""By split, the reference's own plates."""


def allowance(training_predictions: str) -> dict[str, float]:
    """Return by view the allowance in standard deviations; see `Reference.training_predictions`."""
    seen = training_predictions != "plates"
    return {view: SEEN_ALLOWANCE if seen and view in LEARNT_VIEWS else 0.0 for view in VIEWS}


class Judge:
    """Judges plates against the reference plates of a model version.

    Parameters
    ----------
    known : dict of list of ComparedPlate
        The reference plates by split.
    has_plate_ids, has_well_ids : bool
        Whether the file names plates and wells.
    allowance : dict of float
        By view, in standard deviations; see `allowance`.
    """

    def __init__(
        self,
        known: ReferencePlates,
        *,
        has_plate_ids: bool,
        has_well_ids: bool,
        allowance: dict[str, float],
    ) -> None:
        self._known = known
        self._allowance = np.array([allowance[view] for view in VIEWS])
        self._has_ids = {"plate": has_plate_ids, "well": has_well_ids}
        self._scales: dict[int, _Scale] = {}

    def judge(self, plate: ComparedPlate) -> dict[str, Any]:
        """Judge a plate.

        Returns
        -------
        dict
            ``plate``, ``verdict``, ``reason``, counts; ``beyond``, whether the plate is farther
            than every reference plate and has enough cells; ``p``, the rank among the m Training
            plates, and ``smallest_p``; by view ``distances``, ``usual`` (the distance above which
            the view makes the plate shifted) and ``view_p``; ``t_p``, the p that decides; ``score``
            and its ``limit``, in standard deviations over Training's plates.
        """
        m = len(self._known["training"])
        entry: dict[str, Any] = {
            "plate": plate.plate,
            "n_cells": plate.n_cells,
            "n_wells": plate.n_wells,
            "classes": plate.classes.tolist(),
            "smallest_p": 1 / (m + 1),
        }
        comparable = len(plate.classes) > 0 and m >= MIN_REFERENCE_PLATES
        entry |= self._figures(plate) if comparable else _NO_FIGURES
        obstacle = _obstacle(plate, m, self._has_ids)
        if obstacle is None and entry["score"] > entry["limit"]:
            verdict, reason = SHIFTED, _shifted_reason(entry)
        elif obstacle is None and plate.noise_share <= MAX_NOISE_SHARE:
            verdict, reason = IN_RANGE, _in_range_reason(entry)
        else:
            verdict, reason = CANNOT_TELL, obstacle or _noise_reason(plate)
        farthest = entry["known_plates"] > 0 and entry["known_nearer"] == entry["known_plates"]
        beyond = farthest and plate.n_cells >= MIN_CELLS_PER_PLATE
        return entry | {"verdict": verdict, "reason": reason, "beyond": beyond}

    def _figures(self, plate: ComparedPlate) -> dict[str, Any]:
        """Score a plate against the reference plates, these by choices of as many classes."""
        n_classes = len(plate.classes)
        if n_classes not in self._scales:
            self._scales[n_classes] = _Scale(self._known, n_classes, self._allowance)
        scale = self._scales[n_classes]
        views = scale.standardise(plate).mean(axis=0)
        score, p = float(views.max()), scale.p_values(views)
        floor = 1 / (scale.m + 1)
        return {
            "p": scale.rank(plate),
            "score": score,
            "limit": scale.limit,
            "t_p": float(p.min()),
            "noise_share": plate.noise_share,
            "known_plates": len(scale.known_scores),
            "known_nearer": int((scale.known_scores < score).sum()),
            "distances": plate.distances(),
            "usual": scale.usual(),
            "view_p": {view: max(float(own), floor) for view, own in zip(VIEWS, p, strict=True)},
            "stands_out_in": VIEWS[int(views.argmax())],
        }


_NO_FIGURES: dict[str, Any] = {
    "p": None,
    "score": None,
    "limit": None,
    "t_p": None,
    "noise_share": None,
    "known_plates": 0,
    "known_nearer": 0,
    "distances": dict.fromkeys(VIEWS),
    "usual": dict.fromkeys(VIEWS),
    "view_p": dict.fromkeys(VIEWS),
    "stands_out_in": None,
}


class _Scale:
    """Standardises log distances of the views by mean and deviation over the Training plates.

    The score of a plate is the largest standardised view. Its limit is a quantile of the scores of
    new plates of the same population: one test for three views.
    """

    def __init__(self, known: ReferencePlates, n_classes: int, allowance: np.ndarray) -> None:
        # Distances of plates with few classes vary more, so that plates are compared by choices
        # of the same number of classes.
        self.n_classes = n_classes
        self._logs = [plate.log_distances(n_classes) for plate in known["training"]]
        self.m = len(self._logs)
        self.mean, self.deviation = _moments(self._logs)
        self._allowance = allowance * self.deviation
        scores = {
            split: [self._standardise(self._logs_of(plate, split)).max(axis=1) for plate in plates]
            for split, plates in known.items()
        }
        self.known_scores = np.array(
            [choices.mean() for plates in scores.values() for choices in plates]
        )
        self._maxima = null_maxima(self.m, view_correlation(self._logs))
        self.limit = float(np.quantile(self._maxima, 1 - ALPHA))

    def standardise(self, plate: ComparedPlate) -> np.ndarray:
        """Return the standardised views of a new plate by choice of classes, (choices, views)."""
        return self._standardise(self._logs_of(plate))

    def _logs_of(self, plate: ComparedPlate, split: str = "") -> np.ndarray:
        """Return log distances, less the allowance for plates that are not of Training."""
        logs = plate.log_distances(self.n_classes)
        return logs if split == "training" else logs - self._allowance

    def _standardise(self, logs: np.ndarray) -> np.ndarray:
        standardised: np.ndarray = (logs - self.mean) / self.deviation
        return standardised

    def p_values(self, views: np.ndarray) -> np.ndarray:
        """Return for each view the share of null plates whose largest view is larger, (views,)."""
        return p_value(views, self._maxima)

    def rank(self, plate: ComparedPlate) -> float:
        """Return the rank p of a plate among the Training plates."""
        # Mean and deviation include the plate itself: only then are all m + 1 exchangeable.
        own = self._logs_of(plate)
        mean, deviation = _moments([*self._logs, own])
        scores = [((logs - mean) / deviation).max(axis=1) for logs in [*self._logs, own]]
        return conformal_rank(float(scores[-1].mean()), scores[:-1])

    def usual(self) -> dict[str, float]:
        """Return the distance in each view above which the plate is shifted."""
        values = np.exp(self.mean + self.limit * self.deviation + self._allowance)
        return {view: float(value) for view, value in zip(VIEWS, values, strict=True)}


def _moments(logs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    mean, deviation = plate_moments(logs)
    return mean, np.maximum(deviation, MIN_LOG_DEVIATION)


def _obstacle(plate: ComparedPlate, m: int, has_ids: dict[str, bool]) -> str | None:
    """Return why no verdict can be given, in one sentence, or None."""
    for name, present in has_ids.items():
        if not present:
            return (
                f"The file has no {name} ids, or has them of too few cells, and without them the "
                "differences between ordinary plates and wells cannot be told from a shift."
            )
    if m < MIN_REFERENCE_PLATES:
        return (
            f"The model remembers {m} plates that a new one can be compared with; at least "
            f"{MIN_REFERENCE_PLATES} are needed to know how much plates ordinarily differ."
        )
    if plate.n_cells < MIN_CELLS_PER_PLATE:
        return (
            f"The plate has {plate.n_cells} cells; with fewer than {MIN_CELLS_PER_PLATE} chance "
            "alone moves its averages as much as a shift would."
        )
    if plate.n_wells < MIN_WELLS:
        return (
            f"All cells come from {plate.n_wells} well; with fewer than {MIN_WELLS} a peculiar "
            "well cannot be told from a shifted plate."
        )
    if len(plate.classes) == 0:
        return (
            "There are too few cells of any one class, or too few Training plates that carry the "
            "classes that the model found on this plate."
        )
    return None


def _noise_reason(plate: ComparedPlate) -> str:
    return (
        f"The plate looks ordinary, but {plate.n_cells} cells in {plate.n_wells} wells are too few "
        "to notice if it were not: chance moves their averages more than plates differ."
    )


def _in_range_reason(entry: dict[str, Any]) -> str:
    return (
        "The plate differs from those that the model was trained on no more than they usually "
        f"differ from each other; closest to the limit {_distance_words(entry)}."
    )


def _shifted_reason(entry: dict[str, Any]) -> str:
    differs = (
        "The plate differs from those that the model was trained on more than they usually differ "
        f"from each other: {_distance_words(entry)}"
    )
    if entry["known_nearer"] < entry["known_plates"]:
        return f"{differs}."
    return (
        f"The plate lies far outside what the model knows, beyond all {entry['known_plates']} "
        f"reference plates of Training and the test sets: {_distance_words(entry)}."
    )


def _distance_words(entry: dict[str, Any]) -> str:
    view = entry["stands_out_in"]
    return (
        f"{VIEW_WORDS[view]} {entry['distances'][view]:.1f} times the ordinary difference between "
        f"plates, where up to {entry['usual'][view]:.1f} is usual"
    )


def overall(plates: list[dict[str, Any]]) -> tuple[str, str]:
    """Return verdict and reason for a file of one or more plates."""
    if len(plates) == 1:
        return plates[0]["verdict"], plates[0]["reason"]
    shifted = [plate for plate in plates if plate["verdict"] == SHIFTED]
    unjudged = [plate for plate in plates if plate["verdict"] == CANNOT_TELL]
    total = sum(plate["n_cells"] for plate in plates)
    chance = f"{ALPHA * len(plates):.1f} expected by chance if none were"
    judged = [plate["t_p"] for plate in plates if plate["verdict"] != CANNOT_TELL]
    beyond = any(plate["beyond"] for plate in shifted)
    if shifted and (beyond or simes(np.array(judged)) <= ALPHA):
        worst = max(shifted, key=lambda plate: plate["score"])
        detail = worst["reason"].replace("The plate", "The farthest", 1)
        return SHIFTED, f"{len(shifted)} of {len(plates)} plates are shifted ({chance}). {detail}"
    if sum(plate["n_cells"] for plate in unjudged) > MAX_UNJUDGED_SHARE * total:
        first = unjudged[0]["reason"]
        return CANNOT_TELL, f"{len(unjudged)} of {len(plates)} plates cannot be judged. {first}"
    remark = f"; {len(unjudged)} cannot be judged" if unjudged else ""
    if not shifted:
        return IN_RANGE, f"None of {len(plates)} plates is shifted ({chance}){remark}."
    shifted_alone = "1 plate is" if len(shifted) == 1 else f"{len(shifted)} plates are"
    return IN_RANGE, (
        f"Of {len(plates)} plates {shifted_alone} shifted when looked at alone ({chance}), which "
        f"is not enough to call the whole file shifted{remark}."
    )
