"""Where a well lies on its plate, read from the spellings that instruments use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from coos_mlflow.plates.columns import shown

PLATE_SIZES = ((8, 12), (16, 24), (32, 48))
"""Rows and columns of plates with 96, 384 and 1,536 wells (ANSI SLAS 4-2004)."""

MAX_ROWS, MAX_COLUMNS = PLATE_SIZES[-1]

OPAQUE = 0
"""Row and column of a well whose id is not understood; real ones start at 1."""

MAX_EXAMPLES = 3
"""Ids that a sentence gives as examples."""

_FIELD_WORD = (
    r"[\s_-]*\(?(?:f|fld|field|fov|s|site|seq|pos|point|xy)[\s_-]*(\d{1,4})"
    r"(?:p\d+|_w\d+|\s+wv[^()]*)?\)?"  # plane (Harmony), wave (ImageXpress, InCell)
)
_TIME_AND_FIELD = r"_T\d+F(\d{1,4})(?:L\d+A\d+Z\d+C\d+)?"  # Yokogawa
_NAMED_FIELD = f"(?:{_FIELD_WORD}|{_TIME_AND_FIELD})?"
_FIELD = rf"(?:{_FIELD_WORD}|{_TIME_AND_FIELD}|\s*[_/#-]\s*(\d{{1,4}}))?"
_NUMBER = r"(\d{1,3})(?:\.0)?"  # 10.0 is what a spreadsheet makes of a 10 beside an empty cell


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.ASCII | re.IGNORECASE)


_LETTER = _pattern(rf"(?:well[\s_-]*)?([A-Z]|A[A-F])\s*[-_/:.,]?\s*{_NUMBER}{_FIELD}")
_WORDS = _pattern(rf"r(?:ow)?[\s_-]*{_NUMBER}[\s_,;-]*c(?:ol(?:umn)?)?[\s_-]*{_NUMBER}{_FIELD}")
_DIGITS = _pattern(r"(\d{3})(\d{3})(\d{3})")
_SHORT_DIGITS = _pattern(r"[1-9]\d{6,7}")
_PAIR = _pattern(rf"[(\[]?\s*{_NUMBER}\s*[-_/:,;]\s*{_NUMBER}\s*[)\]]?{_NAMED_FIELD}")


@dataclass(frozen=True)
class Well:
    """A position on a plate of up to 1,536 wells.

    Parameters
    ----------
    row, column : int
        Counted from 1: up to 32 and 48.
    field : int or None
        Field of view inside the well, where the id has one.
    """

    row: int
    column: int
    field: int | None = None

    @property
    def name(self) -> str:
        """Row letters and two-digit column, such as ``"L03"`` or ``"AF48"``."""
        return f"{row_letters(self.row)}{self.column:02d}"


def row_letters(row: int) -> str:
    """Return the letters of a row counted from 1: A to Z, then AA to AF."""
    return chr(ord("A") + row - 1) if row <= 26 else "A" + chr(ord("A") + row - 27)


@lru_cache(maxsize=4096)
def parse_well(well_id: str) -> Well | None:
    """Read a well id by itself, or return None where it alone tells no position.

    Parameters
    ----------
    well_id : str
        Row letters and column, in any of the spellings ``"B03"``, ``"b3"``, ``"B-03"``,
        ``"B/3"``, ``"Well B3"``; or ``"r02c03"``; or nine digits such as ``"002003000"``, three
        each of row, column and field, as COOS-7 spells it (that the digits mean this is inferred
        from their ranges). Behind the first two a field may stand: ``"B03_s1"``, ``"r02c03f01"``,
        ``"B - 03(fld 1)"``, ``"B03_Seq0001"``, ``"B/3/0"``.

    Returns
    -------
    Well or None
        None is no error: such a well keeps its id as its name, unless `read_wells` finds in the
        other ids what it means.
    """
    text = well_id.strip()
    if digits := _DIGITS.fullmatch(text):
        row, column, field = (int(group) for group in digits.groups())
        return _on_plate(row, column, field)
    if letter := _LETTER.fullmatch(text):
        return _on_plate(_row_number(letter[1].upper()), int(letter[2]), _field_of(letter))
    if words := _WORDS.fullmatch(text):
        return _on_plate(int(words[1]), int(words[2]), _field_of(words))
    return None


@dataclass(frozen=True)
class WellIds:
    """How the well ids of a file were read.

    Parameters
    ----------
    names : ndarray of str, shape (n,)
        The well of each cell: ``"L03"`` where its id is understood, else the id itself, ``""``
        where it has none.
    read : dict of str to (Well or None)
        By distinct id, sorted; None for those that are kept as names.
    """

    names: np.ndarray
    read: dict[str, Well | None]

    @property
    def kept(self) -> list[str]:
        """Ids that are not understood as row and column, and are kept as names."""
        return [key for key, well in self.read.items() if well is None]

    @property
    def examples(self) -> dict[str, Well]:
        """Ids that were understood, one of each way of spelling, at most `MAX_EXAMPLES`."""
        understood = {key: well for key, well in self.read.items() if well}
        found: dict[str, str] = {}
        # A01 or r01c01 do not tell what is the row: others are better examples.
        for key in sorted(
            understood, key=lambda key: understood[key].row == understood[key].column
        ):
            found.setdefault(_shape(key), key)
        return {key: understood[key] for key in list(found.values())[:MAX_EXAMPLES]}

    @property
    def words(self) -> str:
        """How many ids there are and how they were read, in a few words."""
        count = f"{len(self.read):,} id" + ("" if len(self.read) == 1 else "s")
        spelt = [f"{_quoted(key)} for {_told(well)}" for key, well in self.examples.items()]
        return f"read from {count}" + (f", such as {', '.join(spelt)}" if spelt else "")

    @property
    def note(self) -> str | None:
        """The sentence on ids that are kept as names, or None where there are none."""
        if not self.kept:
            return None
        listed = ", ".join(map(_quoted, self.kept[:MAX_EXAMPLES]))
        note = (
            f"{len(self.kept):,} of {len(self.read):,} well ids are not understood as row/column "
            f"and are kept as names, e.g. {listed}"
        )
        if pairs := [key for key in self.kept if _PAIR.fullmatch(key)]:
            note += f"; which number of {_quoted(pairs[0])} is the row, the ids do not tell"
        return note

    @property
    def facts(self) -> dict[str, Any]:
        """What drift.json says of them."""
        return {
            "n_ids": len(self.read),
            "n_kept": len(self.kept),
            "n_cells_without": int(np.count_nonzero(self.names == "")),
            "examples": [
                {"id": key, "well": well.name, "field": well.field}
                for key, well in self.examples.items()
            ],
            "words": self.words,
            "note": self.note,
        }


def read_wells(ids: np.ndarray) -> WellIds:
    """Read the well ids of a file: wells are named alike whatever their spelling or field.

    Some ids tell their place only beside the others. Digits that lost their leading zeros are
    read where all of them then lie on a plate. Two numbers, as ``"05-10"`` or ``"(5, 10)"``, are
    row and column where the plate would have to be larger if they were column and row, and column
    and row where no plate has as many rows. Else they stay names.

    Parameters
    ----------
    ids : ndarray of str, shape (n,)
        All those of the file, as `columns.clean_ids` returned them: of a part of them, two numbers
        may be read otherwise.

    Returns
    -------
    WellIds
    """
    unique, inverse = np.unique(ids, return_inverse=True)
    keys = [str(key) for key in unique]
    read = {key: parse_well(key) for key in keys if key}
    read |= _with_lost_zeros(list(read)) | _from_pairs(list(read))
    names = [well.name if (well := read.get(key)) else key for key in keys]
    return WellIds(np.array(names, dtype=str)[inverse], read)


def well_names(ids: np.ndarray) -> np.ndarray:
    """Return the names that `read_wells` gives to the wells of a file, str, shape (n,)."""
    return read_wells(ids).names


def well_positions(names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of wells, counted from 1; `OPAQUE` where the name says neither.

    Parameters
    ----------
    names : ndarray of str, shape (n,)
        From `read_wells`.

    Returns
    -------
    rows, columns : ndarray of int64, shape (n,)
    """
    unique, inverse = np.unique(names, return_inverse=True)
    wells = [parse_well(str(key)) for key in unique]
    positions = [(well.row, well.column) if well else (OPAQUE, OPAQUE) for well in wells]
    table = np.array(positions, dtype=np.int64).reshape(-1, 2)[inverse]
    return table[:, 0], table[:, 1]


