"""Read a plate layout: a CSV that says what each well was treated with.

Open this module to accept other columns. `read_layout` reads the file, `Layout.lines` finds the
wells of a plate file in it.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coos_mlflow.errors import DataError
from coos_mlflow.plates.cells_csv import csv_table, field_of, reading_csv
from coos_mlflow.plates.columns import MAX_ID_CHARACTERS, MISSING, clean_ids, shown
from coos_mlflow.plates.wells import well_names

if TYPE_CHECKING:
    from coos_mlflow.plates.dataset import Dataset
    from coos_mlflow.plates.reader import Plate

PREFIX = "Metadata_"
"""Begins the names of columns that are no measurements, as in pycytominer."""

OWN_COLUMNS = frozenset(("index", "row", "column"))
"""Names in lower case that the results have behind `PREFIX`, beside plate and well."""

CLASS = "class"
"""Name, in lower case, of the column that says which class a well holds."""

NONE = -1
"""Stands for a well that holds none of the classes; the layout says "none"."""

MAX_NAMED = 3
"""Number of wells that a message names."""

Value = str | int | float | None

_WELL, _PLATE = "well", "plate"
_INTEGER = re.compile(r"[+-]?(0|[1-9]\d{0,17})", re.ASCII)
_NUMBER = re.compile(
    r"[+-]?((0|[1-9]\d{0,17})([.]\d*)?|[.]\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True)
class LayoutColumn:
    """A column of a layout beside those of plate and well.

    Parameters
    ----------
    name : str
        Without `PREFIX`.
    dtype : {"string", "int64", "float64"}
    values : tuple of str, int, float or None
        One for each line; None where the cell is empty.
    """

    name: str
    dtype: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Layout:
    """The content of a layout.

    Parameters
    ----------
    name : str
        Name of the file.
    sha256 : str
        Digest of the file.
    wells : tuple of str
        The well of each line, as the file spells it.
    plates : tuple of str, or None
        The plate of each line; None where the layout holds for every plate.
    numbers : tuple of int
        Number of each line in the file.
    columns : tuple of LayoutColumn
    """

    name: str
    sha256: str
    wells: tuple[str, ...]
    plates: tuple[str, ...] | None
    numbers: tuple[int, ...]
    columns: tuple[LayoutColumn, ...]

    @property
    def facts(self) -> dict[str, object]:
        """The entry of drift.json on the layout."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "columns": [column.name for column in self.columns],
        }

    def values(self, line: int | None) -> dict[str, Value] | None:
        """Return the values of a line by column; None for no line."""
        return None if line is None else {one.name: one.values[line] for one in self.columns}

    def lines(self, plate: Plate) -> dict[tuple[str, str], int]:
        """Find the wells of an open plate file in the layout.

        Parameters
        ----------
        plate : Plate

        Returns
        -------
        dict of (str, str) to int
            By plate (``""`` where the file has no plate ids) and name of the well, the index of
            its line. Wells that the layout lacks are not in it.

        Raises
        ------
        DataError
            When the file has no well ids, or the layout has a well twice, a well that the plate
            does not have, or no line for the file.
        """
        there = self._wells_of(plate)
        own_plates = sorted({one for pairs in there.values() for one, _ in pairs})
        found: dict[tuple[str, str], int] = {}
        unknown: list[str] = []
        for line, well in enumerate(self._names(plate)):
            about = own_plates if self.plates is None else [self.plates[line]]
            own = [pair for pair in there.get(well, ()) if pair[0] in about]
            if not own and about[0] in own_plates:
                unknown.append(self.wells[line])
            for pair in own:
                if pair in found:
                    raise DataError(
                        f"{self.name}: lines {self.numbers[found[pair]]} and {self.numbers[line]} "
                        f"are both of well {shown(well, 40)}; expected one line for each well."
                    )
                found[pair] = line
        if unknown:
            raise DataError(
                f"{self.name}: {_listed(unknown)} found, which {plate.path} does not have; "
                f"expected its wells, such as {shown(min(there), 40)}: mend the spelling, or take "
                "the lines out."
            )
        if not found:
            raise DataError(
                f"{self.name}: plates {_quoted(self.plates or ())} found, expected those of "
                f"{plate.path}: {_quoted(own_plates)}."
            )
        return found

    @property
    def class_column(self) -> str | None:
        """Name of the column of classes, or None."""
        return next((one.name for one in self.columns if one.name.casefold() == CLASS), None)

    def classes(self, dataset: Dataset) -> tuple[int | None, ...]:
        """Return the class of the well of each line.

        Parameters
        ----------
        dataset : Dataset
            Of the model.

        Returns
        -------
        tuple of int or None
            The predicted label, `NONE`, or None where the class is not known.

        Raises
        ------
        DataError
            For a value that is no class of the data set.
        """
        known: dict[str, int | None] = dict.fromkeys(MISSING) | {"none": NONE}
        for key in ("label", "short", "name"):  # where they collide, the name counts
            known |= {str(getattr(one, key)).casefold(): n for n, one in enumerate(dataset.classes)}
        (texts,) = [one.values for one in self.columns if one.name == self.class_column] or [
            (None,) * len(self.wells)
        ]
        found = []
        for line, value in enumerate(texts):
            text = "" if value is None else str(value).casefold()
            text = text if text in known else text.removesuffix(".0")
            if text not in known:
                classes = ", ".join(f"{one.label} {one.name}" for one in dataset.classes)
                raise DataError(
                    f"{self.name}: class {shown(repr(value), 60)} of well "
                    f"{shown(self.wells[line], 40)} found in line {self.numbers[line]}, expected "
                    f"a class of {dataset.name} ({classes}), its abbreviation or number, none, or "
                    "nothing where it is not known."
                )
            found.append(known[text])
        return tuple(found)

    def known_classes(self, plate: Plate, dataset: Dataset) -> dict[tuple[str, str], int]:
        """Return by plate and well the class of the wells of an open file, where it is known.

        Raises
        ------
        DataError
            As `lines` and `classes` do.
        """
        classes = self.classes(dataset)
        return {
            well: label
            for well, line in self.lines(plate).items()
            if (label := classes[line]) is not None
        }

    def _wells_of(self, plate: Plate) -> dict[str, list[tuple[str, str]]]:
        """Return the wells of the file by name, each with the plates that have it."""
        if plate.well_ids is None or not (plate.well_ids.names != "").any():
            raise DataError(
                f"{plate.path}: no well ids found, expected them for the layout {self.name}; add "
                "the dataset wellIDs, or score without the layout."
            )
        if self.plates is not None and plate.plates is None:
            raise DataError(
                f"{plate.path}: no plate ids found, but the layout {self.name} names plates; take "
                "its column out, or add the dataset plateIDs."
            )
        names = plate.well_ids.names.tolist()
        plates = [""] * len(names) if plate.plates is None else plate.plates.tolist()
        wells: dict[str, list[tuple[str, str]]] = {}
        for pair in sorted(set(zip(plates, names, strict=True))):
            if pair[1]:
                wells.setdefault(pair[1], []).append(pair)
        return wells

    def _names(self, plate: Plate) -> list[str]:
        """Return the name of the well of each line; ids of the file have the meaning there."""
        assert plate.well_ids is not None
        read = plate.well_ids.read
        own = well_names(clean_ids(self.wells, self.name)).tolist()
        return [
            (known.name if (known := read[well]) else well) if well in read else name
            for well, name in zip(self.wells, own, strict=True)
        ]


