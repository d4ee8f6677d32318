"""Writes the comparison into a folder: CSV, Markdown, an HTML page and the figure of errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coos_mlflow.registry.ranking import LEFT_OUT_BY
from coos_mlflow.reports.plate.markdown import render_markdown
from coos_mlflow.reports.style import DARK
from coos_mlflow.reports.templating import environment
from coos_mlflow.training.generalise.comparison import Comparison, mean_and_deviation, measure
from coos_mlflow.training.generalise.remedies import remedies
from coos_mlflow.training.generalise.rows import can_be_compared, left_out_error
from coos_mlflow.training.generalise.summary import summarise
from coos_mlflow.training.table3.figure import png
from coos_mlflow.training.table3.pages import Pages, as_csv
from coos_mlflow.training.table3.rows import Entry

NAME = "generalise"
ERRORS, REMEDIES, COSTS, TEXT, PAGE, FIGURE = FILES = (
    *(f"{NAME}.csv", "remedies.csv", "costs.csv", f"{NAME}.md", f"{NAME}.html", "errors.png"),
)


def write(comparison: Comparison, folder: Path) -> None:
    """Write `FILES` into a folder; the same comparison gives the same bytes."""
    summary, table = summarise(comparison), comparison.table
    pictures = {"light": png(table), "dark": png(table, DARK)} if table.filled else {}
    texts = {
        ERRORS: as_csv(_error_rows(comparison)),
        REMEDIES: as_csv(_remedy_rows(comparison)),
        COSTS: as_csv(_cost_rows(comparison)),
        TEXT: render_markdown(summary | {"figure": FIGURE if pictures else ""}, f"{NAME}.md.j2"),
        PAGE: environment().get_template(f"{NAME}.html").render(**summary, pictures=pictures),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    if pictures:
        (folder / FIGURE).write_bytes(pictures["light"])


def _error_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield a row for each model, test set and level, the left-out plates of Training first."""
    table = comparison.table
    for entry in table.filled:
        for level, wells in (("cells", False), ("wells", True)):
            left_out = left_out_error(entry, wells=wells)
            yield _record(comparison, entry, "left out", level, [left_out])
            for name in (*table.splits, *(world.title for world in comparison.worlds)):
                errors = comparison.errors(entry, name, wells=wells)
                yield _record(comparison, entry, name, level, errors)


def _record(
    comparison: Comparison, entry: Entry, name: str, level: str, errors: list[float]
) -> dict[str, Any]:
    table, (mean, deviation) = comparison.table, mean_and_deviation(errors)
    off, interval = math.nan, None
    if name in comparison.sets:
        off, interval = comparison.difference(entry, name, wells=level == "wells")
    low, high = interval or (math.nan, math.nan)
    numbers = {"error": mean, "sd": deviation, "difference": off, "low": low, "high": high}
    return {
        **_head(comparison, entry),
        "set": name,
        "level": level,
        **{key: "" if math.isnan(value) else f"{value:.6g}" for key, value in numbers.items()},
        "error_by_seed": " ".join(f"{error:.6g}" for error in errors),
        "plates": comparison.plates(name) if name in comparison.sets else "",
        "dataset": table.name,
        "simulated": table.simulated,
        "dataset_digest": table.digest,
        "seeds": " ".join(map(str, table.seeds)),
        "preset": table.preset,
    }


def _head(comparison: Comparison, entry: Entry) -> dict[str, Any]:
    features, layer, model = entry.line.triple
    marks = {"reference": comparison.reference, "champion": comparison.champion}
    return {
        "row": entry.line.key,
        "features": features,
        "layer": layer,
        "model": model,
        "in_paper": bool(entry.line.published),
        "left_out_by": entry.rows[0].model.tags.get(LEFT_OUT_BY, ""),
        "comparable": can_be_compared(entry),
        "chosen_as": " ".join(mark for mark, marked in marks.items() if marked is entry),
    }


def _remedy_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield a row for each remedy, pair of rows, test set and level."""
    for remedy in remedies(comparison.table.filled):
        for level, wells in (("cells", False), ("wells", True)):
            for name in comparison.sets:
                changes = remedy.changes(comparison, name, wells=wells)
                for (entry, other), change in zip(remedy.pairs, changes, strict=True):
                    yield {
                        "remedy": remedy.title,
                        "row": entry.line.key,
                        "without": other.line.key,
                        "set": name,
                        "level": level,
                        "change": "" if math.isnan(change) else f"{change:.6g}",
                    }


def _cost_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    for entry in comparison.table.filled:
        costs = comparison.costs[entry.line.key]
        numbers = {
            "seconds_features": costs.features,
            "seconds_fit": costs.fit,
            "cells_per_second": costs.speed,
        }
        yield {"row": entry.line.key} | {
            key: "" if math.isnan(value) else f"{value:.4g}" for key, value in numbers.items()
        }


PAGES = Pages(NAME, FILES, measure, write)
"""How the comparison becomes files."""
