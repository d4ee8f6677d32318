"""Pairs of image files in a folder, and what names, folders and a CSV say of each cell."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from coos_mlflow.data.cells import CHANNELS
from coos_mlflow.data.columns import ID_DATASETS, clean_ids, clean_labels
from coos_mlflow.errors import DataError

PATTERNS = tuple(f"*_{channel}.tif" for channel in CHANNELS)
"""Names that the authors' script gives to the two channels of a cell."""

CELLS_CSV = "cells.csv"
FIELDS = {"label": "labels"} | {name.removesuffix("s"): name for name in ID_DATASETS}
"""Column of a CSV, group of a name or level of folders -> column of a plate."""

FILE_FIELD, SIMULATED_FIELD = "file", "simulated"

Said = dict[str, dict[str, str]]
"""For each stem, the value of each field that one source gives."""


@dataclass
class CellPairs:
    """The two images of each cell of a folder, in the order that they are packed in.

    Parameters
    ----------
    stems : list of str
        What the names of both images have in common, with the folders before it.
    paths : list of (Path, Path)
        Protein and nucleus image of each stem.
    columns : dict of str to ndarray, shape (n,)
        Labels and ids, as far as known.
    simulated : bool
        Whether the CSV says that no microscope made the cells.
    """

    stems: list[str]
    paths: list[tuple[Path, Path]]
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    simulated: bool = False


