"""PerkinElmer and Revvity Harmony and Columbus: Opera Phenix, Operetta and Sonata.

An index in XML (`INDICES`) names one TIFF for each plane. To V5 of Harmony each image has its
channel's name and pixel size; in V7 these stand once for each channel, under ``Maps``. Both are
read, with any namespace. Columbus names a page of a TIFF or ``.flex`` by ``BufferNo``. Layouts of
V5 and V7: files that instruments wrote; of Columbus: public descriptions. The reader is our own,
since those of others need Java.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import (
    Channel,
    Field,
    MissingPlane,
    Plane,
    PlateImages,
    TiffPlane,
)
from coos_mlflow.fields.sources._gather import (
    Found,
    gather,
    number,
    one_pixel_size,
    one_set_of_channels,
    plate_ids,
    plate_shape,
    well_name,
    whole,
)
from coos_mlflow.fields.sources.base import Source, elements, files_of, local_name, tiff_plane
from coos_mlflow.plates.columns import shown
from coos_mlflow.plates.wells import Well, parse_well

INDICES = ("Index.idx.xml", "Index.xml", "Index.ref.xml", "ImageIndex.ColumbusIDX.xml")
_FOLDERS = ("", "Images", "images")
_OK = "ok"

SIMULATED = "Simulated"
"""Element of ``Plate`` in an index that this package wrote of simulated images."""

MASKS = "masks"
"""Folder beside images in which this package writes label images, such as ``r02c03f01.tiff``."""

Facts = dict[str, str]


class _Image(NamedTuple):
    """An image of an index."""

    well: str
    field: int
    depth: int
    time: int
    channel: int
    plane: Plane


class _Index(NamedTuple):
    """What an index says."""

    path: Path
    images: list[_Image]
    channels: dict[int, Facts]
    plate: Facts
    sizes: set[float]
    states: Counter[str]

    @property
    def folder(self) -> Path:
        """The folder of the measurement."""
        folder = self.path.absolute().parent
        return folder.parent if folder.name.lower() == "images" else folder

    @property
    def plate_name(self) -> str:
        """The name that was typed at the instrument, or nothing."""
        return self.plate.get("Name") or self.plate.get("PlateID") or ""


def recognises(location: str) -> bool:
    """Return whether there is an index, here, in the folder of images, or one folder below."""
    try:
        return bool(_index_paths(Path(location)))
    except (OSError, ValueError):
        return False


def read(location: str) -> PlateImages:
    """Read the indices of one or more measurements; see `Source.read`."""
    paths = _index_paths(Path(location))
    if not paths:
        raise DataError(f"{location}: no {' or '.join(INDICES)} found, which Harmony writes.")
    indices = [_read_index(path) for path in paths]
    first = indices[0]
    channels = [_channels(index) for index in indices]
    folders = [one.folder for one in indices]
    plates = plate_ids(
        [one.plate_name for one in indices], [one.name for one in folders], folders, location
    )
    one_set_of_channels(channels, plates)
    found = (
        one for plate, index in zip(plates, indices, strict=True) for one in _found(index, plate)
    )
    fields, notes = gather(found, sorted(first.channels))
    return PlateImages(
        location=location,
        source="harmony",
        channels=channels[0],
        fields=tuple(_with_masks(fields, first.path.parent)) if len(indices) == 1 else fields,
        pixel_size_um=one_pixel_size((size for one in indices for size in one.sizes), location),
        shape=plate_shape(first.plate.get("PlateRows"), first.plate.get("PlateColumns")),
        simulated=any(index.plate.get(SIMULATED) == "true" for index in indices),
        notes=(*_state_notes(indices), *notes),
    )


def _with_masks(fields: tuple[Field, ...], images: Path) -> Iterator[Field]:
    """Yield the fields with the label images that this package wrote beside the images."""
    folder = images / MASKS
    there = files_of(folder) if folder.is_dir() and not folder.is_symlink() else frozenset()
    for one in fields:
        well = parse_well(one.well)
        name = mask_name(well, one.number) if well and one.time == 1 else ""
        yield replace(one, labels={MASKS: TiffPlane(folder / name)}) if name in there else one


def mask_name(well: Well, field: int) -> str:
    """Return the name of the label image of a field."""
    return f"r{well.row:02d}c{well.column:02d}f{field:02d}.tiff"


def _index_paths(location: Path) -> list[Path]:
    if location.is_file():
        return [location] if location.name in INDICES else []
    if path := _index_of(location):
        return [path]
    if not location.is_dir():
        return []
    below = (folder for folder in sorted(location.iterdir()) if folder.is_dir())
    return [path for folder in below if not folder.is_symlink() and (path := _index_of(folder))]


def _index_of(folder: Path) -> Path | None:
    candidates = (folder / sub / name for sub in _FOLDERS for name in INDICES)
    return next((path for path in candidates if path.is_file()), None)


def _read_index(path: Path) -> _Index:
    there = files_of(path.parent)
    index = _Index(path, [], {}, {}, set(), Counter())
    entries: dict[int, Facts] = {}
    for name, element in elements(path):
        if name == "Plate" and not index.plate:
            index.plate.update(_facts(element))
        elif name == "Entry":
            key = whole(element.attrib, "ChannelID", path)
            entries.setdefault(key, {}).update(_facts(element))
            element.clear()
        elif name == "Image" and len(element):
            _add_image(index, element, there)
            element.clear()
    if not index.images:
        raise DataError(f"{path}: names no image, expected one <Image> for each plane.")
    for key, facts in index.channels.items():
        index.channels[key] = entries.get(key, {}) | facts
    if size := {number(facts.get("ImageResolutionX")) for facts in index.channels.values()}:
        index.sizes.update(1e6 * one for one in size if one)
    return index


def _add_image(index: _Index, element: Element, there: frozenset[str]) -> None:
    facts = _facts(element)
    path = index.path
    state = facts.get("State", "")
    if state and state.lower() != _OK:
        index.states[state] += 1
    channel = whole(facts, "ChannelID", path)
    index.channels.setdefault(channel, facts)
    if size := number(facts.get("ImageResolutionX")):
        index.sizes.add(1e6 * size)
    index.images.append(
        _Image(
            well=well_name(whole(facts, "Row", path), whole(facts, "Col", path), path),
            field=whole(facts, "FieldID", path),
            depth=whole(facts, "PlaneID", path) if "PlaneID" in facts else 1,
            time=whole(facts, "TimepointID", path) if "TimepointID" in facts else 0,
            channel=channel,
            plane=_plane(facts, path, there),
        )
    )


def _plane(facts: Facts, path: Path, there: frozenset[str]) -> Plane:
    name = facts.get("URL", "")
    if not name:
        return MissingPlane(path.parent / f"(image {shown(facts.get('id', ''), 40)})", path.name)
    page = whole(facts, "BufferNo", path) if facts.get("BufferNo") else 0
    return tiff_plane(path.parent, name, str(path), there, page)


def _facts(element: Element) -> Facts:
    """Return the texts of an element's children by local name, and the page of a URL."""
    facts = {}
    for child in element:
        facts[local_name(child.tag)] = (child.text or "").strip()
        if buffer := child.get("BufferNo"):
            facts["BufferNo"] = buffer
    return facts


def _found(index: _Index, plate: str) -> Iterator[Found]:
    """Yield the planes; times are numbered from 0 in V5, and from 1 in V7."""
    first_time = min(image.time for image in index.images)
    for image in index.images:
        time = image.time - first_time + 1
        yield Found(plate, image.well, image.field, time, image.channel, image.depth, image.plane)


def _channels(index: _Index) -> tuple[Channel, ...]:
    return tuple(_channel(*one) for one in sorted(index.channels.items()))


def _channel(key: int, facts: Facts) -> Channel:
    excitation, emission = (
        number(facts.get(name)) for name in ("MainExcitationWavelength", "MainEmissionWavelength")
    )
    name = facts.get("ChannelName") or f"channel {key}"
    return Channel(shown(name), excitation or None, emission or None)


def _state_notes(indices: list[_Index]) -> Iterator[str]:
    for index in indices:
        for state, count in sorted(index.states.items()):
            yield f"{count:,} images have the state '{shown(state, 40)}' in {index.path.name}."


SOURCE = Source("PerkinElmer or Revvity Harmony and Columbus (Index.xml)", recognises, read)
