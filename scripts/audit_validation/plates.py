"""Plates with known truth, and the models that label them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from drift_validation import kinds
from drift_validation import plates as drift_plates
from drift_validation.causes import Cause
from drift_validation.kinds import UNSEEN, Entry, Kind
from drift_validation.plates import Scored
from drift_validation.registries import FOREST, FULL, THIN, Data
from drift_validation.seeds import Seeds
from drift_validation.sizes import Size

from coos_mlflow.audit.frame import Frame
from coos_mlflow.plates.layout import NONE

SIZES = {
    "standard": Size("standard", 1.0, 2, 1, 1, wells=8, cells=30, base_wells=8, base_cells=30),
    "small": Size("small", 0.34, 1, 0, 1, wells=6, cells=20, base_wells=6, base_cells=20),
    "tiny": Size("tiny", 0.0, 1, 0, 0, wells=3, cells=10, base_wells=3, base_cells=10),
}
"""Numbers of registries (thin, full, forests), shares of plates, wells of a class, cells of a well.
"standard" takes about half an hour on two cores; "tiny" is for tests."""

FIRST_KIND = 50
"""Number of the first kind: no plate has the seed of one that validates the drift report."""

UNSHIFTED, TWO = "unshifted", "unshifted, two classes"
TEST4, TEST4_TWO = "like Test4", "like Test4, two classes"
UNSEEN_CLASS = "one unseen class"

EDITS = {
    "one class lost": ("lost class", 0.0),
    "one class found in 3 of 10": ("lost class", 0.3),
    "mixed wells": ("strangers", 0.2),
}
"""Kinds that are made of unshifted plates (`drift_validation.plates.EDITS`)."""


def bank_kinds() -> list[Kind]:
    """Return the kinds of plates that are simulated."""
    defocus, dead = Cause("defocus_um", 2.5), Cause("dead_cells", 0.3)
    return [
        Kind(UNSHIFTED, 6),
        Kind(TWO, 6, 2),
        Kind("like Test3", 6, like="test3"),
        Kind("like Test3, two classes", 6, 2, "test3"),
        Kind(TEST4, 6, like="test4"),
        Kind(TEST4_TWO, 6, 2, "test4"),
        Kind("defocus", 6, change=partial(kinds.caused, cause=defocus), cause=defocus),
        Kind("dead cells", 6, change=partial(kinds.caused, cause=dead), cause=dead),
        *(
            Kind(kinds.unseen_kind(name), 2, change=partial(kinds.one_unseen, protein=protein))
            for name, protein in kinds.STRANGERS.items()
        ),
    ]


def entries(seeds: Seeds, size: Size) -> list[Entry]:
    """Return the plates to simulate."""
    return [
        Entry(kind, seeds.plate(FIRST_KIND + number, i))
        for number, kind in enumerate(bank_kinds())
        for i in range(size.count(kind.count))
    ]


def registries(seeds: Seeds, size: Size) -> list[Data]:
    """Return the data sets on which the models are trained."""
    return [
        *(
            Data(THIN, 0.05, seeds.thin + i, ("lr", "rf") if i < size.forests else ("lr",))
            for i in range(size.thin)
        ),
        *(Data(FULL, 0.3, seeds.full + i, ("lr",)) for i in range(size.full)),
    ]


@dataclass(frozen=True)
class Plate:
    """A plate to label: its kind in the tables, its cells, and an edit of them or ""."""

    kind: str
    entry: Entry
    edit: str = ""
    amount: float = 0.0

    @property
    def name(self) -> str:
        """Unique among the plates."""
        return f"{self.entry.name} {self.edit} {self.amount:g}".strip()

    def of(self, cells: Scored) -> Scored:
        """Return its cells, given those of the entry."""
        if not self.edit:
            return cells
        rng = np.random.default_rng([self.entry.seed, 2])
        return drift_plates.EDITS[self.edit](cells, rng, self.amount)


def planned(entries: Sequence[Entry]) -> list[Plate]:
    """Return all plates to label."""
    own = [
        Plate(UNSEEN_CLASS if one.kind.name.startswith("unseen") else one.kind.name, one)
        for one in entries
    ]
    unshifted = [one for one in entries if one.kind.name == UNSHIFTED]
    edited = [
        Plate(kind, one, edit, amount)
        for kind, (edit, amount) in EDITS.items()
        for one in unshifted
    ]
    return own + edited


ADAPTED = (UNSHIFTED, TWO, "like Test3", TEST4, TEST4_TWO, "defocus")
"""Kinds to which models are adapted, and the number of plates of each."""

ADAPTED_PLATES = 3


def to_adapt(entries: Sequence[Entry]) -> list[Entry]:
    """Return the plates to which models are adapted."""
    return [
        one
        for kind in ADAPTED
        for one in [entry for entry in entries if entry.kind.name == kind][:ADAPTED_PLATES]
    ]


def frame_of(cells: Scored) -> Frame:
    """Return the cells of a plate as `coos label` draws from them."""
    n = len(cells.labels)
    return Frame(np.arange(n), np.full(n, "plate"), cells.wells, cells.probabilities, True)


def truths_of(cells: Scored) -> np.ndarray:
    """Return what a person who makes no mistake says of each cell, int64, shape (n,)."""
    return np.where(cells.labels == UNSEEN, NONE, cells.labels)


GROUPS = (THIN, FOREST, FULL)
"""Groups of models, as in the tables."""
