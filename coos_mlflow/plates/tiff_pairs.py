"""Pair the two image files of each cell in a folder, and collect labels and ids of the cells.

Labels and ids come from names, folders or a CSV. Open this module to change how images are paired.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.cells_csv import (
    CELLS_CSV,
    FIELDS,
    SIMULATED_FIELD,
    TIFF_ENDING,
    Said,
    read_cells_csv,
    similar_field,
)
from coos_mlflow.plates.columns import clean_ids, shown
from coos_mlflow.plates.schema import CHANNELS, UNLABELLED, UNLABELLED_WORD

PATTERNS = tuple(f"*_{channel}.tif" for channel in CHANNELS)
"""Patterns of the names that the authors' script gives to the two channels of a cell."""

_HIDDEN = {
    "__macosx",
    "@eadir",
    "#recycle",
    "#snapshot",
    "~snapshot",
    "$recycle.bin",
    "system volume information",
}
"""Names that macOS, Synology, NetApp and Windows hide, besides names that begin with a dot."""


@dataclass
class CellPairs:
    """The two images of each cell of a folder, in the order of the plate file.

    Parameters
    ----------
    stems : list of str
        The common part of the names of both images, with the folders before it.
    paths : list of (Path, Path)
        Protein and nucleus image of each stem.
    columns : dict of str to ndarray, shape (n,)
        Labels and ids, for those that a source gives.
    simulated : bool
        Whether the CSV marks the cells as simulated.
    hidden : list of str
        Hidden folders, and hidden images outside them, that were left out.
    not_taken : list of str
        Columns of the CSV that are not a field of a plate.
    """

    stems: list[str]
    paths: list[tuple[Path, Path]]
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    simulated: bool = False
    hidden: list[str] = field(default_factory=list)
    not_taken: list[str] = field(default_factory=list)


