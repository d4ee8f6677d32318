"""Draws errors, estimated and measured, and distances of the plates that a model has scored."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from coos_mlflow.drift import CANNOT_TELL, IN_RANGE, SHIFTED
from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.registry.scoring_runs import CONTROL_ERRORS, MEASURED_ERRORS, farthest
from coos_mlflow.reports.plate.wording import shown
from coos_mlflow.reports.style import COLOURS, LIGHT, Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg")

INCHES = (10.0, 6.4)
DPI = 120

MARKS: dict[str, dict[str, Any]] = {
    IN_RANGE: {"marker": "o", "color": COLOURS[0]},
    CANNOT_TELL: {"marker": "s", "color": COLOURS[1]},
    SHIFTED: {"marker": "^", "color": COLOURS[5]},
}
"""Shape and colour of each verdict; the shapes can be told apart without the colours."""

_MEASURED: dict[tuple[str, ...], tuple[str, float, dict[str, Any]]] = {
    CONTROL_ERRORS: (
        "measured in controls",
        0.15,
        {"marker": "D", "linestyle": "none", "markersize": 5},
    ),
    MEASURED_ERRORS: (
        "measured on labelled cells",
        0.3,
        {"marker": "P", "linestyle": "none", "markersize": 7},
    ),
}
"""Measured errors by their columns: words of the legend, place beside a plate's estimate, mark."""

_MAX_NAMES = 24
"""Largest number of plates that are named below the axis; with more, days are written."""

_MANY = 100
"""Number of plates above which marks are small."""

_MAX_DAYS = 12
_MAX_CHANGES = 10
"""Largest number of version changes that are marked; more lines would hide the plates."""

_NAME_LENGTH = 20
_MIN_ERROR_TOP = 10.0
_MIN_RATIO = 0.05
_TICKS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


_ROOM = 0.9
"""Part of the axis of errors below the arrows of those without an upper end."""

_ARROW = {"arrowstyle": "->", "linestyle": "--", "linewidth": 1.1, "shrinkA": 4, "shrinkB": 0}


def check_file(path: Path, force: bool) -> None:
    """Check that a figure can be written to a path.

    Raises
    ------
    DataError
        If its ending is not one of `FORMATS`.
    OutputError
        If the file exists already, or its folder does not exist.
    """
    if path.suffix.lower() not in FORMATS:
        raise DataError(f"{path}: ending {path.suffix!r}, expected {' or '.join(FORMATS)}.")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist; create it first.")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file.")
    if path.exists() and not force:
        raise OutputError(f"{path}: is there already; --force replaces it.")


def write(history: pd.DataFrame, path: Path, model: str, *, force: bool = False) -> None:
    """Draw a history into a PNG or SVG file.

    Parameters
    ----------
    history : DataFrame
        From `coos_mlflow.registry.scoring_runs.read_history`, not empty.
    path : Path
        Its ending gives the format.
    model : str
        Name of the model in the title.
    force : bool
        Replace an existing file.

    Raises
    ------
    DataError, OutputError
        As `check_file` does, and when the file cannot be written.
    """
    check_file(path, force)
    content = io.BytesIO()
    history_figure(history, model).savefig(content, format=path.suffix[1:].lower(), dpi=DPI)
    try:
        path.write_bytes(content.getvalue())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error


