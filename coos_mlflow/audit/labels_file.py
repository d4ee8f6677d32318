"""Labels of cells as people gave them: audit.csv.

One row is one cell of one labeller. Rows are only added, each flushed to the disk, so that a page
or machine that dies takes no label with it. `withdraw` alone takes one back.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from coos_mlflow._utils.files import write_whole
from coos_mlflow.errors import DataError, OutputError

NONE_WORDS, CANNOT_SEE = "none of these", "cannot see"
"""Answers that are no class: the cell is of none of the classes; its picture does not tell."""

SCHEMA = "audit 1"
"""Changes when the order of cells or the meaning of the file changes."""

SEED = 0
"""Of the sequence of cells and of the intervals."""

MAX_LABELLER = 60
"""Characters of a labeller's name."""

_SAMPLE = re.compile(r"s[0-9a-f]{12}")
"""A sample's name. Its first letter keeps spreadsheets from reading digits and an e as a number."""


@dataclass(frozen=True)
class Label:
    """What one person says of one cell: a row of audit.csv.

    Parameters
    ----------
    cell : int
        Index in the plate file.
    plate, well : str
        Ids; empty where the file has none.
    label : str
        Name of a class, `NONE_WORDS` or `CANNOT_SEE`.
    labeller : str
    time : str
        ISO 8601, UTC.
    inclusion_probability : float
        With which the cell was drawn, in the shortest sample that has it.
    sample : str
        Of `sample_of`.
    """

    cell: int
    plate: str
    well: str
    label: str
    labeller: str
    time: str
    inclusion_probability: float
    sample: str


COLUMNS = tuple(field.name for field in fields(Label))
"""Columns of audit.csv."""


def sample_of(facts: dict[str, Any]) -> str:
    """Return the digest that tells samples of different plates and models apart.

    Parameters
    ----------
    facts : dict
        Content of drift.json, or the facts of a scoring job: of them the model, the plate's
        digest, the precision and whether wells are mixtures, on which the order of cells depends.

    Returns
    -------
    str
        An s and twelve hex digits.
    """
    model = facts["model"]
    parts = [
        SCHEMA,
        *(model[key] for key in ("name", "version", "id")),
        facts["plate_file"]["sha256"],
        facts["precision"],
        facts["mixed_wells"],
        SEED,
    ]
    return f"s{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"


def now() -> str:
    """Return the present time as audit.csv has it, in seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def named(labeller: str) -> str:
    """Return a labeller's name without padding.

    Raises
    ------
    DataError
        For no name, a long one, and one that is more than a line.
    """
    name = unicodedata.normalize("NFC", labeller.strip())
    bad = any(unicodedata.category(letter).startswith("C") for letter in name)
    if not name or bad or len(name) > MAX_LABELLER:
        raise DataError(
            f"labeller {labeller!r:.80} found, expected a name of 1 to {MAX_LABELLER} characters "
            "in one line."
        )
    return name


def read_labels(path: Path, sample: str | None = None) -> list[Label]:
    """Read the labels of a file, in the order in which they were given.

    Parameters
    ----------
    path : Path
        A file that is not there holds no labels.
    sample : str, optional
        The sample that they must be of.

    Raises
    ------
    DataError
        When the file cannot be read, is not as `append` writes it, holds a cell of a labeller
        twice, or labels of another sample.
    """
    labels: list[Label] = []
    seen: dict[tuple[int, str], int] = {}
    for number, line in enumerate(_whole_lines(path), start=1):
        if number == 1:
            if tuple(_cells_of(line)) != COLUMNS:
                raise DataError(
                    f"{path}: first line {line.decode(errors='replace')[:200]!r} found, expected "
                    f"{','.join(COLUMNS)}; bring back the file as coos label wrote it."
                )
            continue
        label = _parsed(line)
        if label is None:
            raise DataError(
                f"{path}: line {number} is {line.decode(errors='replace')[:200]!r}, expected "
                f"{','.join(COLUMNS)}; bring back the line as coos label wrote it, or take it out."
            )
        key = (label.cell, label.labeller)
        if key in seen:
            raise DataError(
                f"{path}: lines {seen[key]} and {number} are both of cell {label.cell} by "
                f"{label.labeller}; expected one, take the wrong one out."
            )
        seen[key] = number
        if sample is not None and label.sample != sample:
            raise DataError(
                f"{path}: line {number} is of sample {label.sample}, expected {sample}: it was "
                "labelled with another model version or plate; move the file elsewhere."
            )
        labels.append(label)
    return labels


def append(path: Path, labels: Label | Iterable[Label]) -> None:
    """Add labels at the end of a file, which is made where it is missing.

    One label is flushed to the disk. Several appear all or none.

    Raises
    ------
    OutputError
        When they cannot be written. Earlier labels are kept.
    """
    added = b"".join(_line(one) for one in ([labels] if isinstance(labels, Label) else labels))
    try:
        kept = b"".join(_whole_lines(path)) or _line(COLUMNS)
        if isinstance(labels, Label) and path.is_file() and path.stat().st_size == len(kept):
            with path.open("ab") as file:
                file.write(added)
                file.flush()
                os.fsync(file.fileno())
        else:  # a new file, an incomplete last line, or several labels
            write_whole(path, kept + added)
    except OSError as error:
        raise OutputError(f"{path}: the label cannot be written ({error.strerror}).") from error


def withdraw(path: Path, labeller: str) -> Label | None:
    """Take back the last label of a labeller, and return it; None where there is none.

    Raises
    ------
    DataError
        As `read_labels` does.
    OutputError
        When the file cannot be written. All labels are kept then.
    """
    labels = read_labels(path)
    places = [place for place, label in enumerate(labels) if label.labeller == labeller]
    if not places:
        return None
    last = labels.pop(places[-1])
    try:
        write_whole(path, b"".join([_line(COLUMNS), *map(_line, labels)]))
    except OSError as error:
        raise OutputError(f"{path}: the label cannot be taken back ({error.strerror}).") from error
    return last


def _whole_lines(path: Path) -> list[bytes]:
    """Return the lines of a file, without an incomplete last one that a kill has left."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    if lines and not lines[-1].endswith(b"\n"):
        if len(lines) > 1 and _parsed(lines[-1]) is not None:
            lines[-1] += b"\n"
        else:
            lines.pop()
    return lines


def _parsed(line: bytes) -> Label | None:
    """Return the label of a line, or None where it is not one, whole."""
    cells = _cells_of(line)
    try:
        cell, plate, well, label, labeller, time, probability, sample = cells
        whole = bool(_SAMPLE.fullmatch(sample)) and int(cell) >= 0
        found = Label(int(cell), plate, well, label, labeller, time, float(probability), sample)
    except ValueError:
        return None
    return found if whole and label and labeller else None


def _cells_of(line: bytes) -> list[str]:
    try:
        return next(csv.reader([line.decode(errors="replace").rstrip("\r\n")]), [])
    except csv.Error:  # a field longer than the parser takes
        return []


def _line(row: Label | tuple[str, ...]) -> bytes:
    text = io.StringIO()
    values = astuple(row) if isinstance(row, Label) else row
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()
