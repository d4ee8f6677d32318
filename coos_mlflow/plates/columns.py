"""The id columns of a plate: plate, well, date and microscope.

Open this module to change how ids are checked and cleaned, or how text from a file is made
printable.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable

import numpy as np

from coos_mlflow.errors import DataError

ID_DATASETS = {
    "plates": "plateIDs",
    "wells": "wellIDs",
    "dates": "dateIDs",
    "microscopes": "microscopeIDs",
}
"""Name of each id column in this package, and of its HDF5 dataset in COOS-7 (read from a real
file)."""

MEASUREMENTS: dict[str, np.dtype] = {
    "field": np.dtype(np.int32),
    "time": np.dtype(np.int32),
    "object": np.dtype(np.int32),
    "centre_y": np.dtype(np.float32),
    "centre_x": np.dtype(np.float32),
    "area_um2": np.dtype(np.float32),
    "solidity": np.dtype(np.float32),
    "focus": np.dtype(np.float32),
    "edge_distance_um": np.dtype(np.float32),
    "neighbours": np.dtype(np.int32),
    "touching": np.dtype(np.int8),
    "dividing": np.dtype(np.int8),
}
"""Dtype of each column that `coos crop` adds to a plate file: where the cell lies in its field, and
what was measured of its nucleus. docs/plates.md describes them."""

MAX_ID_CHARACTERS = 256
"""Largest length of an id. Ids become table cells, file names and labels of figures."""

MISSING = frozenset(("", "nan", "none", "na", "n/a", "<na>", "#n/a", "null"))
"""Lower-case texts that stand for a missing id in tables (numpy, Python, R, pandas, Excel, SQL)."""

_PADDING = "".join(char for char in map(chr, range(0x3001)) if char.isspace()) + "\0"
_WHOLE_FLOAT = re.compile(r"(-?\d+)\.0", re.ASCII)


def clean_ids(raw: Iterable[object], where: str, start: int = 0) -> np.ndarray:
    """Return ids as printable text.

    Parameters
    ----------
    raw : iterable of bytes, str, int, float or None
        One id for each cell.
    where : str
        Name of the source for the message.
    start : int
        Index of the first cell, for the message.

    Returns
    -------
    ndarray of str, shape (n,)
        ``""`` for texts in `MISSING`, None and NaN. Padding at either end is removed, and accents
        are composed (Unicode NFC). Whole numbers lose their ``.0``, which tables add where other
        ids are missing. Bytes that are not UTF-8, and characters that do not print (NUL, newline,
        terminal escapes), become backslash escapes.

    Raises
    ------
    DataError
        For an id longer than 256 characters, and for values that are neither text nor whole
        numbers.
    """
    known: dict[object, str] = {}
    texts = []
    for index, value in enumerate(raw):
        text = known.get(value)
        if text is None:
            text = known[value] = _clean_id(value, f"{where}: the id of cell {start + index}")
        texts.append(text)
    return np.array(texts, dtype=str)


def _clean_id(value: object, what: str) -> str:
    if isinstance(value, bytes):
        text = value.decode("utf-8", errors="backslashreplace")
    elif isinstance(value, str):
        text = value
    elif value is None:
        text = ""
    elif isinstance(value, int | np.integer) and not isinstance(value, bool):
        text = str(int(value))
    elif isinstance(value, float | np.floating):
        text = _whole_number(float(value), what)
    else:
        raise DataError(f"{what} is a {type(value).__name__}, expected text or a whole number.")
    text = text.strip(_PADDING)
    if len(text) > MAX_ID_CHARACTERS:
        raise DataError(
            f"{what} has {len(text):,} characters ({text[:20]!r}...), "
            f"expected at most {MAX_ID_CHARACTERS}."
        )
    if text.casefold() in MISSING:
        return ""
    if whole := _WHOLE_FLOAT.fullmatch(text):
        text = whole[1]
    return _printable(unicodedata.normalize("NFC", text))


def _whole_number(value: float, what: str) -> str:
    if math.isnan(value):
        return ""
    if not value.is_integer():
        raise DataError(f"{what} is {value:g}, expected text or a whole number.")
    return str(int(value))


def shown(text: object, most: int = 200) -> str:
    """Return text from a file for use in a message: printable, and cut after `most` characters."""
    full = str(text)
    return _printable(full if len(full) <= most else f"{full[:most]}...")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
