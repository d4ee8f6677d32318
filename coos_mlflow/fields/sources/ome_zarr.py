"""HCS plates of OME-Zarr 0.4 (zarr 2) and 0.5 (zarr 3): in a folder, at s3:// or https://.

Each image of a well is a field. Its number is that at the end of its name, where these differ, else
its place. A well whose fields were joined to one image, as Fractal's converters do, has one field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Channel, Field, MissingPlane, Plane, PlateImages
from coos_mlflow.fields.sources import _ome_metadata as ome
from coos_mlflow.fields.sources._ome_metadata import Documents, checked
from coos_mlflow.fields.sources._zarr_plane import ZarrPlane
from coos_mlflow.fields.sources.base import Source
from coos_mlflow.plates.tiff_pages import MAX_PIXELS
from coos_mlflow.plates.wells import PLATE_SIZES, parse_well

OWN = "coos_mlflow"
"""Attribute of a plate that this package wrote, such as ``{"simulated": true}``."""

MAX_PLANES = 2**16
"""Most planes of an image. Larger numbers are taken for damage."""

MAX_NAMED = 5
"""Number of damaged wells and images that are named."""

SIZES = ((2, 3), (3, 4), (4, 6), (6, 8), *PLATE_SIZES)
"""Rows and columns of common plates. Other lists of rows and columns are those with images."""

_ADDRESS = re.compile(r"[a-z0-9]+://.*\.zarr(/.*)?", re.IGNORECASE)


def recognises(location: str) -> bool:
    """Return whether this is a zarr group, or an address that names one."""
    if "://" in location:
        return bool(_ADDRESS.fullmatch(location))
    return any((Path(location) / name).is_file() for name in ("zarr.json", ".zattrs"))


def read(location: str) -> PlateImages:
    """Read the metadata of a plate; see `Source.read`."""
    documents = Documents(location)
    attributes = documents.groups([""])[""]
    plate = _plate(attributes, documents)
    problems: list[str] = []
    images = _images(documents, plate, problems)
    whole = [image for image in images if image.about is not None]
    if not whole:
        said = f", such as {problems[0]}" if problems else ""
        raise DataError(
            f"{documents.shown}: none of the {len(plate.wells)} wells of the plate has an image "
            f"that can be read{said}."
        )
    channels = whole[0].channels()
    notes = set()
    fields: list[Field] = []
    sizes: list[float] = []
    for image in images:
        if image.about is not None and image.channels() != channels:
            problems.append(f"{image.path} (its channels are not those of {whole[0].path})")
            continue
        if image.about is not None:
            size, odd = image.about.multiscales[0].pixel_size()
            sizes += [size] if size else []
            notes |= {odd} if odd else set()
        fields += image.fields(documents, channels)
    if sizes and not math.isclose(min(sizes), max(sizes), rel_tol=0.001):
        raise DataError(
            f"{documents.shown}: pixels of {min(sizes):g} to {max(sizes):g} micrometers found, "
            "expected one size."
        )
    if problems:
        notes.add(_named(problems))
    own = attributes.get(OWN)
    return PlateImages(
        location=location,
        source="ome_zarr",
        channels=channels,
        fields=tuple(fields),
        pixel_size_um=sizes[0] if sizes else None,
        shape=_shape(plate),
        simulated=isinstance(own, dict) and own.get("simulated") is True,
        notes=tuple(sorted(notes)),
    )


@dataclass
class _Image:
    """An image of a well.

    Parameters
    ----------
    path : str
        In the plate.
    plate, well : str
    number : int
    about : ome.Image or None
        None where the well names it and it is not there.
    shape : list of int
    labels : dict of str to (ome.Image, list of int)
        Metadata and shape of each label image.
    """

    path: str
    plate: str
    well: str
    number: int
    about: ome.Image | None = None
    shape: list[int] = field(default_factory=list)
    labels: dict[str, tuple[ome.Image, list[int]]] = field(default_factory=dict)

    @property
    def array(self) -> str:
        """Path of the array in full size."""
        assert self.about is not None
        return f"{self.path}/{self.about.multiscales[0].datasets[0].path}"

    def channels(self) -> tuple[Channel, ...]:
        """Return the channels: as they are named, else by number."""
        assert self.about is not None
        place = self.about.multiscales[0].places("c")
        count = 1 if place is None else self.shape[place]
        named = self.about.omero.channels if self.about.omero else []
        if len(named) != count:
            return tuple(Channel(f"channel {number}") for number in range(1, count + 1))
        return tuple(
            Channel(
                one.label or f"channel {number}", one.excitation_wavelength, one.emission_wavelength
            )
            for number, one in enumerate(named, start=1)
        )

    def fields(self, documents: Documents, channels: tuple[Channel, ...]) -> Iterator[Field]:
        """Yield a field for each time."""
        if self.about is None:
            root = "" if "://" in documents.location else documents.location
            lost = MissingPlane(Path(root, self.path), "the well")
            planes: dict[tuple[int, int], Plane] = {(c, 1): lost for c in range(len(channels))}
            yield Field(self.plate, self.well, self.number, planes)
            return
        multiscale = self.about.multiscales[0]
        times, depths = (_size(multiscale, self.shape, name) for name in "tz")
        for time in range(times):
            yield Field(
                self.plate,
                self.well,
                self.number,
                {
                    (c, z + 1): _plane(documents, self.array, multiscale, c=c, z=z, t=time)
                    for c, z in product(range(len(channels)), range(depths))
                },
                time + 1,
                {
                    name: _plane(
                        documents,
                        f"{self.path}/labels/{name}/{label.multiscales[0].datasets[0].path}",
                        label.multiscales[0],
                        may_be_empty=True,
                        t=time if _size(label.multiscales[0], shape, "t") == times else 0,
                    )
                    for name, (label, shape) in self.labels.items()
                },
            )


def _plane(
    documents: Documents,
    path: str,
    multiscale: ome.Multiscale,
    may_be_empty: bool = False,
    **places: int,
) -> ZarrPlane:
    """Return a plane by its place on each axis that an image may have."""
    names = [axis.name for axis in multiscale.axes]
    index = tuple(None if name in "yx" else places.get(name, 0) for name in names)
    x_first = names.index("x") < names.index("y")
    zarr_format = documents.zarr_format
    return ZarrPlane(documents.location, path, zarr_format, index, x_first, may_be_empty)


def _plate(attributes: Any, documents: Documents) -> ome.Plate:
    """Return the metadata of the plate, or say what else was found."""
    if isinstance(attributes, DataError):
        raise attributes
    found = _of_ome(attributes)
    if "plate" in found:
        return checked(ome.Plate, found["plate"], documents.shown)
    names = {"multiscales": "one image", "well": "one well", "labels": "label images"}
    kind = next((words for key, words in names.items() if key in found), "no OME-Zarr")
    raise DataError(
        f"{documents.shown}: {kind} found, expected an OME-Zarr plate (metadata 'plate' in its "
        "outermost group); name the folder of the plate."
    )


def _of_ome(attributes: Any) -> dict[str, Any]:
    """Return OME's part of the attributes of a group: all in 0.4, one entry in 0.5."""
    found = attributes.get("ome", attributes) if isinstance(attributes, dict) else {}
    return found if isinstance(found, dict) else {}


