"""Words for figures, limits and nuclei without a cell, shared by the parts of the page."""

from __future__ import annotations

from typing import Any

from coos_mlflow.reports.plate.wording import plate_words, shown, without_controls

LEFT_OUT = {
    "edge": "at the edge",
    "small": "too small",
    "large": "too large",
    "field": "in fields left out",
}
"""Why a nucleus gave no cell, by the keys of fields.json."""

MAX_SENTENCE = 300
"""Largest number of characters of a sentence from fields.json that a page shows."""


def figure(value: float | None) -> str:
    """Return a figure with three digits, or a dash where there is none."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    # Without exponents, which readers of pages are not used to.
    return f"{value:.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.6f}"


def capital(words: str) -> str:
    """Return words that begin with a capital letter."""
    return words[:1].upper() + words[1:]


def limit(rule: dict[str, Any]) -> str:
    """Return from where on a rule warns, such as "below 0.3"."""
    return f"{'above' if rule['above'] else 'below'} {figure(rule['limit'])}"


def figure_name(key: str) -> str:
    """Return the key of a figure as words."""
    return shown(key).replace("_", " ")


def left_out(counts: dict[str, int]) -> str:
    """Return the numbers of nuclei without a cell, such as "9 at the edge, 2 too small"."""
    return ", ".join(f"{n:,} {LEFT_OUT.get(key, key)}" for key, n in counts.items() if n)


def sentence(text: object) -> str:
    """Return a sentence without control characters, cut after `MAX_SENTENCE` characters."""
    words = without_controls(str(text)[: MAX_SENTENCE + 1])
    return words if len(words) <= MAX_SENTENCE else f"{words[:MAX_SENTENCE]}…"


def field_name(entry: dict[str, Any], *, several: bool) -> str:
    """Return plate where there are several, well, field, and time where it is not the first."""
    plate = f", {plate_words(entry['plate'])}" if several else ""
    time = f", time {entry['time']}" if entry["time"] > 1 else ""
    return f"Well {shown(entry['well'])}, field {entry['field']}{time}{plate}"
