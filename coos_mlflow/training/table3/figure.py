"""Draws the figure of Table 3: error by split, one line per model, one panel per representation."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from coos_mlflow.reports.plate.wording import shown
from coos_mlflow.reports.style import COLOURS, LIGHT, Palette
from coos_mlflow.training.table3.rows import Entry, Table, headings, published

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLES: dict[str, dict[str, Any]] = {
    "own": {"linestyle": "-", "marker": "D"},
    "knn": {"linestyle": ":", "marker": "o"},
    "lr": {"linestyle": "-", "marker": "s"},
    "rf": {"linestyle": "--", "marker": "^"},
}
"""Lines and marks of the classifiers, which can be told apart without colour."""


_PNG_COLOURS = 256

_TICKS = (0, 0.5, 1, 2, 5, 10, 20, 30, 50, 70, 100)
_MIN_TOP = 10.0
_LABEL_GAP = 0.052
"""Smallest distance between the names of two lines, as a share of the height of a panel."""


def png(table: Table, palette: Palette = LIGHT) -> bytes:
    """Return the figure as PNG with 256 colours. The same table gives the same bytes."""
    drawn, small = io.BytesIO(), io.BytesIO()
    errors_figure(table, palette).savefig(drawn, dpi=110)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(_PNG_COLOURS).save(small, format="PNG", optimize=True)
    return small.getvalue()


def errors_figure(table: Table, palette: Palette = LIGHT) -> Figure:
    """Draw the balanced error of every filled row by split.

    The axis is a square root. It shows the error of 0 that forests have on Training, which a
    logarithmic axis cannot, and it still separates 1 % from 2 %.

    Parameters
    ----------
    table : Table
    palette : Palette
        `LIGHT`, or `DARK` for a page of dark colours.
    """
    from matplotlib.figure import Figure

    features = list(dict.fromkeys(entry.line.features for entry in table.filled))
    columns = min(2, max(1, len(features)))
    rows = max(1, math.ceil(len(features) / columns))
    figure = Figure(
        figsize=(5.6 * columns, 4.3 * rows + 0.6), layout="constrained", facecolor=palette.paper
    )
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, ax in enumerate(panels):
        if number < len(features):
            _panel(ax, table, features, number, palette)
        else:
            ax.axis("off")
    cells = "simulated cells" if table.simulated else shown(table.name)
    title = f"Class-balanced error on {cells}, one line per model\n"
    title += "square-root axis" + ("; grey: the other representations" if columns > 1 else "")
    figure.suptitle(title, color=palette.ink, fontsize=11)
    return figure


def _panel(ax: Axes, table: Table, features: list[str], number: int, palette: Palette) -> None:
    """Draw the models of one representation, with all other models in grey behind them."""
    errors = [entry.error(split) for entry in table.filled for split in table.splits]
    height = math.sqrt(1.05 * max(_MIN_TOP, *errors))
    _frame(ax, table, height, palette)
    own = [entry for entry in table.filled if entry.line.features == features[number]]
    for entry in table.filled:
        if entry not in own:
            ax.plot(_heights(entry, table.splits), color=palette.line, linewidth=0.8, zorder=1)
    layers = list(dict.fromkeys(entry.line.layer for entry in own if entry.line.layer))
    base = colour_of(features[number], features)
    styles = [_line_style(entry, _shade(base, layers, entry.line.layer, palette)) for entry in own]
    for entry, style in zip(own, styles, strict=True):
        ax.plot(_heights(entry, table.splits), zorder=3, **style)
    _label_lines(ax, own, styles, table.splits, height, palette.ink)
    ax.set_title(shown(features[number]), color=palette.ink, loc="left", fontweight="bold")


def colour_of(title: str, features: Sequence[str]) -> str:
    """Return the colour of a representation. It does not depend on the rows of the table.

    Parameters
    ----------
    title : str
        Of the representation.
    features : sequence of str
        Titles of all that are drawn. Those that are not in the paper come after its four.
    """
    order = list(dict.fromkeys([*(triple[0] for triple in published()), *features]))
    return COLOURS[order.index(title) % len(COLOURS)]


def _frame(ax: Axes, table: Table, height: float, palette: Palette) -> None:
    ticks = [tick for tick in _TICKS if math.sqrt(tick) <= height]
    ax.set_ylim(-0.03 * height, height)
    ax.set_yticks([math.sqrt(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    n_splits = len(table.splits)
    ax.set_xlim(-0.2, n_splits + 0.7)
    ax.set_xticks(range(n_splits), list(headings(table.dataset).values()))
    ax.set_ylabel("balanced error (%)", color=palette.soft)
    ax.set_facecolor(palette.paper)
    ax.tick_params(colors=palette.soft, length=0)
    ends = (-0.2, n_splits - 0.85)
    ax.hlines([math.sqrt(t) for t in ticks], *ends, colors=palette.line, lw=0.6, zorder=0)
    ax.spines[:].set_visible(False)


def _line_style(entry: Entry, colour: tuple[float, ...]) -> dict[str, Any]:
    style = _STYLES.get(entry.line.kind, _STYLES["own"])
    return {"color": colour, "linewidth": 1.7, "markersize": 4.5, **style}


def _heights(entry: Entry, splits: Sequence[str]) -> list[float]:
    return [math.sqrt(max(entry.error(split), 0)) for split in splits]


def _shade(base: str, layers: list[str], layer: str, palette: Palette) -> tuple[float, ...]:
    """Return the colour of a representation: lighter for early layers, darker for late ones."""
    from matplotlib.colors import to_rgb

    amount = palette.alone
    if len(layers) > 1 and layer:
        place = layers.index(layer) / (len(layers) - 1)
        amount = palette.first + (palette.last - palette.first) * place
    towards = 1.0 if amount > 0 else 0.0
    return tuple(channel + (towards - channel) * abs(amount) for channel in to_rgb(base))


def _label_lines(
    ax: Axes,
    entries: list[Entry],
    styles: list[dict[str, Any]],
    splits: Sequence[str],
    height: float,
    ink: str,
) -> None:
    """Write the name of each line at its end, moved apart where names would overlap."""
    end = len(splits) - 1
    order = sorted(range(len(entries)), key=lambda number: entries[number].error(splits[-1]))
    ends = [_heights(entries[number], splits)[-1] for number in order]
    placed = spread(ends, _LABEL_GAP * height, top=0.98 * height)
    for number, at, place in zip(order, ends, placed, strict=True):
        name = " ".join(part for part in entries[number].line.triple[1:] if part)
        colour = styles[number]["color"]
        ax.plot([end + 0.07, end + 0.25], [at, place], color=colour, linewidth=0.6, zorder=2)
        sample = [end + 0.29, end + 0.47, end + 0.65]
        ax.plot(sample, [place] * 3, markevery=[1], zorder=3, **styles[number])
        ax.text(end + 0.72, place, shown(name), color=ink, fontsize=8.5, va="center")


def spread(places: Sequence[float], gap: float, top: float = math.inf) -> list[float]:
    """Move ascending places apart until neighbours differ by `gap`.

    The sum of squared moves is the smallest possible: an isotonic regression of the places after
    the gaps below each are subtracted.

    Parameters
    ----------
    places : sequence of float
        In ascending order, none below 0.
    gap : float
        Smallest distance of two neighbours.
    top : float
        Largest place that is returned, as long as there is room below.

    Returns
    -------
    list of float
        None below 0.
    """
    from sklearn.isotonic import isotonic_regression

    gaps = gap * np.arange(len(places))
    moved = isotonic_regression(
        np.asarray(places, float) - gaps, y_min=0, y_max=max(0.0, top - gaps[-1])
    )
    return [float(place) for place in moved + gaps]
