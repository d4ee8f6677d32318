"""HCS plates of OME-Zarr 0.5, which napari, Fractal and OMERO read.

Layout: https://ngff.openmicroscopy.org/0.5/. A well is ``B/03``, its first field ``B/03/1``. A
field is an image of axes c, y and x, with smaller copies for viewers. Its nuclei are the label
image `NUCLEI`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow.fields.plate_images import Channel
from coos_mlflow.fields.sources._zarr_package import zarr_package
from coos_mlflow.fields.sources.ome_zarr import OWN
from coos_mlflow.fields.writers._ome_groups import V04, V05, add_array, add_labels, describe
from coos_mlflow.fields.writers.base import PlateFacts, Writer, WrittenField, position, row_names
from coos_mlflow.plates.wells import Well

NUCLEI = "nuclei"

SMALLEST = 256
"""Copies are halved until height and width are no larger, in pixels; chosen for viewers."""

COLOURS = ("00FF00", "0000FF", "FF0000", "FFFF00", "FF00FF", "00FFFF")
"""Shown colours of the channels, in order."""


class PlateFolder:
    """An OME-Zarr plate that is being written.

    Parameters
    ----------
    folder : Path
        Empty.
    facts : PlateFacts
    version : str
        `V04` (zarr 2) or `V05` (zarr 3).
    """

    def __init__(self, folder: Path, facts: PlateFacts, version: str = V05):
        self.facts, self.version = facts, version
        own = {OWN: {"simulated": True}} if facts.simulated else {}
        zarr_format = 2 if version == V04 else 3
        self._root = zarr_package().create_group(
            str(folder), zarr_format=zarr_format, attributes=own
        )
        self._fields: dict[Well, list[str]] = {}

    def add(self, field: WrittenField, time: int = 1) -> str:
        """Write a field and its labels; return the path of its image in the plate."""
        well = position(field.well)
        name = f"{field.number}" + (f"t{time}" if time > 1 else "")
        self._fields.setdefault(well, []).append(name)
        path = f"{_path(well)}/{name}"
        image = self._root.require_group(path)
        sizes = _halved(field.counts)
        for level, counts in enumerate(sizes):
            add_array(image, str(level), counts.shape, counts.dtype, "cyx")[...] = counts
        pairs = zip(self.facts.channels, field.counts, strict=True)
        channels = [_omero_channel(index, *pair) for index, pair in enumerate(pairs)]
        describe(
            image,
            multiscales=[self._multiscale(name, len(sizes))],
            omero={"channels": channels},
        )
        if field.labels is not None:
            add_labels(image, NUCLEI, field.labels)
        return path

    def finish(self) -> None:
        """Write what is known only when all fields are: the lists of wells and fields."""
        rows, columns = self.facts.shape
        wells = sorted(self._fields, key=lambda well: (well.row, well.column))
        for well in wells:
            names = sorted(self._fields[well], key=lambda name: (len(name), name))
            images = [{"path": name, "acquisition": 0} for name in names]
            describe(self._root[_path(well)], well={"version": self.version, "images": images})
        plate = {
            "version": self.version,
            "name": self.facts.name,
            "rows": [{"name": name} for name in row_names(rows)],
            "columns": [{"name": f"{column:02d}"} for column in range(1, columns + 1)],
            "wells": [
                {"path": _path(well), "rowIndex": well.row - 1, "columnIndex": well.column - 1}
                for well in wells
            ],
            "field_count": max(map(len, self._fields.values())),
            "acquisitions": [{"id": 0}],
        }
        describe(self._root, plate=plate)

    def _multiscale(self, name: str, levels: int) -> dict[str, Any]:
        space = {"type": "space", "unit": "micrometer"}
        sizes = [self.facts.pixel_size_um * 2.0**level for level in range(levels)]
        return ({"version": V04} if self.version == V04 else {}) | {
            "name": name,
            "axes": [{"name": "c", "type": "channel"}, *({"name": axis, **space} for axis in "yx")],
            "datasets": [
                {
                    "path": str(level),
                    "coordinateTransformations": [{"type": "scale", "scale": [1.0, size, size]}],
                }
                for level, size in enumerate(sizes)
            ],
        }


def write(
    folder: Path, fields: Iterable[WrittenField], facts: PlateFacts, version: str = V05
) -> None:
    """Write the plate; see `Writer.write`."""
    plate = PlateFolder(folder, facts, version)
    for field in fields:
        plate.add(field)
    plate.finish()


def _path(well: Well) -> str:
    return f"{well.name[:-2]}/{well.name[-2:]}"


def _omero_channel(index: int, channel: Channel, counts: np.ndarray) -> dict[str, Any]:
    """Return what viewers need of a channel. The window spans all but the outermost counts."""
    start, end = (int(value) for value in np.percentile(counts, (1, 99.9)))
    facts = {
        "label": channel.name,
        "color": COLOURS[index % len(COLOURS)],
        "active": True,
        "window": {"min": 0, "max": 65535, "start": start, "end": max(end, start + 1)},
        # OME-Zarr has no names for these; ours are those of OME-XML in other letters.
        "excitation_wavelength": channel.excitation_nm,
        "emission_wavelength": channel.emission_nm,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _halved(counts: np.ndarray) -> list[np.ndarray]:
    """Return an image and its halves, to the first that is not larger than `SMALLEST`.

    A pixel of a half is the mean of two by two. A last odd row or column is left out.
    """
    sizes = [counts]
    while max(counts.shape[-2:]) > SMALLEST and min(counts.shape[-2:]) > 1:
        channels, height, width = counts.shape
        even = counts[:, : height // 2 * 2, : width // 2 * 2]
        blocks = even.reshape(channels, height // 2, 2, width // 2, 2)
        counts = blocks.mean(axis=(2, 4)).round().astype(counts.dtype)
        sizes.append(counts)
    return sizes


NAMES = re.compile(r"zarr\.json|\.zgroup|\.zattrs|[A-Z]|A[A-F]")

WRITER = Writer("OME-Zarr 0.5 (zarr 3)", NAMES, write)
