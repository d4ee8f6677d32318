"""What sources share: find TIFFs below a folder, and put planes together as fields."""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Channel, Field, Plane
from coos_mlflow.plates.columns import shown
from coos_mlflow.plates.tiff_pages import open_tiff
from coos_mlflow.plates.tiff_pairs import natural
from coos_mlflow.plates.wells import MAX_COLUMNS, MAX_ROWS, Well

TIFF_SUFFIXES = (".tif", ".tiff")

MAX_LEVELS = 6
"""Folders below the one that is named, in which files are looked for."""

_ZARR = frozenset(("zarr.json", ".zgroup", ".zarray"))
"""Files that mark a folder as part of an OME-Zarr, which holds thousands of other files."""


class Found(NamedTuple):
    """A plane, and where it belongs.

    Parameters
    ----------
    plate, well : str
    field, time : int
    channel : str or int
        The source's own key of the channel.
    depth : int
        From 1.
    plane : Plane
    """

    plate: str
    well: str
    field: int
    time: int
    channel: str | int
    depth: int
    plane: Plane


def gather(
    found: Iterable[Found], channels: Iterable[str | int]
) -> tuple[tuple[Field, ...], tuple[str, ...]]:
    """Put planes together as fields.

    Parameters
    ----------
    found : iterable of Found
    channels : iterable of str or int
        Keys of the channels, in order.

    Returns
    -------
    fields : tuple of Field
    notes : tuple of str
        A sentence on pages of a file that belong to the same place, of which the first is kept.

    Raises
    ------
    DataError
        For images of the same place in two files.
    """
    place = {key: index for index, key in enumerate(channels)}
    planes: dict[tuple[str, str, int, int], dict[tuple[int, int], Plane]] = {}
    twice: list[tuple[Plane, Plane]] = []
    for one in found:
        of_field = planes.setdefault((one.plate, one.well, one.field, one.time), {})
        kept = of_field.setdefault((place[one.channel], one.depth), one.plane)
        if kept is not one.plane:
            _check_one_file(kept, one)
            twice.append((kept, one.plane))
    fields = tuple(
        Field(plate, well, number, of_field, time)
        for (plate, well, number, time), of_field in planes.items()
    )
    return fields, _doubles(twice)


def _check_one_file(kept: Plane, other: Found) -> None:
    paths = [getattr(one, "path", one.place) for one in (kept, other.plane)]
    if paths[0] != paths[1]:
        later = f", time {other.time}" if other.time > 1 else ""
        raise DataError(
            f"{paths[0]} and {paths[1]} are both plate {other.plate}, well {other.well}, field "
            f"{other.field}{later}, channel {other.channel}, depth {other.depth}, expected one "
            "image; leave one out, or read the plates one by one."
        )


def _doubles(twice: list[tuple[Plane, Plane]]) -> tuple[str, ...]:
    if not twice:
        return ()
    kept, other = twice[0]
    return (
        f"{len(twice):,} images are of the same field, channel and depth as another one, such as "
        f"{other.place} beside {kept.place}; the first is used.",
    )


def one_pixel_size(sizes: Iterable[float | None], where: str | Path) -> float | None:
    """Return the one pixel size in micrometres, or None where none is given.

    Raises
    ------
    DataError
        For different sizes.
    """
    # Sizes that were rounded differently in different places are one.
    found = sorted({float(f"{size:.4g}"): size for size in sizes if size}.values())
    if len(found) > 1:
        listed = ", ".join(f"{size:.4g}" for size in found)
        raise DataError(
            f"{where}: pixels of {listed} micrometres found, expected one size; read the plates "
            "one by one."
        )
    return found[0] if found else None


