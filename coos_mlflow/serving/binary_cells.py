"""Read cells from a request body in NumPy's `.npy` format.

The header states shape and dtype, so both are checked before the data is used.
"""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic

from coos_mlflow.errors import DataError
from coos_mlflow.plates.schema import check_shape
from coos_mlflow.serving.limits import WHERE, RefusedRequestError, check_count

_MAX_HEADER = 256
"""Largest number of bytes that are read as the header. `numpy.save` writes 128 for cells."""

_HEADER_READERS = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}
"""Reader of the header by version of the format. Version 3.0 differs only in names of fields, which
cells do not have."""


def from_npy(body: bytes, crop: int) -> np.ndarray:
    """Return the array in a `.npy` body.

    Parameters
    ----------
    body : bytes
    crop : int
        Height and width of the model's cells.

    Returns
    -------
    ndarray, shape (n, 2, crop, crop)
        Read-only, with the dtype of the header: any integer or float. The data is copied only if
        it is in Fortran order, or not aligned because of the length of the header.

    Raises
    ------
    RefusedRequestError
        400 for a header that cannot be read, or data of another length than the header states.
        413 for more than `MAX_CELLS`.
    DataError
        For a wrong shape or dtype.
    """
    shape, fortran_order, dtype, start = _header(body[:_MAX_HEADER])
    check_shape(shape, dtype, WHERE, crop)
    if shape[0] < 0:
        raise DataError(f"{WHERE}: {shape[0]} cells found, expected at least one.")
    check_count(shape[0])
    expected, n_bytes = math.prod(shape) * dtype.itemsize, len(body) - start
    if n_bytes != expected:
        raise RefusedRequestError(
            f"{WHERE}: {n_bytes:,} bytes after the .npy header found, expected {expected:,} for "
            f"shape {shape} of {dtype}."
        )
    values = np.frombuffer(body, dtype, offset=start)
    images = values.reshape(shape, order="F" if fortran_order else "C")
    return np.require(images, requirements=["C_CONTIGUOUS", "ALIGNED"])


def _header(beginning: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Return shape, whether the order is Fortran's, dtype, and the position of the data."""
    stream = io.BytesIO(beginning)
    try:
        shape, fortran_order, dtype = _HEADER_READERS[read_magic(stream)](stream)
    # NumPy passes the text to ast, tokenize and np.dtype, which raise a dozen types of exceptions.
    except Exception as error:
        raise RefusedRequestError(
            f"{WHERE}: no .npy header of version 1.0 or 2.0 found, expected the bytes that "
            "numpy.save writes for an array of cells."
        ) from error
    return shape, fortran_order, dtype, stream.tell()
