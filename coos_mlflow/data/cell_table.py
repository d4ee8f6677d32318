"""The table that says of each pair of images from which plate, well and day it comes."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from coos_mlflow.data.columns import ID_DATASETS, shown
from coos_mlflow.errors import DataError

CELLS_CSV = "cells.csv"
FIELDS = {"label": "labels"} | {name.removesuffix("s"): name for name in ID_DATASETS}
"""Column of a table, group of a name or level of folders -> column of a plate."""

FILE_FIELD, SIMULATED_FIELD = "file", "simulated"

SEPARATORS = (",", ";", "\t")
"""Excel writes semicolons where the comma marks decimals."""

_OTHER_NAMES = {"filename": FILE_FIELD, "class": "label", "barcode": "plate"}

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class CellTable(NamedTuple):
    """What a table says of pairs of images.

    Parameters
    ----------
    rows : dict of str to dict of str to str
        For each stem, in the order of the table, the values of its fields.
    unused : list of str
        Columns that a plate has no place for.
    """

    rows: dict[str, dict[str, str]]
    unused: list[str]


def read_cell_table(path: Path, pairs: dict[str, tuple[Path, Path]], root: Path) -> CellTable:
    """Read a table of cells.

    Parameters
    ----------
    path : Path
        CSV with a column ``file`` and one for each field, separated by commas, semicolons or
        tabs, as UTF-8, or as UTF-16 with a byte order mark. Names of columns may be spelt as in
        COOS-7 (``plateIDs``) or by pycytominer (``Metadata_Plate``), in any capitals.
    pairs : dict of str to (Path, Path)
        The images of each stem. ``file`` is the stem, or one of its two images, with or without
        the folders before it.
    root : Path
        The folder that stems are relative to.

    Raises
    ------
    DataError
        For tables that cannot be read, columns that may be meant but are not understood, and rows
        that do not fit the images.
    """
    lines = _lines(path)
    columns = _columns(lines[0] if lines else [], path)
    known = _known_names(pairs, root)
    rows: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines[1:], start=2):
        where = f"{path}: line {number}"
        if len(line) != len(lines[0]):
            raise DataError(f"{where} does not have the columns of the first line.")
        said = {field: line[at] for field, at in columns.items()}
        name = said.pop(FILE_FIELD)
        stem = known.get(_plain(name))
        if stem is None:
            raise DataError(f"{where}: no pair of images named {name!r:.100}.")
        if stem in rows:
            raise DataError(f"{where}: {stem!r} stands in an earlier line too.")
        rows[stem] = said
    if lacking := [stem for stem in pairs if stem not in rows]:
        raise DataError(
            f"{path}: {len(lacking):,} pairs of images have no line, e.g. {lacking[0]!r}; "
            "expected one for every cell."
        )
    used = set(columns.values())
    return CellTable(rows, [name for at, name in enumerate(lines[0]) if at not in used])


def _lines(path: Path) -> list[list[str]]:
    """Return the cells of the table, separated as the first line tells."""
    try:
        raw = path.read_bytes()
        coding = next((c for mark, c in _BYTE_ORDER_MARKS.items() if raw.startswith(mark)), "utf-8")
        text = raw.decode(coding)
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a CSV table ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: cannot be read as a CSV table in UTF-8 ({error.reason} at byte "
            f"{error.start:,}); save it as CSV UTF-8."
        ) from error
    tables = [_split(text, separator, path) for separator in SEPARATORS]
    fitting = [lines for lines in tables if lines and FILE_FIELD in map(_field, lines[0])]
    return fitting[0] if fitting else tables[0]


def _split(text: str, separator: str, path: Path) -> list[list[str]]:
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        return [line for line in lines if line]
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as a CSV table ({error}).") from error


def _columns(header: Sequence[str], path: Path) -> dict[str, int]:
    """Return the place of each field's column."""
    found: dict[str, int] = {}
    for at, name in enumerate(header):
        field = _field(name)
        if field in found:
            raise DataError(
                f"{path}: the columns {header[found[field]]!r} and {name!r} both give the {field}, "
                "expected one."
            )
        if field:
            found[field] = at
    if FILE_FIELD not in found:
        raise DataError(
            f"{path}: columns {shown(list(header)) if header else 'none'} found, expected "
            f"{FILE_FIELD!r} and any of {', '.join(FIELDS)}."
        )
    for name in header:
        words = re.findall(r"[a-z]+", name.casefold())
        meant = [
            field
            for field in FIELDS
            if field not in found and any(w.startswith(field) or w.endswith(field) for w in words)
        ]
        if meant:
            raise DataError(
                f"{path}: the column {name!r} is not understood; call it {meant[0]!r} if it gives "
                f"the {meant[0]} of a cell, or remove it."
            )
    return found


def _field(name: str) -> str | None:
    """Return the field that a column's name stands for, such as ``Metadata_Plate`` or "Well ID"."""
    letters = re.sub(r"[^a-z]", "", name.casefold().removeprefix("metadata_"))
    known = {FILE_FIELD, SIMULATED_FIELD, *FIELDS}
    for plain in (letters, letters.removesuffix("s"), re.sub(r"(ids?|name)$", "", letters)):
        if field := _OTHER_NAMES.get(plain, plain if plain in known else None):
            return field
    return None


def _known_names(pairs: dict[str, tuple[Path, Path]], root: Path) -> dict[str, str]:
    """Return the stem that each way of naming a pair stands for, the ambiguous ones left out."""
    names: dict[str, str] = {}
    ambiguous: set[str] = set()
    for stem, images in pairs.items():
        whole = [stem, *(image.relative_to(root).as_posix() for image in images)]
        spellings = {*whole, *(name.rpartition("/")[2] for name in whole), *map(str, images)}
        for name in spellings:
            if names.setdefault(name, stem) != stem:
                ambiguous.add(name)
    # A stem always means itself, also where another lies in a folder below it.
    return {name: stem for name, stem in names.items() if name not in ambiguous} | {
        stem: stem for stem in pairs
    }


def _plain(name: str) -> str:
    """Return a path as it is written on all systems but one."""
    return name.strip().replace("\\", "/").removeprefix("./")
