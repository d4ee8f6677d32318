"""Collects what the pages of Table 3 show into one plain dict: cells, best results, confusions.

Open it to change a text or a number of the pages; `coos_mlflow.training.table3.files` writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from coos_mlflow import __version__
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.reports.plate.wording import shown
from coos_mlflow.training.row import KIND_TITLES, OWN
from coos_mlflow.training.table3.rows import Entry, Table, Triple, headings, published

OURS, PUBLISHED, DIFFERENCE = "ours", "published", "difference"
"""Keys of the column groups."""

SIMULATED_WORDS = "Simulated cells: no figure here says anything about a real microscope."
NOT_COMPARABLE = (
    " The published errors were measured on the cells of COOS-7, so the two cannot be compared."
)

_END_TO_END = (
    f"Train of {KIND_TITLES[OWN]} rows: on all cells of Training. They include the cells that were "
    "held out from the fit to choose the iteration (a fifth for DeepLoc)."
)

_Key = TypeVar("_Key", bound=Hashable)


def best_errors(
    errors: Mapping[_Key, Mapping[str, float]], group_of: Callable[[_Key], str]
) -> set[tuple[_Key, str]]:
    """Return row and split of the smallest error of each group on each test split.

    "The best results for each feature representation method on each test dataset are bolded"
    (Lu et al. 2019, section 3.1). Errors that are equal to one decimal are tied: all are best.

    Parameters
    ----------
    errors : mapping of row to errors by split
    group_of : callable
        Gives the representation of a row.
    """
    best = set()
    splits = dict.fromkeys(split for by_split in errors.values() for split in by_split)
    for split in [split for split in splits if split != TRAINING]:
        smallest: dict[str, float] = {}
        for row, by_split in errors.items():
            group = group_of(row)
            smallest[group] = min(smallest.get(group, np.inf), round(by_split[split], 1))
        best |= {
            (row, split)
            for row, by_split in errors.items()
            if round(by_split[split], 1) == smallest[group_of(row)]
        }
    return best


def best_published() -> set[tuple[Triple, str]]:
    """Return row and split of the errors that are bold in the paper's table."""
    return best_errors(published(), lambda triple: triple[0])


@dataclass(frozen=True)
class Confusion:
    """Cells of one class that were predicted as another.

    Parameters
    ----------
    true, called : int
        Classes.
    share : float
        Of the cells of the true class, 0 to 1.
    """

    true: int
    called: int
    share: float

    def words(self, class_names: Sequence[str]) -> str:
        """Return ``Golgi called Peroxisomes, 12 % of its cells``."""
        percent = 100 * self.share
        words = f"{percent:.0f}" if percent >= 9.95 else f"{percent:.1f}"
        words = words if percent >= 0.05 else "under 0.1"
        true, called = class_names[self.true], class_names[self.called]
        return f"{true} called {called}, {words} % of its cells"


def class_shares(confusion: np.ndarray) -> np.ndarray:
    """Return a confusion matrix as shares of each true class, 0 for one without cells."""
    cells = confusion.sum(axis=1, keepdims=True)
    return np.divide(confusion, cells, out=np.zeros(confusion.shape), where=cells > 0)


def common_confusions(shares: np.ndarray, most: int = 2) -> list[Confusion]:
    """Return the confusions with the largest shares of their true class, the largest first.

    Parameters
    ----------
    shares : ndarray of float64, shape (classes, classes)
        What `class_shares` returned, or a mean of such.
    """
    wrong = shares * (1 - np.eye(len(shares)))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    confusions = [Confusion(int(t), int(c), float(wrong[t, c])) for t, c in pairs]
    return [confusion for confusion in confusions if confusion.share > 0]


def summarise(table: Table) -> dict[str, Any]:
    """Collect everything that a page of the table shows, as text and plain numbers.

    Returns
    -------
    dict
        ``caption``; ``simulated`` (a sentence, or None); ``intro``, which gives the seeds;
        ``notes``; ``headings`` of the splits;
        ``groups`` of columns; ``rows`` with their cells by group, None where a group has none;
        ``overall`` and ``details`` of the confusions; ``provenance``.
    """
    groups = _groups(table)
    ours, theirs = _best_ours(table), best_published()
    return {
        "caption": caption(table),
        "simulated": _simulated(table),
        "class_names": table.dataset.class_names,
        "class_short": table.dataset.short_names,
        "files": table.dataset.name,
        "intro": _intro(table),
        "notes": _notes(table),
        "headings": list(headings(table.dataset).values()),
        "groups": groups,
        "rows": [
            _row(entry, groups, ours, theirs, table.splits) | {"first": _is_first(table, number)}
            for number, entry in enumerate(table.entries)
        ],
        "overall": _overall(table),
        "details": [_details(entry, table) for entry in table.filled],
        "provenance": _provenance(table),
    }


def caption(table: Table) -> str:
    """Return the caption of the paper's Table 3, with the name of the data used here."""
    on = "COOS-7 Datasets" if table.comparable else f"the Data Set {shown(table.name)}"
    on = "Simulated Cells" if table.simulated and table.has_published else on
    return f"Class-Balanced Error (%) of Classification Models on {on}"


def _simulated(table: Table) -> str | None:
    if not table.simulated:
        return None
    return SIMULATED_WORDS + (NOT_COMPARABLE if table.has_published else "")


def _groups(table: Table) -> list[dict[str, str]]:
    ours = "Simulated cells" if table.simulated else "This table"
    groups = [{"key": OURS, "title": ours}]
    if table.has_published:
        groups.append({"key": PUBLISHED, "title": "COOS-7, published"})
    if table.comparable:
        groups.append({"key": DIFFERENCE, "title": "Difference"})
    return groups


