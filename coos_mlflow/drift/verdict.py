"""The verdict on plates: in range, shifted, or cannot tell, with a reason in plain words.

A plate is shifted when its distance in a view passes the t prediction limit of the Training plates'
distances, alpha shared out among the views by Holm's method.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coos_mlflow.drift.inference.conformal_rank import conformal_rank
from coos_mlflow.drift.inference.holm import holm
from coos_mlflow.drift.inference.prediction_interval import (
    exceedance,
    plate_moments,
    upper_limit,
)
from coos_mlflow.drift.inference.simes import simes
from coos_mlflow.drift.ladder import PlacedPlate
from coos_mlflow.drift.views import VIEWS

IN_RANGE, SHIFTED, CANNOT_TELL = "in range", "shifted", "cannot tell"

ALPHA = 0.05
"""Share of plates, and of files of them, from the reference's own population that may be called
shifted."""

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

VIEW_WORDS = {
    "softmax": "the model's answers differ by",
    "features": "what the model sees differs by",
    "raw": "the raw images differ by",
}

Known = dict[str, list[PlacedPlate]]


def judge(plate: PlacedPlate, known: Known, has_ids: tuple[bool, bool]) -> dict[str, Any]:
    """Judge a plate.

    Parameters
    ----------
    plate : PlacedPlate
    known : dict of list of PlacedPlate
        The reference plates by split.
    has_ids : tuple of bool
        Whether the file names plates and wells.

    Returns
    -------
    dict
        ``plate``, ``verdict``, ``reason``, ``beyond`` (whether it is shifted and farther than
        every reference plate), counts, ``p`` (the rank among the m Training plates)
        and ``smallest_p``; ``distances``, ``usual`` (the distance beyond which a view is shifted)
        and ``view_p`` by view; ``exceedance``, the share of plates expected beyond this one;
        ``score`` and ``limit``, the view that stands out most on the scale of Training's plates.
    """
    m = len(known["training"])
    entry: dict[str, Any] = {
        "plate": plate.plate,
        "n_cells": plate.n_cells,
        "n_wells": plate.n_wells,
        "classes": plate.classes.tolist(),
        "smallest_p": 1 / (m + 1),
    }
    comparable = len(plate.classes) > 0 and m >= LEAST_PLATES
    entry |= _standing(plate, known) if comparable else _NO_STANDING
    obstacle = _obstacle(plate, m, has_ids)
    if obstacle is None and entry["score"] > entry["limit"]:
        verdict, reason = SHIFTED, _shifted_reason(entry)
    elif obstacle is None and plate.noise_share <= MOST_NOISE:
        verdict, reason = IN_RANGE, _in_range_reason(entry)
    else:
        verdict, reason = CANNOT_TELL, obstacle or _noise_reason(plate)
    beyond = verdict == SHIFTED and entry["known_nearer"] == entry["known_plates"]
    return entry | {"verdict": verdict, "reason": reason, "beyond": beyond}


_NO_STANDING: dict[str, Any] = {
    "p": None,
    "score": None,
    "limit": None,
    "exceedance": None,
    "noise_share": None,
    "known_plates": 0,
    "known_nearer": 0,
    "distances": dict.fromkeys(VIEWS),
    "usual": dict.fromkeys(VIEWS),
    "view_p": dict.fromkeys(VIEWS),
    "stands_out_in": None,
}


class _Scale:
    """Puts log distances of the views on the scale of the Training plates: mean 0, deviation 1."""

    def __init__(self, training: list[PlacedPlate], n_classes: int) -> None:
        # Plates of few classes scatter more than plates of many: compare like with like.
        self.n_classes = n_classes
        logs = [plate.log_distances(n_classes) for plate in training]
        self.mean, deviation = plate_moments(logs)
        self.deviation = np.maximum(deviation, LEAST_LOG_SPREAD)
        self.m = len(training)
        self.limit = upper_limit(ALPHA / len(VIEWS), self.m)

    def place(self, plate: PlacedPlate) -> np.ndarray:
        """Return where a plate stands, by every choice of its classes, shape (choices, views)."""
        return (plate.log_distances(self.n_classes) - self.mean) / self.deviation

    def usual(self) -> dict[str, float]:
        """Return the distance in each view beyond which that view is shifted."""
        values = np.exp(self.mean + self.limit * self.deviation)
        return {view: float(value) for view, value in zip(VIEWS, values, strict=True)}


def _standing(plate: PlacedPlate, known: Known) -> dict[str, Any]:
    """Place a plate among the reference plates, each judged by no more classes than it is."""
    scale = _Scale(known["training"], len(plate.classes))
    place = scale.place(plate).mean(axis=0)
    scores = {split: [scale.place(one).max(axis=1) for one in known[split]] for split in known}
    others = np.array([score.mean() for split in scores.values() for score in split])
    score, adjusted = float(place.max()), holm(exceedance(place, scale.m))
    floor = 1 / (scale.m + 1)
    return {
        "p": conformal_rank(score, scores["training"]),
        "score": score,
        "limit": scale.limit,
        "exceedance": float(adjusted.min()),
        "noise_share": plate.noise_share,
        "known_plates": len(others),
        "known_nearer": int((others < score).sum()),
        "distances": plate.distances(),
        "usual": scale.usual(),
        "view_p": {v: max(float(p), floor) for v, p in zip(VIEWS, adjusted, strict=True)},
        "stands_out_in": VIEWS[int(place.argmax())],
    }


def _obstacle(plate: PlacedPlate, m: int, has_ids: tuple[bool, bool]) -> str | None:
    """Return why no verdict can be given, in one sentence, or None."""
    for present, name in zip(has_ids, ("plate", "well"), strict=True):
        if not present:
            return (
                f"The file has no {name} ids, and without them the differences between ordinary "
                "plates and wells cannot be told from a shift."
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
        return "No reference plates carry the classes that the model found on this plate."
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
    judged = [plate["exceedance"] for plate in plates if plate["verdict"] != CANNOT_TELL]
    if shifted and simes(np.array(judged)) <= ALPHA:
        worst = max(shifted, key=lambda plate: plate["score"])
        detail = worst["reason"].replace("The plate", "The farthest", 1)
        return SHIFTED, f"{len(shifted)} of {len(plates)} plates are shifted ({chance}). {detail}"
    if sum(plate["n_cells"] for plate in unjudged) > UNJUDGED_CELLS * total:
        first = unjudged[0]["reason"]
        return CANNOT_TELL, f"{len(unjudged)} of {len(plates)} plates cannot be judged. {first}"
    aside = f"; {len(unjudged)} cannot be judged" if unjudged else ""
    count = f"{len(shifted)} of" if shifted else "None of"
    also = ", no more than chance explains; look at the plates that stand out" if shifted else ""
    is_are = "are" if len(shifted) > 1 else "is"
    return IN_RANGE, f"{count} {len(plates)} plates {is_are} shifted ({chance}){also}{aside}."
