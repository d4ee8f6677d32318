"""The pictures of the report: hand-placed SVG that follows the page's colours, and cells as PNG."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from PIL import Image

from coos_mlflow.data.cells import CLASS_ABBREVIATIONS

_SYMBOLS: dict[str, str] = {
    "new": "M0-8 7 0 0 8-7 0Z",
    "training": "M4 0A4 4 0 1 1-4 0 4 4 0 1 1 4 0Z",
    "test1": "M-3.6-3.6H3.6V3.6H-3.6Z",
    "test2": "M0-4.6 4.6 3.6H-4.6Z",
    "test3": "M0 4.6 4.6-3.6H-4.6Z",
    "test4": "M-4.4-1.6H-1.6V-4.4H1.6V-1.6H4.4V1.6H1.6V4.4H-1.6V1.6H-4.4Z",
}
"""Outline of the mark of each row of the ladder, so that colour is not needed to tell them."""

_CLASS_LETTERS = ("ER", "IM", "Go", "Px", "EE", "Cy", "NE")

_CIVIDIS = ((0, 34, 78), (66, 78, 108), (124, 123, 120), (187, 173, 108), (254, 232, 56))
"""Five stops of matplotlib's cividis, made for colour-blind readers (Nunez et al. 2018)."""

_DISPLAY_PERCENTILES = (0.5, 99.8)


def ladder(panel: dict[str, Any], low: float, high: float) -> Markup:
    """Draw one view: a row of marks for the plates and for each split, on a logarithmic axis.

    Parameters
    ----------
    panel : dict
        One of the summary's ``ladder``.
    low, high : float
        Ends of the axis, the same in all views.
    """
    width, left, top, step = 370, 98, 8, 24
    rows = panel["rows"]
    bottom = top + step * len(rows)

    def x(distance: float) -> float:
        share = math.log(max(distance, low) / low) / math.log(high / low)
        return left + share * (width - left - 14)

    parts = [_usual_band(panel["usual"], x, left, top, bottom)]
    for tick in _ticks(low, high):
        parts.append(
            f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{bottom}"/>'
            f'<text class="tick" x="{x(tick):.1f}" y="{bottom + 15}">{tick:g}</text>'
        )
    for number, row in enumerate(rows):
        y = top + step * (number + 0.5)
        weight = " strong" if row["key"] == "new" else ""
        parts.append(f'<text class="row{weight}" x="{left - 12}" y="{y + 4:.1f}">')
        parts.append(f"{escape(row['title'])}</text>")
        parts += [_mark(row, mark, x(mark["distance"]), y) for mark in row["marks"]]
    label = f"{panel['title']}: distance of plates from Training"
    return _svg(width, bottom + 22, label, parts)


def _usual_band(
    usual: float | None, x: Callable[[float], float], left: float, top: float, bottom: float
) -> str:
    if usual is None:
        return ""
    return (
        f'<rect class="usual" x="{left}" y="{top}" width="{x(usual) - left:.1f}" '
        f'height="{bottom - top}"/><line class="limit" x1="{x(usual):.1f}" x2="{x(usual):.1f}" '
        f'y1="{top}" y2="{bottom}"/>'
    )


def _mark(row: dict[str, Any], mark: dict[str, Any], x: float, y: float) -> str:
    title = escape(f"{row['title']}, {mark['words']}: {mark['distance']:.2f}")
    return (
        f'<path class="mark {row["key"]}" transform="translate({x:.1f} {y:.1f})" '
        f'd="{_SYMBOLS[row["key"]]}"><title>{title}</title></path>'
    )


def axis_of(panels: list[dict[str, Any]]) -> tuple[float, float]:
    """Return ends of the logarithmic axis that hold every mark of the ladder."""
    values = [mark["distance"] for p in panels for row in p["rows"] for mark in row["marks"]]
    values += [panel["usual"] for panel in panels if panel["usual"] is not None]
    positive = [value for value in values if value > 0]
    low = max(min([*positive, 0.5]) * 0.9, 0.1)
    return low, max([*positive, 4.0]) * 1.15


