"""Estimate uneven light over a plate, and divide it out.

The brightness of a place is the camera's offset, plus the light there times what the field shows.
Over many fields, the mean and the spread of a place both grow with its light, but the offset adds
to the mean alone. So both together give light and offset without a dark image, and the offset is
not scaled. BaSiC (Peng et al. 2017, Nat. Commun. 8:14836) separates the two as well, with a
sparse model; its package holds NumPy below 2, so it is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Field, PlateImages
from coos_mlflow.fields.reading import MAX_COUNT, read_field
from coos_mlflow.fields.settings import CropSettings

MOST_FIELDS = 100
"""Most fields that are looked at; chosen, as more change the result little."""

FEWEST_FIELDS = 10
"""Fewest fields whose spread can be told; chosen."""

GRID = 32
"""Rows and columns of squares whose means are compared; chosen."""

DIMMEST = 0.2
"""Least light, relative to the mean, so that noise is never multiplied by more than 5; chosen."""


class Light(NamedTuple):
    """The light over a field, for protein and nucleus.

    Parameters
    ----------
    profile : ndarray of float32, shape (2, GRID, GRID)
        Relative light in squares of the field; its mean is 1.
    offset : ndarray of float32, shape (2,)
        Counts without any light.
    """

    profile: np.ndarray
    offset: np.ndarray


def estimate(
    images: PlateImages,
    settings: CropSettings,
    on_progress: Callable[[int], None] | None = None,
) -> Light:
    """Estimate the light of both channels over a plate.

    Fields are taken evenly over the wells. Those that cannot be read are left out.

    Parameters
    ----------
    images : PlateImages
    settings : CropSettings
    on_progress : callable or None
        Called with the number of fields read since its last call.

    Returns
    -------
    Light
        Its profile is a polynomial of second degree, the usual shape of a vignette.

    Raises
    ------
    DataError
        For several plates, whose light may differ, and for fewer than `FEWEST_FIELDS` fields that
        can be read.
    """
    if len(images.plates) > 1:
        raise DataError(
            f"{images.location}: found {len(images.plates)} plates, expected one for "
            "--illumination; crop each by itself."
        )
    seen = []
    for field in _sample(images.fields):
        try:
            seen.append(_means(read_field(field, settings)))
        except DataError:
            continue  # The cropping itself names it.
        finally:
            if on_progress:
                on_progress(1)
    if len(seen) < FEWEST_FIELDS:
        raise DataError(
            f"{images.location}: {len(seen)} fields found that can be read, expected at least "
            f"{FEWEST_FIELDS} for --illumination; leave it out."
        )
    parts = [_light(channel) for channel in np.stack(seen, axis=1)]
    profiles, offsets = zip(*parts, strict=True)
    return Light(np.stack(profiles).astype(np.float32), np.array(offsets, np.float32))


def correct(counts: np.ndarray, light: Light) -> np.ndarray:
    """Divide the light out of a field.

    What lies above the camera's offset is divided by the profile; the offset stays.

    Parameters
    ----------
    counts : ndarray of uint16 or float32, shape (2, height, width)
    light : Light
        From `estimate`.

    Returns
    -------
    ndarray, same shape and dtype
        Rounded and kept within 0 and 65,535.
    """
    corrected = np.empty_like(counts)
    for image, profile, offset, out in zip(counts, *light, corrected, strict=True):
        values = (image - offset) / _enlarged(profile, image.shape) + offset
        np.clip(values, 0, MAX_COUNT, out=values)
        out[:] = np.rint(values) if counts.dtype.kind == "u" else values
    return corrected


def _light(means: np.ndarray) -> tuple[np.ndarray, float]:
    """Return profile and offset of one channel, from its fields' squares (n, GRID, GRID)."""
    mean, spread = _smooth(means.mean(axis=0)), _smooth(means.std(axis=0))
    offset = 0.0
    if spread.mean() > 0:
        # The spread is proportional to light, so it is 0 where the mean is the offset.
        slope = np.cov((spread / spread.mean()).ravel(), mean.ravel())[0, 1] / (
            mean.var(ddof=1) or 1.0
        )
        offset = mean.mean() - 1 / slope if slope > 0 else 0.0
    # No place is darker than the offset.
    offset = float(np.clip(offset, 0, means.min()))
    light = mean - offset
    if not light.mean() > 0:
        return np.ones_like(light), offset
    profile = np.maximum(light / light.mean(), DIMMEST)
    return profile / profile.mean(), offset


def _sample(fields: tuple[Field, ...]) -> list[Field]:
    """Return at most `MOST_FIELDS` fields, evenly over their order, which is that of the wells."""
    places = np.linspace(0, len(fields) - 1, min(MOST_FIELDS, len(fields))).round().astype(int)
    return [fields[place] for place in places]


def _means(counts: np.ndarray) -> np.ndarray:
    """Return the means of squares of a field, shape (2, GRID, GRID)."""
    rows, columns = (
        np.linspace(0, side, GRID, endpoint=False).astype(int) for side in counts.shape[1:]
    )
    sums = np.add.reduceat(np.add.reduceat(counts, rows, axis=1, dtype=float), columns, axis=2)
    # Squares of a tiny field may share a row or column.
    heights, widths = (
        np.maximum(np.diff(starts, append=side), 1)
        for starts, side in zip((rows, columns), counts.shape[1:], strict=True)
    )
    return sums / (heights[:, None] * widths)


def _smooth(grid: np.ndarray) -> np.ndarray:
    """Return the polynomial of second degree in y and x that fits a grid best."""
    y, x = (axis.ravel() for axis in np.mgrid[-1 : 1 : GRID * 1j, -1 : 1 : GRID * 1j])
    terms = np.stack([np.ones_like(x), y, x, y * y, y * x, x * x], axis=1)
    return (terms @ np.linalg.lstsq(terms, grid.ravel())[0]).reshape(grid.shape)


def _enlarged(grid: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a grid at the size of a field, float32, interpolated between its squares' middles."""
    from skimage.transform import resize

    return resize(grid, shape, order=1, mode="edge", anti_aliasing=False)
