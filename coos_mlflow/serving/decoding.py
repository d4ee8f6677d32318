"""Cells as callers bring them: bytes of a request, arrays, tables of flat lists."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coos_mlflow.data.cells import CELL_SHAPE, CHANNELS, check_images, check_shape
from coos_mlflow.errors import DataError

JSON = "application/json"
PARQUET = "application/vnd.apache.parquet"

MAX_BYTES = {JSON: 32 * 2**20, PARQUET: 64 * 2**20}
"""Of a request's body. A cell takes about 45 kB as JSON, whose lists take 20 times that in memory,
and 16 kB or less as Parquet."""

MAX_CELLS = 2048
"""Of a request; 32 MB of counts."""

TENSOR_KEYS = ("inputs", "instances")
"""MLflow's two names for an array; they mean the same here."""

COUNTS = math.prod(CELL_SHAPE)
"""Numbers of a cell."""

_WHERE = "the request"
_MOST_AXES = 8
_THRIFT_BYTES, _THRIFT_ENTRIES = 2**20, 2**16
"""Of the header of a Parquet file; that of a table of one column takes a few kilobytes."""

_ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError)


class RefusedRequestError(DataError):
    """A request that no cell is read from.

    Parameters
    ----------
    sentence : str
    status : int
        Of HTTP.
    """

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


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
    return _checked(_from_json(body) if kind == JSON else _from_parquet(body))


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
    return _checked(_as_array(model_input, _WHERE))


def too_large(kind: str) -> RefusedRequestError:
    """Return what is said of a body that is larger than `MAX_BYTES`."""
    most = MAX_BYTES[kind] // 2**20
    return RefusedRequestError(
        f"{_WHERE}: more than {most} MiB of {kind} found; expected at most that, and {MAX_CELLS:,} "
        "cells: send several requests.",
        413,
    )


def _checked(images: np.ndarray) -> np.ndarray:
    check_images(images, _WHERE)
    return images if images.dtype in (np.uint16, np.float32) else images.astype(np.float32)


def _from_json(body: bytes) -> np.ndarray:
    values = _tensor(_parsed(body))
    if not values:
        raise DataError(f"{_WHERE}: no cells found, expected at least one.")
    shape = _shape(values)
    check_shape(shape, np.dtype(np.float64), _WHERE)
    _check_count(shape[0])
    for index, cell in enumerate(values):
        _check_cell(cell, index)
    try:
        return np.array(values, np.float64)
    except OverflowError as error:
        raise DataError(
            f"{_WHERE}: a number of hundreds of digits found, expected raw camera counts 0..65535."
        ) from error


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"))
    except RecursionError:
        found = "lists nested a thousand deep"
    except json.JSONDecodeError as error:
        found = f"no JSON ({error.msg} at character {error.pos:,})"
    except UnicodeDecodeError as error:
        found = f"no UTF-8 (byte {error.start:,})"
    except ValueError:
        found = "a number of thousands of digits"
    raise RefusedRequestError(f'{_WHERE}: {found} found, expected {{"inputs": [cells]}}.')


def _tensor(said: Any) -> Sequence[Any]:
    """Return the list of cells in what a request says."""
    if not isinstance(said, dict):
        raise RefusedRequestError(
            f'{_WHERE}: {_kind(said)} found, expected an object {{"inputs": [cells]}}.'
        )
    keys = [
        key for key, value in said.items() if (key, value) not in (("params", None), ("params", {}))
    ]
    if len(keys) != 1 or keys[0] not in TENSOR_KEYS:
        named = ", ".join(repr(key[:30]) for key in keys[:5]) or "no key"
        raise RefusedRequestError(
            f'{_WHERE}: {named} found, expected "inputs" alone, a list of cells; tables of lists '
            f"are taken as {PARQUET}."
        )
    values = said[keys[0]]
    if not isinstance(values, list):
        raise RefusedRequestError(
            f"{_WHERE}: {keys[0]} is {_kind(values)}, expected a list of cells."
        )
    return values


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "null")


def _shape(values: Any) -> tuple[int, ...]:
    """Return the lengths of lists in lists, following the first of each."""
    shape: list[int] = []
    while isinstance(values, list) and len(shape) < _MOST_AXES:
        shape.append(len(values))
        values = values[0] if values else None
    return tuple(shape)


def _check_count(n_cells: int) -> None:
    if n_cells > MAX_CELLS:
        raise RefusedRequestError(
            f"{_WHERE}: {n_cells:,} cells found, expected at most {MAX_CELLS:,}: send several "
            "requests.",
            413,
        )


