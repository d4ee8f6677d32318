"""Molecular Devices ImageXpress: what MetaXpress writes and exports.

Names such as ``plate_B02_s1_w2.TIF`` give well, site and wave. Folders such as ``TimePoint_1`` and
``ZStep_2`` give time and depth. A file ``.HTD`` names waves and wells, where it is there. A TIFF
describes itself in ``<MetaData>``. Layout: files that instruments wrote. The reader is our own,
since bioio-imagexpress wants a ``.HTD``.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Channel, MissingPlane, PlateImages, TiffPlane
from coos_mlflow.fields.sources._gather import (
    TIFF_SUFFIXES,
    Found,
    files_below,
    first_description,
    gather,
    number,
    one_pixel_size,
    plate_ids,
    plate_shape,
    walk,
)
from coos_mlflow.fields.sources.base import Source, parse_xml
from coos_mlflow.plates.columns import shown
from coos_mlflow.plates.wells import MAX_COLUMNS, MAX_ROWS, Well, parse_well

HTD = ".htd"
MAX_HTD_BYTES = 2**20

_GUID = r"[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}"
_NAME = re.compile(
    r"(?P<stem>.*?)_(?P<well>[A-Z]{1,2}\d{1,2})(?:_s(?P<site>\d{1,4}))?(?:_w(?P<wave>\d{1,2}?))?"
    rf"(?:_z(?P<z>\d{{1,4}}))?(?P<thumb>_thumb)?(?:{_GUID})?\.tiff?",
    re.IGNORECASE,
)
_WITH_WAVE = re.compile(rf".*_[A-Z]{{1,2}}\d{{1,2}}(?:_s\d+)?_w\d{{1,2}}?(?:{_GUID})?\.tiff?", re.I)
_TIME = re.compile(r"TimePoint_(\d{1,6})", re.IGNORECASE)
_DEPTH = re.compile(r"ZStep_(\d{1,4})", re.IGNORECASE)
_MICRONS = ("um", "\u00b5m", "\u03bcm", "microns", "micron")
_LEVELS = 5
_PROJECTION = 0
"""Depth of an image outside of the numbered depths. ``ZStep_0`` is the projection in exports."""


class _Image(NamedTuple):
    """A file, and what its path says."""

    path: Path
    stem: str
    well: str
    site: int
    wave: int
    time: int
    depth: int

    @property
    def series(self) -> tuple[str, int, int, int]:
        """Well, site, time and wave."""
        return (self.well, self.site, self.time, self.wave)


@dataclass
class _Plate:
    """The files of one plate."""

    root: Path
    htd: Path | None
    said: dict[str, list[str]]
    images: list[_Image]


def recognises(location: str) -> bool:
    """Return whether there is a ``.HTD``, or files that are named as MetaXpress names them."""
    try:
        return any(
            name.lower().endswith(HTD) or _WITH_WAVE.fullmatch(name.rpartition("/")[2])
            for name in walk(Path(location), _LEVELS)
        )
    except (OSError, ValueError):
        return False


def read(location: str) -> PlateImages:
    """Read the plates of a folder; see `Source.read`."""
    plates = _plates(Path(location))
    if not plates:
        raise DataError(
            f"{location}: no TIFF named as by MetaXpress found, expected names such as "
            "plate_B02_s1_w1.TIF."
        )
    roots = [one.root for one in plates]
    stems = [one.images[0].stem for one in plates]
    ids = plate_ids(stems, [one.name for one in roots], roots, location)
    waves = sorted({image.wave for plate in plates for image in plate.images})
    described = [_described(plate) for plate in plates]
    notes: list[str] = []
    found: list[Found] = []
    for name, plate in zip(ids, plates, strict=True):
        found += _found(plate, name, notes)
    fields, doubles = gather(found, waves)
    sizes = (_pixel_size(said) for of_plate in described for said in of_plate.values())
    return PlateImages(
        location=location,
        source="imagexpress",
        channels=tuple(_channel(wave, plates, described) for wave in waves),
        fields=fields,
        pixel_size_um=one_pixel_size(sizes, location),
        shape=_shape(plates[0]),
        notes=(*notes, *doubles),
    )


def _plates(location: Path) -> list[_Plate]:
    """Return the plates: images with one start of their names, in the folders of one plate."""
    files = files_below(location, (*TIFF_SUFFIXES, HTD))
    htds: dict[str, list[Path]] = defaultdict(list)
    images: dict[str, dict[str, list[_Image]]] = defaultdict(dict)
    for name in files:
        root = _root(name)
        if name.lower().endswith(HTD):
            htds[root].append(location / name)
        elif image := _image(location, name):
            images[root].setdefault(image.stem, []).append(image)
    plates = []
    for root, by_stem in images.items():
        for stem, of_stem in by_stem.items():
            htd = _htd_of(stem, htds[root], is_only=len(by_stem) == 1)
            said = {} if htd is None else _read_htd(htd)
            plates.append(_Plate(location.absolute() / root, htd, said, of_stem))
    return plates


def _htd_of(stem: str, htds: list[Path], *, is_only: bool) -> Path | None:
    """Return the .HTD with the name of a plate, any for the only plate of a folder."""
    named = [path for path in htds if path.stem.casefold() == stem.casefold()]
    return next(iter(named or (htds if is_only else [])), None)


def _root(name: str) -> str:
    folders = name.split("/")[:-1]
    while folders and (_TIME.fullmatch(folders[-1]) or _DEPTH.fullmatch(folders[-1])):
        folders.pop()
    return "/".join(folders)


def _image(location: Path, name: str) -> _Image | None:
    """Return what a path says; None for thumbnails and for other files."""
    *folders, file = name.split("/")
    match = _NAME.fullmatch(file)
    well = parse_well(match["well"]) if match else None
    if match is None or well is None or match["thumb"]:
        return None
    times = [int(found[1]) for one in folders if (found := _TIME.fullmatch(one))]
    depths = [int(found[1]) for one in folders if (found := _DEPTH.fullmatch(one))]
    return _Image(
        path=location / name,
        stem=match["stem"],
        well=well.name,
        site=int(match["site"] or 1),
        wave=int(match["wave"] or 1),
        time=times[-1] if times else 1,
        depth=int(match["z"] or (depths[-1] if depths else _PROJECTION)),
    )


def _found(plate: _Plate, name: str, notes: list[str]) -> Iterator[Found]:
    """Yield the planes of a plate, and those that its .HTD lets expect."""
    stacks = {image.series for image in plate.images if image.depth != _PROJECTION}
    kept = [
        image for image in plate.images if image.depth != _PROJECTION or image.series not in stacks
    ]
    if left_out := len(plate.images) - len(kept):
        notes.append(
            f"{name}: {left_out:,} projections are left out, since their depths are there."
        )
    for one in kept:
        yield Found(
            name, one.well, one.site, one.time, one.wave, one.depth or 1, TiffPlane(one.path)
        )
    if plate.htd is not None:
        notes.extend(_absent_wells(plate, plate.htd, name))
        yield from _missing(kept, plate.htd, name)


def _missing(kept: list[_Image], htd: Path, plate: str) -> Iterator[Found]:
    """Yield images that other wells have, and that a well with images has not."""
    wells = {one.well: one for one in kept}
    places = {(one.site, one.time, one.wave, one.depth): one for one in kept}
    there = {(one.well, one.site, one.time, one.wave, one.depth) for one in kept}
    for well, of_well in wells.items():
        for (site, time, wave, depth), like in places.items():
            if (well, site, time, wave, depth) not in there:
                plane = MissingPlane(_renamed(like.path, of_well.path), htd.name)
                yield Found(plate, well, site, time, wave, depth or 1, plane)


def _renamed(path: Path, of_well: Path) -> Path:
    """Return the path of the same image of another well."""
    name, other = _NAME.fullmatch(path.name), _NAME.fullmatch(of_well.name)
    if name is None or other is None:
        return path
    ending = re.sub(rf"{_GUID}(?=\.)", "", path.name[name.end("well") :], flags=re.IGNORECASE)
    return path.with_name(f"{name['stem']}_{other['well']}{ending}")


def _absent_wells(plate: _Plate, htd: Path, name: str) -> Iterator[str]:
    there = {image.well for image in plate.images}
    absent = [well for well in _selected(plate.said) if well not in there]
    if absent:
        yield (
            f"{name}: {len(absent):,} wells that {htd.name} names have no image, such as "
            f"{absent[0]}."
        )


def _selected(said: dict[str, list[str]]) -> Iterator[str]:
    """Yield the wells that were chosen at the instrument."""
    for row in range(1, MAX_ROWS + 1):
        for column, value in enumerate(said.get(f"WellsSelection{row}", [])[:MAX_COLUMNS], 1):
            if value.upper() == "TRUE":
                yield Well(row, column).name


def _read_htd(path: Path) -> dict[str, list[str]]:
    """Return the values of each key of a .HTD."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_HTD_BYTES).decode("latin-1")
        rows = list(csv.reader(text.splitlines(), skipinitialspace=True))
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error
    return {row[0]: [value.strip() for value in row[1:]] for row in rows if row}


