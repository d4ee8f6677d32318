"""PerkinElmer (Evotec) Opera QEHS: ``.flex`` files.

A file is a TIFF with one page for each image, named ``RRRCCCFFF.flex`` by row, column and field;
field 000 holds all fields of the well. Private tag 65200 of its first page holds XML. ``Array``
names the channel and the factor of each page, ``Image`` its field (``Sublayout``), depth
(``Stack``), light and pixel size, and ``Plate`` the size and the barcode of the plate.

No file of an Opera was at hand: this is written from public descriptions (Bio-Formats'
documentation of its FlexReader, OpenReadout's of its module flex), and tested on files that the
tests make. Times (``Kinetic``) are not read apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Channel, MissingPlane, PlateImages, TiffPlane
from coos_mlflow.fields.sources._gather import (
    Found,
    files_below,
    gather,
    number,
    one_pixel_size,
    plate_ids,
    plate_shape,
    walk,
    well_name,
    whole,
)
from coos_mlflow.fields.sources.base import Source, parse_xml
from coos_mlflow.plates.columns import shown
from coos_mlflow.plates.tiff_pages import open_tiff

SUFFIX = ".flex"
XML_TAG = 65200
_LEVELS = 3
_NAME = re.compile(r"(\d{3})(\d{3})(\d{3})\.flex", re.IGNORECASE)
_FIELD = re.compile(r"^\d+_")
"""Start of an array's name in files of several fields, such as ``1_Exp1Cam1``."""

_MAX_FACTOR = 65535.0


@dataclass(frozen=True)
class FlexPlane(TiffPlane):
    """A page of a ``.flex``, whose stored numbers are counts divided by a factor.

    Parameters
    ----------
    factor : float
    """

    factor: float = 1.0

    def read(self) -> np.ndarray:
        """Return the counts; with a factor as uint16, rounded and cut at 65,535."""
        stored = super().read()
        if self.factor == 1.0:
            return stored
        return (stored * self.factor).round().clip(0, 65535).astype(np.uint16)


@dataclass(frozen=True)
class DamagedPlane(MissingPlane):
    """An image of a ``.flex`` that cannot be read; `index` is the sentence on why."""

    def read(self) -> np.ndarray:
        """Raise the `DataError` with the sentence."""
        raise DataError(self.index)


class _File(NamedTuple):
    """What the XML of a file says."""

    path: Path
    pages: list[tuple[str, int, int, float]]
    channels: dict[str, Channel]
    sizes: list[float]
    barcode: str
    shape: tuple[int, int] | None
    problem: str = ""


def recognises(location: str) -> bool:
    """Return whether there is a ``.flex`` and no index of Columbus, which names such files too."""
    try:
        return any(_NAME.fullmatch(name.rpartition("/")[2]) for name in _files(location))
    except (OSError, ValueError):
        return False


def _files(location: str) -> Iterator[str]:
    path = Path(location)
    if path.is_file():
        yield path.name
        return
    names = list(walk(path, _LEVELS))
    if not any(name.lower().endswith(".columbusidx.xml") for name in names):
        yield from names


def read(location: str) -> PlateImages:
    """Read the files of one or more plates; see `Source.read`."""
    files, problems = _read_files(_paths(Path(location)))
    if not files:
        raise DataError(
            f"{location}: no file named as by an Opera found, expected names such as "
            "002003000.flex."
        )
    folders = list(dict.fromkeys(one.path.parent for one in files))
    of_folder = {one.path.parent: one for one in reversed(files)}
    ids = plate_ids(
        [of_folder[folder].barcode for folder in folders],
        [_title(folder) for folder in folders],
        folders,
        location,
    )
    plates = dict(zip(folders, ids, strict=True))
    found = [one for file in files for one in _found(file, plates[file.path.parent])]
    channels: dict[str, Channel] = {}
    for file in files:
        channels |= {key: one for key, one in file.channels.items() if key not in channels}
    fields, notes = gather(found, channels)
    return PlateImages(
        location=location,
        source="flex",
        channels=tuple(channels.values()),
        fields=fields,
        pixel_size_um=one_pixel_size((size for one in files for size in one.sizes), location),
        shape=files[0].shape,
        notes=(*problems, *notes),
    )


def _read_files(paths: list[Path]) -> tuple[list[_File], list[str]]:
    """Read all files; damaged ones get the pages of another, and a sentence."""
    files = []
    damaged: dict[Path, DataError] = {}
    for path in paths:
        try:
            files.append(_read_file(path))
        except DataError as error:
            damaged[path] = error
    if not damaged:
        return files, []
    first = next(iter(damaged.values()))
    if not files:
        raise first
    of_folder = {one.path.parent: one for one in files}
    files += [
        of_folder.get(path.parent, files[0])._replace(
            path=path, barcode="", sizes=[], problem=f"{error}"
        )
        for path, error in damaged.items()
    ]
    return files, [f"{len(damaged):,} files cannot be read, such as this one: {first}"]


