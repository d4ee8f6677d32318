"""Pairs of image files in a folder, and what names, folders and a CSV say of each cell."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from coos_mlflow.data.cell_table import CELLS_CSV, FIELDS, SIMULATED_FIELD, read_cell_table
from coos_mlflow.data.cells import CHANNELS
from coos_mlflow.data.columns import clean_ids, clean_labels
from coos_mlflow.errors import DataError

PATTERNS = tuple(f"*_{channel}.tif" for channel in CHANNELS)
"""Names that the authors' script gives to the two channels of a cell."""

ENDINGS = (".tif", ".tiff")
"""Of TIFF files, in any capitals; a pattern with one of them finds all."""

ARCHIVE_OF_MACOS = "__MACOSX"
"""Folder of hidden files that macOS adds to archives."""

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
    n_hidden : int
        Images that were left out because they, or folders they lie in, are hidden.
    unused : list of str
        Columns of the CSV that a plate has no place for.
    """

    stems: list[str]
    paths: list[tuple[Path, Path]]
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    simulated: bool = False
    n_hidden: int = 0
    unused: list[str] = field(default_factory=list)


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
        pairs them. With a ``/`` a pattern is matched against the path below `folder`. The ending
        ``.tif`` finds ``.TIF`` and ``.tiff``, too.
    levels : str or None
        Fields that the folders stand for, such as ``"plate/well"``; ``-`` skips a level.
    name_regex : str or None
        Searched in each stem; its named groups are fields.
    metadata : path or None
        CSV with a column ``file`` and one for each field (`read_cell_table`); rows give the
        order. Without any of the three, ``cells.csv`` in the folder is taken if it is there.

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
    found, n_hidden = _pair(root, patterns)
    unused: list[str] = []
    stems = sorted(found, key=_natural)
    sources: list[Said] = []
    if metadata is None and levels is None and name_regex is None and (root / CELLS_CSV).is_file():
        metadata = root / CELLS_CSV
    if metadata is not None:
        rows, unused = read_cell_table(Path(metadata), {stem: found[stem] for stem in stems}, root)
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
        n_hidden=n_hidden,
        unused=unused,
    )


def _pair(root: Path, patterns: tuple[str, ...]) -> tuple[dict[str, tuple[Path, Path]], int]:
    """Return the images of each stem, and how many hidden ones were left out."""
    _check_patterns(patterns)
    by_channel: dict[str, dict[str, Path]] = {pattern: {} for pattern in patterns}
    inside = root.resolve()
    n_hidden = 0
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        # What both patterns fit, as *.tif and *_nucleus.tif do, belongs to the narrower one.
        for pattern in sorted(patterns, key=len, reverse=True):
            stem = _stem(relative.as_posix(), pattern)
            if stem is None or not path.is_file():
                continue
            if any(part.startswith(".") or part == ARCHIVE_OF_MACOS for part in relative.parts):
                n_hidden += 1
                break
            if not path.resolve().is_relative_to(inside):
                raise DataError(f"{path}: is a link to a file outside {root}, refused.")
            if other := by_channel[pattern].get(stem):
                raise DataError(f"{other} and {path} both fit {pattern!r}, expected one of them.")
            by_channel[pattern][stem] = path
            break
    protein, nucleus = (by_channel[pattern] for pattern in patterns)
    if not protein and not nucleus:
        hidden = f" but {n_hidden:,} hidden ones" if n_hidden else ""
        raise DataError(f"{root}: no image{hidden} fits {patterns[0]!r} or {patterns[1]!r}.")
    if alone := sorted(protein.keys() ^ nucleus.keys(), key=_natural):
        stem = alone[0]
        there, lacking = patterns if stem in protein else patterns[::-1]
        raise DataError(
            f"{root}: {len(alone):,} images have no partner, e.g. {stem!r} fits {there!r} but "
            f"there is none for {lacking!r}; expected one image of each channel for every cell."
        )
    return {stem: (protein[stem], nucleus[stem]) for stem in protein}, n_hidden


def _check_patterns(patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        if pattern.count("*") != 1:
            raise DataError(f"{pattern!r} has {pattern.count('*')} asterisks, expected one.")
    protein, nucleus = (_without_ending(pattern) for pattern in patterns)
    if protein == nucleus:
        raise DataError(
            f"{patterns[0]!r} found for the protein and {patterns[1]!r} for the nucleus, which are "
            "the same images; expected a pattern for each channel, such as '*_gfp.tif' and "
            "'*_dapi.tif'."
        )


def _without_ending(name: str) -> str:
    """Return a name or pattern without the ending of a TIFF file."""
    for ending in ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)] + ENDINGS[0]
    return name


def _stem(relative: str, pattern: str) -> str | None:
    folder, slash, name = _without_ending(relative).rpartition("/")
    if "/" in pattern:
        folder, slash, name = "", "", _without_ending(relative)
    before, _, behind = _without_ending(pattern).partition("*")
    fits = name.startswith(before) and name.endswith(behind)
    if not fits or len(name) <= len(before) + len(behind):
        return None
    return folder + slash + name[len(before) : len(name) - len(behind)]


def _natural(stem: str) -> list[tuple[int, str]]:
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
        if not re.fullmatch(r"[0-9]{1,9}(\.0+)?", value.strip(), re.ASCII):
            raise DataError(f"{where} {value!r:.60} of cell {index}, expected a number 0..6.")
    return clean_labels(np.array(values, dtype=np.float64), where)
