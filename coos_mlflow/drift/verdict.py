"""The verdict on plates: in range, shifted, or cannot tell, with a reason in plain words.

A plate is shifted when the view in which it stands out most passes what 95 % of further plates of
the Training population reach in theirs, were log distances normal: one test for all views.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coos_mlflow.drift import CANNOT_TELL, IN_RANGE, SHIFTED
from coos_mlflow.drift.conformal_rank import conformal_rank
from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.drift.max_t import null_maxima, p_value, view_correlation
from coos_mlflow.drift.placement import PlacedPlate
from coos_mlflow.drift.plate_moments import plate_moments
from coos_mlflow.drift.simes import simes

ALPHA = 0.05
"""Share of plates, and of files of them, from the reference's own population that may be called
shifted; a file is so too if one of its plates lies farther than all that is known."""

LEAST_PLATES = 5
"""Reference plates below which no limit is drawn."""

LEAST_CELLS = 50
"""Cells below which a plate is not judged at all."""

LEAST_WELLS = 2
"""Wells below which what belongs to the plate cannot be told from what belongs to the well."""

MOST_NOISE = 0.5
"""Share of the expected distance that may be owed to having few cells: above it, a plate as
unusual as plates ever are would look like an ordinary one."""

UNJUDGED_CELLS = 0.05
"""Share of a file's cells that may lie on plates that cannot be judged."""

LEAST_LOG_SPREAD = 0.1
"""Least standard deviation of log distances over plates: 10 % of a distance."""

SEEN_ALLOWANCE = 1.0
"""Deviations by which a new plate may lie farther in the views that a network computes, where the
network has learnt from the plates of its reference: it has learnt to overlook what is peculiar to
them. On simulated plates of Training's population, other ones than those that judge the verdict
(docs/drift.md), new plates lay 0.6 to 1.5 deviations farther in these views."""

LEARNT_VIEWS = ("softmax", "features")
"""Views that the representation has a part in."""

VIEW_WORDS = {
    "softmax": "the model's answers differ by",
    "features": "what the model sees differs by",
    "raw": "the raw images differ by",
}

Known = dict[str, list[PlacedPlate]]


def allowance(training_predictions: str) -> dict[str, float]:
    """Return by view how much farther new plates may lie; see `Reference.training_predictions`."""
    seen = training_predictions != "plates"
    return {view: SEEN_ALLOWANCE if seen and view in LEARNT_VIEWS else 0.0 for view in VIEWS}


class Judge:
    """Judges plates against the reference plates of a model version.

    Parameters
    ----------
    known : dict of list of PlacedPlate
        The reference plates by split.
    has_plate_ids, has_well_ids : bool
        Whether the file names plates and wells.
    allowance : dict of float
        By view, deviations by which new plates may lie farther; see `allowance`.
    """

    def __init__(
        self,
        known: Known,
        *,
        has_plate_ids: bool,
        has_well_ids: bool,
        allowance: dict[str, float],
    ) -> None:
        self._known = known
        self._allowance = np.array([allowance[view] for view in VIEWS])
        self._has_ids = {"plate": has_plate_ids, "well": has_well_ids}
        self._scales: dict[int, _Scale] = {}

    def judge(self, plate: PlacedPlate) -> dict[str, Any]:
        """Judge a plate.

        Returns
        -------
        dict
            ``plate``, ``verdict``, ``reason``, ``beyond`` (whether it is farther than every
            reference plate, by cells enough to tell), counts, ``p`` (the rank among the m Training
            plates) and ``smallest_p``; ``distances``, ``usual`` (the distance beyond which a view
            makes the plate shifted) and ``view_p`` by view; ``t_p``, the p that decides; ``score``
            and ``limit``, the view that stands out most on the scale of Training's plates.
        """
        m = len(self._known["training"])
        entry: dict[str, Any] = {
            "plate": plate.plate,
            "n_cells": plate.n_cells,
            "n_wells": plate.n_wells,
            "classes": plate.classes.tolist(),
            "smallest_p": 1 / (m + 1),
        }
        comparable = len(plate.classes) > 0 and m >= LEAST_PLATES
        entry |= self._standing(plate) if comparable else _NO_STANDING
        obstacle = _obstacle(plate, m, self._has_ids)
        if obstacle is None and entry["score"] > entry["limit"]:
            verdict, reason = SHIFTED, _shifted_reason(entry)
        elif obstacle is None and plate.noise_share <= MOST_NOISE:
            verdict, reason = IN_RANGE, _in_range_reason(entry)
        else:
            verdict, reason = CANNOT_TELL, obstacle or _noise_reason(plate)
        farthest = entry["known_plates"] > 0 and entry["known_nearer"] == entry["known_plates"]
        beyond = farthest and plate.n_cells >= LEAST_CELLS
        return entry | {"verdict": verdict, "reason": reason, "beyond": beyond}

    def _standing(self, plate: PlacedPlate) -> dict[str, Any]:
        """Place a plate among the reference plates, each judged by no more classes than it is."""
        n_classes = len(plate.classes)
        if n_classes not in self._scales:
            self._scales[n_classes] = _Scale(self._known, n_classes, self._allowance)
        scale = self._scales[n_classes]
        place = scale.place(plate).mean(axis=0)
        score, p = float(place.max()), scale.p_values(place)
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
            "view_p": {v: max(float(one), floor) for v, one in zip(VIEWS, p, strict=True)},
            "stands_out_in": VIEWS[int(place.argmax())],
        }