def _images(documents: Documents, plate: ome.Plate, problems: list[str]) -> list[_Image]:
    """Return all images that wells name; add what cannot be read to `problems`."""
    paths = list(dict.fromkeys(well.path for well in plate.wells))
    wells = _valid(documents.groups(paths), "well", ome.Well, problems, lost=True)
    name = _name(plate.name or documents.location)
    images = {
        f"{path}/{image.path}": _Image(f"{path}/{image.path}", name, _well(path), number)
        for path, well in wells.items()
        for number, image in _numbered(well)
    }
    groups = documents.groups(images)
    there = {path: found for path, found in groups.items() if found is not None}
    found = _valid(there, None, ome.Image, problems)
    for path in there:
        if path not in found:
            del images[path]
    for path, about in found.items():
        images[path].about = about
    _add_shapes(documents, images, problems)
    _add_labels(documents, images, problems)
    return list(images.values())


def _add_shapes(documents: Documents, images: dict[str, _Image], problems: list[str]) -> None:
    """Add the shapes of arrays; leave images out whose arrays cannot be read."""
    arrays = {image.array: path for path, image in images.items() if image.about is not None}
    shapes = _valid(documents.arrays(arrays), None, ome.Array, problems, lost=True)
    for array, path in arrays.items():
        image = images[path]
        assert image.about is not None
        why = None
        if array in shapes:
            image.shape = shapes[array].shape
            why = _unfit(image.about.multiscales[0], image.shape)
        if why:
            problems.append(f"{path} ({why})")
        if why or array not in shapes:
            del images[path]