def plate_size(rows: int, columns: int) -> tuple[int, int] | None:
    """Return rows and columns of the smallest plate with that many, None where none has."""
    fitting = [size for size in PLATE_SIZES if rows <= size[0] and columns <= size[1]]
    return fitting[0] if fitting else None


def _with_lost_zeros(ids: list[str]) -> dict[str, Well | None]:
    """Read nine digits that lost leading zeros, as integers do, where all of them are wells."""
    short = [key for key in ids if _SHORT_DIGITS.fullmatch(key)]
    wells = {key: parse_well(key.zfill(9)) for key in short}
    return wells if all(wells.values()) else {}


def _from_pairs(ids: list[str]) -> dict[str, Well | None]:
    """Read two numbers where all ids together tell which of them is the row."""
    found = {key: match for key in ids if (match := _PAIR.fullmatch(key))}
    pairs = np.array([(int(match[1]), int(match[2])) for match in found.values()])
    if len(pairs) == 0 or pairs.min() == 0:
        return {}
    first, second = pairs.max(axis=0).tolist()
    row_first, column_first = plate_size(first, second), plate_size(second, first)
    if row_first and (
        not column_first or row_first < column_first or (pairs.T[0] == pairs.T[1]).all()
    ):
        order = (1, 2)
    elif column_first and not row_first:
        order = (2, 1)
    else:
        return {}
    return {
        key: _on_plate(int(match[order[0]]), int(match[order[1]]), _field_of(match))
        for key, match in found.items()
    }


def _field_of(match: re.Match[str]) -> int | None:
    """Return the field, one of the groups behind row and column."""
    return next((int(group) for group in match.groups()[2:] if group), None)


def _row_number(letters: str) -> int:
    return 26 * (len(letters) - 1) + ord(letters[-1]) - ord("A") + 1


def _on_plate(row: int, column: int, field: int | None) -> Well | None:
    on_plate = 1 <= row <= MAX_ROWS and 1 <= column <= MAX_COLUMNS
    return Well(row, column, field) if on_plate else None


def _shape(well_id: str) -> str:
    """Return what ids that are spelt alike have in common."""
    return re.sub(r"[a-z]+", "a", re.sub(r"\d+", "0", well_id.lower()))


def _told(well: Well) -> str:
    return f"well {well.name}" + ("" if well.field is None else f", field {well.field}")


def _quoted(well_id: str) -> str:
    return f"'{shown(well_id, 40)}'"
