"""The metadata of OME-Zarr 0.4 and 0.5: what is used of them, checked, and where they lie.

Layout: https://ngff.openmicroscopy.org/0.5/. Other entries are ignored.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from coos_mlflow.errors import DataError, without_passwords
from coos_mlflow.plates.columns import shown

MAX_BYTES = 2**24
"""Largest metadata file that is read, in bytes. That of a plate of 1,536 wells has 0.2 MB."""

IN_MICROMETRES = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "um": 1.0,
    "µm": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
}
"""Units of length of OME-Zarr (names of UDUNITS-2), and symbols that are written in their place."""

_PART = re.compile(r"[^\\/:*?\[\]{}\x00-\x1f]{1,255}")


def _inside(path: str) -> str:
    """Refuse a path that could lead out of its group, or that stands for several."""
    parts = path.split("/")
    if not all(_PART.fullmatch(part) and part not in (".", "..") for part in parts):
        raise ValueError("a path inside is expected")
    return path


InnerPath = Annotated[str, AfterValidator(_inside)]
Size = Annotated[int, Field(ge=1)]


class Named(BaseModel):
    """A row or column."""

    name: str


class PlateWell(BaseModel):
    """Where a well lies, such as ``"B/03"``."""

    path: InnerPath


class Plate(BaseModel):
    """``plate`` of a plate."""

    name: str | None = None
    rows: list[Named] = []
    columns: list[Named] = []
    wells: list[PlateWell]


class WellImage(BaseModel):
    """Where a field lies in its well, and the run of the microscope it is from."""

    path: InnerPath
    acquisition: int | None = None


class Well(BaseModel):
    """``well`` of a well."""

    images: list[WellImage]


class Axis(BaseModel):
    """An axis of an image."""

    name: str
    unit: str | None = None


class Transformation(BaseModel):
    """A step from places in an array to places in space."""

    type: str
    scale: list[float] | None = None


class ImageLevel(BaseModel):
    """An array of an image, in full or reduced size."""

    path: InnerPath
    coordinateTransformations: list[Transformation] = []  # noqa: N815


class Multiscale(BaseModel):
    """An entry of ``multiscales``: an image in several sizes, the full one first."""

    axes: list[Axis] = Field(min_length=2, max_length=5)
    datasets: list[ImageLevel] = Field(min_length=1)
    coordinateTransformations: list[Transformation] = []  # noqa: N815

    def places(self, name: str) -> int | None:
        """Return the place of an axis; None where there is none."""
        names = [axis.name for axis in self.axes]
        return names.index(name) if name in names else None

    def pixel_size(self) -> tuple[float | None, str | None]:
        """Return the pixel size in micrometres, None where it is not known, and what is odd."""
        steps = [*self.datasets[0].coordinateTransformations, *self.coordinateTransformations]
        scales = [step.scale for step in steps if step.type == "scale" and step.scale]
        if any(len(scale) != len(self.axes) for scale in scales) or not scales:
            return None, "the scale of its axes is not given"
        sizes, notes = [], set()
        for name in "yx":
            place = self.places(name)
            assert place is not None
            size = math.prod(scale[place] for scale in scales)
            unit = self.axes[place].unit
            if unit is None and size == 1:
                return None, "pixels of size 1 without a unit, so their size is not known"
            if unit is None:
                notes.add("the unit of the pixel size is missing, taken as micrometers")
            elif unit not in IN_MICROMETRES:
                return None, f"the pixel size has the unit '{shown(unit, 20)}', which is no length"
            sizes.append(size * IN_MICROMETRES[unit or "micrometer"])
        height, width = sizes
        if not (math.isfinite(height) and height > 0 and math.isclose(height, width, rel_tol=0.01)):
            return None, f"pixels of {height:g} x {width:g} micrometers, expected squares"
        return height, next(iter(notes), None)


class OmeroChannel(BaseModel):
    """A channel in ``omero``. OME-Zarr has no names for wavelengths; these are in use."""

    label: str | None = None
    excitation_wavelength: float | None = None
    emission_wavelength: float | None = None


class Omero(BaseModel):
    """``omero`` of an image."""

    channels: list[OmeroChannel]


class Image(BaseModel):
    """The metadata of an image."""

    multiscales: list[Multiscale] = Field(min_length=1)
    omero: Omero | None = None


class Labels(BaseModel):
    """The names of the label images of an image."""

    labels: list[InnerPath]


class Array(BaseModel):
    """The metadata of an array."""

    shape: list[Size] = Field(max_length=5)


Model = TypeVar("Model", bound=BaseModel)


def checked(kind: type[Model], document: Any, where: str) -> Model:
    """Return a document as a model.

    Raises
    ------
    DataError
        Naming the first entry that is not as expected.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        entry = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{where}: '{shown(first['input'], 60)}' found as {shown(entry, 60) or 'metadata'} "
            f"({first['msg']}); the metadata are damaged or of another version."
        ) from error