def _is_first(table: Table, number: int) -> bool:
    """Whether a row has another representation than the row above it."""
    features = [entry.line.features for entry in table.entries]
    return number == 0 or features[number] != features[number - 1]


def _best_ours(table: Table) -> set[tuple[str, str]]:
    errors = {e.line: {s: e.error(s) for s in table.splits} for e in table.filled}
    return {(line.key, split) for line, split in best_errors(errors, lambda ln: ln.features)}


def _row(
    entry: Entry,
    groups: list[dict[str, str]],
    ours: set[tuple[str, str]],
    theirs: set[tuple[Triple, str]],
    splits: Sequence[str],
) -> dict[str, Any]:
    line, paper = entry.line, entry.line.published
    made = {
        OURS: lambda split: _our_cell(entry, split, (line.key, split) in ours),
        PUBLISHED: lambda split: _cell(f"{paper[split]:.1f}", bold=(line.triple, split) in theirs),
        DIFFERENCE: lambda split: _cell(signed(entry.error(split) - paper[split])),
    }
    has = {OURS: bool(entry.rows), PUBLISHED: bool(paper)}
    has[DIFFERENCE] = has[OURS] and has[PUBLISHED]
    keys = [group["key"] for group in groups]
    return {
        "key": line.key,
        "features": shown(line.features),
        "layer": shown(line.layer_title),
        "model": shown(line.model),
        "missing": entry.missing,
        "cells": {key: [made[key](s) for s in splits] if has[key] else None for key in keys},
    }


def _cell(text: str, small: str = "", bold: bool = False) -> dict[str, Any]:
    return {"text": text, "small": small, "bold": bold}


def signed(difference: float) -> str:
    """Return a difference with one decimal and its sign, 0.0 without one."""
    text = f"{difference:+.1f}"
    return "0.0" if text[1:] == "0.0" else text.replace("-", "\N{MINUS SIGN}")


def _our_cell(entry: Entry, split: str, bold: bool) -> dict[str, Any]:
    text, deviation = f"{entry.error(split):.1f}", entry.deviation(split)
    if deviation is not None:
        return _cell(f"{text} ± {deviation:.1f}", bold=bold)
    interval = entry.interval(split)
    return _cell(text, "{:.1f}–{:.1f}".format(*interval) if interval else "", bold)


def _intro(table: Table) -> str:
    n, seeds = len(table.seeds), ", ".join(map(str, table.seeds))
    if n == 1:
        known = any(entry.interval(split) for entry in table.filled for split in table.splits)
        words = " Intervals hold 95 % of 1,000 bootstrap draws of wells within plates."
        return f"Seed {seeds}." + (words if known else "")
    return (
        f"Mean ± standard deviation over n = {n} seeds ({seeds}) on the same cells. The deviation "
        "is 0 where nothing is drawn at random."
    )


def _notes(table: Table) -> list[str]:
    bold = (
        "Bold: the best result for each feature representation method on each test dataset; for "
        "our results, among the rows of this table."
    )
    notes = [bold, "Train: on the cells of the fit, as in the paper."]
    if any(entry.line.kind == OWN for entry in table.filled):
        notes.append(_END_TO_END)
    notes.append(f"Preset {table.preset}.")
    if len(table.filled) < len(table.entries):
        notes.append("Rows with missing or damaged weights have no result of ours.")
    return notes


def _overall(table: Table) -> list[dict[str, Any]]:
    """Return the commonest confusions of each split, from shares averaged over all models."""
    if not table.filled:
        return []
    return [
        {"split": table.dataset.title(split), "words": _words(common_confusions(mean), table)}
        for split in table.splits
        for mean in [np.mean([_shares_of(e, split) for e in table.filled], axis=0)]
    ]


def _shares_of(entry: Entry, split: str) -> np.ndarray:
    return class_shares(entry.evaluation(split).confusion)


def _words(confusions: list[Confusion], table: Table) -> list[str]:
    return [one.words(table.dataset.class_names) for one in confusions] or ["none"]


def _details(entry: Entry, table: Table) -> dict[str, Any]:
    models = [f"{shown(row.model.name)} version {row.model.version}" for row in entry.rows]
    return {
        "key": entry.line.key,
        "title": shown(entry.line.title),
        "models": list(dict.fromkeys(models)),
        "splits": [_split_details(entry, split, table) for split in table.splits],
    }


def _split_details(entry: Entry, split: str, table: Table) -> dict[str, Any]:
    evaluation = entry.evaluation(split)
    return {
        "split": table.dataset.title(split),
        "error": f"{entry.error(split):.1f}",
        "recalls": [None if np.isnan(r) else f"{100 * r:.0f}" for r in evaluation.recalls],
        "confusion": evaluation.confusion.tolist(),
        "shares": class_shares(evaluation.confusion).tolist(),
        "words": _words(common_confusions(class_shares(evaluation.confusion)), table),
    }


def _provenance(table: Table) -> list[tuple[str, str]]:
    cells = {s: e.rows[0].evaluations[s].n_cells for e in table.filled[:1] for s in table.splits}
    counted = [(table.dataset.title(s), f"{n:,} cells") for s, n in cells.items()]
    published_by = [("published", "Lu et al. 2019, Table 3")] if table.has_published else []
    return [
        ("data", shown(table.name)),
        ("SHA-256 of data set and files", table.digest),
        *counted,
        ("preset", table.preset),
        ("seeds", ", ".join(map(str, table.seeds))),
        *((name, shown(value)) for name, value in sorted(table.settings.items())),
        ("coos-mlflow", __version__),
        *published_by,
    ]
