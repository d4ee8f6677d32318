"""Collects what the pages of the comparison show into one plain dict.

Open it to change a text or a number of the pages; `files` writes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from coos_mlflow import __version__
from coos_mlflow.classifiers.kinds import kind_of
from coos_mlflow.classifiers.plate_effects import PlateEffects
from coos_mlflow.classifiers.protocol import Protocol
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.registry.ranking import LEFT_OUT_BY
from coos_mlflow.reports.plate.wording import LEFT_OUT, shown
from coos_mlflow.training.generalise.comparison import Comparison, mean_and_deviation
from coos_mlflow.training.generalise.remedies import remedies
from coos_mlflow.training.generalise.rows import can_be_compared, left_out_error
from coos_mlflow.training.row import OWN
from coos_mlflow.training.table3.rows import Entry, Table, headings
from coos_mlflow.training.table3.summary import SIMULATED_WORDS, signed

ONE_WORLD = (
    "One simulator made the cells, the shifts of the splits, and the augmentations and corrections "
    "that are tested here: a remedy may know these shifts better than real ones. The wild plates "
    "have other physics and larger shifts, and each single cause changes one thing."
)
"""What the comparison cannot show on simulated cells."""

SEES_PLATES = (
    "†: labels a cell with the help of all cells of its plate, those of its well first; its errors "
    "of cells are to be held against errors of wells of the others"
)

_DIFFERENCE = (
    "Error of cells minus that of the reference, with the 95 % interval of 1,000 bootstrap draws "
    "of plates, the same for both. Bold: it does not hold 0. It is for new plates, and too "
    "narrow where they are few."
)

_CHANGE = (
    "Points by which the error of cells changes when a row of the paper gets the remedy: the mean "
    "over its rows, and small, the least and the greatest change of a row. Bold: all rows err less."
)
_CHANGE_OF_WELLS = "The same for the error of wells."

_MARKS = {
    "reference": "best of the paper's rows by left-out Training plates; differences are to it",
    "champion": "best of all rows by left-out Training plates",
}

Cell = dict[str, Any]


def summarise(comparison: Comparison) -> dict[str, Any]:
    """Collect everything that a page of the comparison shows, as text and plain numbers.

    Returns
    -------
    dict
        ``caption``; ``simulated`` (sentences, empty for real cells); ``intro``; ``marks``;
        ``remedies`` with ``title``, ``text``, ``headings`` and ``lines``; ``sections`` with
        ``title``, ``text`` and ``headings``; ``rows`` with their ``cells`` by section;
        ``provenance``.
    """
    table = comparison.table
    sections = [section for section in _sections(comparison) if section["headings"]]
    return {
        "caption": caption(comparison),
        "simulated": f"{SIMULATED_WORDS} {ONE_WORLD}" if table.simulated else "",
        "intro": _intro(comparison),
        "marks": [f"{mark}: {meaning}" for mark, meaning in _MARKS.items()] + _plate_notes(table),
        "remedies": _remedies(comparison),
        "sections": [{k: v for k, v in s.items() if k != "cells"} for s in sections],
        "rows": [
            _row(comparison, number, {s["key"]: s["cells"] for s in sections})
            for number in range(len(table.entries))
        ],
        "provenance": _provenance(comparison),
    }


def caption(comparison: Comparison) -> str:
    """Return the caption of the page."""
    table = comparison.table
    cells = "Simulated Cells" if table.simulated else shown(table.name)
    return f"Models that Generalise beside the Paper's: Balanced Error (%) on {cells}"


def _remedies(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the tables of what each remedy changes, of cells and of wells."""
    found, titles = remedies(comparison.table.filled), headings(comparison.table.dataset)
    tables = (("cells", _CHANGE, False), ("wells", _CHANGE_OF_WELLS, True))
    return [
        {
            "key": f"remedies-{unit}",
            "title": f"Which remedy helps, {unit}",
            "text": text,
            "headings": [titles.get(name, name) for name in comparison.sets],
            "lines": [
                {
                    "title": shown(remedy.title),
                    "rows": len(remedy.pairs),
                    "cells": [
                        _change(remedy.changes(comparison, name, wells=wells))
                        for name in comparison.sets
                    ],
                }
                for remedy in found
            ],
        }
        for unit, text, wells in (tables if found else ())
    ]


