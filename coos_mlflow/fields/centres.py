"""Label images from a table of centres, such as CellProfiler's.

Open this to change which columns are understood.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Field, Plane, PlateImages
from coos_mlflow.plates.columns import shown
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

RIM = 2.0
"""Width of the rim of a disc in pixels, from which pixels are taken to balance it; chosen."""

INSIDE = 0.48
"""Largest distance of a disc's centre from the middle of its pixel, in pixels; chosen."""

MOST_PAIRS, FEWEST_PIXELS = 3, 12
"""Most pairs of pixels that are taken from a disc, and fewest pixels of such a disc; chosen."""

MAX_NUMBER = 2**31 - 1
"""Largest number of a nucleus, that of label images of int32."""

Key = tuple[str, str, int, int]


class Centre(NamedTuple):
    """A nucleus: its number, and its centre in pixels, 0 in the middle of the first pixel."""

    number: int
    y: float
    x: float


@dataclass(frozen=True)
class CentresPlane:
    """A label image of discs around centres, which do not overlap.

    The centroid of a disc lies in the same pixel as its centre, so that crops do too. A disc is
    smaller where another centre is nearer than its diameter, and may then be left out as debris.

    Parameters
    ----------
    path : Path
        The table.
    centres : tuple of Centre
    like : Plane
        An image of the field, whose shape the label image has.
    radius : float
        Of discs that have room, in pixels.
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
        """Return the label image.

        Raises
        ------
        DataError
            For a centre outside the field, and for two within one pixel.
        """
        shape = self.like.read().shape
        labels = np.zeros(shape, np.int32)
        pixels: dict[tuple[int, int], int] = {}
        radii = _radii(self.centres, self.radius)
        # Small discs come last, so that none lies under another.
        for at in np.argsort(-radii, kind="stable"):
            number, y, x = self.centres[at]
            if not (-0.5 <= y < shape[0] - 0.5 and -0.5 <= x < shape[1] - 0.5):
                raise DataError(
                    f"{self.path}: the centre x {x:g}, y {y:g} lies outside a field of {shape[1]} "
                    f"x {shape[0]} pixels, expected pixels of {self.like.place}."
                )
            other = pixels.setdefault(_pixel(y, x), number)
            if other != number:
                raise DataError(
                    f"{self.path}: the nuclei {other} and {number} lie within one pixel, x {x:g}, "
                    f"y {y:g}, expected one nucleus there."
                )
            rows, columns = _disc(y, x, radii[at])
            inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
            labels[rows[inside], columns[inside]] = number
        return labels


def _radii(centres: Sequence[Centre], largest: float) -> np.ndarray:
    """Return the radius of each disc: at most half the distance to the nearest other centre."""
    if len(centres) < 2:
        return np.full(len(centres), largest)
    places = np.array([(one.y, one.x) for one in centres])
    distances, _ = KDTree(places).query(places, k=2)
    return np.minimum(largest, distances[:, 1] / 2)


def _pixel(y: float, x: float) -> tuple[int, int]:
    """Return the pixel that holds a place."""
    return math.floor(y + 0.5), math.floor(x + 0.5)


def _balance(inside: np.ndarray, dy: np.ndarray, dx: np.ndarray, radius: float) -> None:
    """Take pixels from the rim of a disc, until its centroid is as near to its centre as can be.

    `inside` is changed. `dy` and `dx` are the distances of its pixels from the centre.
    """
    for _ in range(MOST_PAIRS):
        rim = np.flatnonzero(inside & (dy**2 + dx**2 > max(radius - RIM, 0) ** 2))
        n_pixels = inside.sum()
        if n_pixels < FEWEST_PIXELS:
            return
        # Pairs of pixels of the rim; the last stands for none.
        y, x = (np.append(side.ravel()[rim], 0.0) for side in (dy, dx))
        kept_y = dy[inside].sum() - (y[:, None] + y)
        kept_x = dx[inside].sum() - (x[:, None] + x)
        off = np.hypot(kept_y, kept_x) / (n_pixels - 2)
        off[-1, -1] = np.hypot(kept_y[-1, -1], kept_x[-1, -1]) / n_pixels
        np.fill_diagonal(off[:-1, :-1], np.inf)
        if off[-1, -1] <= off.min():
            return
        pair = np.unravel_index(off.argmin(), off.shape)
        inside.ravel()[[rim[place] for place in pair if place < len(rim)]] = False


def _disc(y: float, x: float, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of a disc whose centroid lies in the same pixel as its centre."""
    row, column = _pixel(y, x)
    # A centre on the border of its pixel is moved inside, where the centroid has room to miss it.
    y, x = (pixel + min(max(at - pixel, -INSIDE), INSIDE) for pixel, at in ((row, y), (column, x)))
    reach = math.ceil(radius) + 1
    rows, columns = np.mgrid[row - reach : row + reach + 1, column - reach : column + reach + 1]
    inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    _balance(inside, rows - y, columns - x, radius)
    if not inside.any() or _pixel(rows[inside].mean(), columns[inside].mean()) != (row, column):
        # Rounding to pixels moved the centroid over a border. Around a pixel it cannot.
        within = max(radius - math.hypot(row - y, column - x), 0.0)
        inside = (rows - row) ** 2 + (columns - column) ** 2 <= within**2
    return rows[inside], columns[inside]


