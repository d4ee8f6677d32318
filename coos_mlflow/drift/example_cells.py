"""Cells worth looking at, picked while a plate streams by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from coos_mlflow.plates.schema import CLASSES, Origins

ROLES = ("typical", "doubtful", "farthest")
"""Nearest to the reference cells of their class; least probable; farthest from the reference."""

WELL_ROLES = tuple(f"{role} of well" for role in ROLES)
"""The same among the cells of one well."""

PER_CLASS = 6

MOST_WELLS = 1536
"""Wells of which cells are kept, those of four 384-well plates: 7 MB of pictures at most."""

_DIGITS = 6


@dataclass(frozen=True)
class _Cell:
    """A cell and where it came from, as drift.json tells it, with what it looks like."""

    index: int
    facts: dict[str, Any]
    look: Any


@dataclass
class _Kept:
    """The best cells so far in one role, the best first."""

    most: int
    ranks: list[float]
    cells: list[_Cell]

    def accepts(self, rank: float) -> bool:
        """Tell whether a cell of this rank is among the best; the first of equals stays."""
        return len(self.ranks) < self.most or rank < self.ranks[-1]

    def insert(self, rank: float, cell: _Cell) -> None:
        at = int(np.searchsorted(self.ranks, rank, side="right"))
        self.ranks.insert(at, rank)
        self.cells.insert(at, cell)
        del self.ranks[self.most :], self.cells[self.most :]


class ExamplePicker:
    """Keeps the few cells that rank first in a role, of each predicted class and of each well.

    The roles are nearest to the reference cells of the class, least probable, and farthest from
    the reference. Of more than `MOST_WELLS` wells, those of the plates with the least mean
    distance are let go.
    """

    def __init__(self) -> None:
        self._by_class = {
            (role, label): _Kept(PER_CLASS, [], [])
            for role in ROLES
            for label in range(len(CLASSES))
        }
        self._by_well: dict[tuple[str, str], dict[str, _Kept]] = {}
        self._novelty: dict[str, tuple[float, int]] = {}
        self._let_go: set[str] = set()

    def add(
        self,
        origins: Origins,
        probabilities: np.ndarray,
        novelty: np.ndarray,
        looks: Callable[[int], Any],
    ) -> None:
        """Look at some more cells.

        Parameters
        ----------
        origins : Origins
        probabilities : ndarray, shape (n, 7)
        novelty : ndarray, shape (n,)
            Distance of each cell from the reference cells of its predicted class.
        looks : callable
            Returns what a cell looks like, by its row: its counts, or its picture; None for one
            that is not to be picked.
        """
        if not len(origins):
            return
        labels, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
        ranks = (novelty, confidence, -novelty)

        @cache
        def cell(row: int) -> _Cell | None:
            look = looks(row)
            said = (int(labels[row]), float(confidence[row]), float(novelty[row]))
            return None if look is None else _describe(origins, row, *said, look)

        for role, rank in zip(ROLES, ranks, strict=True):
            for label in range(len(CLASSES)):
                kept = self._by_class[role, label]
                _offer(kept, rank, np.flatnonzero(labels == label), cell)
        if origins.wells is not None:
            units = np.stack([_plates(origins), origins.wells])
            self._add_wells(units, dict(zip(WELL_ROLES, ranks, strict=True)), cell)

    def _add_wells(
        self,
        places: np.ndarray,
        ranks: dict[str, np.ndarray],
        cell: Callable[[int], _Cell | None],
    ) -> None:
        """Offer to each well the best of its cells in each role.

        `places` are plates and wells of the cells, shape (2, n).
        """
        units, unit = np.unique(places, axis=1, return_inverse=True)
        self._count(places[0], ranks[WELL_ROLES[0]])
        for role, rank in ranks.items():
            order = np.lexsort((rank, unit.ravel()))
            first = np.flatnonzero(np.diff(unit.ravel()[order], prepend=-1))
            for number, row in enumerate(order[first].tolist()):
                plate, well = units[:, number].tolist()
                if not well or plate in self._let_go or cell(row) is None:
                    continue
                own = self._by_well.setdefault(
                    (plate, well), {role: _Kept(1, [], []) for role in WELL_ROLES}
                )
                _offer(own[role], rank, np.array([row]), cell)
        self._make_room()

    def _count(self, plates: np.ndarray, novelty: np.ndarray) -> None:
        names, place = np.unique(plates, return_inverse=True)
        sums, cells = np.bincount(place, weights=novelty), np.bincount(place)
        for name, total, n in zip(names.tolist(), sums.tolist(), cells.tolist(), strict=True):
            before, had = self._novelty.get(name, (0.0, 0))
            self._novelty[name] = (before + total, had + n)

    def _make_room(self) -> None:
        """Let go of the nearest plates' wells, or of the last wells of a single plate."""
        while len(self._by_well) > MOST_WELLS:
            plates = {plate for plate, _ in self._by_well}
            if len(plates) == 1:
                for key in list(self._by_well)[MOST_WELLS:]:
                    del self._by_well[key]
                return
            nearest = min(sorted(plates), key=lambda p: self._novelty[p][0] / self._novelty[p][1])
            self._let_go.add(nearest)
            for key in [key for key in self._by_well if key[0] == nearest]:
                del self._by_well[key]

    def cells(self) -> list[dict[str, Any]]:
        """Return what drift.json's ``cells`` holds: those of the classes, then of the wells."""
        return [{"role": role} | cell.facts for role, cell in self._all()]

    def looks(self) -> dict[int, Any]:
        """Return what the cells look like, by their rows in the file."""
        return {cell.index: cell.look for _, cell in self._all()}

    def _all(self) -> list[tuple[str, _Cell]]:
        kept = [(role, kept) for (role, _), kept in self._by_class.items()]
        kept += [
            (role, kept) for _, own in sorted(self._by_well.items()) for role, kept in own.items()
        ]
        return [(role, cell) for role, kept in kept for cell in kept.cells]


def _plates(origins: Origins) -> np.ndarray:
    return np.full(len(origins), "") if origins.plates is None else origins.plates


def _offer(
    kept: _Kept, ranks: np.ndarray, rows: np.ndarray, cell: Callable[[int], _Cell | None]
) -> None:
    """Insert those of `rows` that are among the best; only these are looked at."""
    for row in rows[np.argsort(ranks[rows], kind="stable")[: kept.most]].tolist():
        if kept.accepts(float(ranks[row])) and (offered := cell(row)):
            kept.insert(float(ranks[row]), offered)


def _describe(
    origins: Origins, row: int, label: int, confidence: float, novelty: float, look: Any
) -> _Cell:
    facts: dict[str, Any] = {
        "index": int(origins.indices[row]),
        "label": label,
        "confidence": float(f"{confidence:.{_DIGITS}g}"),
        "distance": float(f"{novelty:.{_DIGITS}g}"),
    }
    for name, ids in (("plate", origins.plates), ("well", origins.wells)):
        if ids is not None and ids[row]:
            facts[name] = str(ids[row])
    return _Cell(int(origins.indices[row]), facts, look)
