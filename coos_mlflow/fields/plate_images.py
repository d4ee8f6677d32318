"""What a source finds: the plates, fields, channels and planes of a folder.

Open this to see what a source must return, and what the rest of the package knows of a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.tiff_pages import read_page


@dataclass(frozen=True)
class Channel:
    """A channel of a plate.

    Parameters
    ----------
    name : str
        As the instrument spells it, such as ``"HOECHST 33342"``.
    excitation_nm, emission_nm : float or None
        Wavelengths; None where they are not given.
    """

    name: str
    excitation_nm: float | None = None
    emission_nm: float | None = None


class Plane(Protocol):
    """One image of one channel, at one depth and time. It can be pickled."""

    @property
    def place(self) -> str:
        """File, and page where it has several, for messages."""

    def stamp(self) -> tuple[str | int, ...]:
        """Return a cheap mark that changes with the content: name, size, time of change."""

    def read(self) -> np.ndarray:
        """Return the counts, shape (height, width), in native byte order.

        Raises
        ------
        DataError
            When the image is missing or damaged.
        """


@dataclass(frozen=True)
class TiffPlane:
    """A page of a TIFF.

    Parameters
    ----------
    path : Path
    page : int
        From 0.
    sample : int or None
        Which of several channels in each pixel, from 0.
    """

    path: Path
    page: int = 0
    sample: int | None = None

    @property
    def place(self) -> str:
        """File, and page where it is not the first."""
        return f"{self.path}" + (f", page {self.page + 1}" if self.page else "")

    def stamp(self) -> tuple[str | int, ...]:
        """Return name, size and time of change of the file, and the page."""
        try:
            status = self.path.stat()
        except OSError:
            return (self.path.name, "missing")
        return (self.path.name, status.st_size, status.st_mtime_ns, self.page, self.sample or 0)

    def read(self) -> np.ndarray:
        """Return the counts; see `Plane.read`."""
        return read_page(self.path, self.page, self.sample)


@dataclass(frozen=True)
class MissingPlane:
    """An image that an index names and that is not there.

    Parameters
    ----------
    path : Path
    index : str
        Name of the index.
    """

    path: Path
    index: str

    @property
    def place(self) -> str:
        """The file that is missing."""
        return f"{self.path}"

    def stamp(self) -> tuple[str | int, ...]:
        """Return the name, and that it is missing."""
        return (self.path.name, "missing")

    def read(self) -> np.ndarray:
        """Raise the `DataError` that the file is missing."""
        raise DataError(f"{self.path}: is missing, though {self.index} names it.")


@dataclass(frozen=True)
class Field:
    """A field of view at one time.

    Parameters
    ----------
    plate : str
    well : str
        Name such as ``"B03"``.
    number : int
        Of the field in its well, as the instrument counts it.
    planes : mapping of (int, int) to Plane
        By place of the channel, from 0, and depth, from 1.
    time : int
        Time point, from 1.
    labels : mapping of str to Plane
        Label images by name: 0 is background, each nucleus has a number of its own.
    """

    plate: str
    well: str
    number: int
    planes: Mapping[tuple[int, int], Plane]
    time: int = 1
    labels: Mapping[str, Plane] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return plate, well, field and time, for messages."""
        later = f", time {self.time}" if self.time > 1 else ""
        return f"plate {self.plate}, well {self.well}, field {self.number}{later}"

    @property
    def key(self) -> tuple[str, str, int, int]:
        """Plate, well, number and time, by which fields are ordered."""
        return (self.plate, self.well, self.number, self.time)

    @property
    def name(self) -> str:
        """Well, field and time as the name of a file, such as ``"B03_f2"``."""
        return f"{self.well}_f{self.number}" + (f"_t{self.time}" if self.time > 1 else "")

    def depths(self, channel: int) -> list[int]:
        """Return the depths of a channel, from 1, in order."""
        return sorted(z for place, z in self.planes if place == channel)


@dataclass(frozen=True)
class PlateImages:
    """All images of a folder, file or address.

    Parameters
    ----------
    location : str
        As the user named it.
    source : str
        Key of the source that read it.
    channels : tuple of Channel
    fields : tuple of Field
        In the order of `Field.key`.
    pixel_size_um : float or None
        Height and width of a pixel in micrometres; None where it is not given.
    shape : (int, int) or None
        Rows and columns of wells of the plate; None where they are not given.
    simulated : bool
    notes : tuple of str
        Sentences for the user, such as on a pattern that was guessed.
    """

    location: str
    source: str
    channels: tuple[Channel, ...]
    fields: tuple[Field, ...]
    pixel_size_um: float | None = None
    shape: tuple[int, int] | None = None
    simulated: bool = False
    notes: tuple[str, ...] = ()

    @property
    def is_remote(self) -> bool:
        """Whether the images lie at an address, such as ``s3://bucket/plate.zarr``."""
        return "://" in self.location

    @cached_property
    def plates(self) -> tuple[str, ...]:
        """Ids of the plates, in order."""
        return tuple(sorted({one.plate for one in self.fields}))

    @cached_property
    def wells(self) -> tuple[tuple[str, str], ...]:
        """Plate and name of each well, in order."""
        return tuple(sorted({(one.plate, one.well) for one in self.fields}))

    @cached_property
    def missing(self) -> tuple[MissingPlane, ...]:
        """Images that an index names and that are not there."""
        planes = (plane for one in self.fields for plane in one.planes.values())
        return tuple(plane for plane in planes if isinstance(plane, MissingPlane))
