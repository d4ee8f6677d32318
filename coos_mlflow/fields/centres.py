"""Label images from a table of centres, such as CellProfiler's.

Open this to change which columns are understood.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Field, Plane, PlateImages
from coos_mlflow.plates.wells import parse_well

COLUMNS: dict[str, tuple[str, ...]] = {
    "plate": ("Metadata_Plate", "Image_Metadata_Plate"),
    "well": ("Metadata_Well", "Image_Metadata_Well"),
    "field": ("Metadata_Site", "Metadata_Field", "Metadata_FieldID", "Image_Metadata_Site"),
    "time": ("Metadata_Time",),
    "x": ("Location_Center_X", "Nuclei_Location_Center_X"),
    "y": ("Location_Center_Y", "Nuclei_Location_Center_Y"),
    "number": ("ObjectNumber",),
}
"""Columns that are understood: those of CellProfiler and pycytominer, and of centres.csv."""

NEEDED = ("well", "field", "x", "y")

DIAMETER_UM = 8.0
"""Diameter of the disc that stands for a nucleus of which only the centre is known; chosen."""

LABELS = "nuclei"

Key = tuple[str, str, int, int]


class Centre(NamedTuple):
    """A nucleus: its number, and its centre in pixels, 0 in the middle of the first pixel."""

    number: int
    y: float
    x: float


@dataclass(frozen=True)
class CentresPlane:
    """A label image of discs around centres.

    Parameters
    ----------
    path : Path
        The table.
    centres : tuple of Centre
    like : Plane
        An image of the field, whose shape the label image has.
    radius : float
        Of the discs, in pixels.
    """

    path: Path
    centres: tuple[Centre, ...]
    like: Plane
    radius: float

    @property
    def place(self) -> str:
        """The table."""
        return f"{self.path}"

    def stamp(self) -> tuple[str | int, ...]:
        """Return name, size and time of change of the table."""
        status = self.path.stat()
        return (self.path.name, status.st_size, status.st_mtime_ns)

    def read(self) -> np.ndarray:
        """Return the label image; where discs overlap, each pixel belongs to the nearest centre.

        Raises
        ------
        DataError
            For a centre outside the field.
        """
        shape = self.like.read().shape
        labels = np.zeros(shape, np.int32)
        nearest = np.full(shape, self.radius**2 + 1e-9)
        for number, y, x in self.centres:
            if not (-0.5 <= y < shape[0] - 0.5 and -0.5 <= x < shape[1] - 0.5):
                raise DataError(
                    f"{self.path}: the centre x {x:g}, y {y:g} lies outside a field of {shape[1]} "
                    f"x {shape[0]} pixels, expected pixels of {self.like.place}."
                )
            window = tuple(
                slice(max(0, math.floor(at - self.radius)), math.ceil(at + self.radius) + 1)
                for at in (y, x)
            )
            rows, columns = (
                np.arange(part.start, min(part.stop, side))
                for part, side in zip(window, shape, strict=True)
            )
            squares = (rows[:, None] - y) ** 2 + (columns - x) ** 2
            closer = squares < nearest[window]
            nearest[window][closer] = squares[closer]
            labels[window][closer] = number
        return labels


def with_centres(images: PlateImages, path: str | Path) -> PlateImages:
    """Give each field a label image of the centres in a table.

    Parameters
    ----------
    images : PlateImages
        With a pixel size.
    path : path
        CSV with the columns of `COLUMNS`; plate, time and number may be left out.

    Raises
    ------
    DataError
        For a table that cannot be read, lacks columns or rows of these wells, and values that are
        no numbers.
    """
    path = Path(path)
    if images.pixel_size_um is None:
        raise DataError(
            f"{images.location}: no pixel size found, expected one for discs around centres; give "
            "it by --pixel-size."
        )
    table = _by_field(path, images)
    radius = DIAMETER_UM / images.pixel_size_um / 2
    fields = tuple(
        replace(one, labels={LABELS: _plane(one, path, table, radius)}) for one in images.fields
    )
    if not any(one.key in table for one in fields):
        raise DataError(
            f"{path}: no row is of a field of {images.location}, expected wells such as "
            f"{fields[0].well} and fields such as {fields[0].number}."
        )
    return replace(images, fields=fields)


def _plane(
    field: Field, path: Path, table: Mapping[Key, list[Centre]], radius: float
) -> CentresPlane:
    like = next(iter(field.planes.values()))
    return CentresPlane(path, tuple(table.get(field.key, ())), like, radius)


def _by_field(path: Path, images: PlateImages) -> dict[Key, list[Centre]]:
    """Return the centres of each field, by `Field.key`."""
    plate = images.plates[0] if len(images.plates) == 1 else None
    wells = {_position(one.well): one.well for one in images.fields}
    found: dict[Key, list[Centre]] = defaultdict(list)
    for line, row in _rows(path, needs_plate=plate is None):
        where = f"{path}, line {line}"
        well = wells.get(_position(row["well"]), row["well"])
        key = (
            plate or row["plate"],
            well,
            int(_number(row["field"], where)),
            int(_number(row.get("time") or "1", where)),
        )
        number = int(_number(row.get("number") or str(len(found[key]) + 1), where))
        found[key].append(Centre(number, _number(row["y"], where), _number(row["x"], where)))
    return found


def _position(well: str) -> object:
    position = parse_well(well)
    return (position.row, position.column) if position else well


def _rows(path: Path, needs_plate: bool) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the number of each line and its values by the keys of `COLUMNS`."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or []
            places = {
                key: next((name for name in names if name in header), None)
                for key, names in COLUMNS.items()
            }
            for key in (*NEEDED, "plate") if needs_plate else NEEDED:
                if places[key] is None:
                    raise DataError(
                        f"{path}: no column {' or '.join(COLUMNS[key])} found, expected one; "
                        "export the metadata of images with the objects."
                    )
            for row in reader:
                yield (
                    reader.line_num,
                    {key: row[name] or "" for key, name in places.items() if name},
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table ({error}).") from error


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {text[:40]!r} found, expected a number.")
    return value
