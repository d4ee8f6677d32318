"""Errors of a report: estimated for the file, per class, and measured on the splits.

The record compares each estimator's earlier estimates with the measured errors.
"""

from __future__ import annotations

from typing import Any

from coos_mlflow.drift import CANNOT_TELL
from coos_mlflow.drift.error_estimate import AT_LEAST, MEASURED
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.reports.plate import wording
from coos_mlflow.reports.plate.dataset import class_names, splits
from coos_mlflow.reports.plate.labelled import first_error
from coos_mlflow.reports.plate.wording import NO_BREAK

BASELINE = "baseline"
"""Key of the estimator that the others are compared with."""


def error_figures(drift: dict[str, Any]) -> dict[str, Any]:
    """Return the estimated error of the file, beside those of the splits, and its recalls."""
    estimate = wording.estimate(drift["error"])
    title = "This plate" if len(drift["plates"]) == 1 else "These plates"
    overall = [{"key": "new", "title": title, **estimate}]
    if drift.get("audit"):
        overall.insert(0, {"key": "new", "title": "Labelled cells", **first_error(drift)})
    overall += [
        {
            "key": split["mark"],
            "title": split["title"],
            "value": drift["model_errors"][key]["balanced_error"],
            "low": None,
            "high": None,
            "words": wording.percent(drift["model_errors"][key]["balanced_error"]),
        }
        for key, split in splits(drift).items()
        if key in drift["model_errors"]
    ]
    ends = [row["high"] or row["value"] or 0.0 for row in overall]
    ends.append(wording.axis_end(estimate) or 0.0)
    return {
        "estimate": estimate,
        "overall": overall,
        "axis": min(max([*ends, 5.0]) * 1.1, 100.0),
        "recalls": _recalls(drift["error"], class_names(drift)),
        "untold": _untold(drift["error"], class_names(drift)),
        "open_ended": drift["error"]["answer"] == AT_LEAST,
    }


def _recalls(error: dict[str, Any], names: list[str]) -> list[dict[str, Any]]:
    """Return the estimated recall, in %, of each class that the plate seems to hold."""
    if error["answer"] == CANNOT_TELL:
        return []
    return [
        _recall_row(error, label, names[label])
        for label in sorted({*error["classes"], *error["untold"]})
    ]


def _recall_row(error: dict[str, Any], label: int, name: str) -> dict[str, Any]:
    value, low, high = (
        None if error[key][label] is None else 100 * error[key][label]
        for key in ("recalls", "recall_lows", "recall_highs")
    )
    row = {"key": "new", "title": name, "value": value, "low": low, "high": high}
    return row | {"words": _recall_words(value, low, high)}


def _recall_words(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or high is None:
        return CANNOT_TELL
    own = f"{value:.0f}{NO_BREAK}%"
    if low is not None:
        return f"{own} ({low:.0f} to {high:.0f}{NO_BREAK}%)"
    # An upper end of 100 % says nothing.
    at_most = f"at most {high:.0f}{NO_BREAK}%"
    return f"{at_most} (best guess {own})" if high < 99.5 else f"best guess {own}"


def _untold(error: dict[str, Any], names: list[str]) -> str:
    """Return why the recall of some classes cannot be told, or an empty string."""
    if not error["untold"] or error["answer"] in (CANNOT_TELL, MEASURED):
        return ""
    listed = ", ".join(names[label] for label in error["untold"])
    return (
        f"Cannot tell for {listed}: more than a quarter of these cells are in wells whose labels "
        "are torn between two classes."
    )


def record(drift: dict[str, Any]) -> dict[str, Any]:
    """Return how far each estimator was off on the references, beside its estimate for this file.

    Returns
    -------
    dict
        ``splits``: title and measured error of each. ``measured``: that of labelled cells, or
        None. ``rows``: one estimator each, the baseline last.
    """
    record = drift["error_record"]
    known = {
        key: split
        for key, split in splits(drift).items()
        if any(key in entry["splits"] for entry in record["estimators"])
    }
    truths = {
        split: entry["splits"][split]["truth"]
        for entry in record["estimators"]
        for split in known
        if split in entry["splits"]
    }
    nearest = next(iter(known), None)
    measured = drift["model_errors"].get(nearest, {}).get("balanced_error")
    estimated = drift["error"]["answer"] not in (CANNOT_TELL, MEASURED)
    estimates = {BASELINE: measured} | (drift["error"]["estimators"] if estimated else {})
    return {
        "splits": [
            {"title": split["title"], "truth": truths[key], "key": split["mark"]}
            for key, split in known.items()
        ],
        "measured": (drift.get("audit") or {}).get("balanced_error"),
        "rows": [
            {
                "title": entry["title"],
                "meaning": entry["meaning"],
                "blind_to": entry["blind_to"],
                "chosen": estimated and entry["key"] == record["chosen"],
                "baseline": entry["key"] == BASELINE,
                "here": estimates.get(entry["key"]),
                "splits": [_attempt(entry["splits"].get(split)) for split in known],
            }
            for entry in record["estimators"]
        ],
    }


def _attempt(attempt: dict[str, Any] | None) -> dict[str, Any]:
    """Return an estimate and by how many points it was too high: signed, and in words."""
    if attempt is None or attempt["estimate"] is None or attempt["off"] is None:
        return {"estimate": None, "points": 0.0, "off": ""}
    points = round(attempt["off"], 1)
    words = f"{abs(points):.1f} too {'high' if points > 0 else 'low'}" if points else "right"
    return {"estimate": attempt["estimate"], "points": points, "off": words}


def split_errors(drift: dict[str, Any]) -> list[dict[str, Any]]:
    """Return measured error and recalls of each split; a class without cells has recall None."""
    training = wording.LEFT_OUT[drift["reference"]["training_predictions"]]
    return [
        {
            "key": split["mark"],
            "split": split["title"],
            "meaning": training if key == TRAINING else split["meaning"],
            "error": drift["model_errors"][key]["balanced_error"],
            "recalls": drift["model_errors"][key]["recalls"],
        }
        for key, split in splits(drift).items()
        if key in drift["model_errors"]
    ]
