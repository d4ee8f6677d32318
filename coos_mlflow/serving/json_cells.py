"""Read cells from a JSON body: nested lists of numbers.

The lists are checked before they reach NumPy, which would convert text and truth values silently.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.schema import CHANNELS, check_shape
from coos_mlflow.serving.limits import NPY, WHERE, RefusedRequestError, check_count, listed

TENSOR_KEYS = ("inputs", "instances")
"""MLflow's two keys for an array. They have the same meaning here."""

_MAX_AXES = 8


def from_json(body: bytes, crop: int) -> np.ndarray:
    """Return the numbers in ``{"inputs": [cells]}``, float64 (n, 2, crop, crop).

    Raises
    ------
    DataError
        For a wrong cell; the message names the first one. A `RefusedRequestError` when no cell
        can be read at all.
    """
    values = _tensor(_parsed(body))
    if not values:
        raise DataError(f"{WHERE}: no cells found, expected at least one.")
    shape = _shape(values)
    check_shape(shape, np.dtype(np.float64), WHERE, crop)
    check_count(shape[0])
    for index, cell in enumerate(values):
        _check_cell(cell, index, crop)
    try:
        return np.array(values, np.float64)
    except OverflowError as error:
        raise DataError(
            f"{WHERE}: a number of hundreds of digits found, expected raw camera counts 0..65535."
        ) from error


def _parsed(body: bytes) -> Any:
    try:
        # Windows starts UTF-8 files with a byte order mark, which is not allowed in JSON.
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=_object)
    except RefusedRequestError:
        raise
    except RecursionError:
        problem = "lists nested a thousand deep"
    except json.JSONDecodeError as error:
        problem = f"no JSON ({error.msg} at character {error.pos:,})"
    except UnicodeDecodeError as error:
        problem = f"no UTF-8 (byte {error.start:,})"
    except ValueError:
        problem = "a number of thousands of digits"
    raise RefusedRequestError(f'{WHERE}: {problem} found, expected {{"inputs": [cells]}}.')


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object, and refuse equal keys (the standard library would keep the last one)."""
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise RefusedRequestError(f"{WHERE}: a key that comes twice found, expected each once.")
    return unique


def _tensor(content: Any) -> Sequence[Any]:
    """Return the list of cells in a parsed request."""
    if not isinstance(content, dict):
        raise RefusedRequestError(
            f'{WHERE}: {_kind(content)} found, expected an object {{"inputs": [cells]}}.'
        )
    keys = [
        key
        for key, value in content.items()
        if (key, value) not in (("params", None), ("params", {}))
    ]
    if len(keys) != 1 or keys[0] not in TENSOR_KEYS:
        raise RefusedRequestError(
            f'{WHERE}: {listed("key", keys)} found, expected "inputs" alone, a list of '
            f"cells; arrays are taken as {NPY} too."
        )
    values = unnamed(content[keys[0]], keys[0])
    if not isinstance(values, list):
        raise RefusedRequestError(
            f"{WHERE}: {keys[0]} is {_kind(values)}, expected a list of cells."
        )
    return values


def unnamed(values: Any, where: str) -> Any:
    """Return the cells of ``{"name": [cells]}`` or ``[{"name": cell}, ...]``.

    MLflow accepts these two forms for named arrays, by column and by row. Other values are
    returned unchanged.

    Parameters
    ----------
    values : object
    where : str
        Name of the values for messages.

    Raises
    ------
    DataError
        When there are several names or none. The message lists the names.
    """
    if isinstance(values, dict):
        return values[_only_name(values, where)]
    if not (isinstance(values, list) and values and isinstance(values[0], dict)):
        return values
    name = _only_name(values[0], "cell 0")
    for index, row in enumerate(values):
        if not isinstance(row, dict) or [*row] != [name]:
            problem = (
                f"has {listed('name', [*row])}" if isinstance(row, dict) else f"is {_kind(row)}"
            )
            raise DataError(
                f"{WHERE}: cell {index} {problem}, expected {listed('name', [name])} as in cell 0."
            )
    return [row[name] for row in values]


def _only_name(named: dict[str, Any], where: str) -> str:
    if len(named) != 1:
        raise RefusedRequestError(
            f"{WHERE}: {where} has {listed('name', [*named])}, expected a list of cells, or one "
            "name with such a list."
        )
    return next(iter(named))


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "null")


def _shape(values: Any) -> tuple[int, ...]:
    """Return the lengths of nested lists, following the first item of each list."""
    shape: list[int] = []
    while isinstance(values, list) and len(shape) < _MAX_AXES:
        shape.append(len(values))
        values = values[0] if values else None
    return tuple(shape)


def _check_cell(cell: Any, index: int, crop: int) -> None:
    """Refuse a cell that is not 2 x crop x crop numbers, before NumPy would convert it."""
    if not (isinstance(cell, list) and len(cell) == len(CHANNELS)):
        raise DataError(
            f"{WHERE}: cell {index} is {_size(cell)}, expected {len(CHANNELS)} channels."
        )
    for name, channel in zip(CHANNELS, cell, strict=True):
        where = f"{WHERE}: cell {index}, {name} channel"
        if not (isinstance(channel, list) and len(channel) == crop):
            raise DataError(f"{where} is {_size(channel)}, expected {crop} rows.")
        for y, row in enumerate(channel):
            if not (isinstance(row, list) and len(row) == crop):
                raise DataError(f"{where}, row {y} is {_size(row)}, expected {crop} counts.")
            if not {*map(type, row)} <= {int, float}:
                odd = next(value for value in row if type(value) not in (int, float))
                raise DataError(f"{where}, row {y} holds {_size(odd)}, expected raw counts.")


def _size(value: Any) -> str:
    return f"a list of {len(value):,}" if isinstance(value, list) else _kind(value)
