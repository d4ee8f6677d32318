"""InstanSeg (Goldsborough et al. 2024, arXiv:2408.15954), extra ``[instanseg]``.

The model ``single_channel_nuclei`` lies where InstanSeg itself keeps it.
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

KEY = "instanseg"
MODEL, VERSION = "single_channel_nuclei", "0.1.2"
URL = (
    "https://github.com/instanseg/instanseg/releases/download/"
    "instanseg_models_v0.1.2/single_channel_nuclei.zip"
)


def weights_file() -> Path:
    """Return the model in the folder of InstanSeg, INSTANSEG_BIOIMAGEIO_PATH."""
    inside = Path(package(KEY, "instanseg").__file__).parent / "bioimageio_models"
    folder = Path(os.environ.get("INSTANSEG_BIOIMAGEIO_PATH") or inside)
    return first_file(KEY, [folder / MODEL / VERSION / "instanseg.pt"], URL)


@cache
def _model() -> Any:
    import torch

    # InstanSeg downloads a model that it is given by name, but not a loaded one.
    loaded = torch.jit.load(str(weights_file()), map_location="cpu")
    return package(KEY, "instanseg").InstanSeg(loaded, device="cpu", verbosity=0)


def segment(
    nucleus: np.ndarray, pixel_size_um: float, size: NucleusSize, field: Field
) -> np.ndarray:
    """Return the label image of a field; see `Segmenter.segment`."""
    labels = _model().eval_small_image(
        nucleus[np.newaxis], pixel_size_um, return_image_tensor=False, target="nuclei"
    )
    return np.asarray(labels.cpu().numpy(), np.int32).reshape(nucleus.shape)


def facts() -> dict[str, str]:
    """Return the version and the digest of the model; see `Segmenter.facts`."""
    return facts_of("instanseg-torch", weights_file())


SEGMENTER = Segmenter("InstanSeg, single_channel_nuclei", segment, facts)
