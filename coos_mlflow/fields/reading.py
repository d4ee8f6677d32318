"""Read the protein and nucleus channel of a field as one array of raw counts."""

from __future__ import annotations

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.fields.focus import depth_score, sharpest
from coos_mlflow.fields.plate_images import Field
from coos_mlflow.fields.settings import FOCUS, MAX, CropSettings
from coos_mlflow.plates.schema import CHANNELS
from coos_mlflow.plates.tiff_pages import check_dark

MAX_COUNT = 65535
"""Largest count of 16 bits, which all cameras of these instruments fit into."""


def read_field(field: Field, settings: CropSettings) -> np.ndarray:
    """Read the two channels of a field.

    With `FOCUS` the depth is chosen on the nucleus channel, among those that both channels have.

    Returns
    -------
    ndarray of uint16 or float32, shape (2, height, width)
        Raw counts of protein and nucleus. Integers of any size become uint16, floats float32.

    Raises
    ------
    DataError
        For missing or damaged images, channels of different shape or kind of number, a depth that
        is not there, and values that are no counts: below 0, above 65,535, not finite, or with
        32,768 added. The sentence names the field, and the file where one is to blame.
    """
    places = (settings.protein, settings.nucleus)
    depths = [_depths(field, place, name) for place, name in zip(places, CHANNELS, strict=True)]
    if settings.z == MAX:
        images = [
            _maximum(field, place, all_of_it)
            for place, all_of_it in zip(places, depths, strict=True)
        ]
    else:
        z = _depth(field, settings, depths)
        images = [_read(field, place, z) for place in places]
    protein, nucleus = images
    for what in ("shape", "dtype"):
        found, expected = getattr(protein, what), getattr(nucleus, what)
        if found != expected:
            raise DataError(
                f"{field}: {what} {found} found in the protein channel and {expected} in the "
                "nucleus channel, expected the same of both; choose other channels."
            )
    counts = np.stack(images)
    for name, place, image in zip(CHANNELS, places, counts, strict=True):
        first = field.planes[place, field.depths(place)[0]].place
        check_dark(float(image.min()), f"{field}: {first}: no count of the {name} channel")
    return counts


def _depths(field: Field, place: int, name: str) -> list[int]:
    depths = field.depths(place)
    if not depths:
        raise DataError(
            f"{field}: no image of the {name} channel (channel {place + 1}) found, expected one; "
            "choose another channel, or leave the field out."
        )
    return depths


def _depth(field: Field, settings: CropSettings, depths: list[list[int]]) -> int:
    """Return the depth to read of both channels."""
    common = [z for z in depths[0] if z in depths[1]]
    if settings.z != FOCUS:
        if settings.z.isdecimal() and int(settings.z) in common:
            return int(settings.z)
        raise DataError(
            f"{field}: depth {settings.z} is not there, expected one of "
            f"{', '.join(map(str, common)) or 'none'}; choose it by --z."
        )
    if not common:
        raise DataError(
            f"{field}: the channels share no depth, expected one for --z {FOCUS}; --z {MAX} takes "
            "the maximum of each channel."
        )
    if len(common) == 1:
        return common[0]
    scores = [depth_score(_read(field, settings.nucleus, z)) for z in common]
    return common[sharpest(scores)]


def _maximum(field: Field, place: int, depths: list[int]) -> np.ndarray:
    """Return the maximum over depths; one depth is held in memory at a time."""
    highest = _read(field, place, depths[0])
    for z in depths[1:]:
        image = _read(field, place, z)
        if image.shape != highest.shape or image.dtype != highest.dtype:
            raise DataError(
                f"{field}: {field.planes[place, z].place}: {image.dtype} of shape {image.shape} "
                f"found, expected {highest.dtype} of shape {highest.shape} as at other depths."
            )
        np.maximum(highest, image, out=highest)
    return highest


def _read(field: Field, place: int, z: int) -> np.ndarray:
    """Return one plane as uint16 or float32, shape (height, width)."""
    plane = field.planes[place, z]
    try:
        image = plane.read()
    except DataError as error:
        raise DataError(f"{field}: {error}") from error
    where = f"{field}: {plane.place}"
    if image.ndim != 2 or not image.size:
        raise DataError(f"{where}: shape {image.shape} found, expected height and width.")
    if image.dtype.kind not in "uif":
        raise DataError(f"{where}: dtype {image.dtype} found, expected whole or real numbers.")
    low, high = image.min().item(), image.max().item()
    if not np.isfinite(low) or not np.isfinite(high):
        raise DataError(f"{where}: a value that is no number found, expected raw counts.")
    if low < 0 or high > MAX_COUNT:
        raise DataError(
            f"{where}: {low if low < 0 else high:,.6g} found, expected raw counts from 0 to "
            f"{MAX_COUNT:,}; take the images as the instrument wrote them."
        )
    if image.dtype.kind == "f" and low < high <= 1:
        raise DataError(
            f"{where}: {high:.6g} found as the maximum, as if scaled to [0, 1], expected raw "
            "counts; take the images as the instrument wrote them."
        )
    return image.astype(np.float32 if image.dtype.kind == "f" else np.uint16)
