"""The verdict on plates: in range, shifted, or cannot tell, with a reason in plain words.

A plate is tested as a whole, class by class, and by its farthest wells (`plate_test`). It is
shifted if one of these scores exceeds its limit; the limits are such that together they are
exceeded by 5 % of new plates of Training's population.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from coos_mlflow.drift import CANNOT_TELL, IN_RANGE, MIN_CELLS_PER_PLATE, SHIFTED
from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.drift.placement import ComparedPlate
from coos_mlflow.drift.plate_scale import PlateScale, ReferencePlates
from coos_mlflow.drift.plate_test import simes
from coos_mlflow.plates.columns import shown

ALPHA = 0.05
"""False alarm rate: share of unshifted plates that may be called shifted, on average over
references."""

FILE_ALPHA = 0.02
"""Level of the test of a file with several plates. They share the errors of one reference, and the
smallest of many p comes from a tail that a few plates do not show: of files of 20 plates of twelve
development registries, 13 % were called shifted at 5 %, and 5 % at 2 %."""

MIN_REFERENCE_PLATES = 5
"""With fewer reference plates no limit is computed."""

MIN_WELLS = 2
"""With fewer wells an unusual well cannot be distinguished from an unusual plate."""

MAX_NOISE_SHARE = 0.5
"""Maximum share of the expected distance that may come from having few cells. Above it, even a very
unusual plate would look ordinary."""

MAX_EXTRA_DISAGREEMENT = 10.0
"""Points, mean over classes, by which cells may be labelled otherwise than their well more often
than on Training's plates. On plates of one, two and many classes, simulated for development from
Training's population, 3 %, 0.3 % and none exceeded it."""

MAX_UNJUDGED_SHARE = 0.05
"""Maximum share of a file's cells on plates that cannot be judged."""

SEEN_ALLOWANCE = 1.0
"""Allowance, in standard deviations, for new plates in the views that a network computes, if the
network was trained on the plates of its reference. It has then learnt to ignore the peculiarities
of these plates, but not those of new ones. On simulated plates of Training's population, new plates
lay 0.6 to 1.5 deviations farther in these views. These plates are not those on which the verdict
was validated (docs/drift.md)."""

LEARNT_VIEWS = ("softmax", "features")
"""Views that depend on the representation."""

_CLASS_VIEW_WORDS = {"softmax": "the model's answers", "raw": "the raw images"}

