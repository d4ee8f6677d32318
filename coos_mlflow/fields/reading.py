"""Read the protein and nucleus channel of a field as one array of raw counts."""

from __future__ import annotations

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Field
from coos_mlflow.fields.settings import MAX, CropSettings

HALF_RANGE = 32768
"""Some instruments add half the 16-bit range to all counts."""


def read_field(field: Field, settings: CropSettings) -> np.ndarray:
    """Read the two channels of a field.

    Returns
    -------
    ndarray of uint16 or float32, shape (2, height, width)
        Raw counts of protein and nucleus. Integers of any size become uint16, floats float32.

    Raises
    ------
    DataError
        For missing or damaged images, channels of different shape, and values that are no counts.
    """
    raise NotImplementedError


__all__ = ["MAX", "DataError", "read_field"]
