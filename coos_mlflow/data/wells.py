"""Where a well lies on its plate, read from the spellings that plates use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

N_ROWS, N_COLUMNS = 16, 24
"""Rows and columns of a 384-well plate (ANSI SLAS 4-2004)."""

OPAQUE = 0
"""Row and column of a well whose id is not understood; real ones start at 1."""

_DIGITS = re.compile(r"(\d{3})(\d{3})(\d{3})", re.ASCII)
_LETTER = re.compile(r"([A-P])(\d{1,3})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Well:
    """A position on a 384-well plate.

    Parameters
    ----------
    row, column : int
        Counted from 1: up to 16 and 24.
    field : int or None
        Field of view inside the well, where the id has one.
    """

    row: int
    column: int
    field: int | None = None

    @property
    def name(self) -> str:
        """Row letter and two-digit column, such as ``"L03"``."""
        return f"{chr(ord('A') + self.row - 1)}{self.column:02d}"


@lru_cache(maxsize=4096)
def parse_well(well_id: str) -> Well | None:
    """Read a well id, or return None for a name that says no position.

    Parameters
    ----------
    well_id : str
        ``"012003000"`` (three digits each of row, column, field, as COOS-7 spells it; that the
        digits mean this is inferred from their ranges), ``"B03"``, ``"b3"`` or ``"B003"``.

    Returns
    -------
    Well or None
        None is no error: such a well keeps its id as its name.
    """
    text = well_id.strip()
    if digits := _DIGITS.fullmatch(text):
        row, column, field = (int(group) for group in digits.groups())
        return _on_plate(row, column, field)
    if letter := _LETTER.fullmatch(text):
        return _on_plate(ord(letter[1].upper()) - ord("A") + 1, int(letter[2]), None)
    return None


def well_names(ids: np.ndarray) -> np.ndarray:
    """Name wells alike whatever their spelling or field.

    Statistics group cells by plate and this name.

    Parameters
    ----------
    ids : ndarray of str, shape (n,)

    Returns
    -------
    ndarray of str, shape (n,)
        ``"L03"`` where the id is understood, else the id itself.
    """
    unique, inverse = np.unique(ids, return_inverse=True)
    names = [well.name if (well := parse_well(str(key))) else str(key) for key in unique]
    return np.array(names, dtype=str)[inverse]


def well_positions(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of wells, counted from 1; `OPAQUE` where the id says neither.

    Parameters
    ----------
    ids : ndarray of str, shape (n,)

    Returns
    -------
    rows, columns : ndarray of int64, shape (n,)
    """
    unique, inverse = np.unique(ids, return_inverse=True)
    wells = [parse_well(str(key)) for key in unique]
    positions = [(well.row, well.column) if well else (OPAQUE, OPAQUE) for well in wells]
    table = np.array(positions, dtype=np.int64).reshape(-1, 2)[inverse]
    return table[:, 0], table[:, 1]


def opaque_ids(ids: np.ndarray) -> list[str]:
    """Return the distinct ids that are not understood as row and column, sorted."""
    return [str(key) for key in np.unique(ids) if parse_well(str(key)) is None]


def _on_plate(row: int, column: int, field: int | None) -> Well | None:
    on_plate = 1 <= row <= N_ROWS and 1 <= column <= N_COLUMNS
    return Well(row, column, field) if on_plate else None