def _ticks(low: float, high: float) -> list[float]:
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 100 else (1,)
    ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def class_shares(shares: list[dict[str, Any]]) -> Markup:
    """Draw the predicted share of each class as a bar and the corrected one as a mark."""
    width, left, step, top = 460, 200, 27, 4
    scale = (width - left - 62) / max(max(s["predicted"], s["corrected"]) for s in shares)
    parts = []
    for number, share in enumerate(shares):
        y = top + number * step
        bar, corrected = share["predicted"] * scale, left + share["corrected"] * scale
        title = f"{share['name']}: predicted {share['predicted']:.1%}, "
        title += f"corrected {share['corrected']:.1%}"
        parts.append(
            f"<g><title>{escape(title)}</title>"
            f'<text class="row long" x="{left - 10}" y="{y + 15}">{escape(share["name"])}</text>'
            f'<rect class="bar c{share["label"]}" x="{left}" y="{y + 3}" '
            f'width="{max(bar, 1):.1f}" height="16" rx="2"/>'
            f'<path class="corrected" d="M{corrected:.1f} {y}v22"/>'
            f'<text class="value" x="{max(left + bar, corrected) + 7:.1f}" y="{y + 15}">'
            f"{share['predicted']:.0%}</text></g>"
        )
    return _svg(width, top * 2 + step * len(shares), "Shares of the classes", parts)


MAP_QUANTITIES = ("class", "confidence", "distance")
"""What the maps of a plate show."""


def plate_map(wells: list[dict[str, Any]], quantity: str) -> Markup:
    """Draw the wells of a plate at their places, or in a row after row where ids say no place.

    Parameters
    ----------
    wells : list of dict
        Of one of the summary's ``maps``.
    quantity : str
        One of `MAP_QUANTITIES`.
    """
    placed = all(well["row"] > 0 for well in wells)
    columns, rows = (24, 16) if placed else (24, max(1, math.ceil(len(wells) / 24)))
    size, left, top = 17, 18 if placed else 2, 16 if placed else 2
    parts = _map_frame(columns, rows, size, left, top) if placed else []
    for number, well in enumerate(wells):
        row, column = (well["row"] - 1, well["column"] - 1) if placed else divmod(number, columns)
        parts.append(_well_square(well, quantity, left + column * size, top + row * size, size))
    label = f"Plate map: {quantity} by well"
    return _svg(left + columns * size + 2, top + rows * size + 2, label, parts)


def _map_frame(columns: int, rows: int, size: int, left: int, top: int) -> list[str]:
    parts = [
        f'<rect class="plate" x="{left}" y="{top}" width="{columns * size}" '
        f'height="{rows * size}" rx="5"/>'
    ]
    parts += [
        f'<text class="tick" x="{left + (c + 0.5) * size}" y="{top - 5}">{c + 1}</text>'
        for c in range(0, columns, 1)
        if c == 0 or (c + 1) % 4 == 0
    ]
    parts += [
        f'<text class="tick" x="{left - 8}" y="{top + (r + 0.5) * size + 3}">{chr(65 + r)}</text>'
        for r in range(rows)
    ]
    return parts


def _well_square(well: dict[str, Any], quantity: str, x: float, y: float, size: int) -> str:
    distance = "unknown" if well["distance"] is None else f"{well['distance']:.1f}"
    title = escape(
        f"{well['well']}: {well['n_cells']} cells, {CLASS_ABBREVIATIONS[well['label']]} "
        f"{well['share']:.0%}, confidence {well['confidence']:.0%}, distance {distance}"
    )
    inner = size - 2
    square = f'x="{x + 1}" y="{y + 1}" width="{inner}" height="{inner}" rx="3"'
    if quantity == "class":
        letters = _CLASS_LETTERS[well["label"]]
        body = f'<rect class="c{well["label"]}" {square}/>'
        body += f'<text class="in" x="{x + size / 2}" y="{y + size / 2 + 3}">{letters}</text>'
    elif quantity == "distance" and well["distance"] is None:
        body = f'<rect class="unknown" {square}/>'
    else:
        body = f'<rect fill="{_colour(position_of(well, quantity))}" {square}/>'
    return f'<g class="w"><title>{title}</title>{body}</g>'


