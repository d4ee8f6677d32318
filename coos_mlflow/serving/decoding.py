"""Cells as callers bring them: bytes of a request, arrays, tables of flat lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from coos_mlflow.data.cells import CELL_SHAPE
from coos_mlflow.data.flags import check_images
from coos_mlflow.errors import DataError
from coos_mlflow.serving.json_cells import from_json
from coos_mlflow.serving.limits import (
    COUNTS,
    JSON,
    MAX_BYTES,
    PARQUET,
    WHERE,
    RefusedRequestError,
    too_large,
)
from coos_mlflow.serving.parquet_cells import from_parquet


def media_type(content_type: str | None, content_encoding: str | None = None) -> str:
    """Return which of the two formats a request is in.

    Parameters
    ----------
    content_type, content_encoding : str or None
        The headers.

    Raises
    ------
    RefusedRequestError
        415 for anything else.
    """
    kind, *parameters = (part.strip().lower() for part in (content_type or "").split(";"))
    if kind not in MAX_BYTES:
        came = f"{content_type[:60]!r} found" if content_type else "nothing found"
        raise RefusedRequestError(f"Content-Type: {came}, expected {JSON} or {PARQUET}.", 415)
    charset = [p.removeprefix("charset=").strip('"') for p in parameters if "charset=" in p]
    if charset not in ([], ["utf-8"]):
        raise RefusedRequestError(
            f"Content-Type: charset {charset[0][:60]!r} found, expected utf-8.", 415
        )
    if content_encoding not in (None, "", "identity"):
        raise RefusedRequestError(
            f"Content-Encoding: {content_encoding[:60]!r} found, expected none; Parquet compresses "
            "its columns by itself.",
            415,
        )
    return kind


def decode(body: bytes, kind: str) -> np.ndarray:
    """Turn a request's body into cells that may be scored.

    Parameters
    ----------
    body : bytes
    kind : str
        What `media_type` returned.

    Returns
    -------
    ndarray of uint16 or float32, shape (n, 2, 64, 64)

    Raises
    ------
    DataError
        In one sentence that names the cell and the value.
    RefusedRequestError
        Where no cell can be read at all.
    """
    if len(body) > MAX_BYTES[kind]:
        raise too_large(kind)
    return _checked(from_json(body) if kind == JSON else from_parquet(body))


def as_images(model_input: Any) -> np.ndarray:
    """Turn what `CellClassifier.predict` was given into cells that may be scored.

    Parameters
    ----------
    model_input : ndarray (n, 2, 64, 64), or DataFrame of one column of flat lists of 8,192

    Returns
    -------
    ndarray of uint16 or float32, shape (n, 2, 64, 64)

    Raises
    ------
    DataError
        For anything that is not cells of raw counts.
    """
    if isinstance(model_input, pd.DataFrame):
        model_input = _unpack_column(model_input)
    return _checked(_as_array(model_input, WHERE))


def _checked(images: np.ndarray) -> np.ndarray:
    check_images(images, WHERE)
    if images.dtype in (np.uint16, np.float32):
        return images
    narrowed = images.astype(np.float32)
    check_images(narrowed, WHERE)  # which may have become constant
    return narrowed


def _unpack_column(frame: pd.DataFrame) -> np.ndarray:
    if frame.shape[1] != 1:
        raise DataError(
            f"{WHERE}: {frame.shape[1]} columns found, expected one column of flat lists of "
            f"{COUNTS} counts (2 x 64 x 64), one list a cell."
        )
    rows = [_as_array(row, f"{WHERE}: cell {i}") for i, row in enumerate(frame.iloc[:, 0])]
    for index, row in enumerate(rows):
        if row.shape != (COUNTS,) or row.dtype.kind not in "uif":
            missing = row.ndim == 0 and pd.isna(row.item())
            found = "missing" if missing else f"{row.dtype} {row.shape}"
            raise DataError(
                f"{WHERE}: cell {index} is {found}, expected a flat list of "
                f"{COUNTS} counts (2 x 64 x 64)."
            )
    return np.stack(rows).reshape(-1, *CELL_SHAPE) if rows else np.empty((0, *CELL_SHAPE))


def _as_array(values: Any, where: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"{where}: lists of different lengths found, expected numbers.") from error
