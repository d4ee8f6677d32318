"""PerkinElmer and Revvity Harmony and Columbus: Opera Phenix, Operetta and Sonata.

An index in XML (`INDICES`) names one TIFF for each plane. In versions to V5 of Harmony each image
has its channel's name and pixel size; in V7 these stand once for each channel, under ``Maps``. Both
are read, with any namespace. Layout: files that the instruments wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Channel, Field, Plane, PlateImages
from coos_mlflow.fields.sources.base import Source, read_xml, tiff_plane
from coos_mlflow.plates.wells import Well

INDICES = ("Index.idx.xml", "Index.xml", "Index.ref.xml")
_FOLDERS = ("", "Images", "images")

Facts = dict[str, str]


def recognises(location: str) -> bool:
    """Return whether there is an index, here or in the folder of images."""
    return _index(Path(location)) is not None


def read(location: str) -> PlateImages:
    """Read the index of a measurement; see `Source.read`."""
    path = _index(Path(location))
    if path is None:
        raise DataError(f"{location}: no {' or '.join(INDICES)} found, which Harmony writes.")
    root = read_xml(path)
    channel_facts = _channel_facts(root)
    images = [channel_facts.get(facts.get("ChannelID", ""), {}) | facts for facts in _images(root)]
    if not images:
        raise DataError(f"{path}: names no image, expected one <Image> for each plane.")
    numbers = sorted({_whole(facts, "ChannelID", path) for facts in images})
    place = {number: index for index, number in enumerate(numbers)}
    plate = _plate_name(root, path)
    there = {file.name for file in path.parent.iterdir()}
    planes: dict[tuple[str, int, int], dict[tuple[int, int], Plane]] = {}
    first_time = min(_time(facts) for facts in images)
    for facts in images:
        well = Well(_whole(facts, "Row", path), _whole(facts, "Col", path)).name
        key = (well, _whole(facts, "FieldID", path), _time(facts) - first_time + 1)
        depth = (place[_whole(facts, "ChannelID", path)], _whole(facts, "PlaneID", path))
        plane = tiff_plane(path.parent, facts.get("URL", ""), str(path), there)
        planes.setdefault(key, {})[depth] = plane
    fields = [
        Field(plate, well, number, found, time) for (well, number, time), found in planes.items()
    ]
    return PlateImages(
        location=location,
        source="harmony",
        channels=tuple(_channel(number, images) for number in numbers),
        fields=tuple(fields),
        pixel_size_um=_pixel_size(images, path),
        shape=_shape(root),
    )


def _index(location: Path) -> Path | None:
    if location.name in INDICES and location.is_file():
        return location
    candidates = (location / folder / name for folder in _FOLDERS for name in INDICES)
    return next((path for path in candidates if path.is_file()), None)


def _images(root: Element) -> Iterator[Facts]:
    for parent in root.iter("Images"):
        for image in parent.iter("Image"):
            yield _facts(image)


def _channel_facts(root: Element) -> dict[str, Facts]:
    """Return what the maps of V7 say of each channel, by its id."""
    facts: dict[str, Facts] = {}
    for entry in root.iter("Entry"):
        facts.setdefault(entry.get("ChannelID", ""), {}).update(_facts(entry))
    return facts


def _facts(element: Element) -> Facts:
    return {child.tag: (child.text or "").strip() for child in element}


def _whole(facts: Facts, name: str, path: Path) -> int:
    try:
        return int(facts[name])
    except (KeyError, ValueError) as error:
        found = facts.get(name, "nothing")[:40]
        raise DataError(
            f"{path}: {found!r} found as {name} of an image, expected a whole number."
        ) from error


def _time(facts: Facts) -> int:
    """Return the time point as it is numbered: from 0 in V5, from 1 in V7."""
    text = facts.get("TimepointID", "0")
    return int(text) if text.isdecimal() else 0


def _channel(number: int, images: list[Facts]) -> Channel:
    facts = next(facts for facts in images if facts["ChannelID"] == str(number))
    excitation, emission = (
        _number(facts.get(name)) for name in ("MainExcitationWavelength", "MainEmissionWavelength")
    )
    name = facts.get("ChannelName") or f"channel {number}"
    return Channel(name, excitation or None, emission or None)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _pixel_size(images: list[Facts], path: Path) -> float | None:
    """Return the pixel size in micrometres; the index has it in metres."""
    sizes = {_number(facts.get("ImageResolutionX")) for facts in images} - {None, 0.0}
    if len(sizes) > 1:
        found = ", ".join(f"{1e6 * size:.4g}" for size in sorted(filter(None, sizes)))
        raise DataError(f"{path}: pixels of {found} micrometres found, expected one size.")
    size = next(iter(sizes), None)
    return None if size is None else 1e6 * size


def _plate_name(root: Element, path: Path) -> str:
    for plate in root.iter("Plate"):
        facts = _facts(plate)
        if name := facts.get("Name") or facts.get("PlateID"):
            return name
    folder = path.parent
    return folder.parent.name if folder.name.lower() == "images" else folder.name


def _shape(root: Element) -> tuple[int, int] | None:
    for plate in root.iter("Plate"):
        facts = _facts(plate)
        rows, columns = facts.get("PlateRows", ""), facts.get("PlateColumns", "")
        if rows.isdecimal() and columns.isdecimal():
            return int(rows), int(columns)
    return None


SOURCE = Source("PerkinElmer or Revvity Harmony and Columbus (Index.xml)", recognises, read)