FAR_WELL = 4.0
"""Distance at which the colours of the map end."""


def position_of(well: dict[str, Any], quantity: str) -> float:
    """Return where a well stands on the colour scale, 0 to 1: confidence 0-100 %, distance 0-4."""
    if quantity == "confidence":
        return float(np.clip(well["confidence"], 0, 1))
    return float(np.clip(well["distance"] / FAR_WELL, 0, 1))


def _colour(position: float) -> str:
    place = position * (len(_CIVIDIS) - 1)
    below = min(int(place), len(_CIVIDIS) - 2)
    pairs = zip(_CIVIDIS[below], _CIVIDIS[below + 1], strict=True)
    channels = [round(a + (b - a) * (place - below)) for a, b in pairs]
    return "#{:02x}{:02x}{:02x}".format(*channels)


def colour_scale() -> Markup:
    """Return the CSS gradient of the maps' colours."""
    return Markup("linear-gradient(90deg,{})").format(
        Markup(",".join("#{:02x}{:02x}{:02x}".format(*stop) for stop in _CIVIDIS))
    )


def raw_moves(moves: dict[str, Any]) -> Markup:
    """Draw the robust z of each raw-image figure on a square-root axis, moved ones filled."""
    width, left, step, top = 640, 312, 22, 6
    rows = moves["rows"]
    bottom, centre, half = top + step * len(rows), left + (width - left - 62) / 2, 120
    high = max(10.0, *(abs(row["z"]) for row in rows))

    def x(z: float) -> float:
        return centre + math.copysign(math.sqrt(abs(z) / high), z) * half

    near, far = x(-moves["at"]), x(moves["at"])
    parts = [
        f'<rect class="usual" x="{near:.1f}" y="{top}" width="{far - near:.1f}" '
        f'height="{bottom - top}"/>',
        f'<line class="grid" x1="{centre}" x2="{centre}" y1="{top}" y2="{bottom}"/>',
    ]
    for number, row in enumerate(rows):
        y = top + step * (number + 0.5)
        moved = " moved" if row["moved"] else ""
        title = escape(f"{row['figure']}: {row['words']}, robust z {row['z']:.1f}")
        parts.append(
            f'<g class="move{moved}"><title>{title}</title>'
            f'<text class="row long" x="{left - 10}" y="{y + 4}">{escape(row["figure"])}</text>'
            f'<line class="stem" x1="{centre}" x2="{x(row["z"]):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="dot" cx="{x(row["z"]):.1f}" cy="{y}" r="4.5"/>'
            f'<text class="value" x="{width - 52}" y="{y + 4}">{escape(row["words"])}</text></g>'
        )
    return _svg(width, bottom + 4, "Raw-image figures against the reference plates", parts)


def cell_picture(image: np.ndarray) -> str:
    """Return a cell as a PNG data URI: protein in green, nucleus in magenta.

    Each channel is stretched between its own percentiles 0.5 and 99.8 and drawn in 64 steps,
    which no eye misses and which halves the file.

    Parameters
    ----------
    image : ndarray, shape (2, 64, 64)
        Raw counts, [protein, nucleus].
    """
    protein, nucleus = (_stretch(channel) for channel in image)
    rgb = np.stack([0.8 * nucleus, protein, 0.9 * nucleus], axis=2)
    pixels = (np.clip(rgb, 0, 1) * 255).astype(np.uint8) & 0xFC
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _stretch(channel: np.ndarray) -> np.ndarray:
    low, high = np.percentile(channel, _DISPLAY_PERCENTILES)
    return np.clip((channel.astype(np.float64) - low) / max(high - low, 1e-9), 0, 1)


def _svg(width: float, height: float, label: str, parts: list[str]) -> Markup:
    """Wrap parts, whose texts their makers escaped, into an SVG element."""
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}" '
    return Markup(f'{head}style="max-width:{width * 1.25:g}px">{"".join(parts)}</svg>')
