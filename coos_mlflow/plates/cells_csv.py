"""Read `cells.csv`, the table with labels and ids of the cells in a folder of images.

Open this module to accept another separator, encoding or spelling of a column.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import ID_DATASETS, shown

CELLS_CSV = "cells.csv"
FIELDS = {"label": "labels"} | {name.removesuffix("s"): name for name in ID_DATASETS}
"""Column of a plate for each field. A CSV column, a named group or a folder level gives a field."""

FILE_FIELD, SIMULATED_FIELD = "file", "simulated"

Said = dict[str, dict[str, str]]
"""Values by stem and field, from one source."""

TIFF_ENDING = re.compile(r"\.tiff?$", re.IGNORECASE)

_SEPARATORS = ",;\t"
"""Comma; semicolon, which Excel writes with a decimal comma; tab, in Excel's "Unicode text"."""

_COLUMN = re.compile(
    r"(?:image)?(?:metadata)?"
    r"(?:(file|plate|well|date|microscope)(?:name|id)?s?|(label)(?:id)?s?|(simulated))"
)
"""Folded names of columns: this package's, COOS-7's (``plateIDs``), pycytominer's
(``Metadata_Plate``) and CellProfiler's (``Image_Metadata_Plate``)."""

_LIKE = {
    "label": re.compile(r"label|^class|class(?:es|ids?|names?)?$"),
    "plate": re.compile(r"plate|barcode"),
    "well": re.compile(r"well|^(?:image)?(?:metadata)?(?:row|col|column)$"),
    "date": re.compile(r"date"),
    "microscope": re.compile(r"microscope|instrument"),
}
"""Folded names that resemble a field but may mean something else, such as ``plate_map_name``."""


@dataclass
class CellsCsv:
    """Contents of a table of the cells of a folder.

    Parameters
    ----------
    rows : dict of str to dict
        Fields of each stem, in the order of the table.
    not_taken : list of str
        Columns that are not a field of a plate, as spelled in the table.
    """

    rows: Said
    not_taken: list[str]


def read_cells_csv(path: Path, images: dict[str, list[str]]) -> CellsCsv:
    """Read the fields of each pair of images from a table.

    Parameters
    ----------
    path : Path
        Comma, semicolon or tab as separator; UTF-8 or, with a byte order mark, UTF-16.
    images : dict of str to list of str
        For each stem, the paths of its images below their folder. A line may name the stem or
        an image. The folders may be left out if the name is still unique. The paths in the table
        may lie below another root, but all lines need the same one.

    Raises
    ------
    DataError
        For tables that cannot be read, two columns for the same field, and lines that do not
        match the images one to one.
    """
    with reading_csv(path):
        return _read(path, images)


@contextmanager
def reading_csv(path: Path) -> Iterator[None]:
    """Turn errors of reading a table into a `DataError` that names it."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: cannot be read as a CSV table ({error}); save it as CSV in UTF-8."
        ) from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a CSV table ({error}).") from error


def similar_field(column: str) -> str | None:
    """Return the field that the name of a column resembles, or None."""
    folded = _folded(column)
    return next((name for name, like in _LIKE.items() if like.search(folded)), None)


def _read(path: Path, images: dict[str, list[str]]) -> CellsCsv:
    header, lines, _ = csv_table(path, FILE_FIELD)
    places = _places(header, path)
    if FILE_FIELD not in places:
        raise DataError(
            f"{path}: columns {shown(', '.join(map(repr, header))) or 'none'} found, "
            f"expected {FILE_FIELD!r} and any of {', '.join(FIELDS)}."
        )
    find = _Finder(images)
    rows: Said = {}
    for number, line in lines:
        where = f"{path}: line {number}"
        if len(line) != len(header):
            raise DataError(f"{where} does not have the columns of the first line.")
        stem = find(line[places[FILE_FIELD]], where)
        if stem in rows:
            raise DataError(f"{where}: {stem!r} stands in an earlier line too.")
        rows[stem] = {name: line[at] for name, at in places.items() if name != FILE_FIELD}
    if lacking := [stem for stem in images if stem not in rows]:
        raise DataError(
            f"{path}: {len(lacking):,} pairs of images have no line, e.g. {lacking[0]!r}; "
            "expected one for every cell."
        )
    return CellsCsv(rows, [name for name in header if name and field_of(name) is None])


def csv_table(path: Path, expected: str) -> tuple[list[str], Iterator[tuple[int, list[str]]], str]:
    """Read a table of unknown separator and encoding, inside `reading_csv`.

    Parameters
    ----------
    path : Path
    expected : str
        Field that one of its columns gives; it tells the separators apart.

    Returns
    -------
    header : list of str
    lines : iterator of (int, list of str)
        The other lines that are not empty, with their numbers.
    separator : str
    """
    raw = path.read_bytes()
    utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = raw.decode("utf-16" if utf16 else "utf-8-sig")
    headers = {}
    for separator in _SEPARATORS:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
        headers[separator] = [name.strip() for name in header]
    separator = max(
        headers, key=lambda key: (expected in map(field_of, headers[key]), len(headers[key]))
    )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    next(reader, None)
    # Excel saves emptied lines as lines of separators.
    lines = ((reader.line_num, line) for line in reader if any(line))
    return headers[separator], lines, separator


def _places(header: list[str], path: Path) -> dict[str, int]:
    """Return the position of each field in a line."""
    places: dict[str, int] = {}
    for at, column in enumerate(header):
        name = field_of(column)
        if name in places:
            raise DataError(
                f"{path}: the columns {header[places[name]]!r} and {column!r} both give the "
                f"{name}; take one of them out of the table."
            )
        if name is not None:
            places[name] = at
    return places


def field_of(column: str) -> str | None:
    """Return the field that a column gives, such as "well" for ``Metadata_Well``, or None."""
    match = _COLUMN.fullmatch(_folded(column))
    return match and (match[1] or match[2] or match[3])


def _folded(column: str) -> str:
    return re.sub(r"[\W_]+", "", column.casefold())


class _Finder:
    """Find the stem that belongs to the name in a line of a table."""

    def __init__(self, images: dict[str, list[str]]) -> None:
        self._full = {stem: stem for stem in images}
        self._short: dict[str, list[str]] = {}
        for stem, paths in images.items():
            names = {stem, *(TIFF_ENDING.sub("", path) for path in paths)}
            for name in names:
                self._full.setdefault(name, stem)
            for name in {name.rpartition("/")[2] for name in names}:
                self._short.setdefault(name, []).append(stem)
        self._root: str | None = None

    def __call__(self, file: str, where: str) -> str:
        name = file if file in self._full else TIFF_ENDING.sub("", file.replace("\\", "/"))
        stem, root = self._below_a_root(name)
        alike = [stem] if stem is not None else self._short.get(name, [])
        if not alike:
            raise DataError(f"{where}: no pair of images named {file!r:.100}.")
        if len(alike) > 1:
            raise DataError(
                f"{where}: {file!r:.100} may be {alike[0]!r} or {alike[1]!r}; "
                "name the images with their folders."
            )
        if self._root not in (None, root):
            raise DataError(
                f"{where}: {file!r:.100} lies below {root or '.'!r:.100}, the images of earlier "
                f"lines below {self._root or '.'!r:.100}; expected the images of one folder."
            )
        self._root = root
        return alike[0]

    def _below_a_root(self, name: str) -> tuple[str | None, str]:
        """Return the stem of a path, and the folders before it."""
        parts = name.split("/")
        for first in range(len(parts) if ".." not in parts else 0):
            if stem := self._full.get("/".join(parts[first:])):
                return stem, "/".join(parts[:first])
        return None, ""
