"""How sharp an image is, whatever its noise, brightness and offset.

The measure compares fine with coarse changes: the energy of second differences over that of first
differences. Each energy is a mean of products of neighbouring rows or columns, whose noise is
independent, so that noise adds nothing to it (the idea of Vollath 1987, J. Microsc. 147:279). Gain
cancels in the ratio, and differences have no offset. An edge blurred by a Gaussian of standard
deviation s pixels has a ratio of about 1 / (2 s^2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NOISE_ERRORS = 4.0
"""Standard errors by which a depth must be sharper than noise alone is; chosen."""

SMALLEST_SIDE = 4
"""Smallest side of an image whose sharpness can be measured."""

BINNINGS = (1, 2, 4)
"""Sides of the squares whose means are looked at where single pixels hold too much noise."""


class Energy(NamedTuple):
    """Products of neighbouring differences in each pixel, shape (height - 2, width - 2).

    Parameters
    ----------
    fine, coarse : ndarray of float32
        Of second and of first differences, along rows and columns.
    """

    fine: np.ndarray
    coarse: np.ndarray


def energy(image: np.ndarray) -> Energy:
    """Return the energy of differences of an image in each pixel.

    Parameters
    ----------
    image : ndarray, shape (height, width), both at least `SMALLEST_SIDE`

    Returns
    -------
    Energy
        Pixel (0, 0) is that of pixel (1, 1) of the image.
    """
    pixels = image.astype(np.float32, copy=False)
    across, down = _products(pixels), _products(pixels.T)
    return Energy(across.fine + down.fine.T, across.coarse + down.coarse.T)


def _products(pixels: np.ndarray) -> Energy:
    first = np.diff(pixels, axis=1)
    second = np.diff(first, axis=1)
    # Each row is multiplied with the next one; rows without a partner are left out.
    return Energy(second[1:-1] * second[2:], first[1:-1, 1:] * first[2:, 1:])


class Sharpness(NamedTuple):
    """Fine over coarse energy.

    Parameters
    ----------
    value : float
        0 or more; larger is sharper. 0 where nothing changes.
    error : float
        Standard error of the value by noise; infinite where nothing changes.
    """

    value: float
    error: float


def sharpness(found: Energy) -> Sharpness:
    """Return the sharpness of an image, or of a part of it."""
    coarse = float(found.coarse.mean())
    if not coarse > 0:
        return Sharpness(0.0, np.inf)
    error = float(found.fine.std()) / found.fine.size**0.5
    return Sharpness(max(float(found.fine.mean()), 0.0) / coarse, error / coarse)


def depth_score(image: np.ndarray) -> tuple[float, ...]:
    """Return the sharpness of a plane for each of `BINNINGS`, 0 where noise could explain it."""
    return tuple(_certain(_binned(image, side)) for side in BINNINGS)


def sharpest(scores: list[tuple[float, ...]]) -> int:
    """Return the place of the sharpest of several depths.

    Parameters
    ----------
    scores : list of tuple
        Of `depth_score`.

    Returns
    -------
    int
        By the finest binning at which any depth rises above the noise. The middle one where none
        does at any.
    """
    for column in zip(*scores, strict=True):
        if max(column) > 0:
            return int(np.argmax(column))
    return len(scores) // 2


def _binned(image: np.ndarray, side: int) -> np.ndarray:
    if side == 1:
        return image
    height, width = (length // side for length in image.shape)
    squares = image[: height * side, : width * side].reshape(height, side, width, side)
    return squares.mean(axis=(1, 3), dtype=np.float32)


def _certain(image: np.ndarray) -> float:
    """Return the least sharpness that noise allows."""
    if min(image.shape) < SMALLEST_SIDE:
        return 0.0
    found = sharpness(energy(image))
    return max(found.value - NOISE_ERRORS * found.error, 0.0)
