"""What the report says in words: the verdict, whether to trust the labels, names fit for a page."""

from __future__ import annotations

import unicodedata
from typing import Any

from coos_mlflow.drift.verdict import CANNOT_TELL, IN_RANGE, SHIFTED

MOST_NAME = 40
"""Characters of an id that the page shows."""

MOST_ERROR = 20.0
"""Balanced error in % above which a model's labels are not called usable, even on known plates."""


def without_controls(text: str) -> str:
    """Return a text in which control and direction characters are visible as what they are."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(letter).startswith("C") else letter
        for letter in text
    )


def shown(name: object) -> str:
    """Return a name as text fit for a page: no control or direction characters, not too long."""
    text = without_controls(str(name)[: MOST_NAME + 1])
    return text if len(text) <= MOST_NAME else text[: MOST_NAME - 1] + "…"


def plate_words(plate: str) -> str:
    """Return what to call a plate, which has no name where the file has no ids."""
    return f"plate {shown(plate)}" if plate else "plate without a name"


def is_beyond(plate: dict[str, Any]) -> bool:
    """Tell whether a plate of an assessment is shifted and farther than every reference plate."""
    beyond = plate["known_plates"] > 0 and plate["known_nearer"] == plate["known_plates"]
    return bool(plate["verdict"] == SHIFTED and beyond)


def verdict(assessment: dict[str, Any], errors: dict[str, float]) -> dict[str, str]:
    """Return the answer of the first screen.

    Parameters
    ----------
    assessment : dict
        What `coos_mlflow.drift.verdict.assess` returned.
    errors : dict of float
        Balanced error of the model in % by split; that of Training with each plate left out.

    Returns
    -------
    dict
        ``key`` for style sheets, ``words``, ``reason``, ``trust`` and ``advice``.
    """
    words = assessment["verdict"]
    trust, advice = _advice(assessment, errors)
    return {
        "key": words.replace(" ", "-"),
        "words": words[0].upper() + words[1:],
        "reason": assessment["reason"],
        "trust": trust,
        "advice": advice,
    }


def _advice(assessment: dict[str, Any], errors: dict[str, float]) -> tuple[str, str]:
    """Say whether to trust the labels, and what to do."""
    if assessment["verdict"] == IN_RANGE:
        advice = (
            "Expect the model to be about as good as it was on each Training plate when it was "
            f"fitted on the others: its balanced error there was {errors['training']:.1f} %."
        )
        good = errors["training"] <= MOST_ERROR
        return (
            "The labels can be used." if good else "The plate is fine, the model is weak.",
            advice,
        )
    if assessment["verdict"] == CANNOT_TELL:
        return "Take the labels as unverified.", (
            "Nothing here shows that they are wrong, and nothing shows that the model works on "
            "this plate. Look at the cells below, class by class, before using them."
        )
    beyond = sum(is_beyond(plate) for plate in assessment["plates"])
    if beyond:
        n = len(assessment["plates"])
        which = "" if beyond == n else f" of {beyond} of {n} plates"
        return f"Do not use the labels{which}.", (
            "The model has never met a plate like this one, and it must answer with one of its "
            "seven classes whatever it is shown."
        )
    return "Check the labels before using them.", (
        "The errors measured on known plates need not hold here: they may be as low, or several "
        "times as high. Look at the cells below, class by class."
    )


def simulated(*, plate: bool, model: bool) -> str | None:
    """Say that the plate, or what the model was trained on, is simulated, or return None."""
    if plate and model:
        return "Simulated data: the plate and what the model was trained on are not microscopy."
    if plate:
        return "Simulated data: the plate is not microscopy."
    if model:
        return "Simulated data: what the model was trained on is not microscopy."
    return None