def find_pairs(
    folder: str | Path,
    patterns: tuple[str, ...] = PATTERNS,
    *,
    levels: str | None = None,
    name_regex: str | None = None,
    metadata: str | Path | None = None,
) -> CellPairs:
    """Pair the protein and nucleus images below a folder, and collect their labels and ids.

    Parameters
    ----------
    folder : path
    patterns : tuple of two str
        Patterns for the names of protein and nucleus images, with one ``*`` each. Images whose
        names have the same text for ``*`` are a pair. A pattern with a ``/`` is matched against
        the path below `folder`. The ending ``.tif`` stands for ``.tiff`` and ``.TIF`` too.
    levels : str or None
        Fields given by the folders, such as ``"plate/well"``; ``-`` skips a level.
    name_regex : str or None
        Regular expression searched in each stem. Its named groups are fields.
    metadata : path or None
        CSV with a column ``file`` (the stems, or either image) and one column for each field.
        Its rows give the order of the cells. If `levels`, `name_regex` and `metadata` are all
        None, ``cells.csv`` in the folder is used if it exists.

    Returns
    -------
    CellPairs
        In the order of the CSV; without one, sorted with numbers in natural order.

    Raises
    ------
    DataError
        For unpaired images, no images, patterns that do not tell the channels apart, and links
        to files outside the folder. Also for sources that do not fit the images, cannot be
        understood or contradict each other.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected one with pairs of TIFF images.")
    _check_patterns(patterns)
    files, hidden = _files(root, patterns)
    pairs = _pair(root, files, patterns)
    if not pairs:
        left_out = f"; what is hidden is left out ({hidden[0]!r})" if hidden else ""
        raise DataError(f"{root}: no image fits {patterns[0]!r} or {patterns[1]!r}{left_out}.")
    stems = sorted(pairs, key=natural)
    sources: list[Said] = []
    not_taken: list[str] = []
    if metadata is None and levels is None and name_regex is None and (root / CELLS_CSV).is_file():
        metadata = root / CELLS_CSV
    if metadata is not None:
        names = {
            stem: [path.relative_to(root).as_posix() for path in pairs[stem]] for stem in stems
        }
        table = read_cells_csv(Path(metadata), names)
        stems = list(table.rows)
        sources.append(table.rows)
        not_taken = table.not_taken
    if levels is not None:
        sources.append(_read_levels(stems, levels, root))
    if name_regex is not None:
        sources.append(_read_names(stems, name_regex, root))
    marked = {fields.pop(SIMULATED_FIELD, "") for rows in sources for fields in rows.values()}
    columns = _columns(stems, sources, root)
    for column in not_taken:
        name = similar_field(column)
        if name is not None and FIELDS[name] not in columns:
            raise DataError(
                f"{metadata}: the column {shown(column)!r} looks like the {name} of each cell, but "
                f"is not understood; rename it {name!r}, or take it out of the table."
            )
    return CellPairs(
        stems,
        [pairs[stem] for stem in stems],
        columns,
        simulated=any(mark.lower() in ("true", "1") for mark in marked),
        hidden=hidden,
        not_taken=not_taken,
    )


def _check_patterns(patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        if pattern.count("*") != 1:
            raise DataError(f"{pattern!r} has {pattern.count('*')} asterisks, expected one.")
    if len({_one_ending(pattern) for pattern in patterns}) == 1:
        raise DataError(
            f"{patterns[0]!r} stands for both channels, expected one pattern for the protein "
            "images and another for the nucleus images."
        )


def _files(root: Path, patterns: tuple[str, ...]) -> tuple[list[Path], list[str]]:
    """Return the files below a folder, and the hidden folders and images that are left out."""
    files: list[Path] = []
    hidden: list[str] = []
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        for path in (here / name for name in names):
            if not _is_hidden(path.name):
                files.append(path)
            elif _channel(path.relative_to(root).as_posix(), patterns):
                hidden.append(path.relative_to(root).as_posix())
        hidden += [
            (here / name).relative_to(root).as_posix() for name in filter(_is_hidden, folders)
        ]
        folders[:] = [name for name in folders if not _is_hidden(name)]
    return files, sorted(hidden)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _HIDDEN


def _pair(root: Path, files: list[Path], patterns: tuple[str, ...]) -> dict[str, tuple[Path, Path]]:
    by_channel: dict[str, dict[str, Path]] = {pattern: {} for pattern in patterns}
    inside = root.resolve()
    for path in files:
        fitting = _channel(path.relative_to(root).as_posix(), patterns)
        if fitting is not None and path.is_file():
            pattern, stem = fitting
            if not path.resolve().is_relative_to(inside):
                raise DataError(f"{path}: is a link to a file outside {root}, refused.")
            if stem in by_channel[pattern]:
                raise DataError(
                    f"{path}: {by_channel[pattern][stem].name!r} beside it is the image of the "
                    f"same cell and channel ({stem!r}, {pattern!r}), expected one."
                )
            by_channel[pattern][stem] = path
    protein, nucleus = (by_channel[pattern] for pattern in patterns)
    if alone := sorted(protein.keys() ^ nucleus.keys(), key=natural):
        stem = alone[0]
        there, lacking = patterns if stem in protein else patterns[::-1]
        fits_both = _channel(by_channel[there][stem].relative_to(root).as_posix(), (lacking,))
        if not by_channel[lacking] and fits_both:
            raise DataError(
                f"{root}: {by_channel[there][stem].name!r} fits {there!r} and {lacking!r}, "
                "expected patterns that tell the channels apart."
            )
        raise DataError(
            f"{root}: {len(alone):,} images have no partner, e.g. {stem!r} fits {there!r} but "
            f"there is none for {lacking!r}; expected one image of each channel for every cell."
        )
    return {stem: (protein[stem], nucleus[stem]) for stem in protein}


def _channel(relative: str, patterns: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the pattern that a path fits, and its stem.

    A path that fits both patterns, such as ``*.tif`` and ``*_nucleus.tif``, belongs to the longer
    one.
    """
    for pattern in sorted(patterns, key=lambda pattern: len(_one_ending(pattern)), reverse=True):
        stem = _stem(_one_ending(relative), _one_ending(pattern))
        if stem is not None:
            return pattern, stem
    return None


def _one_ending(name: str) -> str:
    return TIFF_ENDING.sub(".tif", name)


def _stem(relative: str, pattern: str) -> str | None:
    folder, slash, name = relative.rpartition("/")
    if "/" in pattern:
        folder, slash, name = "", "", relative
    before, _, behind = pattern.partition("*")
    fits = name.startswith(before) and name.endswith(behind)
    if not fits or len(name) <= len(before) + len(behind):
        return None
    return folder + slash + name[len(before) : len(name) - len(behind)]


def natural(stem: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in text by their size."""
    parts = re.split(r"([0-9]+)", stem)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]


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
        pairs = zip(names, folders[: len(names)], strict=True)
        rows[stem] = {name: value for name, value in pairs if name != "-"}
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
    """Return labels as numbers where all are numbers, else as names of classes.

    Raises
    ------
    DataError
        For a number that is no label, such as 0.5: it is not the name of a class either.
    """
    texts = clean_ids(values, where)
    texts[texts == UNLABELLED_WORD] = ""
    # Spreadsheets may write a whole number as 0.0, or as 0,0 with a decimal comma.
    number = re.compile(r"(-1|[0-9]{1,9})(?:[.,]0*)?|", re.ASCII)
    matches = [number.fullmatch(text) for text in texts.tolist()]
    for index, text in enumerate(texts.tolist()):
        if matches[index] is None and _is_number(text):
            raise DataError(
                f"{where} {shown(repr(text), 60)} of cell {index}, expected a whole number from 0, "
                "the name of a class, or -1 for a cell whose class is not known."
            )
    if not all(matches):
        return texts
    numbers = [int(match[1] or UNLABELLED) for match in matches if match is not None]
    return np.array(numbers, dtype=np.int64)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