def history_figure(history: pd.DataFrame, model: str, palette: Palette = LIGHT) -> Figure:
    """Draw the estimated error with its range, and below it the largest distance.

    Plates are evenly spaced in the order in which they were scored. On a time axis they would
    overlap: dozens are often scored within minutes, and then none for weeks.

    Parameters
    ----------
    history : DataFrame
        From `coos_mlflow.registry.scoring_runs.read_history`, not empty.
    model : str
        Name of the model in the title.
    palette : Palette
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained", facecolor=palette.paper)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for ax in (upper, lower):
        _frame(ax, len(history), palette)
    _draw_errors(upper, history, palette)
    _draw_distances(lower, history, palette)
    _mark_versions(upper, lower, history, palette)
    _name_plates(lower, history)
    _explain(figure, upper, history, palette)
    title = f"Plates scored with {shown(model)}, {_span(history)} (UTC)"
    figure.suptitle(
        "\n".join([title, *_simulated_words(history)]),
        color=palette.ink,
        fontsize=11,
        parse_math=False,
    )
    return figure


def _frame(ax: Axes, n: int, palette: Palette) -> None:
    ax.set_facecolor(palette.paper)
    ax.set_xlim(-0.7, n - 0.3)
    ax.grid(axis="y", color=palette.line, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(colors=palette.soft, length=0)
    ax.spines[:].set_visible(False)


def _groups(history: pd.DataFrame) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Return the positions of the plates of each verdict and kind, and the style of their marks."""
    size = 6.5 if len(history) <= _MANY else 3.5
    groups = []
    for verdict, mark in MARKS.items():
        for simulated in (False, True):
            chosen = (history["verdict"] == verdict) & (history["simulated_plate"] == simulated)
            style: dict[str, Any] = {**mark, "linestyle": "none", "markersize": size}
            if simulated:
                style["markerfacecolor"] = "none"
            groups.append((np.flatnonzero(chosen), style))
    return [group for group in groups if len(group[0])]


def _draw_errors(ax: Axes, history: pd.DataFrame, palette: Palette) -> None:
    error, low, high = (
        history[f"estimated_error{end}"].to_numpy(float) for end in ("", "_low", "_high")
    )
    width = 1.1 if len(history) <= _MANY else 0.5
    for places, style in _groups(history):
        below, above = (error - low)[places].clip(0), (high - error)[places].clip(0)
        ends = np.nan_to_num((below, above))
        ax.errorbar(places, error[places], yerr=ends, elinewidth=width, **style)
    unknown = np.flatnonzero(np.isnan(error))
    if len(unknown):
        on_axis: dict[str, Any] = {
            "marker": "x",
            "color": palette.soft,
            "linestyle": "none",
            "clip_on": False,
        }
        ax.plot(unknown, np.zeros(len(unknown)), **on_axis)
    open_ended = np.flatnonzero(~np.isnan(error) & np.isnan(high))
    measured = [_draw_measured(ax, history, palette, names) for names in _MEASURED]
    ends = np.concatenate([error, high, *measured])
    top = 1.08 * np.nanmax([_MIN_ERROR_TOP, *ends, *(error[open_ended] / _ROOM)])
    ax.set_ylim(0, top)
    for place in open_ended:
        tip = error[place] + (1 - _ROOM) * top
        ax.annotate(
            "", (place, tip), (place, error[place]), arrowprops=_ARROW | {"color": palette.ink}
        )
    ax.set_ylabel("balanced error (%)", color=palette.soft)


def _draw_measured(
    ax: Axes, history: pd.DataFrame, palette: Palette, names: tuple[str, ...]
) -> np.ndarray:
    """Draw errors measured in wells of known class or on labelled cells; return their ends."""
    _, beside, mark = _MEASURED[names]
    error, low, high = (history[name].to_numpy(float) for name in names)
    places = np.flatnonzero(~np.isnan(error))
    if len(places):
        sides = ((error - low)[places].clip(0), (high - error)[places].clip(0))
        style = {**mark, "elinewidth": 1.1, "color": palette.ink}
        ax.errorbar(places + beside, error[places], yerr=sides, **style)
    return high


def _draw_distances(ax: Axes, history: pd.DataFrame, palette: Palette) -> None:
    ratios = np.maximum(farthest(history).to_numpy(float), _MIN_RATIO)
    ax.axhspan(_MIN_RATIO / 10, 1, color=palette.line, alpha=0.35, linewidth=0, zorder=0)
    ax.axhline(1, color=palette.ink, linewidth=1, linestyle="--", zorder=1)
    for places, style in _groups(history):
        ax.plot(places, ratios[places], **style)
    ax.set_yscale("log")
    ax.set_ylim(0.8 * np.nanmin([0.5, *ratios]), 1.25 * np.nanmax([2.0, *ratios]))
    bottom, top = ax.get_ylim()
    ticks = [tick for tick in _TICKS if bottom <= tick <= top]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_ylabel("largest distance / its limit", color=palette.soft)
    ax.annotate(
        "limit", (1.005, 1), xycoords=("axes fraction", "data"), va="center", fontsize=8,
        color=palette.ink,
    )  # fmt: skip


