"""A folder of TIFFs whose names say what they are: the fallback for all other instruments.

A pattern such as ``{well}_s{field}_w{channel}.tif`` says how names are read. Without one it is
guessed, and what was guessed stands in the notes. A file may hold one image, or all channels,
depths and times of a field as OME-TIFF or stack of ImageJ, which describe themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Channel, Field, PlateImages, TiffPlane
from coos_mlflow.fields.sources._gather import (
    TIFF_SUFFIXES,
    Found,
    files_below,
    gather,
    one_pixel_size,
    walk,
)
from coos_mlflow.fields.sources._names import Name, Pattern, guess
from coos_mlflow.fields.sources._stacks import Page, Stack, read_stack
from coos_mlflow.fields.sources.base import Source
from coos_mlflow.plates.columns import shown
from coos_mlflow.plates.tiff_pairs import natural

_LABEL = re.compile(
    r"(?:^|[_\-. /])(labels?|masks?|segmentations?|outlines)(?=$|[_\-. /0-9])", re.I
)
_THUMB = re.compile(r"thumb", re.IGNORECASE)


MAX_CHANNELS = 64
"""Most channels of a plate. More are taken for a pattern that is wrong; chosen."""

_TRIED = 5
_ONE_IMAGE = Stack([Page(0, 0, 0, 0)], [], None)


class _File(NamedTuple):
    """A file that fits the pattern."""

    path: str
    name: Name


def recognises(location: str) -> bool:
    """Return whether there is a TIFF in the folder or below."""
    try:
        return any(name.lower().endswith(TIFF_SUFFIXES) for name in walk(Path(location)))
    except (OSError, ValueError):
        return False


def read(location: str, pattern: str | None = None) -> PlateImages:
    """Read the names of all TIFFs; see `Source.read`."""
    folder = Path(location)
    names = [name for name in files_below(folder, TIFF_SUFFIXES) if not _THUMB.search(name)]
    labels = [name for name in names if _LABEL.search(_stem(name))]
    images = [name for name in names if not _LABEL.search(_stem(name))]
    if not images:
        raise DataError(f"{location}: no TIFF found, expected images of wells.")
    rule = Pattern(pattern) if pattern else guess(images, location)
    files = [_File(path, name) for path in images if (name := rule.read(path))]
    if not files:
        raise DataError(
            f"{location}: no file fits the pattern '{shown(rule.text)}', expected some such as "
            f"'{shown(images[0])}'."
        )
    notes = (
        []
        if pattern
        else [f"Names are read as {shown(rule.text)}; --pattern reads them otherwise."]
    )
    if len(files) < len(images):
        fitting = {one.path for one in files}
        other = next(path for path in images if path not in fitting)
        notes.append(f"{len(images) - len(files):,} files do not fit, such as {shown(other)}.")
    return _read(location, rule, files, labels, notes)


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _read(
    location: str, rule: Pattern, files: list[_File], labels: list[str], notes: list[str]
) -> PlateImages:
    folder = Path(location)
    by_key: dict[str, list[_File]] = {}
    for one in files:
        by_key.setdefault(one.name.channel, []).append(one)
    if len(by_key) > MAX_CHANNELS:
        raise DataError(
            f"{location}: read as {shown(rule.text)} the files have {len(by_key):,} channels, "
            f"expected at most {MAX_CHANNELS}; say by --pattern how files are named."
        )
    stacks: dict[str, Stack] = {}
    channels: list[Channel] = []
    found: list[Found] = []
    for key in sorted(by_key, key=natural):
        of_key = by_key[key]
        of_files, problem = _stacks(folder, of_key, pages_are_depths="channel" in rule.words)
        notes += problem
        usual = _usual_channels([*of_files.values()] or [_ONE_IMAGE])
        odd = dict.fromkeys(
            path for path, stack in of_files.items() if _n_channels(stack) != _n_channels(usual)
        )
        if odd:
            notes.append(
                f"{len(odd):,} files are left out, since they hold other channels than the most, "
                f"such as {shown(next(iter(odd)))}."
            )
        for one in of_key:
            if one.path not in odd:
                found += _found(folder, one, of_files.get(one.path, usual), len(channels))
        stacks |= of_files
        channels += _names(key, usual)
    for path, stack in stacks.items():
        if stack.note:
            notes.append(f"{path}: {stack.note}")
            break
    fields, doubles = gather(found, range(len(channels)))
    return PlateImages(
        location=location,
        source="tiff_pattern",
        channels=tuple(channels),
        fields=tuple(_with_labels(fields, folder, labels, notes)),
        pixel_size_um=one_pixel_size((one.pixel_size_um for one in stacks.values()), location),
        simulated=any(one.simulated for one in stacks.values()),
        notes=(*notes, *doubles),
    )


def _stacks(
    folder: Path, files: list[_File], *, pages_are_depths: bool
) -> tuple[dict[str, Stack], list[str]]:
    """Return what the files of a channel hold, and a sentence on why none could be read.

    Some files are opened, and all others only where one of these holds several images, since there
    are tens of thousands of files with one.
    """
    stacks: dict[str, Stack] = {}
    problem: list[str] = []

    def look(one: _File) -> None:
        # A file that cannot be read is listed like the others, and refused when it is read.
        try:
            stacks[one.path] = read_stack(folder / one.path, pages_are_depths=pages_are_depths)
        except DataError as error:
            problem[:] = [f"{error}"]

    for one in {files[len(files) * place // _TRIED]: None for place in range(_TRIED)} | {
        files[-1]: None
    }:
        look(one)
    if any(len(stack.pages) > 1 for stack in stacks.values()):
        for one in files:
            if one.path not in stacks:
                look(one)
    return stacks, [] if stacks else problem


def _usual_channels(stacks: list[Stack]) -> Stack:
    """Return the first of the stacks with the channels that most of them have."""
    channels = [(_n_channels(one), *(channel.name for channel in one.channels)) for one in stacks]
    return stacks[channels.index(Counter(channels).most_common(1)[0][0])]


def _n_channels(stack: Stack) -> int:
    return 1 + max((page.channel for page in stack.pages), default=0)


def _found(folder: Path, file: _File, stack: Stack, first_channel: int) -> Iterator[Found]:
    name = file.name
    plate = name.plate or folder.absolute().name
    for page in stack.pages:
        yield Found(
            plate,
            name.well,
            name.field,
            name.time + page.time,
            first_channel + page.channel,
            name.z + page.depth,
            TiffPlane(folder / file.path, page.page, page.sample),
        )


def _names(key: str, stack: Stack) -> list[Channel]:
    """Return the channels of the files with one key, by what the files and their names say."""
    own = f"channel {key}" if key.isdigit() else shown(key, 100)
    n_channels = _n_channels(stack)
    if n_channels == 1:
        of_file = stack.channels[:1]
        return (
            [replace(of_file[0], name=own)]
            if of_file and key
            else [*of_file, Channel(own or "channel 1")][:1]
        )
    of_file = stack.channels + [
        Channel(f"channel {place}") for place in range(len(stack.channels) + 1, n_channels + 1)
    ]
    return [replace(one, name=f"{own} {one.name}") if key else one for one in of_file[:n_channels]]


def _with_labels(
    fields: tuple[Field, ...], folder: Path, labels: list[str], notes: list[str]
) -> Iterator[Field]:
    """Yield the fields with their label images, which are found by well, field and time."""
    of_field: dict[tuple[str, int, int], dict[str, TiffPlane]] = {}
    if labels:
        notes.append(f"{len(labels):,} label images, such as {shown(labels[0])}, are no channels.")
        try:
            rule = guess(labels, str(folder))
        except DataError:
            rule = None
        for path in labels:
            name = rule.read(path) if rule else None
            if name is not None:
                key = (name.well, name.field, name.time)
                of_field.setdefault(key, {})[_label_name(path)] = TiffPlane(folder / path)
    for one in fields:
        yield replace(one, labels=of_field.get((one.well, one.number, one.time), {}))


def _label_name(path: str) -> str:
    found = _LABEL.search(_stem(path))
    return found[1].lower() if found else "labels"


SOURCE = Source(
    "TIFFs with well, field and channel in their names",
    recognises,
    read,
    fallback=True,
    takes_pattern=True,
)
