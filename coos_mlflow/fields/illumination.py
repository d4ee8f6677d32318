"""Estimate uneven light over a plate, and divide it out.

At each place of the field, the brightness over all fields of a plate spreads in proportion to the
light there. What all fields share, the camera's offset and a background, does not add to a spread.
So the ratio of spreads gives the light without a dark image. Medians over fields are usual for
this (Singh et al. 2014, J. Microsc. 256:231); BaSiC (Peng et al. 2017, Nat. Commun. 8:14836) also
separates light and offset.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

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

SMOOTH = 0.2
"""Standard deviation of the smoothing, in sides of the field; light falls off slowly. Chosen."""

LOW, HIGH = 0.1, 0.75
"""Quantiles over fields between which the spread is measured; chosen."""

DIMMEST = 0.2
"""Least light, relative to the mean, so that noise is never multiplied by more than 5; chosen."""


def estimate(
    images: PlateImages,
    settings: CropSettings,
    on_progress: Callable[[int], None] | None = None,
) -> np.ndarray:
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
    ndarray of float32, shape (2, 2, GRID, GRID)
        For protein and nucleus: the darkest usual brightness in counts, and the light, whose mean
        is 1.

    Raises
    ------
    DataError
        For fewer than `FEWEST_FIELDS` fields, and where all fields look the same.
    """
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
    low, high = np.quantile(np.stack(seen), (LOW, HIGH), axis=0)
    spread = _smoothed(high - low)
    mean = spread.mean(axis=(1, 2), keepdims=True)
    if not (mean > 0).all():
        raise DataError(
            f"{images.location}: all fields are equally bright, so that --illumination cannot tell "
            "light from background; leave it out."
        )
    light = np.maximum(spread / mean, DIMMEST)
    light /= light.mean(axis=(1, 2), keepdims=True)
    return np.stack([_smoothed(low), light], axis=1).astype(np.float32)


def correct(counts: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Divide the light out of a field.

    What lies above the darkest usual brightness is divided by the light. That brightness itself
    becomes its mean everywhere, so that the offset of the camera is not scaled.

    Parameters
    ----------
    counts : ndarray of uint16 or float32, shape (2, height, width)
    light : ndarray of float32
        From `estimate`.

    Returns
    -------
    ndarray, same shape and dtype
        Rounded and kept within 0 and 65,535.
    """
    corrected = np.empty_like(counts)
    for image, (dark, gain), out in zip(counts, light, corrected, strict=True):
        dark_image, gain_image = (_enlarged(grid, image.shape) for grid in (dark, gain))
        values = (image - dark_image) / gain_image + dark.mean()
        np.clip(values, 0, MAX_COUNT, out=values)
        out[:] = np.rint(values) if counts.dtype.kind == "u" else values
    return corrected


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
    heights, widths = (
        np.diff(starts, append=side)
        for starts, side in zip((rows, columns), counts.shape[1:], strict=True)
    )
    return sums / (heights[:, None] * widths)


def _smoothed(grid: np.ndarray) -> np.ndarray:
    sigma = (0, SMOOTH * GRID / 2, SMOOTH * GRID / 2)
    return ndimage.gaussian_filter(grid, sigma, mode="nearest")


def _enlarged(grid: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a grid at the size of a field, float32, interpolated between its squares' middles."""
    from skimage.transform import resize

    return resize(grid, shape, order=1, mode="edge", anti_aliasing=False)
