"""The rows of the comparison, and the choices among them by left-out Training plates alone.

`training.table3.rows.fill` trains and registers the rows. The choices read tags of their versions
and no file, so that no test split can decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from coos_mlflow.classifiers.protocol import AUTO
from coos_mlflow.registry.ranking import is_comparable, tag_number
from coos_mlflow.representations import create, names
from coos_mlflow.training.row import kinds_of
from coos_mlflow.training.table3.rows import Entry, Line, lines_of, published


def all_lines(preset: str = AUTO) -> list[Line]:
    """Return all rows: those of the paper in its order, then all others.

    The others are found by listing: further representations, further kinds of classifiers, and the
    variants that a representation names.
    """
    lines = [line for key in names() for line in _lines_of(key, preset)]
    order = list(published())
    papers = sorted(
        (line for line in lines if line.published), key=lambda line: order.index(line.triple)
    )
    return papers + [line for line in lines if not line.published]


def _lines_of(key: str, preset: str) -> list[Line]:
    plain = create(key, preset)
    lines = lines_of(plain, kinds_of(plain))
    for settings in plain.variants:
        varied = create(key, preset, **settings)
        lines += lines_of(varied, kinds_of(varied), tuple(sorted(settings.items())))
    return lines


def left_out_error(entry: Entry, *, wells: bool = False) -> float:
    """Return the error in % on left-out Training plates, the mean over seeds; NaN if unknown."""
    tag = "left_out_well_error" if wells else "left_out_error"
    return fmean(tag_number(row.model.tags, tag) for row in entry.rows)


def can_be_compared(entry: Entry) -> bool:
    """Return whether an entry is filled by versions whose left-out errors can be compared."""
    return bool(entry.rows) and all(is_comparable(row.model.tags) for row in entry.rows)


def best(entries: Iterable[Entry]) -> Entry | None:
    """Return the entry with the lowest error on left-out Training plates, None if none has one.

    The error is the mean over seeds. Of equal errors the first counts.
    """
    comparable = [entry for entry in entries if can_be_compared(entry)]
    known = [entry for entry in comparable if left_out_error(entry) == left_out_error(entry)]
    return min(known, key=left_out_error, default=None)


def best_of_the_paper(entries: Iterable[Entry]) -> Entry | None:
    """Return the best of the paper's rows, with which all others are compared."""
    return best(entry for entry in entries if entry.line.published)