def files_below(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Return the files below a folder with one of the suffixes, in any case.

    Hidden files and folders and OME-Zarr images are left out. So are links to folders, and to
    files outside of the folder.

    Returns
    -------
    list of str
        Paths from the folder, separated by ``/``, in natural order.
    """
    found = (name for name in walk(folder) if name.lower().endswith(suffixes))
    return sorted(found, key=natural)


def walk(folder: Path, levels: int = MAX_LEVELS, below: str = "") -> Iterator[str]:
    """Yield the files below a folder; see `files_below`."""
    with os.scandir(folder / below) as entries:
        listed = list(entries)
    if any(entry.name in _ZARR for entry in listed):
        return
    for entry in listed:
        if entry.name.startswith("."):
            continue
        if entry.is_file(follow_symlinks=False) or _is_inside(entry, folder):
            yield below + entry.name
        elif levels and not entry.name.endswith(".zarr") and entry.is_dir(follow_symlinks=False):
            yield from walk(folder, levels - 1, f"{below}{entry.name}/")


def _is_inside(entry: os.DirEntry[str], folder: Path) -> bool:
    """Return whether a link leads to a file below the folder."""
    if not entry.is_symlink() or not entry.is_file():
        return False
    return Path(entry.path).resolve().is_relative_to(folder.resolve())


def links_left_out(folder: Path, levels: int = MAX_LEVELS, below: str = "") -> Iterator[str]:
    """Yield the links below a folder that `walk` does not follow."""
    with os.scandir(folder / below) as entries:
        listed = list(entries)
    if any(entry.name in _ZARR for entry in listed):
        return
    for entry in listed:
        if entry.name.startswith("."):
            continue
        if entry.is_symlink():
            if not _is_inside(entry, folder):
                yield below + entry.name
        elif levels and not entry.name.endswith(".zarr") and entry.is_dir():
            yield from links_left_out(folder, levels - 1, f"{below}{entry.name}/")


def plate_ids(
    names: Sequence[str], titles: Sequence[str], folders: Sequence[Path], location: str
) -> list[str]:
    """Return an id for each plate.

    Parameters
    ----------
    names : sequence of str
        By the instrument, or ``""``.
    titles : sequence of str
        Names of the folders, which stand in for equal names.
    folders : sequence of Path
        Their paths from the location stand in for equal titles.
    location : str
    """
    count = Counter(names)
    ids = [
        name if name and count[name] == 1 else title
        for name, title in zip(names, titles, strict=True)
    ]
    equal = {one for one, times in Counter(ids).items() if times > 1}
    return [
        "_".join(Path(os.path.relpath(folder, location)).parts) if one in equal else one
        for one, folder in zip(ids, folders, strict=True)
    ]


def one_set_of_channels(channels: Sequence[Sequence[Channel]], plates: Sequence[str]) -> None:
    """Refuse plates with different channels.

    Raises
    ------
    DataError
    """
    for plate, of_plate in zip(plates[1:], channels[1:], strict=True):
        if [one.name for one in of_plate] != [one.name for one in channels[0]]:
            listed = (", ".join(one.name for one in some) for some in (channels[0], of_plate))
            raise DataError(
                f"{plates[0]} and {plate} have different channels ({' and '.join(listed)}), "
                "expected plates with the same ones; read the plates one by one."
            )


def first_description(paths: Iterable[Path], most: int = 5) -> str | None:
    """Return the ImageDescription of the first TIFF that can be opened, None where none can."""
    for path in itertools.islice(paths, most):
        try:
            with open_tiff(path) as tiff:
                return str(tiff.pages[0].description)
        except DataError:
            continue
    return None


def number(text: str | None) -> float | None:
    """Return text as a number that is finite and not negative, else None."""
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


def whole(facts: Mapping[str, str], name: str, where: str | Path) -> int:
    """Return the whole number that an index gives under a name.

    Raises
    ------
    DataError
        Where there is none.
    """
    text = facts.get(name, "nothing")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise DataError(
            f"{where}: '{shown(text, 40)}' found as {name} of an image, expected a whole number."
        )
    return int(text)


def well_name(row: int, column: int, where: str | Path) -> str:
    """Return the name of a well by row and column, from 1.

    Raises
    ------
    DataError
        For a position on no plate.
    """
    if not (1 <= row <= MAX_ROWS and 1 <= column <= MAX_COLUMNS):
        raise DataError(
            f"{where}: an image in row {row}, column {column} found, expected rows 1 to {MAX_ROWS} "
            f"and columns 1 to {MAX_COLUMNS}."
        )
    return Well(row, column).name


def plate_shape(rows: str | None, columns: str | None) -> tuple[int, int] | None:
    """Return the numbers of rows and columns of a plate, None where they are not given."""
    n_rows, n_columns = number(rows), number(columns)
    return (int(n_rows), int(n_columns)) if n_rows and n_columns else None
