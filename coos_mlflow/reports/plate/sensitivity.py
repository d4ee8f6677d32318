"""What the verdict of a model version can find: false alarms and shifts of known size, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MIN_FOUND = 0.85
"""Share of plates with a split's shift below which the first lines say that such are missed."""

LAST_SPLITS = 2
"""Number of reference splits, the farthest, whose shifts a verdict is expected to find."""


def sentences(sensitivity: dict[str, Any], titles: Mapping[str, str]) -> list[str]:
    """Return how many plates of each kind would be called shifted; none without a verdict.

    Parameters
    ----------
    sensitivity : dict
        From `coos_mlflow.drift.verdict.Judge.sensitivity`.
    titles : mapping of str to str
        Title of each split, from near to far.
    """
    if sensitivity["alarms"] is None:
        return []
    alarms = sensitivity["alarms"] or "none"
    found = [
        f"Of the model's own {sensitivity['of']} Training plates, each compared with the others, "
        f"{alarms} would be called shifted."
    ]
    shares = _found(sensitivity, titles)
    if shares:
        (first, share), *rest = shares
        words = [f"A plate like those of {first} would be called shifted {_often(share)}"]
        words += [f"one like {title} {_often(share)}" for title, share in rest]
        found.append(f"{', '.join(words)}.")
    return found


def warning(sensitivity: dict[str, Any], titles: Mapping[str, str]) -> str:
    """Return a sentence on the shift that is missed most, empty where enough is found."""
    shares = _found(sensitivity, titles)[-LAST_SPLITS:]
    missed = [(share, title) for title, share in shares if share < MIN_FOUND]
    if not missed:
        return ""
    share, title = min(missed)
    return (
        f"This model's verdict can miss shifts: one of {title}'s size would be found "
        f"{_often(share)}."
    )


def _found(sensitivity: dict[str, Any], titles: Mapping[str, str]) -> list[tuple[str, float]]:
    found = sensitivity["found"]
    return [(title, found[split]) for split, title in titles.items() if split in found]


def _often(share: float) -> str:
    tenths = round(10 * share)
    if tenths in (0, 10):
        return "hardly ever" if tenths == 0 else "nearly always"
    return f"about {tenths} time{'s' * (tenths > 1)} in 10"
