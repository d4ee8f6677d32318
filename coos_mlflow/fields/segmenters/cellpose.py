"""Cellpose-SAM (Pachitariu, Rariden and Stringer 2025, bioRxiv), extra ``[cellpose]``.

The model lies where Cellpose itself keeps it. It finds cells of any kind, here in the nucleus
channel.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow.fields.plate_images import Field
from coos_mlflow.fields.segmenters._packages import facts_of, first_file, package
from coos_mlflow.fields.segmenters.base import NucleusSize, Segmenter

KEY = "cellpose"
MODELS = ("cpsam_v2", "cpsam")
"""Models in the order of preference, those of Cellpose 4."""

URL = "https://huggingface.co/mouseland/cellpose-sam/resolve/main/cpsam_v2"


def weights_file() -> Path:
    """Return the weights in the folder of Cellpose, CELLPOSE_LOCAL_MODELS_PATH."""
    folder = Path(package(KEY, "cellpose.models").MODEL_DIR)
    return first_file(KEY, (folder / name for name in MODELS), URL)


@cache
def _model() -> Any:
    # Cellpose downloads a model that it is given by name. A path is only read.
    return package(KEY, "cellpose.models").CellposeModel(
        gpu=False, pretrained_model=str(weights_file()), use_bfloat16=False
    )


def segment(
    nucleus: np.ndarray, pixel_size_um: float, size: NucleusSize, field: Field
) -> np.ndarray:
    """Return the label image of a field; see `Segmenter.segment`."""
    masks, *_ = _model().eval(nucleus)
    return np.asarray(masks, np.int32)


def facts() -> dict[str, str]:
    """Return the version and the digest of the weights; see `Segmenter.facts`."""
    return facts_of("cellpose", weights_file())


SEGMENTER = Segmenter("Cellpose-SAM", segment, facts)
