"""Which page of a TIFF is which channel, depth and time: OME-TIFF, ImageJ and plain stacks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Channel
from coos_mlflow.fields.sources._gather import number
from coos_mlflow.fields.sources.base import parse_xml
from coos_mlflow.plates.columns import shown
from coos_mlflow.plates.tiff_pages import open_tiff

MAX_PAGES = 100_000

SIMULATED = "simulated=true"
"""Line in the description of a TIFF that this package simulated."""

_TO_MICRONS = {"": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
_IMAGEJ_MICRONS = ("um", "micron", "microns", "\\u00b5m")
"""ImageJ spells the letter mu as an escape, since its description is ASCII."""


class Page(NamedTuple):
    """An image in a TIFF: channel, depth and time from 0, page, and sample of the pixel."""

    channel: int
    depth: int
    time: int
    page: int
    sample: int | None = None


class Stack(NamedTuple):
    """What a TIFF holds.

    Parameters
    ----------
    pages : list of Page
    channels : list of Channel
        Empty where the file names none.
    pixel_size_um : float or None
    note : str
        What was left out or taken for granted, or ``""``.
    simulated : bool
        Whether the image says that it is simulated.
    """

    pages: list[Page]
    channels: list[Channel]
    pixel_size_um: float | None
    note: str = ""
    simulated: bool = False


def read_stack(path: Path, *, pages_are_depths: bool) -> Stack:
    """Read what a TIFF says of its pages, and no pixels.

    Parameters
    ----------
    path : Path
    pages_are_depths : bool
        Whether pages of a TIFF that does not describe them are depths, else they are channels.

    Raises
    ------
    DataError
        For a file that is no TIFF, and a description that cannot be read.
    """
    with open_tiff(path) as tiff:
        first = tiff.pages[0]
        n_pages = len(tiff.pages)
        n_samples = int(first.samplesperpixel)
        text = str(first.description).strip("\0 \r\n")
        if text[-6:].endswith("</OME>") or text.endswith(":OME>"):
            return _ome(path, parse_xml(text, path), n_pages, n_samples)
        if first.is_imagej:
            stack = _imagej(path, tiff, n_pages, n_samples)
            return stack._replace(simulated=SIMULATED in text.splitlines())
    _check_count(path, [n_pages, n_samples])
    if n_samples > 1:
        pages = [
            Page(sample, page, 0, page, sample)
            for page in range(n_pages)
            for sample in range(n_samples)
        ]
        return Stack(pages, [], None, f"{n_samples} values in each pixel are taken for channels.")
    if n_pages == 1:
        return Stack([Page(0, 0, 0, 0)], [], None)
    if pages_are_depths:
        pages = [Page(0, page, 0, page) for page in range(n_pages)]
        return Stack(pages, [], None, f"{n_pages} pages in a file are taken for depths.")
    pages = [Page(page, 0, 0, page) for page in range(n_pages)]
    return Stack(pages, [], None, f"{n_pages} pages in a file are taken for channels.")


def _ome(path: Path, root: Element, n_pages: int, n_samples: int) -> Stack:
    """Read OME-XML; files that it names are never opened."""
    images = list(root.iter("Image"))
    pixels = next((one for image in images for one in image.iter("Pixels")), None)
    if pixels is None:
        raise DataError(f"{path}: its OME-XML describes no image; save it again.")
    sizes = {axis: _size(pixels, axis, path) for axis in "CZT"}
    channels = [_ome_channel(one, place) for place, one in enumerate(pixels.iter("Channel"), 1)]
    in_pixel = n_samples if n_samples > 1 else 1
    order = pixels.get("DimensionOrder", "XYCZT")[2:]
    if sorted(order) != ["C", "T", "Z"]:
        raise DataError(
            f"{path}: the order '{shown(order, 20)}' found in its OME-XML, expected such as XYCZT."
        )
    steps = {axis: size // in_pixel if axis == "C" else size for axis, size in sizes.items()}
    _check_count(path, [*steps.values(), in_pixel])
    places = _ome_places(path, pixels, [(axis, max(steps[axis], 1)) for axis in order], n_pages)
    pages = [
        Page(at["C"] * in_pixel + sample, at["Z"], at["T"], page, sample if in_pixel > 1 else None)
        for page, at in places
        for sample in range(in_pixel)
    ]
    notes = []
    if len(pages) < sizes["C"] * sizes["Z"] * sizes["T"]:
        notes.append("its OME-XML names images of other files, which are not read.")
    if len(images) > 1:
        notes.append(f"it holds {len(images)} images, of which the first is read.")
    size = number(pixels.get("PhysicalSizeX"))
    factor = _TO_MICRONS.get(_unit(pixels.get("PhysicalSizeXUnit", "")))
    microns = size * factor if size and factor else None
    return Stack(pages, channels[: sizes["C"]], microns, " ".join(notes))


def _ome_places(
    path: Path, pixels: Element, axes: list[tuple[str, int]], n_pages: int
) -> Iterator[tuple[int, dict[str, int]]]:
    """Yield each page that lies in this file, and its place on the axes C, Z and T."""
    names = [axis for axis, _ in axes]
    # The first axis is the fastest.
    places = [
        dict(zip(names, place[::-1], strict=True))
        for place in product(*(range(size) for _, size in axes[::-1]))
    ]
    numbers = {tuple(place.values()): at for at, place in enumerate(places)}
    blocks = list(pixels.iter("TiffData"))
    if not blocks:
        yield from zip(range(n_pages), places, strict=False)
        return
    uuids = {(one.findtext("UUID") or "").strip() for one in blocks} - {""}
    here = {
        (uuid.text or "").strip()
        for one in blocks
        if (uuid := one.find("UUID")) is not None and uuid.get("FileName") in (None, path.name)
    }
    for block in blocks:
        own = (block.findtext("UUID") or "").strip()
        if own and own not in here and len(uuids) > 1:
            continue
        start = {axis: int(number(block.get(f"First{axis}")) or 0) for axis in "CZT"}
        first = int(number(block.get("IFD")) or 0)
        whole_file = len(blocks) == 1 and "IFD" not in block.attrib
        count = int(number(block.get("PlaneCount")) or (n_pages if whole_file else 1))
        at = numbers.get(tuple(start[axis] for axis in names), len(places))
        for offset in range(min(count, len(places) - at)):
            if first + offset < max(n_pages, MAX_PAGES):
                yield first + offset, places[at + offset]


def _size(pixels: Element, axis: str, path: Path) -> int:
    size = int(number(pixels.get(f"Size{axis}")) or 1)
    if size > MAX_PAGES:
        raise DataError(
            f"{path}: Size{axis} of {size:,} found in its OME-XML, expected at most {MAX_PAGES:,}."
        )
    return size


def _check_count(path: Path, sizes: Iterable[int]) -> None:
    """Refuse a description of more images than memory holds, before a place is made for each."""
    count = math.prod(max(size, 1) for size in sizes)
    if count > MAX_PAGES:
        raise DataError(
            f"{path}: {count:,} images claimed, expected at most {MAX_PAGES:,}; the file is "
            "damaged or no stack of a field."
        )


def _ome_channel(element: Element, place: int) -> Channel:
    name = element.get("Name") or element.get("Fluor") or f"channel {place}"
    excitation, emission = (
        number(element.get(f"{kind}Wavelength")) for kind in ("Excitation", "Emission")
    )
    return Channel(shown(name, 100), excitation or None, emission or None)


def _unit(text: str) -> str:
    return text.replace("\u00b5", "u").replace("\u03bc", "u")


def _imagej(path: Path, tiff: Any, n_pages: int, n_samples: int) -> Stack:
    """Read the description of ImageJ; channels are its fastest axis, times its slowest."""
    said = dict(
        line.split("=", 1) for line in tiff.pages[0].description.splitlines() if "=" in line
    )
    counts = [int(number(said.get(key)) or 1) for key in ("frames", "slices", "channels")]
    if counts == [1, 1, 1]:
        counts[1] = n_pages
    _check_count(path, counts)
    places = product(*map(range, counts))
    pages = [Page(channel, depth, time, page) for page, (time, depth, channel) in enumerate(places)]
    note = f"{n_samples} values in each pixel are not read." if n_samples > 1 else ""
    return Stack(pages, _imagej_channels(tiff, counts), _imagej_pixel_size(tiff, said), note)


def _imagej_channels(tiff: Any, counts: list[int]) -> list[Channel]:
    labels = (tiff.imagej_metadata or {}).get("Labels") or []
    n_channels = counts[2]
    names = [shown(str(label), 100) for label in labels[:n_channels]]
    if len(labels) != counts[0] * counts[1] * n_channels or len({*names}) != n_channels:
        return []
    return [Channel(name) for name in names]


def _imagej_pixel_size(tiff: Any, said: dict[str, str]) -> float | None:
    tag = tiff.pages[0].tags.get("XResolution")
    if tag is None or said.get("unit") not in _IMAGEJ_MICRONS:
        return None
    pixels, microns = tag.value
    return microns / pixels if pixels else None
