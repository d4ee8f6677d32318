"""Texture: Haralick's features at five scales and four of intensity, 69 in all.

Lu et al. 2019, section 3.1: the image rescaled to [0, 1], texture of the first channel at five
scales, then mean, sum and standard deviation of its intensity and its correlation with the
second channel. The paper does not say what a scale is; see `Texture`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import numpy as np
from joblib import cpu_count
from numba import njit

from coos_mlflow.representations._haralick import FEATURES, haralick
from coos_mlflow.representations.base import Range, Representation

LAYER = "haralick"

INTENSITY_FEATURES = ("protein mean", "protein sum", "protein sd", "protein-nucleus correlation")
"""The sum is 4,096 times the mean: of their coefficients in a fit only the sum is determined."""

LARGEST_SCALE = 32
"""Beyond half a crop's side too few pairs, or blocks, are left."""

_BLOCK = 64
"""Cells a thread takes at a time: small enough that all cores end together."""


class Texture(Representation):
    """The paper's texture baseline.

    Parameters
    ----------
    scales : sequence of int
        The five scales.
    reading : {"distance", "downsample"}
        "distance": a scale is the distance between the two pixels of a pair, as in CellProfiler.
        "downsample": a scale is the side of the blocks over which the image is averaged before
        pairs at distance 1 are counted. The paper fits both.
    """

    key = "texture"
    version = "1"
    title = "Texture"
    layers = (LAYER,)
    packages = ("numba",)

    def __init__(
        self,
        scales: Sequence[Annotated[int, Range(1, LARGEST_SCALE)]] = (1, 2, 4, 8, 16),
        reading: Literal["distance", "downsample"] = "distance",
    ):
        self.scales = tuple(scales)
        self.reading = reading

    def params(self) -> dict[str, Any]:
        """Return the scales and their reading."""
        return {"scales": list(self.scales), "reading": self.reading}

    def feature_names(self, layer: str = LAYER) -> tuple[str, ...]:
        """Return the names of the columns, scale by scale, the intensities last."""
        textures = (f"{name}, {self.reading} {s}" for s in self.scales for name in FEATURES)
        return (*textures, *INTENSITY_FEATURES)

    def compute(
        self, prepared: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute the features on all cores; see `Representation.compute`."""
        blocks = [prepared[i : i + _BLOCK] for i in range(0, len(prepared), _BLOCK)]
        with ThreadPoolExecutor(cpu_count()) as pool:
            return {LAYER: np.concatenate(list(pool.map(self._block, blocks)))}

    def _block(self, images: np.ndarray) -> np.ndarray:
        images = images.astype(np.float32, copy=False)
        textures = self._textures(images[:, 0]).reshape(len(images), -1)
        return np.concatenate([textures, intensities(images)], axis=1).astype(np.float32)

    def _textures(self, protein: np.ndarray) -> np.ndarray:
        if self.reading == "distance":
            return haralick(quantise(protein), np.array(self.scales))
        one = np.array([1])
        shrunk = (block_mean(protein, side) for side in self.scales)
        return np.concatenate([haralick(quantise(image), one) for image in shrunk], axis=1)


def quantise(images: np.ndarray) -> np.ndarray:
    """Stretch each image (n, height, width) from its minimum and maximum to 8 bit."""
    found = np.zeros(images.shape, np.uint8)
    _quantise_all(images, found)
    return found


@njit(cache=True, nogil=True)
def _quantise_all(images, found):  # type: ignore[no-untyped-def]
    for i in range(len(images)):
        low = np.float64(images[i].min())
        spread = np.float64(images[i].max()) - low
        if spread > 0:
            for y in range(images.shape[1]):
                for x in range(images.shape[2]):
                    found[i, y, x] = np.uint8(np.rint((images[i, y, x] - low) / spread * 255))


def block_mean(images: np.ndarray, side: int) -> np.ndarray:
    """Average (n, h, w) over blocks of side x side pixels, dropping an incomplete border."""
    n, height, width = images.shape
    rows, columns = height // side, width // side
    kept = images[:, : rows * side, : columns * side]
    return kept.reshape(n, rows, side, columns, side).mean(axis=(2, 4))


def intensities(images: np.ndarray) -> np.ndarray:
    """Return mean, sum and deviation of the rescaled protein, and its correlation with the nucleus.

    Parameters
    ----------
    images : ndarray of float32, shape (n, 2, height, width)
        Raw counts; the protein is rescaled to [0, 1] here, the correlation has no scale.

    Returns
    -------
    ndarray of float64, shape (n, 4)
    """
    found = np.zeros((len(images), len(INTENSITY_FEATURES)))
    _intensities_all(images, found)
    return found


@njit(cache=True, nogil=True)
def _intensities_all(images, found):  # type: ignore[no-untyped-def]
    pixels = images.shape[2] * images.shape[3]
    for i in range(len(images)):
        protein, nucleus = images[i, 0], images[i, 1]
        low = np.float64(protein.min())
        spread = np.float64(protein.max()) - low
        mean_p = mean_n = 0.0
        for y in range(images.shape[2]):
            for x in range(images.shape[3]):
                mean_p += protein[y, x]
                mean_n += nucleus[y, x]
        mean_p /= pixels
        mean_n /= pixels
        square_p = square_n = product = 0.0
        for y in range(images.shape[2]):
            for x in range(images.shape[3]):
                p, n = protein[y, x] - mean_p, nucleus[y, x] - mean_n
                square_p += p * p
                square_n += n * n
                product += p * n
        if spread > 0:
            found[i, 0] = (mean_p - low) / spread
            found[i, 1] = pixels * found[i, 0]
            found[i, 2] = np.sqrt(square_p / pixels) / spread
        if square_p > 0 and square_n > 0:
            found[i, 3] = product / np.sqrt(square_p * square_n)


REPRESENTATION = Texture