def find_pairs(
    folder: str | Path,
    patterns: tuple[str, ...] = PATTERNS,
    *,
    levels: str | None = None,
    name_regex: str | None = None,
    metadata: str | Path | None = None,
) -> CellPairs:
    """Pair the protein and nucleus images below a folder and collect what is known of them.

    Parameters
    ----------
    folder : path
    patterns : tuple of two str
        Names of protein and nucleus images with one ``*`` each; what stands for the ``*``
        pairs them. With a ``/`` a pattern is matched against the path below `folder`.
    levels : str or None
        Fields that the folders stand for, such as ``"plate/well"``; ``-`` skips a level.
    name_regex : str or None
        Searched in each stem; its named groups are fields.
    metadata : path or None
        CSV with a column ``file`` (the stems) and one for each field; rows give the order.
        Without any of the three, ``cells.csv`` in the folder is taken if it is there.

    Returns
    -------
    CellPairs
        In the order of the CSV, else sorted with numbers in their natural order.

    Raises
    ------
    DataError
        For unpaired images, none at all, names that leave the folder, and sources that do not
        fit the images or contradict each other.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected one with pairs of TIFF images.")
    found = _pair(root, patterns)
    stems = sorted(found, key=_natural)
    sources: list[Said] = []
    if metadata is None and levels is None and name_regex is None and (root / CELLS_CSV).is_file():
        metadata = root / CELLS_CSV
    if metadata is not None:
        rows = _read_csv(Path(metadata), stems)
        stems = list(rows)
        sources.append(rows)
    if levels is not None:
        sources.append(_read_levels(stems, levels, root))
    if name_regex is not None:
        sources.append(_read_names(stems, name_regex, root))
    marked = {said.pop(SIMULATED_FIELD, "") for rows in sources for said in rows.values()}
    return CellPairs(
        stems,
        [found[stem] for stem in stems],
        _columns(stems, sources, root),
        simulated=any(mark.lower() in ("true", "1") for mark in marked),
    )


def _pair(root: Path, patterns: tuple[str, ...]) -> dict[str, tuple[Path, Path]]:
    for pattern in patterns:
        if pattern.count("*") != 1:
            raise DataError(f"{pattern!r} has {pattern.count('*')} asterisks, expected one.")
    by_channel: dict[str, dict[str, Path]] = {pattern: {} for pattern in patterns}
    inside = root.resolve()
    for path in root.rglob("*"):
        # What both patterns fit, as *.tif and *_nucleus.tif do, belongs to the narrower one.
        for pattern in sorted(patterns, key=len, reverse=True):
            stem = _stem(path.relative_to(root).as_posix(), pattern)
            if stem is not None and path.is_file():
                if not path.resolve().is_relative_to(inside):
                    raise DataError(f"{path}: is a link to a file outside {root}, refused.")
                by_channel[pattern][stem] = path
                break
    protein, nucleus = (by_channel[pattern] for pattern in patterns)
    if not protein and not nucleus:
        raise DataError(f"{root}: no image fits {patterns[0]!r} or {patterns[1]!r}.")
    if alone := sorted(protein.keys() ^ nucleus.keys(), key=_natural):
        stem = alone[0]
        there, lacking = patterns if stem in protein else patterns[::-1]
        raise DataError(
            f"{root}: {len(alone):,} images have no partner, e.g. {stem!r} fits {there!r} but "
            f"there is none for {lacking!r}; expected one image of each channel for every cell."
        )
    return {stem: (protein[stem], nucleus[stem]) for stem in protein}


def _stem(relative: str, pattern: str) -> str | None:
    folder, slash, name = relative.rpartition("/")
    if "/" in pattern:
        folder, slash, name = "", "", relative
    before, _, behind = pattern.partition("*")
    fits = name.startswith(before) and name.endswith(behind)
    if not fits or len(name) <= len(before) + len(behind):
        return None
    return folder + slash + name[len(before) : len(name) - len(behind)]


def _natural(stem: str) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]+)", stem)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]


def _read_csv(path: Path, stems: list[str]) -> Said:
    """Return the fields of each stem in the order of the rows."""
    short = {stem.rpartition("/")[2]: stem for stem in stems}
    if len(short) < len(stems):
        short = {}
    known = short | {stem: stem for stem in stems}
    rows: Said = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            if FILE_FIELD not in (reader.fieldnames or ()):
                raise DataError(
                    f"{path}: columns {reader.fieldnames or 'none'} found, "
                    f"expected {FILE_FIELD!r} and any of {', '.join(FIELDS)}."
                )
            wanted = {*FIELDS, SIMULATED_FIELD} & set(reader.fieldnames or ())
            for row in reader:
                where = f"{path}: line {reader.line_num}"
                if None in row or None in row.values():
                    raise DataError(f"{where} does not have the columns of the first line.")
                stem = known.get(row[FILE_FIELD])
                if stem is None:
                    raise DataError(f"{where}: no pair of images named {row[FILE_FIELD]!r:.100}.")
                if stem in rows:
                    raise DataError(f"{where}: {stem!r} stands in an earlier line too.")
                rows[stem] = {name: row[name] for name in wanted}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a CSV table ({error}).") from error
    if lacking := [stem for stem in stems if stem not in rows]:
        raise DataError(
            f"{path}: {len(lacking):,} pairs of images have no line, e.g. {lacking[0]!r}; "
            "expected one for every cell."
        )
    return rows


def _read_levels(stems: list[str], levels: str, root: Path) -> Said:
    names = levels.strip("/").split("/")
    _check_fields([name for name in names if name != "-"], f"the folder levels {levels!r}")
    rows: Said = {}
    for stem in stems:
        folders = stem.split("/")[:-1]
        if len(folders) < len(names):
            raise DataError(
                f"{root}: {stem!r} lies {len(folders)} folders deep, "
                f"expected at least {len(names)} for {levels!r}."
            )
        said = zip(names, folders[: len(names)], strict=True)
        rows[stem] = {name: value for name, value in said if name != "-"}
    return rows


def _read_names(stems: list[str], name_regex: str, root: Path) -> Said:
    try:
        regex = re.compile(name_regex)
    except re.error as error:
        raise DataError(f"{name_regex!r} is no regular expression ({error}).") from error
    _check_fields(list(regex.groupindex), f"the named groups of {name_regex!r}")
    rows: Said = {}
    for stem in stems:
        match = regex.search(stem)
        if match is None:
            raise DataError(f"{root}: {stem!r} does not fit the regular expression {name_regex!r}.")
        rows[stem] = {name: value or "" for name, value in match.groupdict().items()}
    return rows


def _check_fields(names: list[str], what: str) -> None:
    unknown = [name for name in names if name not in FIELDS]
    if unknown or not names or len(set(names)) < len(names):
        raise DataError(
            f"{what}: {', '.join(unknown or names) or 'no names'} found, "
            f"expected any of {', '.join(FIELDS)}, each once."
        )


def _columns(stems: list[str], sources: list[Said], root: Path) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    for rows in sources:
        for name in (name for name in FIELDS if name in rows[stems[0]]):
            if FIELDS[name] in columns:
                raise DataError(f"{root}: two sources give the {name}, expected one.")
            values = [rows[stem][name] for stem in stems]
            where = f"{root}: {name}"
            columns[FIELDS[name]] = (
                _labels(values, where) if name == "label" else clean_ids(values, where)
            )
    return columns


def _labels(values: list[str], where: str) -> np.ndarray:
    for index, value in enumerate(values):
        if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII):
            raise DataError(f"{where} {value!r:.60} of cell {index}, expected a number 0..6.")
    return clean_labels(np.array(values, dtype=np.int64), where)
