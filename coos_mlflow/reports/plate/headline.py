"""The first block of a page: the verdict on the file, and what to do with its labels.

Open it to change the sentences that tell a reader whether to use, check or discard the labels.
"""

from __future__ import annotations

from typing import Any

from coos_mlflow.drift import CANNOT_TELL, IN_RANGE, SHIFTED
from coos_mlflow.drift.error_estimate import AT_LEAST, MEASURED
from coos_mlflow.reports.plate.controls import first_sentence
from coos_mlflow.reports.plate.doubts import ALWAYS_A_CLASS, doubts
from coos_mlflow.reports.plate.labelled import MAX_USABLE_ERROR, adapted_trust
from coos_mlflow.reports.plate.labelled import trust as measured_trust
from coos_mlflow.reports.plate.wording import estimate, percent, plates_words

_KNOWN_PLATES = {
    "plates": "On Training plates that it was fitted without",
    "network": "On Training plates that its classifier, though not its network, was fitted without",
    "cells": "On held-out cells of the Training plates, on which its network was taught",
    "folds": "On held-out cells of its one Training plate",
}


def far_outside(drift: dict[str, Any]) -> bool:
    """Whether a file is not in range and has a plate farther away than all known plates."""
    return drift["verdict"] != IN_RANGE and any(plate["beyond"] for plate in drift["plates"])