def read_layout(path: str | Path) -> Layout:
    """Read a layout.

    Parameters
    ----------
    path : path
        CSV with a column of wells (``well``, ``Metadata_Well``), optionally one of plates, and any
        others. Comma, semicolon or tab; UTF-8 or, with a byte order mark, UTF-16.

    Raises
    ------
    DataError
        For a file that cannot be read, a missing or double column, a column whose name the results
        have already, and lines that are not like the first.
    """
    path = Path(path)
    with reading_csv(path):
        header, lines, separator = csv_table(path, _WELL)
        rows = list(lines)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    wells, plates = _place(header, _WELL, path), _place(header, _PLATE, path)
    if wells is None:
        raise DataError(
            f"{path}: columns {_quoted(header) or 'none'} found, expected one named well."
        )
    if not rows:
        raise DataError(f"{path}: no line below the first found, expected one for each well.")
    for number, line in rows:
        if len(line) != len(header):
            raise DataError(
                f"{path}: line {number} has {len(line)} cells, expected {len(header)} as in the "
                "first line."
            )
    return Layout(
        name=path.name,
        sha256=sha256,
        wells=_ids(rows, wells, path),
        plates=None if plates is None else _ids(rows, plates, path),
        numbers=tuple(number for number, _ in rows),
        columns=tuple(_columns(header, rows, {wells, plates}, separator, path)),
    )