def _change(changes: Sequence[float]) -> Cell:
    known = [change for change in changes if not math.isnan(change)]
    if not known:
        return _cell("-")
    least, most = min(known), max(known)
    words = f"{signed(least)} to {signed(most)}" if len(known) > 1 else ""
    # Bold only where the text shows it.
    return _cell(signed(fmean(known)), words, bold=round(most, 1) < 0)


def _sections(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the tables of the page; ``cells`` makes those of a filled row."""
    titles = headings(comparison.table.dataset)
    splits, tests = list(titles), [split for split in titles if split != TRAINING]
    worlds = [world.title for world in comparison.worlds]
    return [
        {
            "key": "cells",
            "title": "Cells",
            "text": "Error of cells. Left out: Training plates that the fit has not seen, which "
            "choose reference and champion; in brackets where it cannot be compared. "
            "Train: on the cells of the fit.",
            "headings": ["Left out", *titles.values()],
            "cells": lambda entry: _error_cells(comparison, entry, splits, wells=False),
        },
        {
            "key": "wells",
            "title": "Wells",
            "text": "Error of wells, each with the label that most of its cells have. Small: minus "
            "that of the reference, with the 95 % interval of draws of plates. Bold: it does not "
            "hold 0.",
            "headings": ["Left out", *titles.values()],
            "cells": lambda entry: _error_cells(comparison, entry, splits, wells=True),
        },
        {
            "key": "differences",
            "title": "Difference to the paper's best",
            "text": f"{_DIFFERENCE}{_plate_words(comparison, tests, titles)}",
            "headings": [titles[split] for split in tests],
            "cells": lambda entry: [_difference(comparison, entry, name) for name in tests],
        },
        {
            "key": "worlds",
            "title": "Other simulated plates",
            "text": "Simulated plates that are in no split: new ones like those of Training, wild "
            "ones of other physics, and plates with one single cause of trouble. Errors of cells, "
            "and beside them, small, of wells.",
            "headings": worlds,
            "cells": lambda entry: [_world_cell(comparison, entry, title) for title in worlds],
        },
        {
            "key": "world-differences",
            "title": "Difference to the paper's best on other simulated plates",
            "text": f"{_DIFFERENCE}{_plate_words(comparison, worlds, {})}",
            "headings": worlds,
            "cells": lambda entry: [_difference(comparison, entry, name) for name in worlds],
        },
        {
            "key": "costs",
            "title": "Costs",
            "text": "Seconds for the features of all splits (nearly none where they were in the "
            "cache) and for the fit; cells that are scored in a second, on this machine.",
            "headings": ["Features (s)", "Fit (s)", "Cells/s"],
            "cells": lambda entry: _cost_cells(comparison, entry),
        },
    ]


def _plate_notes(table: Table) -> list[str]:
    return [SEES_PLATES] if any(_sees_plates(entry.line.kind) for entry in table.entries) else []


def _plate_words(comparison: Comparison, names: Sequence[str], titles: Mapping[str, str]) -> str:
    """Return a sentence with the number of plates of each test set."""
    plates = [f"{titles.get(name, name)} {comparison.plates(name)}" for name in names]
    return f" Plates: {', '.join(plates)}."


def _row(
    comparison: Comparison, number: int, made: dict[str, Callable[[Entry], list[Cell]]]
) -> dict[str, Any]:
    entries = comparison.table.entries
    entry, before = entries[number], entries[number - 1] if number else None
    line = entry.line
    marks = {"reference": comparison.reference, "champion": comparison.champion}
    return {
        "key": line.key,
        "features": shown(line.features),
        "layer": shown(line.layer_title),
        "model": shown(line.model) + (" †" if _sees_plates(line.kind) else ""),
        "in_paper": bool(line.published),
        "first": before is None or before.line.features != line.features,
        "opens": before is not None and bool(before.line.published) != bool(line.published),
        "marks": [mark for mark, marked in marks.items() if marked is entry],
        "missing": entry.missing,
        "cells": {key: make(entry) for key, make in made.items()} if entry.rows else None,
    }


def _sees_plates(kind: str) -> bool:
    return kind != OWN and isinstance(kind_of(kind).build(Protocol())[-1], PlateEffects)


def _error_cells(
    comparison: Comparison, entry: Entry, splits: Sequence[str], *, wells: bool
) -> list[Cell]:
    left_out = number(left_out_error(entry, wells=wells))
    if not can_be_compared(entry):
        left_out = f"({left_out})"
    cells = [_cell(_spread(comparison.errors(entry, split, wells=wells))) for split in splits]
    for cell, split in zip(cells, splits, strict=True) if wells else ():
        if split in comparison.sets and entry is not comparison.reference:
            off = _difference(comparison, entry, split, wells=True)
            words = f"{off['text']} ({off['small']})" if off["small"] else ""
            cell.update(small=words, bold=off["bold"])
    return [_cell(left_out), *cells]


def _world_cell(comparison: Comparison, entry: Entry, title: str) -> Cell:
    cells, wells = (comparison.errors(entry, title, wells=wells) for wells in (False, True))
    return _cell(_spread(cells), number(mean_and_deviation(wells)[0]))


def _difference(comparison: Comparison, entry: Entry, name: str, *, wells: bool = False) -> Cell:
    if entry is comparison.reference:
        return _cell("0")
    mean, interval = comparison.difference(entry, name, wells=wells)
    if math.isnan(mean):
        return _cell("-")
    if interval is None:
        return _cell(signed(mean))
    low, high = interval
    return _cell(signed(mean), f"{signed(low)} to {signed(high)}", bold=low > 0 or high < 0)


def _cost_cells(comparison: Comparison, entry: Entry) -> list[Cell]:
    costs = comparison.costs[entry.line.key]
    return [_cell(number(costs.features)), _cell(number(costs.fit)), _cell(f"{costs.speed:,.0f}")]


def _spread(values: Sequence[float]) -> str:
    mean, deviation = mean_and_deviation(values)
    return number(mean) if math.isnan(deviation) else f"{number(mean)} ± {deviation:.1f}"


def number(value: float) -> str:
    """Return a number with one decimal, a dash for one that is not known."""
    return "-" if math.isnan(value) else f"{value:.1f}"


def _cell(text: str, small: str = "", bold: bool = False) -> Cell:
    return {"text": text, "small": small, "bold": bold}


def _intro(comparison: Comparison) -> str:
    table, chosen = comparison.table, comparison.champion
    seeds = ", ".join(map(str, table.seeds))
    spread = (
        f"Seed {seeds}."
        if len(table.seeds) == 1
        else f"Mean ± standard deviation over n = {len(table.seeds)} seeds ({seeds}), same cells."
    )
    if chosen is None:
        return f"{spread} No row has a left-out error that can be compared."
    title = shown(chosen.line.title)
    return f"{spread} Left-out plates of Training choose {title}; no test set was looked at for it."


def _provenance(comparison: Comparison) -> list[tuple[str, str]]:
    table = comparison.table
    used = {row.model.tags.get(LEFT_OUT_BY, "") for entry in table.filled for row in entry.rows}
    worlds = [
        (
            world.title,
            f"{world.plates} plates like {world.like}, seeds from {world.seed}, simulated",
        )
        for world in comparison.worlds
    ]
    return [
        ("data", shown(table.name)),
        ("SHA-256 of data set and files", table.digest),
        ("preset", table.preset),
        ("seeds", ", ".join(map(str, table.seeds))),
        *((f"left out by {by}", LEFT_OUT[by]) for by in sorted(used & set(LEFT_OUT))),
        *worlds,
        ("coos-mlflow", __version__),
    ]
