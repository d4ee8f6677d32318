"""Classes and splits of the model's data set, as drift.json names them."""

from __future__ import annotations

from typing import Any

from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.reports.plate.figures.svg import reference_mark
from coos_mlflow.reports.plate.wording import without_controls


def class_names(drift: dict[str, Any]) -> list[str]:
    """Return the names of the classes by label."""
    return [without_controls(one["name"]) for one in drift["dataset"]["classes"]]


def short_names(drift: dict[str, Any]) -> list[str]:
    """Return the abbreviations of the classes by label."""
    return [without_controls(one["short"]) for one in drift["dataset"]["classes"]]


def splits(drift: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return the splits by key, Training first, then from near to far.

    Returns
    -------
    dict of dict
        ``title``, ``meaning``, and ``mark``, the key of its mark in figures.
    """
    return {
        split["key"]: {
            "title": without_controls(split["title"]),
            "meaning": without_controls(split["meaning"]),
            "mark": TRAINING if place == 0 else reference_mark(place - 1),
        }
        for place, split in enumerate(drift["dataset"]["splits"])
    }


def class_styles(colours: list[str]) -> list[dict[str, str]]:
    """Return the colour of each class, and of letters upon it that can be read."""
    return [{"fill": colour, "ink": _ink_on(colour)} for colour in colours]


def _ink_on(colour: str) -> str:
    """Return black or white, whichever has the higher contrast (WCAG 2.2, relative luminance)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#fff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#111"
