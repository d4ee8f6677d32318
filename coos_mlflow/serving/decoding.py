"""Turn request bodies, arrays and tables of flat lists into checked cells.

Start here to see which inputs a model accepts: `decode` for HTTP, `as_images` for Python callers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_list_like

from coos_mlflow.errors import DataError
from coos_mlflow.plates.flags import check_images
from coos_mlflow.plates.schema import CHANNELS
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


def media_type(content_type: str | None) -> str:
    """Return the format of a request: the media type of JSON or of .npy.

    Parameters
    ----------
    content_type : str or None
        Value of the header.

    Raises
    ------
    RefusedRequestError
        415 for any other type.
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


def decode(body: bytes, kind: str, crop: int, gzipped: bool = False) -> np.ndarray:
    """Turn a request's body into cells that may be scored.

    Parameters
    ----------
    body : bytes
    kind : str
        From `media_type`.
    crop : int
        Height and width of the model's cells.
    gzipped : bool
        From `is_gzip`.

    Returns
    -------
    ndarray of uint16 or float32, shape (n, 2, crop, crop)

    Raises
    ------
    DataError
        For cells that cannot be scored. The message names the cell and the value.
    RefusedRequestError
        When no cell can be read at all.
    """
    if len(body) > MAX_BYTES[kind]:
        raise too_large(kind)
    if gzipped:
        body = unpacked(body, kind)
    return _checked(from_json(body, crop) if kind == JSON else from_npy(body, crop), crop)


def as_images(model_input: Any, crop: int) -> np.ndarray:
    """Turn the input of `CellClassifier.predict` into cells that may be scored.

    Parameters
    ----------
    model_input : ndarray (n, 2, crop, crop), or DataFrame with one column of flat lists
        A dict with one name is accepted too: MLflow makes one from ``{"inputs": {"name": cells}}``.
    crop : int
        Height and width of the model's cells.

    Returns
    -------
    ndarray of uint16 or float32, shape (n, 2, crop, crop)

    Raises
    ------
    DataError
        For any other input.
    """
    model_input = unnamed(model_input, "the input")
    if isinstance(model_input, pd.DataFrame):
        model_input = _unpack_column(model_input, (len(CHANNELS), crop, crop))
    return _checked(_as_array(model_input, WHERE), crop)


def _checked(images: np.ndarray, crop: int) -> np.ndarray:
    check_images(images, WHERE, crop=crop)
    if images.dtype in (np.uint16, np.float32):
        return images
    narrowed = images.astype(np.float32)
    check_images(narrowed, WHERE)  # rounding may have made an image constant
    return narrowed


def _unpack_column(frame: pd.DataFrame, cell: tuple[int, ...]) -> np.ndarray:
    counts = f"{math.prod(cell):,} counts ({' x '.join(map(str, cell))})"
    columns = [column for _, column in frame.items()]
    # The dtype is checked first, so that columns of numbers are not searched for lists.
    holds_lists = [c.dtype.kind == "O" and any(map(is_list_like, c)) for c in columns]
    place = _column_of_cells([*frame], holds_lists, counts)
    rows = [_as_array(row, f"{WHERE}: cell {i}") for i, row in enumerate(columns[place])]
    for index, row in enumerate(rows):
        if row.shape != (math.prod(cell),) or row.dtype.kind not in "uif":
            missing = row.ndim == 0 and pd.isna(row.item())
            found = "missing" if missing else f"{row.dtype} {row.shape}"
            raise DataError(f"{WHERE}: cell {index} is {found}, expected a flat list of {counts}.")
    return np.stack(rows).reshape(-1, *cell) if rows else np.empty((0, *cell))


def _column_of_cells(names: list[object], holds_lists: list[bool], counts: str) -> int:
    """Return the position of a table's only column of lists. Other columns are ignored.

    A single column is accepted with any content, because its type is checked later.

    Raises
    ------
    DataError
        When it is not clear which column holds the cells. The message names the columns.
    """
    lists = [place for place, is_list in enumerate(holds_lists) if is_list]
    one = f"one column of flat lists of {counts}, one list a cell"
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
