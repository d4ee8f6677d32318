"""HCS plates of OME-Zarr 0.5, which napari, Fractal and OMERO read.

Layout: https://ngff.openmicroscopy.org/0.5/. A well is ``B/03``, its first field ``B/03/1``. A
field is an image of axes c, y and x, with smaller copies for viewers. Its nuclei are the label
image `NUCLEI`. `OWN` is an attribute of our own at the plate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow.fields.plate_images import Channel
from coos_mlflow.fields.sources._zarr_package import zarr_package
from coos_mlflow.fields.writers.base import PlateFacts, Writer, WrittenField, position, row_names
from coos_mlflow.plates.wells import Well

NUCLEI = "nuclei"

OWN = "coos_mlflow"
"""Attribute of a plate, such as ``{"simulated": true}``."""

SMALLEST = 256
"""Copies are halved until height and width are no larger, in pixels; chosen for viewers."""

CHUNK = 2048
"""Largest height and width of a chunk, so that a camera's image is one file; chosen."""

COLOURS = ("00FF00", "0000FF", "FF0000", "FFFF00", "FF00FF", "00FFFF")
"""Shown colours of the channels, in order."""

V04, V05 = "0.4", "0.5"


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
        zarr = zarr_package()
        self.facts, self.version = facts, version
        own = {OWN: {"simulated": True}} if facts.simulated else {}
        self._root = zarr.create_group(
            str(folder), zarr_format=2 if version == V04 else 3, attributes=own
        )
        self._fields: dict[Well, list[int]] = {}

    def add(self, field: WrittenField) -> Any:
        """Write a field and its labels; return the group of its image."""
        well = position(field.well)
        self._fields.setdefault(well, []).append(field.number)
        image = self._root.require_group(f"{_path(well)}/{field.number}")
        sizes = _halved(field.counts, _mean)
        names = tuple("cyx")
        self._write_arrays(image, sizes, names)
        channels = [
            _omero_channel(index, channel, counts)
            for index, (channel, counts) in enumerate(
                zip(self.facts.channels, field.counts, strict=True)
            )
        ]
        self.describe(
            image,
            multiscales=[self._multiscale(str(field.number), names, len(sizes))],
            omero={"channels": channels},
        )
        if field.labels is not None:
            self.add_labels(image, NUCLEI, field.labels)
        return image

    def add_labels(self, image: Any, name: str, labels: np.ndarray, **facts: Any) -> None:
        """Write a label image of an image, in place of one of that name.

        Parameters
        ----------
        image : zarr.Group
        name : str
        labels : ndarray of int, shape (height, width)
        **facts
            Entries of ``image-label``, such as ``colors``.
        """
        group = image.require_group("labels")
        listed = self.described(group).get("labels", [])
        self.describe(group, labels=sorted({*listed, name}))
        one = group.create_group(name, overwrite=True)
        sizes = _halved(labels.astype(np.int32), _nearest)
        names = tuple("yx")
        self._write_arrays(one, sizes, names)
        label = {"version": self.version, "source": {"image": "../../"}} | facts
        self.describe(
            one,
            multiscales=[self._multiscale(name, names, len(sizes))],
            **{"image-label": label},
        )

    def finish(self) -> None:
        """Write what is known only when all fields are: the lists of wells and fields."""
        rows, columns = self.facts.shape
        wells = sorted(self._fields, key=lambda well: (well.row, well.column))
        for well in wells:
            images = [
                {"path": str(number), "acquisition": 0} for number in sorted(self._fields[well])
            ]
            self.describe(self._root[_path(well)], well={"version": self.version, "images": images})
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
        self.describe(self._root, plate=plate)

    def describe(self, group: Any, **facts: Any) -> None:
        """Set metadata of a group, where its version has them."""
        if self.version == V04:
            group.attrs.update(facts)
        else:
            group.attrs["ome"] = {"version": self.version} | self.described(group) | facts

    def described(self, group: Any) -> dict[str, Any]:
        """Return the metadata of a group."""
        attributes = dict(group.attrs)
        return attributes if self.version == V04 else attributes.get("ome", {})

    def _write_arrays(
        self, group: Any, sizes: Sequence[np.ndarray], names: tuple[str, ...]
    ) -> None:
        """Write an image and its smaller copies as the arrays 0, 1 and so on."""
        kind: dict[str, Any] = (
            {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
            if self.version == V04
            else {"dimension_names": names}
        )
        for level, image in enumerate(sizes):
            ones = (1,) * (image.ndim - 2)
            height, width = image.shape[-2:]
            array = group.create_array(
                str(level),
                shape=image.shape,
                dtype=image.dtype,
                chunks=(*ones, min(height, CHUNK), min(width, CHUNK)),
                # An image without counts is stored too, so that a lost file can be told from it.
                config={"write_empty_chunks": True},
                **kind,
            )
            array[...] = image

    def _multiscale(self, name: str, names: tuple[str, ...], levels: int) -> dict[str, Any]:
        space = {"type": "space", "unit": "micrometer"}
        size = self.facts.pixel_size_um
        scales = [
            [size * 2.0**level if axis in "yx" else 1.0 for axis in names]
            for level in range(levels)
        ]
        return ({"version": V04} if self.version == V04 else {}) | {
            "name": name,
            "axes": [
                {"name": axis, **(space if axis in "yx" else {"type": "channel"})} for axis in names
            ],
            "datasets": [
                {
                    "path": str(level),
                    "coordinateTransformations": [{"type": "scale", "scale": scale}],
                }
                for level, scale in enumerate(scales)
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


def _halved(image: np.ndarray, half: Any) -> list[np.ndarray]:
    """Return an image and its halves, to the first that is not larger than `SMALLEST`."""
    sizes = [image]
    while max(sizes[-1].shape[-2:]) > SMALLEST and min(sizes[-1].shape[-2:]) > 1:
        sizes.append(half(sizes[-1]))
    return sizes


def _mean(image: np.ndarray) -> np.ndarray:
    """Return the mean of each two by two pixels; a last odd row or column is left out."""
    *rest, height, width = image.shape
    blocks = image[..., : height // 2 * 2, : width // 2 * 2].reshape(
        *rest, height // 2, 2, width // 2, 2
    )
    return blocks.mean(axis=(-3, -1)).round().astype(image.dtype)


def _nearest(image: np.ndarray) -> np.ndarray:
    """Return one of each two by two pixels, since the mean of two labels is no label."""
    height, width = image.shape
    return image[: height // 2 * 2 : 2, : width // 2 * 2 : 2]


NAMES = re.compile(r"zarr\.json|\.zgroup|\.zattrs|[A-Z]|A[A-F]")

WRITER = Writer("OME-Zarr 0.5 (zarr 3)", NAMES, write)
