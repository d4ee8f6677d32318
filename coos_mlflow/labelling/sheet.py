"""Cells to label in a spreadsheet: a CSV that goes out with empty labels and comes back."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from coos_mlflow._utils.files import write_whole
from coos_mlflow.audit.labels_file import (
    CANNOT_SEE,
    NONE_WORDS,
    SEED,
    Label,
    append,
    read_labels,
    sample_of,
)
from coos_mlflow.audit.sequence import shuffled
from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.plates.cells_csv import csv_table, reading_csv
from coos_mlflow.registry.results import AUDIT, CENTRES
from coos_mlflow.scoring.audited import frame_of, new_label, order_of
from coos_mlflow.scoring.centres import COLUMNS as PLACES

COLUMNS = ("cell", "plate", "well", "label", "sample")
"""Columns of a sheet; of cells that were cut out of images, those of their places come before the
label."""

_READ = ("cell", "label", "sample")


@dataclass(frozen=True)
class Imported:
    """What a sheet brought: labels, lines without one, and labels that were there already."""

    added: int
    empty: int
    known: int


def check_new(path: Path) -> None:
    """Refuse the path of a sheet that could not be written, or that would replace a file.

    Raises
    ------
    OutputError
    """
    if path.exists():
        raise OutputError(f"{path}: is there already and is never replaced; name a new file.")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist; create it first.")


def export_sheet(folder: Path, drift: dict[str, Any], path: Path, labeller: str, n: int) -> int:
    """Write the next cells that a person is asked for, and return their number.

    Parameters
    ----------
    folder : Path
        Of the results.
    drift : dict
        Content of its drift.json.
    path : Path
        The new CSV.
    labeller : str
    n : int
        Number of cells; fewer where the plate has no more.

    Raises
    ------
    DataError
        When the person has labelled all cells, or for labels of another sample.
    OutputError
        When the sheet cannot be written.
    """
    check_new(path)
    sample, frame = sample_of(drift), frame_of(folder, drift)
    done = _labels_of(folder, sample, labeller)
    order = order_of(frame)
    missing = np.flatnonzero(~np.isin(frame.cells[order], list(done)))[:n]
    if not len(missing):
        raise DataError(f"{folder}: {labeller} has labelled all {len(frame):,} cells already.")
    places = shuffled(int(missing[-1]) + 1, SEED)
    rows = order[places[np.isin(places, missing)]]
    cells = frame.cells[rows]
    table = pd.DataFrame({"cell": cells, "plate": frame.plates[rows], "well": frame.wells[rows]})
    if (folder / CENTRES).is_file():
        centres = pd.read_csv(folder / CENTRES, dtype=str).set_index("Metadata_Index")
        for name in PLACES.values():
            table[name] = centres.loc[cells.astype(str), name].to_numpy()
    text = io.StringIO()
    table.assign(label="", sample=sample).to_csv(text, index=False, lineterminator="\n")
    try:
        write_whole(path, text.getvalue().encode())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error
    return len(rows)


def import_sheet(folder: Path, drift: dict[str, Any], path: Path, labeller: str) -> Imported:
    """Add the labels of a sheet to those of a folder of results: all of them or none.

    Parameters
    ----------
    folder : Path
        Of the results.
    drift : dict
        Content of its drift.json.
    path : Path
        What `export_sheet` wrote, with labels: names of classes, their abbreviations or the
        numbers of their keys from 1, `NONE_WORDS` or `CANNOT_SEE`. Lines with an empty label are
        counted and skipped.
    labeller : str
        Who gave them.

    Raises
    ------
    DataError
        For a sheet that is not as it was exported, an unknown cell or label, a cell twice, one
        that the sample does not hold so far, and one that the person has labelled otherwise.
    OutputError
        When the labels cannot be written.
    """
    sample, frame = sample_of(drift), frame_of(folder, drift)
    done = _labels_of(folder, sample, labeller)
    lines = _read(path, drift, sample)
    order = order_of(frame)
    place_of = {int(frame.cells[row]): place for place, row in enumerate(order.tolist())}
    reach = len({*done, *(line.cell for line in lines)} & {*place_of})
    added: list[Label] = []
    known = 0
    for line in lines:
        if not line.label:
            continue
        place = _place(line, place_of, reach)
        if line.cell not in done:
            added.append(new_label(frame, order, place, line.label, labeller, sample))
        elif done[line.cell] == line.label:
            known += 1
        else:
            raise DataError(
                f"{line.where}: label {line.label!r} found, but {labeller} has labelled cell "
                f"{line.cell} as {done[line.cell]!r} already, and labels are never overwritten; "
                "empty it in the sheet, or import it under another --labeller."
            )
    if added:
        append(folder / AUDIT, added)
    return Imported(len(added), sum(not line.label for line in lines), known)


@dataclass(frozen=True)
class _Line:
    """A line of a sheet; an empty label where the cell was left out."""

    where: str
    cell: int
    label: str


def _labels_of(folder: Path, sample: str, labeller: str) -> dict[int, str]:
    """Return the labels that a person has given so far, by cell."""
    labels = read_labels(folder / AUDIT, sample)
    return {label.cell: label.label for label in labels if label.labeller == labeller}


def _read(path: Path, drift: dict[str, Any], sample: str) -> list[_Line]:
    with reading_csv(path):
        header, rows, _ = csv_table(path, "well")
        numbered = list(rows)
    titles = [title.casefold() for title in header]
    if any(titles.count(name) != 1 for name in _READ):
        raise DataError(
            f"{path}: columns {', '.join(map(repr, header))[:200] or 'none'} found, expected each "
            f"of {', '.join(_READ)} once, as `coos audit --export` writes them."
        )
    at = {name: titles.index(name) for name in _READ}
    answers = _answers(drift)
    lines: list[_Line] = []
    first: dict[int, str] = {}
    for number, row in numbered:
        where = f"{path}: line {number}"
        if len(row) != len(header):
            raise DataError(f"{where} has {len(row)} cells, expected {len(header)}.")
        found = row[at["sample"]].strip()
        if found != sample:
            raise DataError(
                f"{where}: sample {found!r:.40} found, expected {sample!r}: the sheet belongs to "
                "results of another model version or plate; name the folder of those."
            )
        cell = _cell(row[at["cell"]], where, drift["plate_file"]["n_cells"])
        if cell in first:
            raise DataError(f"{where}: cell {cell} stands in {first[cell]} too; keep one of them.")
        first[cell] = f"line {number}"
        lines.append(_Line(where, cell, _answer(row[at["label"]], where, answers, drift)))
    return lines


def _cell(text: str, where: str, n_cells: int) -> int:
    digits = text.strip().removesuffix(".0")
    if not (digits.isascii() and digits.isdigit()) or int(digits) >= n_cells:
        raise DataError(
            f"{where}: cell {text!r:.40} found, expected a number from 0 to {n_cells - 1:,}, as "
            "`coos audit --export` wrote it."
        )
    return int(digits)


def _answers(drift: dict[str, Any]) -> dict[str, str]:
    """Return the labels that a sheet may have, by their spelling in lower case."""
    classes = drift["dataset"]["classes"]
    known = {one["short"].casefold(): one["name"] for one in classes}
    known |= {one["name"].casefold(): one["name"] for one in classes}  # where they collide
    if not any(word.isdigit() for word in known):
        known |= {str(key): one["name"] for key, one in enumerate(classes, start=1)}
    return known | {NONE_WORDS: NONE_WORDS, CANNOT_SEE: CANNOT_SEE}


def answer_words(drift: dict[str, Any]) -> str:
    """Return the classes that a sheet may name, with their numbers where those can stand too."""
    names = [one["name"] for one in drift["dataset"]["classes"]]
    if "1" in _answers(drift).keys() - {name.casefold() for name in names}:
        names = [f"{key} {name}" for key, name in enumerate(names, start=1)]
    return ", ".join(names)


def _answer(text: str, where: str, answers: dict[str, str], drift: dict[str, Any]) -> str:
    folded = " ".join(text.split()).casefold()
    folded = folded if folded in answers else folded.removesuffix(".0")
    if folded and folded not in answers:
        raise DataError(
            f"{where}: label {text!r:.60} found, expected a class or its number "
            f"({answer_words(drift)}), "
            f"{NONE_WORDS}, {CANNOT_SEE}, or nothing where the cell was left out."
        )
    return answers.get(folded, "")


def _place(line: _Line, place_of: dict[int, int], reach: int) -> int:
    """Return the place of a cell in the sample, of which the first `reach` may be labelled."""
    place = place_of.get(line.cell)
    if place is None:
        raise DataError(
            f"{line.where}: cell {line.cell} is not in the sample, since it could not be scored, "
            "repeats another cell or has no id; take its label out."
        )
    if place >= reach:
        raise DataError(
            f"{line.where}: cell {line.cell} is number {place + 1:,} of the sample, of which only "
            f"{reach:,} cells are labelled or in the sheet; import an earlier sheet first, or "
            "bring back lines that were taken out, with an empty label where a cell was left out."
        )
    return place
