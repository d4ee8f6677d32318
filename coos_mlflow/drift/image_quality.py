"""Raw-image figures (intensity, contrast, sharpness, noise) that describe cells without a model.

`VIEWS` names the three views in which plates are compared; these figures are the third.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coos_mlflow.plates.schema import CHANNELS

VIEWS = ("softmax", "features", "raw")
"""The predicted probabilities, the representation, and the raw images."""

FIGURES_VERSION = "2"
"""Part of the cache key. Change it whenever the same cells would give other figures."""

_QUANTILES = (0.01, 0.5, 0.999)
_LOG_OFFSET = 1.0  # added to counts before logarithms, so that black pixels stay finite
_MIN_ENERGY = 1e-3  # squared counts: images without any detail stay finite

_FINE_IN_BINNED = 1 / 3.75
"""Energy of fine detail in neighbouring pixels, as a share of its gain from binning. Where an image
is smooth on the scale of a pixel, differences of pixels twice as wide are twice as large: four
times the energy, of which a quarter is taken off as noise, leaves 3.75 times the original."""


@dataclass(frozen=True)
class RawFigure:
    """The description of one raw-image figure.

    Parameters
    ----------
    name : str
        The quantity and its channel, as in the report.
    channel : str
        A member of `CHANNELS`, or ``"both"``.
    scale : str
        ``"log"`` where differences are logarithms of factors, ``"plain"`` otherwise.
    """

    name: str
    channel: str
    scale: str


def _figures_of(channel: str) -> tuple[RawFigure, ...]:
    names = (
        "background (1st percentile)",
        "median",
        "bright end (99.9th percentile)",
        "mean",
        "contrast (standard deviation)",
        "saturation (pixels at the maximum)",
        "sharpness (fine over coarse detail)",
        "noise (grain of single pixels)",
    )
    return tuple(RawFigure(f"{channel} {name}", channel, "log") for name in names)


RAW_FIGURE_TABLE: tuple[RawFigure, ...] = (
    *(figure for channel in CHANNELS for figure in _figures_of(channel)),
    RawFigure("correlation of the channels", "both", "plain"),
)
"""The columns of `raw_figures`, in order."""

RAW_FIGURES: tuple[str, ...] = tuple(figure.name for figure in RAW_FIGURE_TABLE)
"""Names of the columns of `raw_figures`."""


def raw_figures(images: np.ndarray) -> np.ndarray:
    """Describe cells by intensity, contrast, saturation, sharpness, noise and correlation.

    Intensities are natural logarithms of counts + 1. Exposure, gain and staining multiply counts,
    so that their effects on the logarithms add. Saturation is the logarithm of the number of
    pixels at the crop's maximum: 1 pixel where the crop is within range, many where the camera
    clipped, at any clipping level.

    Sharpness and noise come from the mean squared differences of neighbouring pixels (the energy of
    gradient of Subbarao et al. 1993), in the image as it is and after binning by 2 and by 4. The
    noise of single pixels is independent, so that binning by 2 divides its energy by 4; detail of
    the specimen behaves otherwise. A quarter of the energy before binning is therefore taken off,
    which leaves the detail alone. Sharpness is the logarithm of the ratio of such detail at binning
    2 and 4. It does not change with gain, offset or noise, and falls with blur and defocus.

    Parameters
    ----------
    images : ndarray, shape (n, 2, crop, crop), uint16 or float32
        Raw counts.

    Returns
    -------
    ndarray of float32, shape (n, len(RAW_FIGURES))
    """
    n = len(images)
    flat = images.reshape(n, len(CHANNELS), -1)
    low, median, high, at_maximum = _order_figures(flat)
    pixels = images.astype(np.float32, copy=False)
    mean = pixels.reshape(flat.shape).mean(axis=2)
    centred = pixels - mean[:, :, None, None]
    variance = np.einsum("ncij,ncij->nc", centred, centred) / flat.shape[2]
    variance = np.maximum(variance, np.finfo(np.float32).tiny)
    product = np.einsum("nij,nij->n", centred[:, 0], centred[:, 1]) / flat.shape[2]
    sharpness, noise = _sharpness_and_noise(centred)
    per_channel = (
        *(np.log(value + _LOG_OFFSET) for value in (low, median, high, mean)),
        np.log(np.sqrt(variance) + _LOG_OFFSET),
        np.log(at_maximum),
        sharpness,
        noise,
    )
    columns = np.stack(per_channel, axis=2).reshape(n, -1)
    # Roots first: of flat images the product of the variances is 0 in float32.
    correlation = product / (np.sqrt(variance[:, 0]) * np.sqrt(variance[:, 1]))
    return np.column_stack([columns, correlation]).astype(np.float32)


def _sharpness_and_noise(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the logarithms of sharpness and of the noise's standard deviation, (n, channels)."""
    binned = _binned(pixels)
    single, double, fourfold = map(_gradient_energy, (pixels, binned, _binned(binned)))
    fine = np.maximum(double - single / 4, _MIN_ENERGY)
    coarse = np.maximum(fourfold - double / 4, _MIN_ENERGY)
    noise = np.maximum(single - _FINE_IN_BINNED * fine, 0.0) / 2
    return np.log(fine / coarse), np.log(np.sqrt(noise) + _LOG_OFFSET)


def _binned(pixels: np.ndarray) -> np.ndarray:
    """Return means of squares of 2 x 2 pixels; a last odd row or column is left out."""
    rows, columns = pixels.shape[2] // 2, pixels.shape[3] // 2
    even = pixels[:, :, : 2 * rows, : 2 * columns]
    pairs = even[..., 0::2] + even[..., 1::2]
    means: np.ndarray = (pairs[:, :, 0::2] + pairs[:, :, 1::2]) / 4
    return means


def _order_figures(flat: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return three quantiles and the number of pixels at the maximum, each (n, channels)."""
    ordered = _sorted_pixels(flat)
    pixels = flat.shape[2]
    quantiles = [ordered[:, :, int(q * (pixels - 1))].astype(np.float32) for q in _QUANTILES]
    at_maximum = (flat == ordered[:, :, -1:]).sum(axis=2)
    return (*quantiles, at_maximum.astype(np.float32))


def _sorted_pixels(flat: np.ndarray) -> np.ndarray:
    """Sort pixels; integer counts are sorted as uint16, for which NumPy has a fast radix sort."""
    if flat.dtype != np.uint16:
        counts = flat.astype(np.uint16)
        if not np.array_equal(counts, flat):
            return np.sort(flat, axis=2)
        flat = counts
    return np.sort(flat, axis=2, kind="stable")


def _gradient_energy(pixels: np.ndarray) -> np.ndarray:
    """Return the mean squared difference of neighbouring pixels, shape (n, channels)."""
    down = pixels[:, :, 1:] - pixels[:, :, :-1]
    right = pixels[:, :, :, 1:] - pixels[:, :, :, :-1]
    energy = np.einsum("ncij,ncij->nc", down, down) + np.einsum("ncij,ncij->nc", right, right)
    return energy / (down[0, 0].size + right[0, 0].size)
