"""Label images as TIFF files: 0 is background, each nucleus has a number of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

from coos_mlflow.fields.plate_images import Field
from coos_mlflow.plates.file_names import as_file_name


def mask_path(folder: Path, field: Field, plates: Sequence[str]) -> Path:
    """Return the file of a field's label image; with several plates, each has a folder."""
    within = folder if len(plates) == 1 else folder / as_file_name(field.plate)
    return within / f"{as_file_name(field.name)}.tif"


def write_mask(path: Path, labels: np.ndarray) -> None:
    """Write a label image, int32, shape (height, width), with as few bytes as its numbers need."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype = np.uint16 if labels.max(initial=0) < 2**16 else np.uint32
    tifffile.imwrite(
        path, labels.astype(dtype), photometric="minisblack", compression="zlib", metadata=None
    )