_NO_STANDING: dict[str, Any] = {
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
    """Puts log distances of the views on the scale of the Training plates: mean 0, deviation 1.

    A plate is scored by the view in which it stands out most, and the score is compared with what
    further plates of the same population would reach in theirs: one test for three views.
    """

    def __init__(self, known: Known, n_classes: int, allowance: np.ndarray) -> None:
        # Plates of few classes scatter more than plates of many: compare like with like.
        self.n_classes = n_classes
        self._logs = [plate.log_distances(n_classes) for plate in known["training"]]
        self.m = len(self._logs)
        self.mean, self.deviation = _moments(self._logs)
        self._allowance = allowance * self.deviation
        scores = {
            split: [self._place(self._logs_of(one, split)).max(axis=1) for one in known[split]]
            for split in known
        }
        self.known_scores = np.array([one.mean() for split in scores.values() for one in split])
        self._maxima = null_maxima(self.m, view_correlation(self._logs))
        self.limit = float(np.quantile(self._maxima, 1 - ALPHA))

    def place(self, plate: PlacedPlate) -> np.ndarray:
        """Return where a new plate stands, by every choice of its classes, (choices, views)."""
        return self._place(self._logs_of(plate))

    def _logs_of(self, plate: PlacedPlate, split: str = "") -> np.ndarray:
        logs = plate.log_distances(self.n_classes)
        return logs if split == "training" else logs - self._allowance

    def _place(self, logs: np.ndarray) -> np.ndarray:
        placed: np.ndarray = (logs - self.mean) / self.deviation
        return placed

    def p_values(self, place: np.ndarray) -> np.ndarray:
        """Return for each view the share of plates whose farthest view lies beyond, (views,)."""
        return p_value(place, self._maxima)

    def rank(self, plate: PlacedPlate) -> float:
        """Return the rank p of a plate among the Training plates, itself part of the scale."""
        own = self._logs_of(plate)
        mean, deviation = _moments([*self._logs, own])
        scores = [((logs - mean) / deviation).max(axis=1) for logs in [*self._logs, own]]
        return conformal_rank(float(scores[-1].mean()), scores[:-1])

    def usual(self) -> dict[str, float]:
        """Return the distance in each view beyond which the plate is shifted."""
        values = np.exp(self.mean + self.limit * self.deviation + self._allowance)
        return {view: float(value) for view, value in zip(VIEWS, values, strict=True)}


def _moments(logs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    mean, deviation = plate_moments(logs)
    return mean, np.maximum(deviation, LEAST_LOG_SPREAD)


def _obstacle(plate: PlacedPlate, m: int, has_ids: dict[str, bool]) -> str | None:
    """Return why no verdict can be given, in one sentence, or None."""
    for name, present in has_ids.items():
        if not present:
            return (
                f"The file has no {name} ids, or has them of too few cells, and without them the "
                "differences between ordinary plates and wells cannot be told from a shift."
            )
    if m < LEAST_PLATES:
        return (
            f"The model remembers {m} plates that a new one can be compared with; at least "
            f"{LEAST_PLATES} are needed to know how much plates ordinarily differ."
        )
    if plate.n_cells < LEAST_CELLS:
        return (
            f"The plate has {plate.n_cells} cells; with fewer than {LEAST_CELLS} chance alone "
            "moves its averages as much as a shift would."
        )
    if plate.n_wells < LEAST_WELLS:
        return (
            f"All cells come from {plate.n_wells} well; with fewer than {LEAST_WELLS} a peculiar "
            "well cannot be told from a shifted plate."
        )
    if len(plate.classes) == 0:
        return (
            "There are too few cells of any one class, or too few Training plates that carry the "
            "classes that the model found on this plate."
        )
    return None


def _noise_reason(plate: PlacedPlate) -> str:
    return (
        f"The plate looks ordinary, but {plate.n_cells} cells in {plate.n_wells} wells are too few "
        "to notice if it were not: chance moves their averages more than plates differ."
    )


def _in_range_reason(entry: dict[str, Any]) -> str:
    return (
        "The plate differs from those that the model was trained on no more than they usually "
        f"differ from each other; closest to the limit {_standing_words(entry)}."
    )


def _shifted_reason(entry: dict[str, Any]) -> str:
    differs = (
        "The plate differs from those that the model was trained on more than they usually differ "
        f"from each other: {_standing_words(entry)}"
    )
    if entry["known_nearer"] < entry["known_plates"]:
        return f"{differs}."
    return (
        f"The plate lies far outside what the model knows, beyond all {entry['known_plates']} "
        f"reference plates of Training and the test sets: {_standing_words(entry)}."
    )


def _standing_words(entry: dict[str, Any]) -> str:
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
    if sum(plate["n_cells"] for plate in unjudged) > UNJUDGED_CELLS * total:
        first = unjudged[0]["reason"]
        return CANNOT_TELL, f"{len(unjudged)} of {len(plates)} plates cannot be judged. {first}"
    aside = f"; {len(unjudged)} cannot be judged" if unjudged else ""
    if not shifted:
        return IN_RANGE, f"None of {len(plates)} plates is shifted ({chance}){aside}."
    alone = "1 plate is" if len(shifted) == 1 else f"{len(shifted)} plates are"
    return IN_RANGE, (
        f"Of {len(plates)} plates {alone} shifted when looked at alone ({chance}), which is not "
        f"enough to call the whole file shifted{aside}."
    )
