"""What a plate of images holds, as facts that can become JSON; and a check of all its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from coos_mlflow.errors import DataError
from coos_mlflow.fields.channels import choose_channels, role
from coos_mlflow.fields.plate_images import Field, MissingPlane, Plane, PlateImages, TiffPlane
from coos_mlflow.plates.tiff_pages import check_page, open_tiff
from coos_mlflow.plates.wells import parse_well, plate_size

MAX_NAMED = 5
"""Number of files that are named as examples."""

_TRIED = 10
"""Images that are tried, until one can be read and gives height, width and dtype."""


def survey(images: PlateImages) -> dict[str, Any]:
    """Return what a plate holds; one image is read.

    Returns
    -------
    dict
        ``plates`` with rows, columns and the number of fields of each well, ``channels`` with what
        each probably is, ``image`` with height, width and dtype, ``incomplete`` with the number of
        fields that lack a channel, ``missing`` files, ``labels`` and ``notes``, all of which can
        become JSON. ``choice`` is a sentence for each channel that would be taken, or on why none
        can be.
    """
    fields = images.fields
    planes = [plane for one in fields for plane in one.planes.values()]
    return {
        "location": images.location,
        "source": images.source,
        "simulated": images.simulated,
        "plates": [_plate(images, plate) for plate in images.plates],
        "n_wells": len(images.wells),
        "n_fields": len({(one.plate, one.well, one.number) for one in fields}),
        "n_images": len(planes),
        "channels": [
            {
                "number": place + 1,
                "name": channel.name,
                "excitation_nm": channel.excitation_nm,
                "emission_nm": channel.emission_nm,
                "probably": role(channel),
                "depths": len({z for one in fields for z in one.depths(place)}),
            }
            for place, channel in enumerate(images.channels)
        ],
        "times": sorted({one.time for one in fields}),
        "pixel_size_um": images.pixel_size_um,
        "image": _first_image(plane for plane in planes if not isinstance(plane, MissingPlane)),
        "incomplete": _incomplete(images),
        "n_missing": len(images.missing),
        "missing": [plane.place for plane in images.missing[:MAX_NAMED]],
        "labels": sorted({name for one in fields for name in one.labels}),
        "choice": _choice(images),
        "notes": list(images.notes),
    }


def _plate(images: PlateImages, plate: str) -> dict[str, Any]:
    of_plate = {(one.well, one.number) for one in images.fields if one.plate == plate}
    n_fields = Counter(well for well, _ in of_plate)
    rows, columns = images.shape or _size(n_fields)
    return {
        "plate": plate,
        "rows": rows,
        "columns": columns,
        "fields_of_wells": dict(sorted(n_fields.items())),
    }


def _size(wells: Iterable[str]) -> tuple[int, int]:
    """Return rows and columns of the smallest plate with the wells; 0 where no name is a place."""
    places = [well for name in wells if (well := parse_well(name))]
    rows = max((well.row for well in places), default=0)
    columns = max((well.column for well in places), default=0)
    return (plate_size(rows, columns) or (rows, columns)) if places else (0, 0)


def _first_image(planes: Iterable[Plane]) -> dict[str, Any] | None:
    for plane in islice(planes, _TRIED):
        try:
            counts = plane.read()
        except DataError:
            continue
        height, width = counts.shape
        return {"height": height, "width": width, "dtype": str(counts.dtype)}
    return None


def _incomplete(images: PlateImages) -> dict[str, int]:
    """Return the number of fields without an image of a channel, by the name of the channel."""
    lacking = Counter(
        channel.name
        for one in images.fields
        for place, channel in enumerate(images.channels)
        if not one.depths(place)
    )
    return dict(lacking)


def _choice(images: PlateImages) -> list[str]:
    try:
        return list(choose_channels(images.channels)[2])
    except DataError as error:
        return [f"{error}"]


def unreadable(
    fields: Iterable[Field], on_progress: Callable[[int], None] = lambda n: None
) -> list[str]:
    """Return a sentence on each image that is missing or cannot be read.

    Of a TIFF the header is read, and that the file is as long as it says. Other images are read.

    Parameters
    ----------
    fields : iterable of Field
    on_progress : callable
        Gets the number of images that were checked.
    """
    by_file: dict[Path | None, list[Plane]] = {}
    for field in fields:
        for plane in (*field.planes.values(), *field.labels.values()):
            path = plane.path if isinstance(plane, TiffPlane) else None
            by_file.setdefault(path, []).append(plane)
    said = []
    for path, planes in by_file.items():
        checks: list[Callable[[], Any]] = [plane.read for plane in planes]
        if path is not None:
            pages = {plane.page for plane in planes if isinstance(plane, TiffPlane)}
            checks = [partial(_check_file, path, pages)]
        for check in checks:
            try:
                check()
            except DataError as error:
                said.append(f"{error}")
            on_progress(len(planes) // len(checks))
    return said


def _check_file(path: Path, pages: set[int]) -> None:
    with open_tiff(path) as tiff:
        size = path.stat().st_size
        for number in sorted(pages):
            if number >= len(tiff.pages):
                raise DataError(f"{path}: page {number + 1} is missing; the file is cut short.")
            page = tiff.pages[number]
            check_page(path, page)
            ends = zip(page.dataoffsets, page.databytecounts, strict=False)
            if any(start + count > size for start, count in ends):
                raise DataError(f"{path}: its pixels are not all there; the file is cut short.")