def _check_cell(cell: Any, index: int) -> None:
    """Refuse what is not 2 x 64 x 64 numbers, before NumPy would guess what was meant."""
    channels, height, width = CELL_SHAPE
    if not (isinstance(cell, list) and len(cell) == channels):
        raise DataError(f"{_WHERE}: cell {index} is {_size(cell)}, expected {channels} channels.")
    for name, channel in zip(CHANNELS, cell, strict=True):
        where = f"{_WHERE}: cell {index}, {name} channel"
        if not (isinstance(channel, list) and len(channel) == height):
            raise DataError(f"{where} is {_size(channel)}, expected {height} rows.")
        for y, row in enumerate(channel):
            if not (isinstance(row, list) and len(row) == width):
                raise DataError(f"{where}, row {y} is {_size(row)}, expected {width} counts.")
            if not {*map(type, row)} <= {int, float}:
                odd = next(value for value in row if type(value) not in (int, float))
                raise DataError(f"{where}, row {y} holds {_size(odd)}, expected raw counts.")


def _size(value: Any) -> str:
    return f"a list of {len(value):,}" if isinstance(value, list) else _kind(value)


def _from_parquet(body: bytes) -> np.ndarray:
    try:
        file = pq.ParquetFile(
            pa.BufferReader(body),
            thrift_string_size_limit=_THRIFT_BYTES,
            thrift_container_size_limit=_THRIFT_ENTRIES,
            arrow_extensions_enabled=False,
        )
        _check_claims(file)
        column = file.read(use_threads=False, use_pandas_metadata=False).column(0)
        return _unpack_lists(column.combine_chunks())
    except DataError:
        raise
    except _ARROW_ERRORS as error:
        raise RefusedRequestError(
            f"{_WHERE}: no Parquet file that can be read, expected one of one column of flat lists "
            f"of {COUNTS:,} counts."
        ) from error


def _check_claims(file: pq.ParquetFile) -> None:
    """Refuse by its header, before a value is unpacked, a table that is none of cells."""
    schema, claims = file.schema_arrow, file.metadata
    if len(schema) != 1:
        raise DataError(
            f"{_WHERE}: {len(schema)} columns found, expected one column of flat lists of "
            f"{COUNTS:,} counts (2 x 64 x 64), one list a cell."
        )
    kind = schema.field(0).type
    of_numbers = _is_list(kind) and (
        pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)
    )
    if not of_numbers:
        raise DataError(
            f"{_WHERE}: a column of {str(kind)[:60]} found, expected flat lists of {COUNTS:,} "
            "counts."
        )
    if claims.num_rows < 1:
        raise DataError(f"{_WHERE}: no cells found, expected at least one.")
    _check_count(claims.num_rows)
    chunks = [claims.row_group(i).column(0) for i in range(claims.num_row_groups)]
    values = sum(chunk.num_values for chunk in chunks)
    if values > COUNTS * claims.num_rows:
        raise DataError(
            f"{_WHERE}: {values:,} values in {claims.num_rows:,} cells found, expected {COUNTS:,} "
            "(2 x 64 x 64) in each."
        )


def _is_list(kind: pa.DataType) -> bool:
    return any(
        is_one(kind)
        for is_one in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    )


def _unpack_lists(column: pa.Array) -> np.ndarray:
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != COUNTS)
    if len(wrong):
        index = int(wrong[0])
        found = "missing" if lengths[index] < 0 else f"a list of {lengths[index]:,}"
        raise DataError(
            f"{_WHERE}: cell {index} is {found}, expected a flat list of {COUNTS:,} counts "
            "(2 x 64 x 64)."
        )
    values = column.flatten()
    if values.null_count:
        index = int(pc.index(values.is_null(), True).as_py()) // COUNTS
        raise DataError(f"{_WHERE}: cell {index} has a count that is missing (null or NaN).")
    return values.to_numpy(zero_copy_only=False).reshape(-1, *CELL_SHAPE)


def _unpack_column(frame: pd.DataFrame) -> np.ndarray:
    if frame.shape[1] != 1:
        raise DataError(
            f"{_WHERE}: {frame.shape[1]} columns found, expected one column of flat lists of "
            f"{COUNTS} counts (2 x 64 x 64), one list a cell."
        )
    rows = [_as_array(row, f"{_WHERE}: cell {i}") for i, row in enumerate(frame.iloc[:, 0])]
    for index, row in enumerate(rows):
        if row.shape != (COUNTS,) or row.dtype.kind not in "uif":
            missing = row.ndim == 0 and pd.isna(row.item())
            found = "missing" if missing else f"{row.dtype} {row.shape}"
            raise DataError(
                f"{_WHERE}: cell {index} is {found}, expected a flat list of "
                f"{COUNTS} counts (2 x 64 x 64)."
            )
    return np.stack(rows).reshape(-1, *CELL_SHAPE) if rows else np.empty((0, *CELL_SHAPE))


def _as_array(values: Any, where: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"{where}: lists of different lengths found, expected numbers.") from error
