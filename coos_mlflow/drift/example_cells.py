"""Picks the example cells that the report shows, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from coos_mlflow.plates.schema import Origins

ROLES = ("typical", "doubtful", "farthest")
"""Nearest to the reference cells of its class; least confident; farthest from its class."""

WELL_ROLES = tuple(f"{role} of well" for role in ROLES)
"""The same roles among the cells of one well."""

PER_CLASS = 6
"""Cells of each role and predicted class."""

MAX_WELLS = 1536
"""The most wells with example cells, those of four 384-well plates: at most 7 MB of pictures."""

_DIGITS = 6


@dataclass(frozen=True)
class _Cell:
    """A cell: its row in the file, its entry in drift.json, and its thumbnail."""

    index: int
    entry: dict[str, Any]
    thumbnail: Any


@dataclass
class _Best:
    """The cells with the lowest ranks so far in one role, in increasing order."""

    size: int
    ranks: list[float]
    cells: list[_Cell]

    def accepts(self, rank: float) -> bool:
        """Return whether a cell of this rank is among the best; of equals the first stays."""
        return len(self.ranks) < self.size or rank < self.ranks[-1]

    def insert(self, rank: float, cell: _Cell) -> None:
        at = int(np.searchsorted(self.ranks, rank, side="right"))
        self.ranks.insert(at, rank)
        self.cells.insert(at, cell)
        del self.ranks[self.size :], self.cells[self.size :]


class ExamplePicker:
    """Picks the best cells in each of `ROLES`, for each predicted class and for each well.

    If a file has more than `MAX_WELLS` wells, the plates with the smallest mean novelty get no
    cells by well.

    Parameters
    ----------
    n_classes : int
    """

    def __init__(self, n_classes: int) -> None:
        self._by_class = {
            (role, label): _Best(PER_CLASS, [], []) for role in ROLES for label in range(n_classes)
        }
        self._by_well: dict[tuple[str, str], dict[str, _Best]] = {}
        self._novelty: dict[str, tuple[float, int]] = {}
        self._dropped: set[str] = set()

    def add(
        self,
        origins: Origins,
        probabilities: np.ndarray,
        novelty: np.ndarray,
        thumbnail: Callable[[int], Any],
    ) -> None:
        """Add a batch of cells.

        Parameters
        ----------
        origins : Origins
        probabilities : ndarray, shape (n, classes)
        novelty : ndarray, shape (n,)
            Distance of each cell from the reference cells of its predicted class.
        thumbnail : callable
            Returns the thumbnail of a cell (its raw counts or its picture) by its row in the
            batch. Cells for which it returns None are not picked.
        """
        if not len(origins):
            return
        labels, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
        ranks = (novelty, confidence, -novelty)

        @cache
        def cell(row: int) -> _Cell | None:
            image = thumbnail(row)
            figures = (int(labels[row]), float(confidence[row]), float(novelty[row]))
            return None if image is None else _describe(origins, row, *figures, image)

        for role, rank in zip(ROLES, ranks, strict=True):
            for label in np.unique(labels).tolist():
                best = self._by_class[role, label]
                _offer(best, rank, np.flatnonzero(labels == label), cell)
        if origins.wells is not None:
            wells = np.stack([_plates(origins), origins.wells])
            self._add_wells(wells, dict(zip(WELL_ROLES, ranks, strict=True)), cell)

    def _add_wells(
        self,
        wells: np.ndarray,
        ranks: dict[str, np.ndarray],
        cell: Callable[[int], _Cell | None],
    ) -> None:
        """Offer to each well the best of its cells in each role.

        `wells` has the plates and wells of the cells, shape (2, n).
        """
        names, number = np.unique(wells, axis=1, return_inverse=True)
        self._add_novelty(wells[0], ranks[WELL_ROLES[0]])
        for role, rank in ranks.items():
            order = np.lexsort((rank, number.ravel()))
            first = np.flatnonzero(np.diff(number.ravel()[order], prepend=-1))
            for column, row in enumerate(order[first].tolist()):
                plate, well = names[:, column].tolist()
                if not well or plate in self._dropped or cell(row) is None:
                    continue
                by_role = self._by_well.setdefault(
                    (plate, well), {role: _Best(1, [], []) for role in WELL_ROLES}
                )
                _offer(by_role[role], rank, np.array([row]), cell)
        self._limit_wells()

    def _add_novelty(self, plates: np.ndarray, novelty: np.ndarray) -> None:
        """Add to the sum of novelty and the number of cells of each plate."""
        names, number = np.unique(plates, return_inverse=True)
        sums, cells = np.bincount(number, weights=novelty), np.bincount(number)
        for name, total, n in zip(names.tolist(), sums.tolist(), cells.tolist(), strict=True):
            total_before, n_before = self._novelty.get(name, (0.0, 0))
            self._novelty[name] = (total_before + total, n_before + n)

    def _limit_wells(self) -> None:
        """Drop the wells of the nearest plates, or the last wells of a single plate."""
        while len(self._by_well) > MAX_WELLS:
            plates = {plate for plate, _ in self._by_well}
            if len(plates) == 1:
                for key in list(self._by_well)[MAX_WELLS:]:
                    del self._by_well[key]
                return
            nearest = min(sorted(plates), key=lambda p: self._novelty[p][0] / self._novelty[p][1])
            self._dropped.add(nearest)
            for key in [key for key in self._by_well if key[0] == nearest]:
                del self._by_well[key]

    def cells(self) -> list[dict[str, Any]]:
        """Return ``cells`` of drift.json: those of the classes, then those of the wells."""
        return [{"role": role} | cell.entry for role, cell in self._picked()]

    def thumbnails(self) -> dict[int, Any]:
        """Return the thumbnails of the picked cells, by their rows in the file."""
        return {cell.index: cell.thumbnail for _, cell in self._picked()}

    def _picked(self) -> list[tuple[str, _Cell]]:
        picked = [(role, best) for (role, _), best in self._by_class.items()]
        for _, by_role in sorted(self._by_well.items()):
            picked += by_role.items()
        return [(role, cell) for role, best in picked for cell in best.cells]


def _plates(origins: Origins) -> np.ndarray:
    return np.full(len(origins), "") if origins.plates is None else origins.plates


def _offer(
    best: _Best, ranks: np.ndarray, rows: np.ndarray, cell: Callable[[int], _Cell | None]
) -> None:
    """Insert those of `rows` that are among the best; thumbnails are made for these only."""
    for row in rows[np.argsort(ranks[rows], kind="stable")[: best.size]].tolist():
        if best.accepts(float(ranks[row])) and (offered := cell(row)):
            best.insert(float(ranks[row]), offered)


def _describe(
    origins: Origins, row: int, label: int, confidence: float, novelty: float, thumbnail: Any
) -> _Cell:
    entry: dict[str, Any] = {
        "index": int(origins.indices[row]),
        "label": label,
        "confidence": float(f"{confidence:.{_DIGITS}g}"),
        "distance": float(f"{novelty:.{_DIGITS}g}"),
    }
    for name, ids in (("plate", origins.plates), ("well", origins.wells)):
        if ids is not None and ids[row]:
            entry[name] = str(ids[row])
    return _Cell(int(origins.indices[row]), entry, thumbnail)
