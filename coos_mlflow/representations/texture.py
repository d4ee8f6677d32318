"""Texture: Haralick's features at five scales and four features of intensity, 69 in all.

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

from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import MAX_CROP
from coos_mlflow.representations._haralick import FEATURES, haralick
from coos_mlflow.representations.base import Range, Representation

LAYER = "haralick"

INTENSITY_FEATURES = ("protein mean", "protein sum", "protein sd", "protein-nucleus correlation")
"""The sum is the mean times the number of pixels, so a linear fit determines only the sum of their
coefficients."""

MAX_SCALE = MAX_CROP // 2
"""Half the side of the largest crop; see `Texture.check_cells`."""

_BLOCK = 64
"""Cells in a thread's unit of work: small enough that all cores end at about the same time."""


class Texture(Representation):
    """The paper's texture baseline.

    Parameters
    ----------
    scales : sequence of int
        The five scales in pixels, each at most half a crop's side. They do not grow with it.
    reading : {"distance", "downsample"}
        "distance": a scale is the distance between the two pixels of a pair, as in CellProfiler.
        "downsample": a scale is the side of the blocks over which the image is averaged before
        pairs at distance 1 are counted. The paper's text allows both.
    """

    key = "texture"
    version = "1"
    title = "Texture"
    layers = (LAYER,)
    packages = ("numba",)

    def __init__(
        self,
        scales: Sequence[Annotated[int, Range(1, MAX_SCALE)]] = (1, 2, 4, 8, 16),
        reading: Literal["distance", "downsample"] = "distance",
    ):
        self.scales = tuple(scales)
        self.reading = reading

    def check_cells(self) -> None:
        """Refuse scales above half a crop, at which too few pairs, or blocks, remain."""
        crop, largest = self.dataset.crop, max(self.scales)
        if largest > crop // 2:
            raise DataError(
                f"texture scales={list(self.scales)!r} found, expected whole numbers from 1 to "
                f"{crop // 2}, half of the {crop} pixels of a crop of data set "
                f"{self.dataset.name}."
            )

    def params(self) -> dict[str, Any]:
        """Return the scales and how they are read."""
        return {"scales": list(self.scales), "reading": self.reading}

    def feature_names(self, layer: str = LAYER) -> tuple[str, ...]:
        """Return the names of the columns: texture scale by scale, then intensities."""
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
    """Map the range of each image (n, height, width) to 0..255; constant images become 0."""
    levels = np.zeros(images.shape, np.uint8)
    _quantise_all(images, levels)
    return levels


@njit(cache=True, nogil=True)
def _quantise_all(images, levels):  # type: ignore[no-untyped-def]
    for i in range(len(images)):
        low = np.float64(images[i].min())
        spread = np.float64(images[i].max()) - low
        if spread > 0:
            for y in range(images.shape[1]):
                for x in range(images.shape[2]):
                    levels[i, y, x] = np.uint8(np.rint((images[i, y, x] - low) / spread * 255))


def block_mean(images: np.ndarray, side: int) -> np.ndarray:
    """Average (n, h, w) over blocks of side x side pixels; incomplete blocks are dropped."""
    n, height, width = images.shape
    rows, columns = height // side, width // side
    whole = images[:, : rows * side, : columns * side]
    return whole.reshape(n, rows, side, columns, side).mean(axis=(2, 4))


def intensities(images: np.ndarray) -> np.ndarray:
    """Return mean, sum and deviation of the rescaled protein, and its correlation with the nucleus.

    Parameters
    ----------
    images : ndarray of float32, shape (n, 2, height, width)
        Raw counts. The protein is rescaled to [0, 1] here; the correlation does not depend on it.

    Returns
    -------
    ndarray of float64, shape (n, 4)
    """
    features = np.zeros((len(images), len(INTENSITY_FEATURES)))
    _intensities_all(images, features)
    return features


@njit(cache=True, nogil=True)
def _intensities_all(images, features):  # type: ignore[no-untyped-def]
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
            features[i, 0] = (mean_p - low) / spread
            features[i, 1] = pixels * features[i, 0]
            features[i, 2] = np.sqrt(square_p / pixels) / spread
        if square_p > 0 and square_n > 0:
            features[i, 3] = product / np.sqrt(square_p * square_n)


REPRESENTATION = Texture
