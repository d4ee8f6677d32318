"""Estimated errors of a report: overall, per class, and how far the estimators were off before."""

from __future__ import annotations

from typing import Any

from coos_mlflow.drift.error_estimate import ESTIMATED
from coos_mlflow.plates.schema import CLASSES, SPLIT_MEANINGS, SPLIT_TITLES, SPLITS
from coos_mlflow.reports.plate import answer, wording
from coos_mlflow.reports.plate.wording import NO_BREAK

BASELINE = "baseline"
"""Key of the estimator that any other must beat."""


def error_figures(drift: dict[str, Any]) -> dict[str, Any]:
    """Return what is drawn of the file's estimate: the error beside the splits', and recalls."""
    estimate = wording.estimate(drift["error"])
    title = "This plate" if len(drift["plates"]) == 1 else "These plates"
    overall = [{"key": "new", "title": title, **estimate}]
    overall += [
        {
            "key": split,
            "title": SPLIT_TITLES[split],
            "value": drift["model_errors"][split]["balanced_error"],
            "low": None,
            "high": None,
            "words": wording.percent(drift["model_errors"][split]["balanced_error"]),
        }
        for split in SPLITS
        if split in drift["model_errors"]
    ]
    ends = [value for row in overall for value in (row["value"], row["high"]) if value is not None]
    return {
        "estimate": estimate,
        "premise": answer.premise(drift),
        "overall": overall,
        "axis": min(max([*ends, 5.0]) * 1.1, 100.0),
        "recalls": _recalls(drift["error"]),
    }


def _recalls(error: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the estimated recall, in %, of each class that is held to be on the plate."""
    rows = []
    for label in error["classes"]:
        value, low, high = (
            None if error[key][label] is None else 100 * error[key][label]
            for key in ("recalls", "recall_lows", "recall_highs")
        )
        words = "cannot tell" if value is None else f"{value:.0f}{NO_BREAK}%"
        if value is not None and low is not None and high is not None:
            words += f" ({low:.0f} to {high:.0f}{NO_BREAK}%)"
        row = {"key": "new", "title": CLASSES[label], "value": value, "low": low, "high": high}
        rows.append(row | {"words": words})
    return rows if any(row["value"] is not None for row in rows) else []


def record(drift: dict[str, Any]) -> dict[str, Any]:
    """Return how far each estimator would have been off on Test1..4, beside today's answer.

    Returns
    -------
    dict
        ``splits``: title and true error of each; ``rows``: an estimator each, the baseline last.
    """
    said = drift["error_record"]
    splits = [s for s in SPLITS if any(s in e["splits"] for e in said["estimators"])]
    truths = {
        split: entry["splits"][split]["truth"]
        for entry in said["estimators"]
        for split in splits
        if split in entry["splits"]
    }
    known = drift["model_errors"].get("test1", {}).get("balanced_error")
    answered = drift["error"]["answer"] == ESTIMATED
    today = {BASELINE: known} | (drift["error"]["estimators"] if answered else {})
    return {
        "splits": [
            {"title": SPLIT_TITLES[split], "truth": truths[split], "key": split} for split in splits
        ],
        "rows": [
            {
                "title": entry["title"],
                "meaning": entry["meaning"],
                "chosen": answered and entry["key"] == said["chosen"],
                "baseline": entry["key"] == BASELINE,
                "today": today.get(entry["key"]),
                "splits": [_attempt(entry["splits"].get(split)) for split in splits],
            }
            for entry in said["estimators"]
        ],
    }


def _attempt(attempt: dict[str, Any] | None) -> dict[str, Any]:
    """Return an estimate and in words by how many points it missed the truth."""
    if attempt is None or attempt["estimate"] is None or attempt["off"] is None:
        return {"estimate": None, "off": ""}
    off = abs(attempt["off"])
    side = "low" if attempt["estimate"] < attempt["truth"] else "high"
    return {
        "estimate": attempt["estimate"],
        "off": f"{off:.1f} too {side}" if off >= 0.05 else "right",
    }


def split_errors(drift: dict[str, Any]) -> list[dict[str, Any]]:
    """Return true balanced error and recalls of each split; a recall is None without cells."""
    training = wording.LEFT_OUT[drift["reference"]["training_predictions"]]
    meanings = SPLIT_MEANINGS | {"training": training}
    return [
        {
            "key": split,
            "split": SPLIT_TITLES[split],
            "meaning": meanings[split],
            "error": drift["model_errors"][split]["balanced_error"],
            "recalls": drift["model_errors"][split]["recalls"],
        }
        for split in SPLITS
        if split in drift["model_errors"]
    ]