def _add_labels(documents: Documents, images: dict[str, _Image], problems: list[str]) -> None:
    """Add the label images; those that cannot be read are named and left out."""
    whole = [path for path, image in images.items() if image.about is not None]
    lists = documents.groups(f"{path}/labels" for path in whole)
    listed = {path: found for path, found in lists.items() if found and _of_ome(found)}
    names = _valid(listed, None, ome.Labels, problems)
    paths = [f"{path}/{name}" for path, found in names.items() for name in found.labels]
    labels = _valid(documents.groups(paths), None, ome.Image, problems, lost=True)
    arrays = {
        f"{path}/{label.multiscales[0].datasets[0].path}": path for path, label in labels.items()
    }
    shapes = _valid(documents.arrays(arrays), None, ome.Array, problems, lost=True)
    for array, path in arrays.items():
        if array not in shapes:
            continue
        owner, _, name = path.rpartition("/labels/")
        shape, multiscale = shapes[array].shape, labels[path].multiscales[0]
        why = _unfit(multiscale, shape)
        if why is None and _size(multiscale, shape, "z") * _size(multiscale, shape, "c") > 1:
            why = "labels of several depths or channels are not read"
        if why:
            problems.append(f"{path} ({why})")
        else:
            images[owner].labels[name] = (labels[path], shape)


def _valid(
    found: dict[str, Any],
    entry: str | None,
    kind: type[ome.Model],
    problems: list[str],
    lost: bool = False,
) -> dict[str, ome.Model]:
    """Return documents as models, by path; name those that are none in `problems`.

    Parameters
    ----------
    found : dict of str to document, None or DataError
    entry : str or None
        The entry of OME's metadata that is the model; None for all of it.
    kind : type of BaseModel
    problems : list of str
    lost : bool
        Whether a document that is not there is a problem.
    """
    models = {}
    for path, document in found.items():
        try:
            if isinstance(document, DataError):
                raise document
            if document is None:
                raise DataError("its metadata are missing")
            part = document if kind is ome.Array else _of_ome(document)
            models[path] = checked(kind, part.get(entry) if entry else part, path)
        except DataError as error:
            if document is not None or lost:
                problems.append(f"{path} ({error})")
    return models


def _unfit(multiscale: ome.Multiscale, shape: list[int]) -> str | None:
    """Say why an image is not read; None for one that is."""
    names = [axis.name for axis in multiscale.axes]
    if len(shape) != len(names) or len(set(names)) < len(names) or not {"y", "x"} <= set(names):
        return f"axes {', '.join(names)} of an array of shape {tuple(shape)} do not fit"
    if others := set(names) - set("tczyx"):
        return f"axis {min(others)!r} found, expected t, c, z, y and x"
    height, width = (_size(multiscale, shape, name) for name in "yx")
    if height * width > MAX_PIXELS:
        return f"{height:,} x {width:,} pixels claimed, expected at most {MAX_PIXELS:,} in all"
    if math.prod(shape) // (height * width) > MAX_PLANES:
        return f"shape {tuple(shape)} claimed, expected at most {MAX_PLANES:,} planes"
    return None


def _size(multiscale: ome.Multiscale, shape: list[int], name: str) -> int:
    """Return the size of an axis; 1 where there is none."""
    place = multiscale.places(name)
    return 1 if place is None else shape[place]


def _numbered(well: ome.Well) -> Iterator[tuple[int, ome.WellImage]]:
    """Yield the images of a well, each with its number."""
    found = [re.search(r"\d{1,6}$", image.path, re.ASCII) for image in well.images]
    numbers = [int(number[0]) for number in found if number]
    if len(set(numbers)) < len(found):
        numbers = list(range(1, len(found) + 1))
    yield from zip(numbers, well.images, strict=True)


def _well(path: str) -> str:
    """Return the name of a well from its path."""
    text = path.replace("/", "")
    well = parse_well(text)
    return well.name if well else text


def _name(location: str) -> str:
    return re.sub(r"(\.ome)?\.zarr$", "", location.rstrip("/").rpartition("/")[2]) or "plate"


def _shape(plate: ome.Plate) -> tuple[int, int] | None:
    shape = (len(plate.rows), len(plate.columns))
    return shape if shape in SIZES else None


def _named(problems: list[str]) -> str:
    """Return the sentence on wells and images that are left out."""
    more = f" and {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else ""
    return f"left out, since they cannot be read: {'; '.join(problems[:MAX_NAMED])}{more}"


SOURCE = Source("OME-Zarr plate, 0.4 or 0.5", recognises, read, remote=True)
