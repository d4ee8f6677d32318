"""Turn what callers bring into cells: bytes of a request, arrays, tables of flat lists."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_list_like

from coos_mlflow.errors import DataError
from coos_mlflow.plates.flags import check_images
from coos_mlflow.plates.schema import CELL_SHAPE
from coos_mlflow.serving.binary_cells import from_npy
from coos_mlflow.serving.gzip_bodies import unpacked
from coos_mlflow.serving.json_cells import from_json, unnamed
from coos_mlflow.serving.limits import (
    JSON,
    MAX_BYTES,
    NPY,
    WHERE,
    RefusedRequestError,
    listed,
    too_large,
)

_COUNTS = math.prod(CELL_SHAPE)
"""Numbers of a cell."""


def media_type(content_type: str | None) -> str:
    """Return which of the two formats a request is in.

    Parameters
    ----------
    content_type : str or None
        The header.

    Raises
    ------
    RefusedRequestError
        415 for anything else.
    """
    kind, *parameters = (part.strip().lower() for part in (content_type or "").split(";"))
    if kind not in MAX_BYTES:
        came = f"{content_type[:60]!r} found" if content_type else "nothing found"
        raise RefusedRequestError(f"Content-Type: {came}, expected {JSON} or {NPY}.", 415)
    charset = [p.removeprefix("charset=").strip('"') for p in parameters if "charset=" in p]
    if charset not in ([], ["utf-8"]):
        raise RefusedRequestError(
            f"Content-Type: charset {charset[0][:60]!r} found, expected utf-8.", 415
        )
    return kind


def decode(body: bytes, kind: str, gzipped: bool = False) -> np.ndarray:
    """Turn a request's body into cells that may be scored.

    Parameters
    ----------
    body : bytes
    kind : str
        What `media_type` returned.
    gzipped : bool
        What `is_gzip` returned.

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
    if gzipped:
        body = unpacked(body, kind)
    return _checked(from_json(body) if kind == JSON else from_npy(body))


def as_images(model_input: Any) -> np.ndarray:
    """Turn what `CellClassifier.predict` was given into cells that may be scored.

    Parameters
    ----------
    model_input : ndarray (n, 2, 64, 64), or DataFrame with one column of flat lists of 8,192
        MLflow makes a dict of ``{"inputs": {"name": cells}}``; one of one name is taken too.

    Returns
    -------
    ndarray of uint16 or float32, shape (n, 2, 64, 64)

    Raises
    ------
    DataError
        For anything that is not cells of raw counts.
    """
    model_input = unnamed(model_input, "the input")
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
    columns = [column for _, column in frame.items()]
    # Of 8,192 columns of numbers no cell is looked at.
    holds_lists = [c.dtype.kind == "O" and any(map(is_list_like, c)) for c in columns]
    place = _column_of_cells([*frame], holds_lists)
    rows = [_as_array(row, f"{WHERE}: cell {i}") for i, row in enumerate(columns[place])]
    for index, row in enumerate(rows):
        if row.shape != (_COUNTS,) or row.dtype.kind not in "uif":
            missing = row.ndim == 0 and pd.isna(row.item())
            found = "missing" if missing else f"{row.dtype} {row.shape}"
            raise DataError(
                f"{WHERE}: cell {index} is {found}, expected a flat list of "
                f"{_COUNTS} counts (2 x 64 x 64)."
            )
    return np.stack(rows).reshape(-1, *CELL_SHAPE) if rows else np.empty((0, *CELL_SHAPE))


def _column_of_cells(names: list[object], holds_lists: list[bool]) -> int:
    """Return the place of a table's one column of lists; indices and wells beside it stay unread.

    A lone column is taken for the cells whatever it holds: its type is refused later.

    Raises
    ------
    DataError
        Naming the columns, where it is not clear which one holds the cells.
    """
    lists = [place for place, is_list in enumerate(holds_lists) if is_list]
    one = f"one column of flat lists of {_COUNTS:,} counts (2 x 64 x 64), one list a cell"
    if len(lists) > 1:
        several = listed("column", [names[place] for place in lists])
        raise DataError(f"{WHERE}: {several} of lists found, expected {one}; drop the others.")
    if not lists and len(names) != 1:
        raise DataError(f"{WHERE}: {listed('column', names)} found, expected {one}.")
    return lists[0] if lists else 0


def _as_array(values: Any, where: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"{where}: lists of different lengths found, expected numbers.") from error
