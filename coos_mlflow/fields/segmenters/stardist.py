"""StarDist, star-convex shapes by a network (Schmidt et al. 2018, MICCAI), extra ``[stardist]``.

The model ``2D_versatile_fluo`` lies where StarDist itself keeps it, in Keras' folder.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow.fields.plate_images import Field
from coos_mlflow.fields.segmenters._packages import facts_of, first_file, package
from coos_mlflow.fields.segmenters.base import NucleusSize, Segmenter

KEY = "stardist"
MODEL = "2D_versatile_fluo"
URL = (
    "https://github.com/stardist/stardist-models/releases/download/v0.1/"
    "python_2D_versatile_fluo.zip"
)

PIXEL_UM = 0.5
"""Size of pixels to which fields are scaled, as in QuPath's examples for this model."""

PERCENTILES = (1.0, 99.8)
"""Brightnesses that become 0 and 1, as in StarDist's examples."""


def weights_file() -> Path:
    """Return the weights; Keras unpacks them into one of several folders, by its version."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    folder = home / "models" / "StarDist2D" / MODEL
    folders = (folder, folder / MODEL, folder / f"{MODEL}_extracted")
    return first_file(KEY, (one / "weights_best.h5" for one in folders), URL)


@cache
def _model() -> Any:
    models = package(KEY, "stardist.models")
    folder = weights_file().parent
    return models.StarDist2D(None, name=folder.name, basedir=folder.parent)


def segment(
    nucleus: np.ndarray, pixel_size_um: float, size: NucleusSize, field: Field
) -> np.ndarray:
    """Return the label image of a field; see `Segmenter.segment`."""
    normalised = package(KEY, "csbdeep.utils").normalize(nucleus, *PERCENTILES)
    labels, _ = _model().predict_instances(normalised, scale=pixel_size_um / PIXEL_UM)
    return np.asarray(labels, np.int32)


def facts() -> dict[str, str]:
    """Return the version and the digest of the weights; see `Segmenter.facts`."""
    package(KEY, "stardist.models")
    return facts_of("stardist", weights_file())


SEGMENTER = Segmenter("StarDist, 2D_versatile_fluo", segment, facts)
