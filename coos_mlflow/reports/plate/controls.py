"""The section on wells of known class: what was measured there, in words and numbers."""

from __future__ import annotations

from typing import Any

from coos_mlflow.drift.controls import right_words
from coos_mlflow.reports.plate.dataset import class_names
from coos_mlflow.reports.plate.wording import NO_BREAK, counted, percent, plate_words, shown

MAX_WELLS = 12
"""Largest number of misread wells that a sentence names."""


def controls_section(drift: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a page shows of the wells of known class, None without any.

    Returns
    -------
    dict
        ``sentences``; ``overall``, the measured balanced error beside the estimate for the same
        wells; ``recalls`` of the classes, measured; both as rows of `interval_rows`.
    """
    controls = drift["controls"]
    if controls is None:
        return None
    names = class_names(drift)
    return {
        "sentences": sentences(drift),
        "overall": overall_rows(controls),
        "axis": min(max(controls["high"] or 0, controls["estimated"] or 0, 5.0) * 1.1, 100.0),
        "recalls": [recall_row(controls, label, names[label]) for label in controls["classes"]],
    }


def first_sentence(drift: dict[str, Any]) -> str:
    """Return how well the wells of known class are read, or an empty string without any."""
    controls = drift["controls"]
    known = controls is not None and controls["balanced_error"] is not None
    return right_words(controls) if known else ""


def sentences(drift: dict[str, Any]) -> list[str]:
    """Return all that the wells of known class tell: error, estimate, missing classes, wells."""
    controls, names = drift["controls"], class_names(drift)
    found = [first_sentence(drift)] if controls["n_wells"] else []
    if controls["n_wells"]:
        found.append(_cover_words(controls, drift["n_cells"]))
    if controls["agrees"] is not None:
        found.append(_estimate_words(controls))
    found += [
        f"{names[one['class']]} is not found in any well, though {100 * one['expected']:.0f}"
        f"{NO_BREAK}% of the cells were expected."
        for one in controls["missing"]
    ]
    if controls["misread"]:
        found.append(_misread_words(controls["misread"], names, len(drift["plates"]) > 1))
    none = controls["none"]
    if none["n_wells"]:
        found.append(
            f"{counted(none['n_wells'], 'well')} with {counted(none['n_cells'], 'cell')} "
            f"{'holds' if none['n_wells'] == 1 else 'hold'} none of the classes: every label there "
            "is wrong. They are not in the figures of this section."
        )
    return found


def _cover_words(controls: dict[str, Any], n_cells: int) -> str:
    cells = counted(controls["n_cells"], "cell")
    return f"They hold {cells}, {100 * controls['covers']:.0f}{NO_BREAK}% of {n_cells:,}."


def _estimate_words(controls: dict[str, Any]) -> str:
    estimated, measured = percent(controls["estimated"]), percent(controls["balanced_error"])
    if controls["agrees"]:
        return f"For these wells the error is estimated to be {estimated}; measured: {measured}."
    return (
        f"The estimate cannot be trusted on this plate map: it gives {estimated} for these wells, "
        f"but {measured} was measured."
    )


def _misread_words(misread: list[dict[str, Any]], names: list[str], several: bool) -> str:
    listed = [
        f"{shown(one['well'])}{' of ' + plate_words(one['plate']) if several else ''} "
        f"({names[one['class']]}, read as {names[one['label']]})"
        for one in misread[:MAX_WELLS]
    ]
    more = len(misread) - MAX_WELLS
    rest = f" and {more:,} more" if more > 0 else ""
    noun = "Well" if len(misread) == 1 else "Wells"
    return f"{noun} read wholly wrong: {', '.join(listed)}{rest}."


def overall_rows(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Return rows of a measured balanced error and of the estimate for the same cells.

    Parameters
    ----------
    measured : dict
        `controls` or `audit` of drift.json.
    """
    if measured["balanced_error"] is None:
        return []
    value, low, high = (measured[key] for key in ("balanced_error", "low", "high"))
    words = f"{percent(value)} ({low:.1f} to {high:.1f}{NO_BREAK}%)"
    row = {"key": "new", "title": "Measured", "value": value, "low": low, "high": high}
    rows = [row | {"words": words}]
    if measured["estimated"] is not None:
        value = measured["estimated"]
        row = {"key": "training", "title": "Estimated", "value": value, "low": None, "high": None}
        rows.append(row | {"words": percent(value)})
    return rows


def recall_row(measured: dict[str, Any], label: int, name: str) -> dict[str, Any]:
    """Return the row of a class's measured recall in %; as `overall_rows`."""
    value, low, high = (
        100 * measured[key][label] for key in ("recalls", "recall_lows", "recall_highs")
    )
    words = f"{value:.0f}{NO_BREAK}% ({low:.0f} to {high:.0f}{NO_BREAK}%)"
    row = {"key": "new", "title": name, "value": value, "low": low, "high": high}
    return row | {"words": words}
