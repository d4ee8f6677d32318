"""Read well ids, in the spellings of many instruments, as row and column of a plate.

Open this module to add a spelling. `parse_well` reads one id, `read_wells` all ids of a file.
"""

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
"""Row and column given to a well whose id is not understood. Real rows and columns start at 1."""

MAX_EXAMPLES = 3
"""Number of ids that a message gives as examples."""

_FIELD_WORD = (
    r"[\s_-]*\(?(?:f|fld|field|fov|s|site|seq|pos|point|xy)[\s_-]*(\d{1,4})"
    r"(?:p\d+|_w\d+|\s+wv[^()]*)?\)?"  # plane (Harmony), wave (ImageXpress, InCell)
)
_TIME_AND_FIELD = r"_T\d+F(\d{1,4})(?:L\d+A\d+Z\d+C\d+)?"  # Yokogawa
_NAMED_FIELD = f"(?:{_FIELD_WORD}|{_TIME_AND_FIELD})?"
_FIELD = rf"(?:{_FIELD_WORD}|{_TIME_AND_FIELD}|\s*[_/#-]\s*(\d{{1,4}}))?"
_NUMBER = r"(\d{1,3})(?:\.0)?"  # spreadsheets turn 10 beside an empty cell into 10.0


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
        Field of view inside the well; None where the id has none.
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
    """Read one well id, or return None where this id alone gives no position.

    Parameters
    ----------
    well_id : str
        One of three kinds. Row letters and column: ``"B03"``, ``"b3"``, ``"B-03"``, ``"B/3"``,
        ``"Well B3"``. Row and column as words: ``"r02c03"``. Nine digits, three each for row,
        column and field, as in COOS-7: ``"002003000"`` (this meaning is inferred from the ranges
        of the digits). The first two kinds may end in a field: ``"B03_s1"``, ``"r02c03f01"``,
        ``"B - 03(fld 1)"``, ``"B03_Seq0001"``, ``"B/3/0"``.

    Returns
    -------
    Well or None
        None is not an error. Such a well keeps its id as its name, unless `read_wells` can read it
        with the help of the other ids.
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
    """Well ids of a file and their meaning.

    Parameters
    ----------
    names : ndarray of str, shape (n,)
        Name of the well of each cell: ``"L03"`` where the id is understood, else the id itself.
        ``""`` where the cell has no id.
    read : dict of str to (Well or None)
        The well of each distinct id, sorted by id; None for ids that are kept as names.
    """

    names: np.ndarray
    read: dict[str, Well | None]

    @property
    def kept(self) -> list[str]:
        """Ids that are not understood as row and column and so are kept as names."""
        return [key for key, well in self.read.items() if well is None]

    @property
    def examples(self) -> dict[str, Well]:
        """Ids that were understood, one for each way of spelling, at most `MAX_EXAMPLES`."""
        understood = {key: well for key, well in self.read.items() if well}
        by_spelling: dict[str, str] = {}
        # Equal row and column, as in A01 or r01c01, do not show which is the row: sort them last.
        for key in sorted(
            understood, key=lambda key: understood[key].row == understood[key].column
        ):
            by_spelling.setdefault(_shape(key), key)
        return {key: understood[key] for key in list(by_spelling.values())[:MAX_EXAMPLES]}

    @property
    def words(self) -> str:
        """Number of ids and examples of their meaning, in a few words."""
        count = f"{len(self.read):,} id" + ("" if len(self.read) == 1 else "s")
        spelt = [f"{_quoted(key)} for {_described(well)}" for key, well in self.examples.items()]
        return f"read from {count}" + (f", such as {', '.join(spelt)}" if spelt else "")

    @property
    def note(self) -> str | None:
        """Sentence on ids that are kept as names, or None where there are none."""
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
        """The entry of drift.json on well ids."""
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
    """Read the well ids of a file. A well gets the same name in every spelling and for every field.

    Some ids can be read only together with the others:

    - Digits that lost their leading zeros are read if all such ids then lie on a plate.
    - Two numbers, as ``"05-10"`` or ``"(5, 10)"``, are read as row and column if the other order
      would need a larger plate.
    - Two numbers are read as column and row if no plate has enough rows for the first order.

    All other ids are kept as names.

    Parameters
    ----------
    ids : ndarray of str, shape (n,)
        All ids of the file, from `columns.clean_ids`. With only a part of them, two numbers may be
        read differently.

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
    """Return rows and columns of wells, counted from 1; `OPAQUE` where the name gives no position.

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
    """Return the smallest of `PLATE_SIZES` with that many rows and columns, or None."""
    fitting = [size for size in PLATE_SIZES if rows <= size[0] and columns <= size[1]]
    return fitting[0] if fitting else None


def _with_lost_zeros(ids: list[str]) -> dict[str, Well | None]:
    """Read ids of nine digits that lost leading zeros as integers, if all of them are wells."""
    short = [key for key in ids if _SHORT_DIGITS.fullmatch(key)]
    wells = {key: parse_well(key.zfill(9)) for key in short}
    return wells if all(wells.values()) else {}


def _from_pairs(ids: list[str]) -> dict[str, Well | None]:
    """Read ids of two numbers, if all ids together show which number is the row."""
    matches = {key: match for key in ids if (match := _PAIR.fullmatch(key))}
    pairs = np.array([(int(match[1]), int(match[2])) for match in matches.values()])
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
        for key, match in matches.items()
    }


def _field_of(match: re.Match[str]) -> int | None:
    """Return the field, which is in one of the groups after row and column."""
    return next((int(group) for group in match.groups()[2:] if group), None)


def _row_number(letters: str) -> int:
    return 26 * (len(letters) - 1) + ord(letters[-1]) - ord("A") + 1


def _on_plate(row: int, column: int, field: int | None) -> Well | None:
    on_plate = 1 <= row <= MAX_ROWS and 1 <= column <= MAX_COLUMNS
    return Well(row, column, field) if on_plate else None


def _shape(well_id: str) -> str:
    """Return a key that is the same for ids with the same spelling."""
    return re.sub(r"[a-z]+", "a", re.sub(r"\d+", "0", well_id.lower()))


def _described(well: Well) -> str:
    return f"well {well.name}" + ("" if well.field is None else f", field {well.field}")


def _quoted(well_id: str) -> str:
    return f"'{shown(well_id, 40)}'"
