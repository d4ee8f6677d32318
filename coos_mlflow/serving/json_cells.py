"""Cells in JSON: lists in lists of numbers, looked at before NumPy would guess what was meant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from coos_mlflow.data.cells import CELL_SHAPE, CHANNELS, check_shape
from coos_mlflow.errors import DataError
from coos_mlflow.serving.limits import PARQUET, WHERE, RefusedRequestError, check_count

TENSOR_KEYS = ("inputs", "instances")
"""MLflow's two names for an array; they mean the same here."""

_MOST_AXES = 8


def from_json(body: bytes) -> np.ndarray:
    """Return the numbers in ``{"inputs": [cells]}``, float64 (n, 2, 64, 64).

    Raises
    ------
    DataError
        Naming the first cell that is none; `RefusedRequestError` where there are no cells at all.
    """
    values = _tensor(_parsed(body))
    if not values:
        raise DataError(f"{WHERE}: no cells found, expected at least one.")
    shape = _shape(values)
    check_shape(shape, np.dtype(np.float64), WHERE)
    check_count(shape[0])
    for index, cell in enumerate(values):
        _check_cell(cell, index)
    try:
        return np.array(values, np.float64)
    except OverflowError as error:
        raise DataError(
            f"{WHERE}: a number of hundreds of digits found, expected raw camera counts 0..65535."
        ) from error


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_object)
    except RefusedRequestError:
        raise
    except RecursionError:
        found = "lists nested a thousand deep"
    except json.JSONDecodeError as error:
        found = f"no JSON ({error.msg} at character {error.pos:,})"
    except UnicodeDecodeError as error:
        found = f"no UTF-8 (byte {error.start:,})"
    except ValueError:
        found = "a number of thousands of digits"
    raise RefusedRequestError(f'{WHERE}: {found} found, expected {{"inputs": [cells]}}.')


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, of which the standard library would keep the last of equal keys."""
    said = dict(pairs)
    if len(said) < len(pairs):
        raise RefusedRequestError(f"{WHERE}: a key that comes twice found, expected each once.")
    return said


def _tensor(said: Any) -> Sequence[Any]:
    """Return the list of cells in what a request says."""
    if not isinstance(said, dict):
        raise RefusedRequestError(
            f'{WHERE}: {_kind(said)} found, expected an object {{"inputs": [cells]}}.'
        )
    keys = [
        key for key, value in said.items() if (key, value) not in (("params", None), ("params", {}))
    ]
    if len(keys) != 1 or keys[0] not in TENSOR_KEYS:
        named = ", ".join(repr(key[:30]) for key in keys[:5]) or "no key"
        raise RefusedRequestError(
            f'{WHERE}: {named} found, expected "inputs" alone, a list of cells; tables of lists '
            f"are taken as {PARQUET}."
        )
    values = said[keys[0]]
    if not isinstance(values, list):
        raise RefusedRequestError(
            f"{WHERE}: {keys[0]} is {_kind(values)}, expected a list of cells."
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


def _check_cell(cell: Any, index: int) -> None:
    """Refuse what is not 2 x 64 x 64 numbers, before NumPy would guess what was meant."""
    channels, height, width = CELL_SHAPE
    if not (isinstance(cell, list) and len(cell) == channels):
        raise DataError(f"{WHERE}: cell {index} is {_size(cell)}, expected {channels} channels.")
    for name, channel in zip(CHANNELS, cell, strict=True):
        where = f"{WHERE}: cell {index}, {name} channel"
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