def with_centres(images: PlateImages, path: str | Path) -> PlateImages:
    """Give each field a label image of the centres in a table.

    Parameters
    ----------
    images : PlateImages
        With a pixel size.
    path : path
        CSV with the columns of `COLUMNS`; plate, time and number may be left out.

    Returns
    -------
    PlateImages
        With a note on rows that belong to no field.

    Raises
    ------
    DataError
        For a table that cannot be read, lacks columns or rows of this plate and these fields, holds
        a nucleus twice, and for values that are no numbers, or not whole where they must be.
    """
    path = Path(path)
    if images.pixel_size_um is None:
        raise DataError(
            f"{images.location}: no pixel size found, expected one for discs around centres; give "
            "it by --pixel-size."
        )
    table, notes = _by_field(path, images)
    radius = DIAMETER_UM / images.pixel_size_um / 2
    fields = tuple(
        replace(one, labels={LABELS: _plane(one, path, table, radius)}) for one in images.fields
    )
    return replace(images, fields=fields, notes=(*images.notes, *notes))


def _plane(
    field: Field, path: Path, table: Mapping[Key, tuple[Centre, ...]], radius: float
) -> CentresPlane:
    like = next(iter(field.planes.values()))
    return CentresPlane(path, table.get(field.key, ()), like, radius)


def _by_field(
    path: Path, images: PlateImages
) -> tuple[dict[Key, tuple[Centre, ...]], Iterator[str]]:
    """Return the centres of each field, by `Field.key`, and sentences on other rows."""
    wells = {_position(one.well): one.well for one in images.fields}
    plates: Counter[str] = Counter()
    lines: dict[Key, dict[int, int]] = defaultdict(dict)
    centres: dict[Key, list[Centre]] = defaultdict(list)
    for line, row in _rows(path, needs_plate=len(images.plates) > 1):
        where = f"{path}, line {line}"
        plate = row.get("plate", images.plates[0]).strip()
        plates[plate] += 1
        if plate not in images.plates:
            continue
        well = wells.get(_position(row["well"]), row["well"])
        field = _whole(row["field"], where, "field")
        key = (plate, well, field, _whole(row.get("time") or "1", where, "time"))
        seen = lines[key]
        number = _object(row["number"], where) if row.get("number") else len(seen) + 1
        if number in seen:
            raise DataError(
                f"{where}: nucleus {number} of well {well}, field {field} stands in line "
                f"{seen[number]} too, expected a number of its own for each nucleus of a field."
            )
        seen[number] = line
        centres[key].append(Centre(number, _number(row["y"], where), _number(row["x"], where)))
    _check_found(path, images, plates, centres)
    there = {one.key for one in images.fields}
    others = {
        "plates": sum(count for plate, count in plates.items() if plate not in images.plates),
        "wells or fields": sum(len(some) for key, some in centres.items() if key not in there),
    }
    notes = (
        f"{count:,} rows of {path.name} are of {what} that are not in {images.location}."
        for what, count in others.items()
        if count
    )
    return {key: tuple(some) for key, some in centres.items()}, notes


def _check_found(
    path: Path, images: PlateImages, plates: Counter[str], centres: Mapping[Key, object]
) -> None:
    """Refuse a table without a row of these plates and fields."""
    if plates and not set(plates) & set(images.plates):
        raise DataError(
            f"{path}: rows of plate '{shown(next(iter(plates)), 60)}' found, expected plate "
            f"'{shown(images.plates[0], 60)}', that of {images.location}; correct "
            "the column, or leave it out to take all rows."
        )
    first = images.fields[0]
    if not any(one.key in centres for one in images.fields):
        raise DataError(
            f"{path}: no row is of a field of {images.location}, expected wells such as "
            f"{first.well} and fields such as {first.number}."
        )


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


def _whole(text: str, where: str, what: str) -> int:
    value = _number(text, where)
    if not value.is_integer():
        raise DataError(f"{where}: {what} {text[:40]!r} found, expected a whole number.")
    return int(value)


def _object(text: str, where: str) -> int:
    value = _whole(text, where, "number")
    if not 1 <= value <= MAX_NUMBER:
        raise DataError(
            f"{where}: nucleus {text[:40]!r} found, expected a number from 1 to {MAX_NUMBER:,}."
        )
    return value