class Documents:
    """The metadata of the groups and arrays of a plate.

    Parameters
    ----------
    location : str
        A folder, or an address that fsspec reads.

    Raises
    ------
    DataError
        When a package that fsspec needs is missing, and when there is nothing at the address.
    """

    def __init__(self, location: str):
        self.location = location.rstrip("/")
        self.shown = without_passwords(self.location)
        self._remote: Any = None
        if "://" in location:
            self._remote = _filesystem(self.location)
        self.zarr_format = 3 if self._content(["zarr.json"])["zarr.json"] else 2

    def groups(self, paths: Iterable[str]) -> dict[str, Any]:
        """Return the OME metadata of groups by path; None for those that are not there.

        A file that is no JSON gives a `DataError` as its value.
        """
        if self.zarr_format == 2:
            return self._documents(paths, ".zattrs")
        found = self._documents(paths, "zarr.json")
        return {
            path: document.get("attributes", {}) if isinstance(document, dict) else document
            for path, document in found.items()
        }

    def arrays(self, paths: Iterable[str]) -> dict[str, Any]:
        """Return the metadata of arrays by path, as `groups` does."""
        return self._documents(paths, ".zarray" if self.zarr_format == 2 else "zarr.json")

    def _documents(self, paths: Iterable[str], name: str) -> dict[str, Any]:
        files = {path: f"{path}/{name}" if path else name for path in paths}
        content = self._content(list(files.values()))
        return {
            path: self._parsed(file, content[file]) if content[file] is not None else None
            for path, file in files.items()
        }

    def _parsed(self, file: str, content: bytes | DataError | None) -> Any:
        if isinstance(content, DataError):
            return content
        try:
            document = json.loads(content or b"")
        except (ValueError, RecursionError):
            return DataError(f"{self.shown}/{file}: is no JSON; it may be cut short.")
        if not isinstance(document, dict):
            return DataError(
                f"{self.shown}/{file}: {type(document).__name__} found, not an object."
            )
        return document

    def _content(self, files: Sequence[str]) -> dict[str, bytes | DataError | None]:
        if self._remote is None:
            return {file: self._local(file) for file in files}
        if not files:
            return {}
        filesystem, root = self._remote
        # Many at once, since each takes the time of a round trip.
        answers = filesystem.cat([f"{root}/{file}" for file in files], on_error="return")
        return {file: self._answer(file, answers.get(f"{root}/{file}")) for file in files}

    def _local(self, file: str) -> bytes | DataError | None:
        path, root = Path(self.location) / file, Path(self.location).resolve()
        try:
            if not path.resolve().is_relative_to(root):
                return DataError(f"{path}: is a link out of {root}; it is not read.")
            if path.stat().st_size > MAX_BYTES:
                return DataError(f"{path}: more than {MAX_BYTES:,} bytes found as metadata.")
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return DataError(f"{path}: cannot be read ({error.strerror}).")

    def _answer(self, file: str, answer: Any) -> bytes | DataError | None:
        # Amazon refuses access to files that are not there, where the list of files is not public.
        if answer is None or isinstance(answer, FileNotFoundError | PermissionError):
            return None
        if isinstance(answer, Exception):
            reason = shown(without_passwords(str(answer).partition("\n")[0]))
            return DataError(
                f"{self.shown}/{file}: cannot be read ({reason or type(answer).__name__})."
            )
        return answer


_PACKAGES = {"s3": "s3fs", "https": "aiohttp", "http": "aiohttp", "gs": "gcsfs", "az": "adlfs"}
"""Package that fsspec needs for each kind of address."""


def _filesystem(location: str) -> tuple[Any, str]:
    """Return the file system of an address, and the address as it names it."""
    protocol = location.partition("://")[0]
    try:
        from fsspec.core import url_to_fs

        filesystem, root = url_to_fs(location)
    except ImportError as error:
        package = _PACKAGES.get(protocol, "fsspec")
        raise DataError(
            f"{protocol}:// addresses need the package {package}, which is not installed; "
            f"pip install {package} installs it."
        ) from error
    except ValueError as error:
        raise DataError(
            f"{without_passwords(location)}: {protocol}:// is no kind of address that is read, "
            "expected s3:// or https://."
        ) from error
    return filesystem, root.rstrip("/")