def _described(plate: _Plate) -> dict[int, dict[str, str]]:
    """Return what the first readable TIFF of each wave says of itself, by the ids of MetaData."""
    paths: dict[int, list[Path]] = {}
    for image in plate.images:
        paths.setdefault(image.wave, []).append(image.path)
    return {wave: _metadata(first_description(of_wave)) for wave, of_wave in paths.items()}


def _metadata(text: str | None) -> dict[str, str]:
    if text is None or "<MetaData>" not in text:
        return {}
    try:
        described = parse_xml(text.strip("\0 \r\n"), "ImageDescription")
    except DataError:
        return {}
    return {one.get("id", ""): one.get("value", "") for one in described.iter("prop")}


def _channel(
    wave: int, plates: list[_Plate], described: list[dict[int, dict[str, str]]]
) -> Channel:
    """Return a channel, which must have one name on all plates."""
    names: dict[str, _Plate] = {}
    for plate, said in zip(plates, described, strict=True):
        if wave in said:
            names.setdefault(_name(plate, wave, said[wave]), plate)
    if len(names) > 1:
        (one, plate), (another, other) = list(names.items())[:2]
        raise DataError(
            f"wave {wave} is {one!r} in {plate.root} and {another!r} in {other.root}, expected "
            "plates with the same channels; read the plates one by one."
        )
    wavelengths = (number(said[wave].get("wavelength")) for said in described if wave in said)
    return Channel(next(iter(names)), None, next(filter(None, wavelengths), None))


def _name(plate: _Plate, wave: int, said: dict[str, str]) -> str:
    in_htd = plate.said.get(f"WaveName{wave}")
    name = (in_htd and in_htd[0]) or said.get("_IllumSetting_") or said.get("image-name", "")
    return shown(name.strip() or f"w{wave}", 100)


def _pixel_size(said: dict[str, str]) -> float | None:
    """Return the pixel size in micrometres; None where the microscope was not calibrated."""
    is_given = said.get("spatial-calibration-state", "on") == "on"
    unit = said.get("spatial-calibration-units", "")
    return number(said.get("spatial-calibration-x")) if is_given and unit in _MICRONS else None


def _shape(plate: _Plate) -> tuple[int, int] | None:
    return plate_shape(*((plate.said.get(key) or [""])[0] for key in ("YWells", "XWells")))


SOURCE = Source("Molecular Devices ImageXpress (MetaXpress, .HTD)", recognises, read)
