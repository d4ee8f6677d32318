"""Texture: Haralick's features at five scales and four of intensity, 69 in all.

Lu et al. 2019, section 3.1: the image rescaled to [0, 1], texture of the first channel at five
scales, then mean, sum and standard deviation of its intensity and its correlation with the
second channel. The paper does not say what a scale is; see `Texture`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from joblib import cpu_count

from coos_mlflow.errors import DataError
from coos_mlflow.representations._glcm import FEATURES, haralick
from coos_mlflow.representations.base import Representation

LAYER = "haralick"

INTENSITY_FEATURES = ("protein mean", "protein sum", "protein sd", "protein-nucleus correlation")

READINGS = ("distance", "downsample")

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

    def __init__(self, scales: Sequence[int] = (1, 2, 4, 8, 16), reading: str = "distance"):
        if reading not in READINGS:
            raise DataError(f"Texture reading {reading!r} found, expected one of {READINGS}.")
        if not _are_scales(scales):
            raise DataError(
                f"Texture scales {scales!r} found, "
                f"expected a list of whole numbers 1..{LARGEST_SCALE}."
            )
        self.scales = tuple(scales)
        self.reading = reading

    def params(self) -> dict[str, Any]:
        """Return the scales and their reading."""
        return {"scales": list(self.scales), "reading": self.reading}

    def feature_names(self, layer: str = LAYER) -> tuple[str, ...]:
        """Return the names of the columns, scale by scale, the intensities last."""
        textures = (f"{name}, {self.reading} {s}" for s in self.scales for name in FEATURES)
        return (*textures, *INTENSITY_FEATURES)

    def transform(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the features on all cores; see `Representation.transform`."""
        blocks = [images[i : i + _BLOCK] for i in range(0, len(images), _BLOCK)]
        with ThreadPoolExecutor(cpu_count()) as pool:
            return {LAYER: np.concatenate(list(pool.map(self._block, blocks)))}

    def _block(self, images: np.ndarray) -> np.ndarray:
        protein = rescale(images[:, 0])
        return np.concatenate(
            [self._textures(protein), intensities(protein, images[:, 1])], axis=1
        ).astype(np.float32)

    def _textures(self, protein: np.ndarray) -> np.ndarray:
        if self.reading == "distance":
            found = haralick(quantise(protein), np.array(self.scales))
        else:
            one = np.array([1])
            shrunk = (rescale(block_mean(protein, s)) for s in self.scales)
            found = np.concatenate([haralick(quantise(image), one) for image in shrunk], axis=1)
        return found.reshape(len(protein), -1)


def _are_scales(scales: Any) -> bool:
    listed = isinstance(scales, (list, tuple)) and len(scales) > 0
    return listed and all(isinstance(s, int) and 1 <= s <= LARGEST_SCALE for s in scales)


def rescale(images: np.ndarray) -> np.ndarray:
    """Stretch each image (n, height, width) from its minimum and maximum to float64 [0, 1]."""
    stretched = images.astype(np.float64)
    stretched -= stretched.min(axis=(1, 2), keepdims=True)
    stretched /= np.maximum(stretched.max(axis=(1, 2), keepdims=True), np.finfo(np.float64).tiny)
    return stretched


def quantise(images: np.ndarray) -> np.ndarray:
    """Round images in [0, 1] to 8 bit."""
    return np.rint(images * 255).astype(np.uint8)


def block_mean(images: np.ndarray, side: int) -> np.ndarray:
    """Average (n, h, w) over blocks of side x side pixels, dropping an incomplete border."""
    n, height, width = images.shape
    rows, columns = height // side, width // side
    kept = images[:, : rows * side, : columns * side]
    return kept.reshape(n, rows, side, columns, side).mean(axis=(2, 4))


def intensities(protein: np.ndarray, nucleus: np.ndarray) -> np.ndarray:
    """Return mean, sum and deviation of the rescaled protein, and its correlation with the nucleus.

    Parameters
    ----------
    protein : ndarray of float64, shape (n, h, w)
        Rescaled to [0, 1].
    nucleus : ndarray, shape (n, h, w)
        Any linear scale: the correlation does not depend on it.

    Returns
    -------
    ndarray of float64, shape (n, 4)
    """
    p = protein.reshape(len(protein), -1)
    q = nucleus.reshape(len(nucleus), -1).astype(np.float64)
    mean, deviation = p.mean(axis=1), p.std(axis=1)
    covariance = ((p - mean[:, None]) * (q - q.mean(axis=1, keepdims=True))).mean(axis=1)
    scale = deviation * q.std(axis=1)
    correlation = np.divide(covariance, scale, out=np.zeros_like(mean), where=scale > 0)
    return np.stack([mean, p.sum(axis=1), deviation, correlation], axis=1)


REPRESENTATION = Texture
