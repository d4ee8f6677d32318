"""Words for names, verdicts, numbers and estimates, shared by pages and the terminal."""

from __future__ import annotations

import unicodedata
from typing import Any

from coos_mlflow.drift import CANNOT_TELL, IN_RANGE
from coos_mlflow.drift.error_estimate import AT_LEAST, ESTIMATED, MEASURED
from coos_mlflow.plates.flags import left_out_sentences

MAX_NAME_LENGTH = 40
"""Largest number of characters of a name that a page shows."""

MAX_NAMED = 5
"""Largest number of plates that a sentence names; the others are counted."""

NO_BREAK = "\N{NO-BREAK SPACE}"
"""Keeps a percent sign on the line of its number."""

_NO_END = 0.05
"""A lower end below this many % is written as 0.0 % and says nothing."""

LEFT_OUT = {
    "plates": "each plate predicted by a fit on the other plates",
    "network": "each plate predicted by a classifier fitted on the others, on features of a "
    "network trained on all",
    "cells": "held-out cells of plates that the network was trained on",
    "folds": "fifths of the cells of the one plate, each predicted by a fit on the others",
}
"""How Training was predicted; on the cells of its own fit a model looks better than it is."""


def without_controls(text: str) -> str:
    """Replace control and text-direction characters by the replacement character."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(letter).startswith("C") else letter
        for letter in text
    )


def shown(name: object) -> str:
    """Return a name without control characters, of at most `MAX_NAME_LENGTH` characters."""
    text = without_controls(str(name)[: MAX_NAME_LENGTH + 1])
    return text if len(text) <= MAX_NAME_LENGTH else text[: MAX_NAME_LENGTH - 1] + "…"


def plate_words(plate: str) -> str:
    """Return "plate NAME"; the name is empty where the file has no plate ids."""
    return f"plate {shown(plate)}" if plate else "plate without a name"


def plates_words(plates: list[dict[str, Any]]) -> str:
    """Return "plates NAME, NAME and 2 more" for plates of drift.json."""
    if len(plates) == 1:
        return plate_words(plates[0]["plate"])
    names = [shown(plate["plate"]) or "without a name" for plate in plates]
    more = len(names) - MAX_NAMED
    listed = ", ".join(names[:MAX_NAMED])
    return f"plates {listed}" + (f" and {more} more" if more > 0 else "")


def standing(plate: dict[str, Any]) -> str:
    """Return the verdict on one plate, and whether it is farther than all known plates."""
    if not plate["beyond"]:
        return str(plate["verdict"])
    far = "farther than all known" if plate["verdict"] == IN_RANGE else "far outside"
    return f"{plate['verdict']}, {far}"


def notes(drift: dict[str, Any]) -> list[str]:
    """Return sentences on how well ids were read and which cells the figures leave out."""
    read, left_out = drift["well_ids"], drift["left_out"]
    notes = []
    if read and drift["wells"]:
        notes.append(f"{counted(len(drift['wells']), 'well')} {read['words']}.")
        notes += [f"{read['note']}."] if read["note"] else []
    if read and read["n_cells_without"] and not drift["has_well_ids"]:
        notes.append(f"{counted(read['n_cells_without'], 'cell')} without a well id.")
    if left_out["nameless"]:
        notes.append(
            f"{counted(left_out['nameless'], 'cell')} without an id of plate or well: left out of "
            "the verdict and all figures, but not of predictions.parquet."
        )
    if drift["wells"] and not drift["wells_have_classes"]:
        notes.append(
            "Wells may hold several proteins, so the cells of a well do not check "
            "each other: wells get shares instead of a class, only the model's confidence tells of "
            "the error, and it does not show cells that are confidently wrong."
        )
    if drift["layout"]:
        without = sum(well["layout"] is None for well in drift["wells"])
        notes.append(f"{_layout_words(drift['layout'])}; {_lines_words(without, drift)}.")
    n_cells = drift["plate_file"]["n_cells"]
    return notes + left_out_sentences(left_out["unusable"], left_out["copies"], n_cells)


def _layout_words(layout: dict[str, Any]) -> str:
    columns = [shown(name) for name in layout["columns"][:MAX_NAMED]]
    more = len(layout["columns"]) - MAX_NAMED
    listed = ", ".join(columns) + (f" and {more} more" if more > 0 else "")
    return f"Layout {shown(layout['name'])}: {listed or 'no columns'}"


def _lines_words(without: int, drift: dict[str, Any]) -> str:
    total = counted(len(drift["wells"]), "well")
    return f"it has no line for {without:,} of {total}" if without else f"it has all {total}"


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, such as "1 well" or "1,200 wells"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def percent(value: float) -> str:
    """Return a figure in % with one decimal below 10 and none from 10 on."""
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
        In %, or None where there is no estimate: ``value``, its range ``low`` to ``high``, and
        ``wrong``, the share of labels that are wrong. As text: ``value_words``, ``range_words``,
        ``words`` (value and range), ``wrong_words`` and ``reason``. ``how`` is "estimated",
        "measured", "at least" or "cannot tell". With "at least" there is no upper end, and
        ``value`` is the best guess.
    """
    if error["answer"] not in (ESTIMATED, MEASURED, AT_LEAST) or error["balanced_error"] is None:
        figures = dict.fromkeys(("value", "low", "high", "wrong"))
        words = {"value_words": "Cannot tell", "range_words": "", "words": CANNOT_TELL}
        words["wrong_words"] = ""
    elif error["answer"] == AT_LEAST:
        return _at_least(error)
    else:
        value, low, high = error["balanced_error"], error["low"], error["high"]
        wrong = error["wrong_labels"]
        digits = 1 if value < 3 or high < 9.95 else 0
        value_words = f"{value:.{digits}f}{NO_BREAK}%"
        range_words = f"{low:.{digits}f} to {high:.{digits}f}{NO_BREAK}%"
        figures = {"value": value, "low": low, "high": high, "wrong": wrong}
        words = {"value_words": value_words, "range_words": range_words}
        words["words"] = f"{value_words} ({range_words})"
        words["wrong_words"] = f"{wrong:.{1 if wrong < 3 else digits}f}{NO_BREAK}%"
    return {**figures, **words, "how": error["answer"], "reason": error["reason"]}


