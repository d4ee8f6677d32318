"""What the report says in words: the verdict, whether to trust the labels, names fit for a page."""

from __future__ import annotations

import unicodedata
from typing import Any

from coos_mlflow.drift.verdict import CANNOT_TELL, IN_RANGE, SHIFTED

MOST_NAME = 40
"""Characters of an id that the page shows."""

MOST_ERROR = 20.0
"""Balanced error in % above which labels are not called usable, even on known plates."""

NO_BREAK = "\N{NO-BREAK SPACE}"
"""Keeps a sign of percent on the line of its number."""

ESTIMATED = "estimated"
"""What an estimate's ``answer`` is where there is one."""


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


def percent(value: float) -> str:
    """Return a figure in % with one digit; without it from 10 on, where it would be noise."""
    return f"{value:.{0 if value >= 9.95 else 1}f}{NO_BREAK}%"


def estimate(error: dict[str, Any]) -> dict[str, Any]:
    """Return an estimated balanced error in words.

    Parameters
    ----------
    error : dict
        An ESTIMATE of drift.json.

    Returns
    -------
    dict
        ``value``, ``low`` and ``high`` in % (None where it cannot be told), ``headline``,
        ``range``, ``words`` (both in one) and ``reason``.
    """
    if error["answer"] != ESTIMATED or error["balanced_error"] is None:
        figures = {"value": None, "low": None, "high": None}
        words = {"headline": "Cannot tell", "range": "", "words": CANNOT_TELL}
    else:
        value, low, high = error["balanced_error"], error["low"], error["high"]
        digits = 1 if value < 3 or high < 9.95 else 0
        headline = f"{value:.{digits}f}{NO_BREAK}%"
        spread = f"{low:.{digits}f} to {high:.{digits}f}{NO_BREAK}%"
        figures = {"value": value, "low": low, "high": high}
        words = {"headline": headline, "range": spread, "words": f"{headline} ({spread})"}
    return {**figures, **words, "reason": error["reason"]}


def verdict(drift: dict[str, Any]) -> dict[str, str]:
    """Return the answer of the first screen.

    Parameters
    ----------
    drift : dict
        The content of drift.json.

    Returns
    -------
    dict
        ``key`` for style sheets, ``words``, ``reason``, ``trust`` and ``advice``.
    """
    words = drift["verdict"]
    answers = {IN_RANGE: _in_range, CANNOT_TELL: _cannot_tell, SHIFTED: _shifted}
    trust, advice = answers[words](drift)
    return {
        "key": words.replace(" ", "-"),
        "words": words[0].upper() + words[1:],
        "reason": drift["reason"],
        "trust": trust,
        "advice": advice,
    }


def _in_range(drift: dict[str, Any]) -> tuple[str, str]:
    error = estimate(drift["error"])
    training = drift["model_errors"]["training"]["balanced_error"]
    known = (
        "On Training plates that it was fitted without, the model's balanced error was "
        f"{percent(training)}."
    )
    if training > MOST_ERROR:
        return "The plate is fine, the model is weak.", known
    if error["value"] is None:
        advice = f"Expect the model to be about as good as on plates that it knows. {known}"
        return "The labels can be used, with care.", advice
    if error["value"] > MOST_ERROR:
        advice = "The plate looks ordinary, yet many labels seem to be wrong. Look at the cells."
        return "Check the labels before using them.", f"{advice} {known}"
    return f"The labels can be used; about {error['headline']} are estimated to be wrong.", known


def _cannot_tell(drift: dict[str, Any]) -> tuple[str, str]:
    del drift
    return "Take the labels as unverified.", (
        "Nothing here shows that they are wrong, and nothing shows that the model works on "
        "this plate. Look at the cells below, class by class, before using them."
    )


def _shifted(drift: dict[str, Any]) -> tuple[str, str]:
    beyond = sum(plate["beyond"] for plate in drift["plates"])
    if beyond:
        n = len(drift["plates"])
        which = "" if beyond == n else f" of {beyond} of {n} plates"
        return f"Do not use the labels{which}.", (
            "The model has never met a plate like this one, and it must answer with one of its "
            f"seven classes whatever it is shown.{_premise(drift)}"
        )
    if estimate(drift["error"])["value"] is None:
        return "Check the labels before using them.", (
            "The errors measured on known plates need not hold here: they may be as low, or "
            "several times as high. Look at the cells below, class by class."
        )
    return "Check the labels before using them.", (
        "The estimate is made from known plates, and on a shifted plate estimates tend to promise "
        "too much. Look at the cells below, class by class."
    )


def _premise(drift: dict[str, Any]) -> str:
    """Say what an estimate takes for granted where nothing vouches for it."""
    if estimate(drift["error"])["value"] is None:
        return ""
    return " The estimated error takes for granted that the cells are of these classes."


def simulated(*, plate: bool, model: bool) -> str | None:
    """Say that the plate, or what the model was trained on, is simulated, or return None."""
    if plate and model:
        return "Simulated data: the plate and what the model was trained on are not microscopy."
    if plate:
        return "Simulated data: the plate is not microscopy."
    if model:
        return "Simulated data: what the model was trained on is not microscopy."
    return None
