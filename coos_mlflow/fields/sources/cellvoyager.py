"""Yokogawa CellVoyager (CV7000, CV8000, CQ1): ``MeasurementData.mlf`` beside its images.

The ``.mlf`` names each image with well, field, depth, time and channel. ``MeasurementDetail.mrf``
gives the pixel size, and the ``.mes`` that it names gives lights and filters. Images for shading
and dark current are in none of them, and so left out. Layout: files that an instrument wrote. The
reader is our own, since an index is all there is to read.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Channel, PlateImages
from coos_mlflow.fields.sources._gather import (
    Found,
    gather,
    number,
    one_pixel_size,
    one_set_of_channels,
    plate_ids,
    plate_shape,
    walk,
    well_name,
    whole,
)
from coos_mlflow.fields.sources.base import (
    Source,
    attributes,
    elements,
    file_inside,
    files_of,
    read_xml,
    tiff_plane,
)
from coos_mlflow.plates.columns import shown

DATA, DETAIL = "MeasurementData.mlf", "MeasurementDetail.mrf"
_LEVELS = 3
_IMAGE = "IMG"
_WORDS = ("Row", "Column", "FieldIndex", "Ch")

Facts = dict[str, str]


class _Settings(NamedTuple):
    """What ``.mrf`` and ``.mes`` say."""

    plate: str
    shape: tuple[int, int] | None
    sizes: dict[str, float | None]
    channels: dict[str, Facts]


def recognises(location: str) -> bool:
    """Return whether there is a ``MeasurementData.mlf``, here or up to three folders below."""
    try:
        return bool(_data_files(Path(location)))
    except (OSError, ValueError):
        return False


def read(location: str) -> PlateImages:
    """Read one or more measurements; see `Source.read`."""
    paths = _data_files(Path(location))
    if not paths:
        raise DataError(f"{location}: no {DATA} found, which CellVoyager writes.")
    settings = [_settings(path.parent) for path in paths]
    folders = [path.absolute().parent.name for path in paths]
    plates = plate_ids(
        [one.plate for one in settings], folders, [path.parent for path in paths], location
    )
    found: list[Found] = []
    notes: list[str] = []
    channels = []
    for path, plate, said in zip(paths, plates, settings, strict=True):
        of_plate = _found(path, plate, notes)
        used = sorted({int(one.channel) for one in of_plate})
        channels.append([_channel(key, said.channels.get(str(key), {})) for key in used])
        found += of_plate
    one_set_of_channels(channels, plates)
    fields, doubles = gather(found, sorted({int(one.channel) for one in found}))
    sizes = (said.sizes.get(str(one.channel)) for said in settings for one in found)
    return PlateImages(
        location=location,
        source="cellvoyager",
        channels=tuple(channels[0]),
        fields=fields,
        pixel_size_um=one_pixel_size(sizes, location),
        shape=settings[0].shape,
        notes=(*notes, *doubles),
    )


def _data_files(location: Path) -> list[Path]:
    if location.is_file():
        return [location] if location.name == DATA else []
    return [
        location / name
        for name in sorted(walk(location, _LEVELS))
        if name.rpartition("/")[2] == DATA
    ]


def _found(path: Path, plate: str, notes: list[str]) -> list[Found]:
    there = files_of(path.parent)
    found: list[Found] = []
    others: Counter[str] = Counter()
    for name, element in elements(path):
        if name != "MeasurementRecord":
            continue
        facts = attributes(element)
        if facts.get("Type", _IMAGE) == _IMAGE:
            found.append(_image(facts, (element.text or "").strip(), path, plate, there))
        else:
            others[facts["Type"]] += 1
        element.clear()
    if not found:
        raise DataError(f"{path}: names no image, expected one MeasurementRecord for each plane.")
    notes.extend(
        f"{plate}: {count:,} records of the type '{shown(kind, 20)}' are no images."
        for kind, count in sorted(others.items())
    )
    return found


def _image(facts: Facts, name: str, path: Path, plate: str, there: frozenset[str]) -> Found:
    row, column, field, channel = (whole(facts, word, path) for word in _WORDS)
    time = whole(facts, "TimePoint", path) if "TimePoint" in facts else 1
    depth = whole(facts, "ZIndex", path) if "ZIndex" in facts else 1
    plane = tiff_plane(path.parent, name, str(path), there)
    return Found(plate, well_name(row, column, path), field, time, channel, max(depth, 1), plane)


def _settings(folder: Path) -> _Settings:
    """Read ``.mrf`` and ``.mes``, as far as they are there."""
    path = folder / DETAIL
    if not path.is_file():
        return _Settings("", None, {}, {})
    detail = read_xml(path)
    sizes = {
        one.get("Ch", ""): number(one.get("HorizontalPixelDimension"))
        for one in detail.iter("MeasurementChannel")
    }
    plates = (one.get("Name", "") for one in detail.iter("MeasurementSamplePlate"))
    shape = plate_shape(detail.get("RowCount"), detail.get("ColumnCount"))
    name = detail.get("MeasurementSettingFileName", "")
    channels = _channel_facts(file_inside(folder, name, str(path))) if name else {}
    plate = next(plates, "") or detail.get("Title", "")
    return _Settings(shown(plate), shape, sizes, channels)


def _channel_facts(path: Path) -> dict[str, Facts]:
    """Return what the ``.mes`` says of each channel, with the wavelength of its light."""
    if not path.is_file():
        return {}
    setting = read_xml(path)
    lights = {one.get("Name", ""): one.get("WaveLength", "") for one in setting.iter("LightSource")}
    channels = {}
    for channel in setting.iter("Channel"):
        names = [(one.text or "").strip() for one in channel.iter("LightSourceName")]
        light = lights.get(names[0], "") if len(names) == 1 else ""
        channels[channel.get("Ch", "")] = {**channel.attrib, "Light": light}
    return channels


def _channel(key: int, facts: Facts) -> Channel:
    """Return a channel, named by its dye, else by its light and its filter."""
    band = facts.get("Acquisition", "")
    parts = [facts.get("Target", ""), band]
    kind = facts.get("Kind", "")
    if kind and "fluorescence" not in kind.lower():
        parts.append(kind)
    name = facts.get("Fluorophore") or " ".join(filter(None, parts)) or f"channel {key}"
    centre = number(band[2:].partition("/")[0]) if band.startswith("BP") else None
    return Channel(shown(name, 100), number(facts.get("Light")) or None, centre)


SOURCE = Source("Yokogawa CellVoyager (MeasurementData.mlf)", recognises, read)