def _at_least(error: dict[str, Any]) -> dict[str, Any]:
    """Return an estimate without an upper end in words; a lower end of 0 % says nothing either."""
    guess, low = percent(error["balanced_error"]), error["low"]
    least, lead = f"at least {percent(low)}", "The true error may be far higher"
    if low < _NO_END:
        least, lead = "unknown", "The true error may be anything"
    reason = error["reason"]
    return {
        "value": error["balanced_error"],
        "low": low,
        "high": None,
        "wrong": error["wrong_labels"],
        "value_words": least[0].upper() + least[1:],
        "range_words": f"best guess {guess}",
        "words": f"{least} (best guess {guess})",
        "wrong_words": f"best guess {percent(error['wrong_labels'])}",
        "how": AT_LEAST,
        "reason": f"{lead}: {reason[:1].lower()}{reason[1:]}",
    }


def axis_end(error: dict[str, Any]) -> float | None:
    """Return the value that the axis of an estimate must hold, with room for an open end."""
    if error["high"] is None and error["value"] is not None:
        return float(1.3 * error["value"])
    return error["high"]


def simulated(*, plate: bool, model: bool) -> str | None:
    """Return a sentence that the plate, or the model's training data, is simulated, or None."""
    sources = ["the plate"] * plate + ["the training data of the model"] * model
    if not sources:
        return None
    are = "is" if len(sources) == 1 else "are"
    return f"Simulated data: {' and '.join(sources)} {are} not microscopy."
