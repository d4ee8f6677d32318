"""How the report puts things: plates by their names, verdicts, figures and estimates."""

from __future__ import annotations

import unicodedata
from typing import Any

from coos_mlflow.drift import CANNOT_TELL, IN_RANGE
from coos_mlflow.drift.error_estimate import ESTIMATED
from coos_mlflow.plates.flags import left_out_sentences

MOST_NAME = 40
"""Characters of an id that the page shows."""

MOST_NAMED = 5
"""Plates that a sentence names; the others are counted."""

NO_BREAK = "\N{NO-BREAK SPACE}"
"""Keeps a sign of percent on the line of its number."""

LEFT_OUT = {
    "plates": "each plate predicted by a fit on the other plates",
    "network": "each plate predicted by a classifier fitted on the others, above a network that "
    "has learnt from all",
    "cells": "held-out cells of plates that the network was taught on",
}
"""What the reference's figures of Training are; on its own cells a fit looks better than it is."""


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


def plates_words(plates: list[dict[str, Any]]) -> str:
    """Return what to call plates of drift.json in a sentence."""
    if len(plates) == 1:
        return plate_words(plates[0]["plate"])
    names = [shown(plate["plate"]) or "without a name" for plate in plates]
    more = len(names) - MOST_NAMED
    listed = ", ".join(names[:MOST_NAMED])
    return f"plates {listed}" + (f" and {more} more" if more > 0 else "")


def standing(plate: dict[str, Any]) -> str:
    """Return the verdict on one plate in few words, and whether it is the farthest ever met."""
    if not plate["beyond"]:
        return str(plate["verdict"])
    far = "farther than all known" if plate["verdict"] == IN_RANGE else "far outside"
    return f"{plate['verdict']}, {far}"


def notes(drift: dict[str, Any]) -> list[str]:
    """Return how well ids were read and which cells the figures leave out, in sentences."""
    read, left_out = drift["well_ids"], drift["left_out"]
    notes = []
    if read and drift["wells"]:
        notes.append(f"{_counted(len(drift['wells']), 'well')} {read['words']}.")
        notes += [f"{read['note']}."] if read["note"] else []
    if read and read["n_cells_without"] and not drift["has_well_ids"]:
        notes.append(f"{_counted(read['n_cells_without'], 'cell')} without a well id.")
    if left_out["nameless"]:
        notes.append(
            f"{_counted(left_out['nameless'], 'cell')} without an id of plate or well: left out of "
            "the verdict and all figures, but not of predictions.parquet."
        )
    n_cells = drift["plate_file"]["n_cells"]
    return notes + left_out_sentences(left_out["unusable"], left_out["copies"], n_cells)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


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
        ``value``, ``low``, ``high`` and ``wrong``, the plain share of labels, in % (None where it
        cannot be told), ``headline``, ``range``, ``words`` (both in one), ``wrong_words`` and
        ``reason``.
    """
    if error["answer"] != ESTIMATED or error["balanced_error"] is None:
        figures = dict.fromkeys(("value", "low", "high", "wrong"))
        words = {"headline": "Cannot tell", "range": "", "words": CANNOT_TELL, "wrong_words": ""}
    else:
        value, low, high = error["balanced_error"], error["low"], error["high"]
        wrong = error["wrong_labels"]
        digits = 1 if value < 3 or high < 9.95 else 0
        headline = f"{value:.{digits}f}{NO_BREAK}%"
        spread = f"{low:.{digits}f} to {high:.{digits}f}{NO_BREAK}%"
        figures = {"value": value, "low": low, "high": high, "wrong": wrong}
        words = {"headline": headline, "range": spread, "words": f"{headline} ({spread})"}
        words["wrong_words"] = f"{wrong:.{1 if wrong < 3 else digits}f}{NO_BREAK}%"
    return {**figures, **words, "reason": error["reason"]}


def simulated(*, plate: bool, model: bool) -> str | None:
    """Say that the plate, or what the model was trained on, is simulated, or return None."""
    if plate and model:
        return "Simulated data: the plate and what the model was trained on are not microscopy."
    if plate:
        return "Simulated data: the plate is not microscopy."
    if model:
        return "Simulated data: what the model was trained on is not microscopy."
    return None
