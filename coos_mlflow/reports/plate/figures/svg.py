"""The parts that several SVG figures share: marks, labels, axes and the SVG element.

Functions return SVG as text. They escape the words that they are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from markupsafe import Markup, escape

SYMBOLS: dict[str, str] = {
    "new": "M0-8 7 0 0 8-7 0Z",
    "training": "M4 0A4 4 0 1 1-4 0 4 4 0 1 1 4 0Z",
    "near1": "M-3.6-3.6H3.6V3.6H-3.6Z",
    "near2": "M0-4.6 4.6 3.6H-4.6Z",
    "near3": "M0 4.6 4.6-3.6H-4.6Z",
    "near4": "M-4.4-1.6H-1.6V-4.4H1.6V-1.6H4.4V1.6H1.6V4.4H-1.6V1.6H-4.4Z",
    "near5": "M0-4.4 4.2-1.4 2.6 3.6H-2.6L-4.2-1.4Z",
    "near6": "M-4.4 0-2.2-3.8H2.2L4.4 0 2.2 3.8H-2.2Z",
}
"""Outline of the mark of a new plate, of Training and of the references from near to far: diamond,
disc, square, triangle up, triangle down, cross, pentagon, hexagon. The shapes tell them apart
without colour."""

_REFERENCE_MARKS = len(SYMBOLS) - 2


def reference_mark(place: int) -> str:
    """Return the mark of a reference split by its place from near to far, from 0.

    Marks repeat after the sixth; the rows of the figures have titles.
    """
    return f"near{place % _REFERENCE_MARKS + 1}"


Scale = Callable[[float], float]


def linear(high: float, left: float, right: float) -> Scale:
    """Return the function that maps values 0 to `high` to x from `left` to `right`.

    Values above `high` are drawn at `right`.
    """
    return lambda value: left + min(value, high) / high * (right - left)


def mark(key: str, x: float, y: float, title: str, size: float = 1) -> str:
    """Draw the mark `key` of `SYMBOLS`, with a title that shows when it is pointed at."""
    scale = "" if size == 1 else f" scale({size:g})"
    return (
        f'<path class="mark {key}" transform="translate({x:.1f} {y:.1f}){scale}" '
        f'd="{SYMBOLS[key]}"><title>{escape(title)}</title></path>'
    )


def symbol(key: str) -> Markup:
    """Draw the mark `key` of `SYMBOLS` at the size of a letter."""
    path = f'<path class="mark {key}" d="{SYMBOLS[key]}"/>'
    return Markup(f'<svg class="symbol" viewBox="-9 -9 18 18" aria-hidden="true">{path}</svg>')


def label(words: str, x: float, y: float, style: str = "row long") -> str:
    """Write the label of a row, whose baseline is at `y`; `style` names CSS classes."""
    return f'<text class="{style}" x="{x:g}" y="{y:g}">{escape(words)}</text>'


def cut(title: str, most: int) -> str:
    """Return the title of a row, shortened to at most `most` characters."""
    return title if len(title) <= most else title[: most - 1] + "…"


def usual_band(left: float, right: float, top: float, bottom: float) -> str:
    """Draw the tinted range of usual values."""
    return (
        f'<rect class="usual" x="{left:.1f}" y="{top:g}" width="{right - left:.1f}" '
        f'height="{bottom - top:g}"/>'
    )


def grid(ticks: list[tuple[float, str]], top: float, bottom: float) -> list[str]:
    """Draw vertical lines at the x of `ticks`, with their labels below."""
    return [
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top:g}" y2="{bottom:g}"/>'
        f'<text class="tick" x="{x:.1f}" y="{bottom + 15:g}">{words}</text>'
        for x, words in ticks
    ]


def round_ticks(high: float, most: int = 5) -> list[float]:
    """Return 0 and round numbers up to `high`, in at most `most` steps of 1, 2 or 5 x 10^n."""
    exponents = range(math.floor(math.log10(high)) - 1, math.ceil(math.log10(high)) + 1)
    steps = [step * 10.0**exponent for exponent in exponents for step in (1, 2, 5)]
    step = next(step for step in steps if high / step <= most)
    return [step * number for number in range(math.floor(high / step + 1e-9) + 1)]


def svg(width: float, height: float, title: str, parts: list[str], role: str = "img") -> Markup:
    """Wrap parts, whose words are escaped already, into an SVG element.

    Parameters
    ----------
    role : str
        ``"img"``, or ``"group"`` for a drawing whose parts can be chosen.
    """
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="{role}" aria-label="{escape(title)}" '
    return Markup(f'{head}style="max-width:{width * 1.25:g}px">{"".join(parts)}</svg>')
