"""The plates that are judged: those of the bank, and others cut or relabelled from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from coos_mlflow.drift.collect import Collected, Collector
from coos_mlflow.model.cell_model import CellModel
from drift_validation import kinds
from drift_validation.bank import Described
from drift_validation.kinds import UNSEEN, Entry
from drift_validation.sizes import Size

MOSTLY = 2
"""Cells of each of the other classes on a plate that is nine tenths one class."""


@dataclass(frozen=True)
class Scored:
    """The cells of a plate as one model sees them.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (n, classes)
    features : ndarray of float32, shape (n, dims)
        Projected.
    raw : ndarray of float32, shape (n, len(RAW_FIGURES))
    labels : ndarray of int64, shape (n,)
        True classes, or `kinds.UNSEEN`.
    wells : ndarray of str, shape (n,)
    concerned : ndarray of bool, shape (n,)
        The cells of the class or well that something is wrong with; none where all is well, or
        where the whole plate is concerned.
    """

    probabilities: np.ndarray
    features: np.ndarray
    raw: np.ndarray
    labels: np.ndarray
    wells: np.ndarray
    concerned: np.ndarray

    @property
    def true_error(self) -> float:
        """Balanced error in % over all true classes of the plate."""
        wrong = self.probabilities.argmax(axis=1) != self.labels
        return float(100 * np.mean([wrong[self.labels == one].mean() for one in self.classes]))

    @property
    def classes(self) -> np.ndarray:
        """The true classes of the plate."""
        return np.unique(self.labels)

    def select(self, rows: np.ndarray) -> Scored:
        """Return some of the cells."""
        return Scored(*(values[rows] for values in vars(self).values()))


def score(model: CellModel, cells: Described) -> Scored:
    """Let a model score described cells."""
    scores = model.classify(cells.features)
    return Scored(
        probabilities=scores.probabilities,
        features=scores.features,
        raw=cells.raw,
        labels=cells.labels,
        wells=cells.wells,
        concerned=cells.labels == UNSEEN,
    )


def collected(plates: dict[str, Scored]) -> Collected:
    """Return the summaries of a file of plates, as `coos-score` collects them."""
    collector = Collector()
    for name, cells in plates.items():
        collector.add(
            plates=np.full(len(cells.labels), name),
            wells=cells.wells,
            softmax=cells.probabilities,
            features=cells.features,
            raw=cells.raw,
        )
    return collector.build()


def _only(cells: Scored, rng: np.random.Generator, number: float) -> Scored:
    """Keep two classes; `number` distinguishes pairs."""
    pair = np.roll(rng.permutation(cells.classes), -2 * int(number))[:2]
    return cells.select(np.isin(cells.labels, pair))


def _with_strangers(cells: Scored, rng: np.random.Generator, share: float) -> Scored:
    """Move a share of the cells of each well to a well of another class."""
    names, first, own = np.unique(cells.wells, return_index=True, return_inverse=True)
    by_class = np.lexsort((rng.random(len(names)), cells.labels[first]))
    following = np.empty_like(by_class)
    # One class further for a well of every class, since all have as many wells.
    following[by_class] = np.roll(by_class, len(names) // len(cells.classes))
    moved = rng.random(len(own)) < share
    return replace(cells, wells=names[np.where(moved, following[own], own)])


def _with_lost_class(cells: Scored, rng: np.random.Generator, recall: float) -> Scored:
    """Label cells of one class as one other, until its recall is at most `recall`."""
    lost, other = rng.permutation(cells.classes)[:2]
    found = (cells.labels == lost) & (cells.probabilities.argmax(axis=1) == lost)
    kept = round(recall * np.count_nonzero(cells.labels == lost))
    turned = rng.permutation(np.flatnonzero(found))[kept:]
    return _relabelled(cells, turned, lost, other, cells.labels == lost)


def _with_misread_well(cells: Scored, rng: np.random.Generator, n_wells: float) -> Scored:
    """Label all cells of wells of one class as the labels of one other class would be."""
    lost, other = rng.permutation(cells.classes)[:2]
    wells = rng.permutation(np.unique(cells.wells[cells.labels == lost]))[: int(n_wells)]
    turned = np.isin(cells.wells, wells)
    return _relabelled(cells, turned, lost, other, turned)


def _relabelled(
    cells: Scored, rows: np.ndarray, one: int, other: int, concerned: np.ndarray
) -> Scored:
    """Exchange the probabilities of two classes for some cells."""
    probabilities = cells.probabilities.copy()
    probabilities[rows, one] = cells.probabilities[rows, other]
    probabilities[rows, other] = cells.probabilities[rows, one]
    return replace(cells, probabilities=probabilities, concerned=concerned)


def _mostly_one(cells: Scored, rng: np.random.Generator, others: float) -> Scored:
    """Keep all cells of one class and a few of each other."""
    order = rng.permutation(len(cells.labels))
    main = rng.choice(cells.classes)
    few = [order[cells.labels[order] == one][: int(others)] for one in cells.classes if one != main]
    rows = [np.flatnonzero(cells.labels == main), *few]
    return cells.select(np.sort(np.concatenate(rows)))


Edit = Callable[[Scored, np.random.Generator, float], Scored]

EDITS: dict[str, Edit] = {
    "two classes": _only,
    "strangers": _with_strangers,
    "lost class": _with_lost_class,
    "misread wells": _with_misread_well,
    "mostly one class": _mostly_one,
}
"""Changes of scored cells by name; the third argument is how much."""


@dataclass(frozen=True)
class Plate:
    """A plate to judge.

    Parameters
    ----------
    kind : str
        As in the tables.
    entry : Entry
        Whose cells it has.
    edit : str
        Of `EDITS`, or empty.
    amount : float
        Of the edit.
    base : str
        Name of the same plate without a cause; its own where nothing is wrong.
    """

    kind: str
    entry: Entry
    edit: str = ""
    amount: float = 0.0
    base: str = ""

    @property
    def name(self) -> str:
        """Unique among the plates."""
        return _name(self.entry.name, self.edit, self.amount)

    def of(self, cells: Scored) -> Scored:
        """Return its cells, given those of the entry."""
        if not self.edit:
            return cells
        # By the seed alone: a base plate has the same classes with and without a cause.
        return EDITS[self.edit](cells, np.random.default_rng([self.entry.seed, 2]), self.amount)


def _name(entry: str, edit: str, amount: float) -> str:
    return f"{entry} {edit} {amount:g}" if edit else entry


LOST = {amount: f"lost class, recall {amount:g}" for amount in (0.3, 0.0)}
MISREAD = {1: "one well misread"}
MIXED = {amount: f"mixed wells, {amount:.0%} strangers" for amount in (0.1, 0.2, 0.3)}
MOSTLY_ONE = "nine tenths one class"
TWO_OF_BASE = "two classes"
FILES = {20: "file of 20 plates", 50: "file of 50 plates"}
"""Kinds of plates and files that are no kinds of the bank."""


def planned(entries: Sequence[Entry], size: Size) -> list[Plate]:
    """Return all plates to judge."""
    return list(chain.from_iterable(_of_entry(entry) for entry in entries)) + [
        plate
        for i, entry in enumerate(_of_kind(entries, kinds.PLAIN[7]))
        for plate in _of_seven_classes(entry, i, size)
    ]


def _of_kind(entries: Sequence[Entry], kind: str) -> list[Entry]:
    return [entry for entry in entries if entry.kind.name == kind]


def _of_entry(entry: Entry) -> list[Plate]:
    """Return the plate of an entry, and for base plates two of two classes cut from it."""
    kind = entry.kind
    if not kind.is_base:
        return [Plate(kind.name, entry, base=entry.name)]
    base = Entry(replace(kind, name=kinds.BASE, change=None, cause=None), entry.seed)
    edits = [("", 0.0), *(("two classes", float(number)) for number in (0, 1))]
    return [
        Plate(kind.name, entry, edit, amount, base=_name(base.name, edit, amount))
        for edit, amount in edits
    ]


def _of_seven_classes(entry: Entry, number: int, size: Size) -> list[Plate]:
    """Return the plates made of an unshifted plate of seven classes; later ones are fewer."""
    edits = [
        *((kind, "lost class", amount, 12) for amount, kind in LOST.items()),
        *((kind, "misread wells", float(wells), 12) for wells, kind in MISREAD.items()),
        *((kind, "strangers", share, 10) for share, kind in MIXED.items()),
        (MOSTLY_ONE, "mostly one class", float(MOSTLY), 12),
    ]
    return [
        Plate(kind, entry, edit, amount, base=entry.name)
        for kind, edit, amount, count in edits
        if number < size.count(count)
    ]


@dataclass(frozen=True)
class File:
    """A file of unshifted plates of two classes.

    Parameters
    ----------
    kind : str
    number : int
    entries : tuple of Entry
        No plate is in two files of the same kind.
    """

    kind: str
    number: int
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        """Unique among the files of one model."""
        return f"{self.kind} {self.number} from {self.entries[0].name}"


def files(entries: Sequence[Entry], seed: int) -> list[File]:
    """Divide the unshifted plates of two classes at random into files; `seed` is of the model."""
    plates = _of_kind(entries, kinds.PLAIN[2])
    found = []
    for n, kind in FILES.items():
        order = np.random.default_rng([seed, n]).permutation(len(plates))
        found += [
            File(kind, i, tuple(plates[k] for k in order[n * i : n * (i + 1)]))
            for i in range(len(plates) // n)
        ]
    return found