def headline(drift: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict on a file and what to do with its labels.

    Parameters
    ----------
    drift : dict
        The content of drift.json.

    Returns
    -------
    dict
        ``key`` (a CSS class), ``verdict``, ``reason``, ``trust`` (one sentence on whether to use
        the labels, from labelled cells where there are any; before it one on the controls),
        ``advice`` (why, and what to look at) and ``doubts`` (sentences on what no figure shows).
    """
    verdict = drift["verdict"]
    sentences = {IN_RANGE: _in_range, CANNOT_TELL: _cannot_tell, SHIFTED: _shifted}
    told = measured_trust(drift) if drift.get("audit") else adapted_trust(drift)
    trust, advice = told or sentences[verdict](drift)
    trust = f"{first_sentence(drift)} {trust}".strip()
    return {
        "key": verdict.replace(" ", "-"),
        "verdict": _capital(verdict),
        "reason": drift["reason"],
        "trust": trust,
        "advice": advice,
        "doubts": [doubt for doubt in doubts(drift) if doubt not in advice],
    }


def _in_range(drift: dict[str, Any]) -> tuple[str, str]:
    if len(drift["plates"]) == 1:
        return _ordinary_plate(drift)
    trust, advice = _ordinary(drift, "plates are", "plates look")
    odd = [plate for plate in drift["plates"] if plate["verdict"] == SHIFTED or plate["beyond"]]
    if not odd:
        return trust, advice
    return f"{trust} Above all, check the labels of {plates_words(odd)}.", advice


def _ordinary_plate(drift: dict[str, Any]) -> tuple[str, str]:
    if not drift["plates"][0]["beyond"]:
        return _ordinary(drift, "plate is", "plate looks")
    return (
        "Check the labels: the plate is in range, yet farther than every plate that the model "
        "knows.",
        f"{_own_error(drift)} {_known_error(drift)}",
    )


def _ordinary(drift: dict[str, Any], they_are: str, they_look: str) -> tuple[str, str]:
    error, known = estimate(drift["error"]), _known_error(drift)
    training = drift["model_errors"]["training"]["balanced_error"]
    if training > MAX_USABLE_ERROR:
        trust = (
            f"The {they_are} ordinary; the model's balanced error is {percent(training)} even on "
            "plates that it knows."
        )
        return trust, f"{_own_error(drift)} {known}"
    if error["value"] is None:
        trust = f"Check the labels: the {they_look} ordinary, but the error cannot be estimated."
        return trust, known
    if error["how"] == AT_LEAST:
        trust = f"Check the labels: the balanced error is {error['words']}."
        return trust, f"{error['reason']} {known}"
    if _is_large(error):
        advice = f"The {they_look} ordinary, yet many labels seem to be wrong. Look at the cells."
        return "Check the labels before using them.", f"{advice} {known}"
    wrong = error["wrong_words"]
    if error["how"] == MEASURED:
        return f"The labels can be used; {wrong} were measured to be wrong.", known
    return f"The labels can be used; about {wrong} are estimated to be wrong.", known


def _is_large(error: dict[str, Any]) -> bool:
    return error["value"] is not None and max(error["value"], error["wrong"]) > MAX_USABLE_ERROR


def _known_error(drift: dict[str, Any]) -> str:
    """Return the balanced error on Training, and on which cells it was measured."""
    where = _KNOWN_PLATES[drift["reference"]["training_predictions"]]
    training = drift["model_errors"]["training"]["balanced_error"]
    return f"{where}, the model's balanced error was {percent(training)}."


def _own_error(drift: dict[str, Any]) -> str:
    error = estimate(drift["error"])
    plates = _these(drift)
    if error["value"] is None:
        return f"On {plates} the balanced error cannot be estimated."
    if error["how"] == AT_LEAST:
        return f"On {plates} the balanced error is {error['words']}. {error['reason']}"
    how = "measured" if error["how"] == MEASURED else "estimated"
    return f"On {plates} the balanced error is {how} to be {error['words']}."


def _these(drift: dict[str, Any]) -> str:
    return "this plate" if len(drift["plates"]) == 1 else "these plates"


def _cannot_tell(drift: dict[str, Any]) -> tuple[str, str]:
    look = "Look at the cells in report.html, class by class, before using them."
    beyond = [plate for plate in drift["plates"] if plate["beyond"]]
    if beyond:
        names = "the plate" if len(drift["plates"]) == 1 else plates_words(beyond)
        lie = "lies" if len(beyond) == 1 else "lie"
        return f"Do not use the labels{_of_some(beyond, drift)}.", (
            f"{_capital(names)} {lie} farther than every plate that the model knows. "
            f"{ALWAYS_A_CLASS}{_also_shifted(drift)}"
        )
    torn = [p for p in drift["plates"] if p["verdict"] == CANNOT_TELL and p["judged"]]
    if torn:
        own = "" if len(drift["plates"]) == 1 else f" of {plates_words(torn)}"
        return f"Check the labels{own}: the images look ordinary, but the labels do not.", (
            "Either some wells hold more than one protein or cells of none of the classes, or the "
            f"model fails on them. {_own_error(drift)} {look}"
        )
    if _is_large(estimate(drift["error"])):
        return "Check the labels before using them.", (
            f"Many labels seem to be wrong. {_own_error(drift)} {look}"
        )
    shifted = [plate for plate in drift["plates"] if plate["verdict"] == SHIFTED]
    if shifted:
        are, own = ("is", "its") if len(shifted) == 1 else ("are", "their")
        return "Take the labels as unverified.", (
            f"{_capital(plates_words(shifted))} {are} shifted by {own} own measure, and too much "
            f"of the file cannot be judged. {look}"
        )
    return "Take the labels as unverified.", (
        "No figure here shows that the labels are wrong, and none shows that the model works on "
        f"{_these(drift)}. {look}"
    )


def _also_shifted(drift: dict[str, Any]) -> str:
    """Return a sentence that names shifted plates within the distances that the model knows."""
    plates = drift["plates"]
    others = [plate for plate in plates if plate["verdict"] == SHIFTED and not plate["beyond"]]
    return f" Check the labels of {plates_words(others)} as well." if others else ""


def _shifted(drift: dict[str, Any]) -> tuple[str, str]:
    beyond = [plate for plate in drift["plates"] if plate["beyond"]]
    if beyond:
        such = "a plate like this one" if len(beyond) == 1 else "plates like these"
        return f"Do not use the labels{_of_some(beyond, drift)}.", (
            f"The model has never met {such}. {ALWAYS_A_CLASS}{_also_shifted(drift)}"
        )
    if estimate(drift["error"])["how"] in (MEASURED, AT_LEAST):
        return "Check the labels before using them.", (
            f"{_own_error(drift)} Look at the cells in report.html, class by class."
        )
    if estimate(drift["error"])["value"] is None and first_sentence(drift):
        return "Check the labels before using them.", (
            "Elsewhere the error may be that of the controls, or larger. Look at the cells in "
            "report.html, class by class."
        )
    if estimate(drift["error"])["value"] is None:
        return "Check the labels before using them.", (
            "The error here may be as low as the errors measured on known plates, or several times "
            "as high. Look at the cells in report.html, class by class."
        )
    return "Check the labels before using them.", (
        "The estimate is made from known plates. On a shifted plate such an estimate tends to be "
        "too low. Look at the cells in report.html, class by class."
    )


def _of_some(plates: list[dict[str, Any]], drift: dict[str, Any]) -> str:
    """Return " of plates ...", or an empty string where these are all plates."""
    return "" if len(plates) == len(drift["plates"]) else f" of {plates_words(plates)}"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
