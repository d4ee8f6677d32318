"""Remedies: rows beside the row of the paper that each is to improve on.

A remedy is a kind of classifier, a variant of a network or another representation. It is compared
with the same row without it, which tells more than the difference to the best row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from coos_mlflow.classifiers.kinds import kind_of, kinds
from coos_mlflow.representations import class_of
from coos_mlflow.training.generalise.comparison import Comparison
from coos_mlflow.training.row import OWN
from coos_mlflow.training.table3.rows import Entry


@dataclass(frozen=True)
class Remedy:
    """One change, and the rows that differ by it alone.

    Parameters
    ----------
    title : str
        Such as "Plate effects instead of L1 LR".
    pairs : tuple of (Entry, Entry)
        The row with it and the row without it.
    """

    title: str
    pairs: tuple[tuple[Entry, Entry], ...]

    def changes(self, comparison: Comparison, name: str, *, wells: bool = False) -> list[float]:
        """Return by how many points the error on a test set changes, for each pair.

        Errors are those of cells, or of wells, in %, the mean over seeds; NaN if unknown.
        """
        errors = (
            [fmean(comparison.errors(entry, name, wells=wells)) for entry in pair]
            for pair in self.pairs
        )
        return [with_it - without for with_it, without in errors]


def remedies(entries: Sequence[Entry]) -> list[Remedy]:
    """Return the remedies of which both rows are filled, in the order of the rows."""
    pairs: dict[str, list[tuple[Entry, Entry]]] = {}
    for title, one, other in _pairs([entry for entry in entries if entry.rows]):
        pairs.setdefault(title, []).append((one, other))
    return [Remedy(title, tuple(found)) for title, found in pairs.items()]


def _pairs(entries: Sequence[Entry]) -> Iterator[tuple[str, Entry, Entry]]:
    by_row = {(entry.line.source, entry.line.layer, entry.line.kind): entry for entry in entries}
    last = {entry.line.source: entry.line.layer for entry in entries}
    for entry in entries:
        line = entry.line
        kind = kinds()[line.kind].instead_of if line.kind != OWN else ""
        plain = (line.representation, ())
        theirs = (class_of(line.representation).instead_of, ())
        if other := by_row.get((line.source, line.layer, kind)):
            title = f"{kind_of(line.kind).title} instead of {kind_of(kind).title}"
            yield title, entry, other
        if line.settings and (other := by_row.get((plain, line.layer, line.kind))):
            yield f"{line.features} instead of {other.line.features}", entry, other
        layer = "" if line.kind == OWN else last.get(theirs, "")
        if not line.settings and (other := by_row.get((theirs, layer, line.kind))):
            yield f"{line.features} instead of {other.line.features}", entry, other