def _paths(location: Path) -> list[Path]:
    if location.is_file():
        return [location] if _NAME.fullmatch(location.name) else []
    names = files_below(location, (SUFFIX,))
    return [location / name for name in names if _NAME.fullmatch(name.rpartition("/")[2])]


def _title(folder: Path) -> str:
    """Return the name of a plate's folder; measurements lie in ``Meas_01(date)`` below it."""
    folder = folder.absolute()
    return folder.parent.name if folder.name.startswith("Meas_") else folder.name


def _read_file(path: Path) -> _File:
    with open_tiff(path) as tiff:
        text = _text(path, tiff.pages[0].tags.get(XML_TAG))
        n_pages = len(tiff.pages)
    root = parse_xml(text, path)
    arrays = list(root.iter("Array"))
    images = {
        whole(one.attrib, "BufferNo", path): one
        for one in root.iter("Image")
        if "BufferNo" in one.attrib
    }
    if len(arrays) != n_pages:
        raise DataError(
            f"{path}: {n_pages} pages and the names of {len(arrays)} found, expected as many; "
            "the file is cut short, or was changed."
        )
    names = [_FIELD.sub("", one.get("Name", "")) or "channel 1" for one in arrays]
    lights = _lights(root)
    pages = []
    channels: dict[str, Channel] = {}
    sizes = []
    for page, (name, array) in enumerate(zip(names, arrays, strict=True)):
        said = _said(images.get(page))
        light = lights.get(said.get("LightSourceCombinationRef", ""))
        channels.setdefault(name, Channel(shown(name, 100), light))
        if size := number(said.get("ImageResolutionX")):
            sizes.append(1e6 * size)
        field, depth = (
            whole(said, key, path) if said.get(key) else 1 for key in ("Sublayout", "Stack")
        )
        pages.append((name, field, depth, _factor(array, path)))
    barcode = (root.findtext(".//Barcode") or "").strip()
    shape = plate_shape(root.findtext(".//Plate/XSize"), root.findtext(".//Plate/YSize"))
    return _File(path, pages, channels, sizes, shown(barcode, 100), shape)


def _text(path: Path, tag: Any) -> str:
    if tag is None:
        raise DataError(f"{path}: has no tag {XML_TAG}, expected the XML of an Opera in it.")
    text = tag.value if isinstance(tag.value, str) else bytes(tag.value).decode("utf-8", "replace")
    text = text.strip("\0 \r\n\t")
    # Bio-Formats reports files with one more ">" or "%" at the end.
    return text[:-1] if text.endswith((">>", "%")) else text


def _said(image: Element | None) -> dict[str, str]:
    """Return what is said of a page, by attributes in old files and by elements in new ones."""
    if image is None:
        return {}
    return {**image.attrib, **{one.tag: (one.text or "").strip() for one in image}}


def _factor(array: Element, path: Path) -> float:
    factor = number(array.get("Factor", "1"))
    if not factor or factor > _MAX_FACTOR:
        raise DataError(
            f"{path}: the factor '{shown(array.get('Factor', ''), 40)}' found, expected a number "
            f"above 0 and up to {_MAX_FACTOR:.0f}."
        )
    return factor


def _lights(root: Element) -> dict[str, float | None]:
    """Return the wavelength of each combination of lights that is one light alone."""
    wavelengths = {
        one.get("ID", ""): number(
            (one.findtext("Wavelength") or one.get("Wavelength") or "").strip()
        )
        for one in root.iter("LightSource")
    }
    combinations = {}
    for one in root.iter("LightSourceCombination"):
        refs = [ref.get("ID", "") for ref in one.iter("LightSourceRef")]
        if len(refs) == 1:
            combinations[one.get("ID", "")] = wavelengths.get(refs[0])
    return combinations


def _found(file: _File, plate: str) -> Iterator[Found]:
    match = _NAME.fullmatch(file.path.name)
    row, column, in_name = (int(part) for part in match.groups()) if match else (0, 0, 0)
    well = well_name(row, column, file.path)
    for page, (channel, sublayout, depth, factor) in enumerate(file.pages):
        plane = (
            DamagedPlane(file.path, file.problem)
            if file.problem
            else FlexPlane(file.path, page, None, factor)
        )
        yield Found(plate, well, in_name or sublayout, 1, channel, max(depth, 1), plane)


SOURCE = Source("PerkinElmer Opera QEHS (.flex)", recognises, read)