def _place(header: list[str], field: str, path: Path) -> int | None:
    """Return the position of the column that gives a field, or None."""
    places = [at for at, column in enumerate(header) if field_of(column) == field]
    if len(places) > 1:
        raise DataError(
            f"{path}: the columns {_quoted([header[at] for at in places])} all give the {field}; "
            "take all but one of them out of the table."
        )
    return places[0] if places else None


def _ids(rows: list[tuple[int, list[str]]], at: int, path: Path) -> tuple[str, ...]:
    """Return a column of ids, none of them empty."""
    ids: list[str] = clean_ids((line[at] for _, line in rows), str(path)).tolist()
    for (number, _), text in zip(rows, ids, strict=True):
        if not text:
            raise DataError(f"{path}: line {number} names no plate or no well; expected both ids.")
    return tuple(ids)


def _columns(
    header: list[str],
    rows: list[tuple[int, list[str]]],
    ids: set[int | None],
    separator: str,
    path: Path,
) -> Iterator[LayoutColumn]:
    names = {at: _name(column) for at, column in enumerate(header) if at not in ids}
    counts = Counter(name.casefold() for name in names.values() if name)
    for at, name in names.items():
        texts = [_text(line[at], f"{path}: line {number}") for number, line in rows]
        if not name and not any(texts):
            continue
        if not name:
            raise DataError(f"{path}: column {at + 1} has no name; give it one, or take it out.")
        if name.casefold() in OWN_COLUMNS:
            raise DataError(
                f"{path}: the column {header[at]!r:.80} would become {PREFIX}{name.title()}, which "
                "the results have already; rename it, or take it out."
            )
        if counts[name.casefold()] > 1:
            raise DataError(
                f"{path}: {counts[name.casefold()]} columns have the name {name!r:.80}; rename "
                "them, or take all but one out."
            )
        if name.casefold() == CLASS:
            # Text, so that "none" and nothing stay apart in a column of label numbers.
            yield LayoutColumn(name, "string", tuple(text or None for text in texts))
        else:
            yield LayoutColumn(name, *_typed(texts, decimal_comma=separator == ";"))


def _name(column: str) -> str:
    text = shown(column, MAX_ID_CHARACTERS)
    return text[len(PREFIX) :] if text.casefold().startswith(PREFIX.casefold()) else text


def _text(cell: str, where: str) -> str:
    """Return the text of a cell without padding and without what does not print."""
    text = unicodedata.normalize("NFC", cell.strip())
    if len(text) > MAX_ID_CHARACTERS:
        raise DataError(
            f"{where} has a cell of {len(text):,} characters, expected at most {MAX_ID_CHARACTERS}."
        )
    return shown(text, MAX_ID_CHARACTERS)


def _typed(texts: list[str], *, decimal_comma: bool) -> tuple[str, tuple[Value, ...]]:
    """Return the type of a column and its values.

    A column is one of numbers if all of its cells are, except those in `MISSING`. Digits behind a
    leading zero are text, since they are most likely a code.
    """
    known = [text for text in texts if text.casefold() not in MISSING]
    if decimal_comma:
        known = [text.replace(",", ".") for text in known]
    if known and all(map(_INTEGER.fullmatch, known)):
        return "int64", _numbers(texts, known, int)
    if known and all(_is_number(text) for text in known):
        return "float64", _numbers(texts, known, float)
    return "string", tuple(text or None for text in texts)


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and math.isfinite(float(text))


def _numbers(
    texts: list[str], known: list[str], number: type[int] | type[float]
) -> tuple[Value, ...]:
    values = iter(known)
    return tuple(None if text.casefold() in MISSING else number(next(values)) for text in texts)


def _listed(wells: list[str]) -> str:
    more = len(wells) - MAX_NAMED
    names = ", ".join(shown(well, 40) for well in wells[:MAX_NAMED])
    noun = "well" if len(wells) == 1 else "wells"
    return f"{noun} {names}" + (f" and {more:,} more" if more > 0 else "")


def _quoted(names: list[str] | tuple[str, ...]) -> str:
    first = [*dict.fromkeys(names)]
    listed = ", ".join(f"'{shown(name, 40)}'" for name in first[:10])
    return listed + (f" and {len(first) - 10} more" if len(first) > 10 else "")
