"""Parts of drift.json made by hand, and the numbers in it, for the tests of pages."""

from __future__ import annotations

import re
from typing import Any

NUMBER = re.compile(r"(?<![\w.])[-+×]?\d[\d,]*(?:\.\d+)?(?![\w])")


def numbers_in(value) -> set[float]:
    """Return every number of a JSON tree, those within its texts and the lengths of its lists."""
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, int | float):
        return {float(value)}
    if isinstance(value, str):
        return {float(n.lstrip("+×").replace(",", "")) for n in NUMBER.findall(value)}
    parts = list(value.values()) if isinstance(value, dict) else value
    own = {float(len(value))} if isinstance(value, list) else set()
    return own.union(*(numbers_in(part) for part in parts))


def controls_of(**changes: Any) -> dict[str, Any]:
    recalls = [0.97, None, 0.95, None, None, None, None]
    return {
        "column": "class",
        "n_wells": 16,
        "n_cells": 150,
        "covers": 0.5,
        "balanced_error": 4.0,
        "low": 2.0,
        "high": 8.0,
        "wrong_labels": 4.2,
        "classes": [0, 2],
        "recalls": recalls,
        "recall_lows": [r and r - 0.06 for r in recalls],
        "recall_highs": [r and r + 0.02 for r in recalls],
        "none": {"n_wells": 0, "n_cells": 0},
        "misread": [],
        "missing": [],
        "estimated": 5.1,
        "agrees": True,
        "usual": 5.0,
        "worse": False,
    } | changes