VIEW_WORDS = {
    "softmax": "the model's answers differ by",
    "features": "what the model sees differs by",
    "raw": "the raw images differ by",
}


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
    allowance : dict of float
        By view, in standard deviations; see `allowance`.
    usual_errors : ndarray, shape (classes of the model,)
        Share of wrong labels of each class on Training's plates, each left out.
    """

    def __init__(
        self, known: ReferencePlates, *, allowance: dict[str, float], usual_errors: np.ndarray
    ) -> None:
        self.m = len(known["training"])
        self._known = known
        self._usual_errors = usual_errors
        self._scale = (
            PlateScale(known, allowance, ALPHA) if self.m >= MIN_REFERENCE_PLATES else None
        )

    def sensitivity(self) -> dict[str, Any]:
        """Return how well the reference's own plates are told apart; see `docs/drift.md`.

        Returns
        -------
        dict
            ``alarms``, the number of Training's plates that would be called shifted, each compared
            with the others, ``of`` all m, and ``found``: by split the share of plates with a shift
            of its size that would be called shifted. The share is the normal probability that the
            largest margin over a limit is above 0, with mean and deviation of the split's plates.
        """
        if self._scale is None:
            return {"alarms": None, "of": self.m, "found": {}}
        margins = {
            split: np.array([self._scale.margin(p, new=split != "training") for p in plates])
            for split, plates in self._known.items()
        }
        found = {
            split: float(norm.cdf(own.mean() / max(own.std(ddof=1), 0.1)))
            for split, own in margins.items()
            if split != "training" and len(own) > 1
        }
        alarms = int(np.count_nonzero(margins["training"] > 0))
        return {"alarms": alarms, "of": self.m, "found": found}

    def judge(
        self,
        plate: ComparedPlate,
        *,
        has_plate_ids: bool = True,
        has_well_ids: bool = True,
        n_plates: int = 1,
    ) -> dict[str, Any]:
        """Judge a plate.

        Parameters
        ----------
        plate : ComparedPlate
        has_plate_ids, has_well_ids : bool
            Whether the file names plates and wells.
        n_plates : int
            Plates of the file.

        Returns
        -------
        dict
            ``plate``, ``verdict``, ``reason``, counts; ``beyond``, whether the plate is shifted,
            farther than every reference plate, and so unusual that it would be among all plates of
            the file; ``p``, the rank among the m Training plates, and ``smallest_p``; by view
            ``distances``, ``usual`` (the distance above which the view makes the plate shifted) and
            ``view_p``; ``t_p``, the p that decides; ``score`` of the whole plate and its ``limit``;
            ``by_class``, ``not_judged`` and ``odd_wells``.
        """
        entry: dict[str, Any] = {
            "plate": plate.plate,
            "n_cells": plate.n_cells,
            "n_wells": plate.n_wells,
            "classes": plate.classes.tolist(),
            "smallest_p": 1 / (self.m + 1),
            "not_judged": [{"class": label, "n_cells": n} for label, n in plate.not_judged.items()],
        }
        comparable = self._scale is not None and len(plate.classes) > 0
        entry |= self._scale.figures(plate) if comparable and self._scale else _NO_FIGURES
        entry["disagreeing"], entry["usually_disagreeing"] = self._disagreement(plate)
        farthest = entry["known_plates"] > 0 and entry["known_nearer"] == entry["known_plates"]
        beyond = farthest and plate.n_cells >= MIN_CELLS_PER_PLATE
        beyond = beyond and entry["t_p"] <= file_alpha(n_plates) / n_plates
        has_ids = {"plate": has_plate_ids, "well": has_well_ids}
        excess = entry["disagreeing"] - entry["usually_disagreeing"] > MAX_EXTRA_DISAGREEMENT
        obstacle = _obstacle(plate, self.m, has_ids)
        if obstacle is None and (entry["exceeded"] or beyond):
            verdict, reason = SHIFTED, _shifted_reason(entry, beyond=beyond)
        elif beyond and all(has_ids.values()):
            verdict, reason = SHIFTED, f"{_shifted_reason(entry, beyond=True)} {obstacle}"
        elif obstacle is None and plate.noise_share > MAX_NOISE_SHARE:
            verdict, reason = CANNOT_TELL, _noise_reason(plate)
        elif obstacle is not None:
            verdict, reason = CANNOT_TELL, obstacle
        elif excess:
            verdict, reason = CANNOT_TELL, _disagreement_reason(entry)
        else:
            verdict, reason = IN_RANGE, _in_range_reason(entry)
        # Without an obstacle, such a plate was compared, and its labels speak for themselves.
        judged = verdict != CANNOT_TELL or (excess and obstacle is None)
        return entry | {
            "verdict": verdict,
            "reason": reason,
            "beyond": beyond,
            "judged": judged,
        }

    def _disagreement(self, plate: ComparedPlate) -> tuple[float, float]:
        """Return how many cells are labelled otherwise than their well, here and usually, in %."""
        if len(plate.wells) == 0:
            return 0.0, 0.0
        usual = self._usual_errors[plate.classes]
        return 100 * float(plate.disagreeing.mean()), 100 * float(usual.mean())


_NO_FIGURES: dict[str, Any] = {
    "p": None,
    "score": None,
    "limit": None,
    "t_p": None,
    "exceeded": None,
    "noise_share": None,
    "known_plates": 0,
    "known_nearer": 0,
    "distances": dict.fromkeys(VIEWS),
    "usual": dict.fromkeys(VIEWS),
    "view_p": dict.fromkeys(VIEWS),
    "stands_out_in": None,
    "by_class": [],
    "odd_wells": [],
}


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


def _disagreement_reason(entry: dict[str, Any]) -> str:
    return (
        f"The images look ordinary, but the labels do not: {entry['disagreeing']:.0f} % of the "
        "cells are labelled otherwise than their well, where "
        f"{entry['usually_disagreeing']:.0f} % are usual."
    )


def _in_range_reason(entry: dict[str, Any]) -> str:
    return (
        "The plate differs from those that the model was trained on no more than they usually "
        f"differ from each other. Closest to the limit: {_distance_words(entry)}."
    )


def _shifted_reason(entry: dict[str, Any], *, beyond: bool) -> str:
    if beyond:
        return (
            "The plate lies far outside what the model knows, beyond all "
            f"{entry['known_plates']} reference plates of Training and the test sets: "
            f"{_distance_words(entry)}."
        )
    if "plate" in entry["exceeded"]:
        return (
            "The plate differs from those that the model was trained on more than they usually "
            f"differ from each other: {_distance_words(entry)}."
        )
    if "class" in entry["exceeded"]:
        return ONE_CLASS
    return ODD_WELLS


ONE_CLASS = (
    "The plate looks ordinary as a whole, but the cells of single classes differ from those that "
    "the model was trained on more than they usually do."
)

ODD_WELLS = (
    "The plate looks ordinary as a whole, but some of its wells lie farther from every class that "
    "the model knows than wells usually do."
)

MAX_NAMED = 5
"""Largest number of classes or wells that a reason names; the others are counted."""


def named_reason(entry: dict[str, Any], class_names: Sequence[str]) -> str:
    """Return the reason of a judged plate with the names of its odd classes and wells.

    Parameters
    ----------
    entry : dict
        From `Judge.judge`.
    class_names : sequence of str
        By label.
    """
    if entry["verdict"] != SHIFTED or "plate" in (entry["exceeded"] or ()):
        return str(entry["reason"])
    return f"{entry['reason']}{_class_details(entry, class_names)}{_well_details(entry)}"


def _class_details(entry: dict[str, Any], class_names: Sequence[str]) -> str:
    shifted = [one for one in entry["by_class"] if one["shifted"]]
    if not shifted:
        return ""
    farthest_first = sorted(shifted, key=lambda one: -one["score"])
    words = [
        f"{class_names[one['class']]} differs in {_CLASS_VIEW_WORDS[one['view']]} "
        f"({one['score']:.1f} standard deviations, up to {one['limit']:.1f} is usual)"
        for one in farthest_first[:MAX_NAMED]
    ]
    return f" {'; '.join(words)}{_more(len(shifted))}."


def _well_details(entry: dict[str, Any]) -> str:
    odd = entry["odd_wells"]
    if not odd:
        return ""
    look = "looks" if len(odd) == 1 else "look"
    names = ", ".join(shown(name, 40) for name in odd[:MAX_NAMED])
    return (
        f" {len(odd)} of {entry['n_wells']} wells {look} like none of the classes: "
        f"{names}{_more(len(odd))}."
    )


def _more(n: int) -> str:
    return f" and {n - MAX_NAMED} more" if n > MAX_NAMED else ""


def _distance_words(entry: dict[str, Any]) -> str:
    view = entry["stands_out_in"]
    return (
        f"{VIEW_WORDS[view]} {entry['distances'][view]:.1f} times the ordinary difference between "
        f"plates, where up to {entry['usual'][view]:.1f} is usual"
    )


def file_alpha(n_plates: int) -> float:
    """Return the level of the test of a file of `n_plates` plates."""
    return ALPHA if n_plates == 1 else FILE_ALPHA


def overall(plates: list[dict[str, Any]]) -> tuple[str, str]:
    """Return verdict and reason for a file of one or more plates."""
    if len(plates) == 1:
        return plates[0]["verdict"], plates[0]["reason"]
    shifted = [plate for plate in plates if plate["verdict"] == SHIFTED]
    unjudged = [plate for plate in plates if plate["verdict"] == CANNOT_TELL]
    total = sum(plate["n_cells"] for plate in plates)
    chance = f"{ALPHA * len(plates):.1f} expected by chance if none were"
    judged = [plate["t_p"] for plate in plates if plate["verdict"] != CANNOT_TELL]
    if shifted and simes(np.array(judged)) <= file_alpha(len(plates)):
        worst = max(shifted, key=lambda plate: plate["score"])
        detail = worst["reason"].replace("The plate", "The farthest", 1)
        are = "is" if len(shifted) == 1 else "are"
        return (
            SHIFTED,
            f"{len(shifted)} of {len(plates)} plates {are} shifted ({chance}). {detail}",
        )
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