def _mark_versions(upper: Axes, lower: Axes, history: pd.DataFrame, palette: Palette) -> None:
    """Draw a line between plates that were scored by different versions of the model."""
    version = history["version"].to_numpy()
    changes = [0, *(np.flatnonzero(version[1:] != version[:-1]) + 1)]
    if len(changes) > _MAX_CHANGES:
        return
    for place in changes:
        if place:
            for ax in (upper, lower):
                ax.axvline(place - 0.5, color=palette.soft, linewidth=0.8, linestyle=":")
        upper.annotate(
            f"version {version[place]}",
            (place - 0.45, 1.0),
            xycoords=("data", "axes fraction"),
            fontsize=8,
            color=palette.soft,
            va="bottom",
        )


def _name_plates(ax: Axes, history: pd.DataFrame) -> None:
    """Write the name of each plate below the axis, or the days where there are many plates."""
    days = history["date"].dt.strftime("%Y-%m-%d")
    if len(history) <= _MAX_NAMES:
        names = [_short(name) for name in history["plate"]]
        words = [f"{name}  {day[5:]}" for name, day in zip(names, days, strict=True)]
        ax.set_xticks(range(len(history)), words, rotation=40, ha="right", rotation_mode="anchor")
    else:
        first = np.flatnonzero(days != days.shift())
        chosen = first[:: -(-len(first) // _MAX_DAYS)]
        ax.set_xticks(chosen, days.iloc[chosen], rotation=40, ha="right", rotation_mode="anchor")
    for label in ax.get_xticklabels():
        label.set(fontsize=8, parse_math=False)


def _short(name: str) -> str:
    stem = shown(Path(name).stem)
    return stem if len(stem) <= _NAME_LENGTH else stem[: _NAME_LENGTH - 1] + "…"


def _explain(figure: Figure, ax: Axes, history: pd.DataFrame, palette: Palette) -> None:
    """Add a legend of the marks in the figure."""
    from matplotlib.lines import Line2D

    verdicts = set(history["verdict"])
    marks = [
        Line2D([], [], linestyle="none", label=verdict, **mark)
        for verdict, mark in MARKS.items()
        if verdict in verdicts
    ]
    if (history["estimated_error"].notna() & history["estimated_error_high"].isna()).any():
        marks.append(Line2D([], [], linestyle="--", color=palette.ink, label="no upper end"))
    if history["estimated_error"].isna().any():
        marks.append(
            Line2D([], [], linestyle="none", marker="x", color=palette.soft, label="no estimate")
        )
    for names, (words, _, mark) in _MEASURED.items():
        if history[names[0]].notna().any():
            marks.append(Line2D([], [], label=words, color=palette.ink, **mark))
    figure.legend(
        handles=marks,
        loc="outside lower center",
        ncols=len(marks),
        frameon=False,
        fontsize=9,
        labelcolor=palette.ink,
    )


def _span(history: pd.DataFrame) -> str:
    first, last = (f"{history['date'].iloc[end]:%Y-%m-%d}" for end in (0, -1))
    return first if first == last else f"{first} to {last}"


def _simulated_words(history: pd.DataFrame) -> list[str]:
    """Return one line that names what is simulated, or no line."""
    plates, models = (int(history[f"simulated_{key}"].sum()) for key in ("plate", "model"))
    total, words = len(history), []
    if plates:
        count = "all plates" if plates == total else f"{plates} of {total} plates"
        words.append(f"{count} (hollow marks)")
    if models:
        which = "" if models == total else f" of {models} of {total} scorings"
        words.append(f"the training data of the model{which}")
    return [f"Simulated: {' and '.join(words)}"] if words else []
