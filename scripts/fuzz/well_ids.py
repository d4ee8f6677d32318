"""Ids of any bytes: a target of `fuzz.guided`.

What `clean_ids` may raise is DataError; all else, and any breach of what the readers of ids rely
on, is a finding.
"""

from __future__ import annotations

import json

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import MAX_ID_CHARACTERS, clean_ids
from coos_mlflow.plates.wells import (
    MAX_COLUMNS,
    MAX_ROWS,
    OPAQUE,
    parse_well,
    read_wells,
    well_positions,
)

EXAMPLES = (
    b"012003000\nB03\nb3\nB003",
    b"P24\n\xff\x00\nmitochondria",
    b"i16384\ni-1",
    b" a01 \n",
    b"r05c10f01\nE - 10(fld 1)\n(5, 10)\n12-08",
    b"A01_s1\nnan\n5.0",
)

_LONGEST_ESCAPE = len("\\U0010ffff")


def try_bytes(data: bytes) -> bool:
    """Read lines as ids, in the three types that a column may have.

    Parameters
    ----------
    data : bytes
        Lines; those that begin with an i are integers where the rest is one.

    Returns
    -------
    bool
        Whether they were taken.
    """
    lines = data.split(b"\n")
    values: list[object] = [_as_integer(line) or line for line in lines]
    values += [line.decode("utf-8", "surrogateescape") for line in lines[:4]]
    try:
        ids = clean_ids(values, "the fuzzer")
    except DataError as error:
        assert str(error).isprintable() and len(str(error)) < 500
        assert any(len(str(value)) > MAX_ID_CHARACTERS for value in values) or any(
            isinstance(value, bytes) and len(value) > MAX_ID_CHARACTERS // 4 for value in values
        )
        return False
    assert ids.shape == (len(values),)
    for text in ids.tolist():
        assert text.isprintable() and len(text) <= MAX_ID_CHARACTERS * _LONGEST_ESCAPE
        _try_well(text)
    _try_columns(ids)
    return True


def _try_well(text: str) -> None:
    well = parse_well(text)
    if well is None:
        return
    assert 1 <= well.row <= MAX_ROWS and 1 <= well.column <= MAX_COLUMNS
    assert well.field is None or 0 <= well.field <= 9999
    again = parse_well(well.name)
    assert again is not None and (again.row, again.column) == (well.row, well.column)


def _try_columns(ids: np.ndarray) -> None:
    found = read_wells(ids)
    rows, columns = well_positions(found.names)
    assert read_wells(found.names).names.tolist() == found.names.tolist()
    unknown = {"", *found.kept}
    for text, name, row, column in zip(ids.tolist(), found.names, rows, columns, strict=True):
        assert (text in unknown) == (row == OPAQUE) == (column == OPAQUE)
        assert name == text or row != OPAQUE
    assert found.words.isprintable() and (found.note or "").isprintable()
    json.dumps(found.facts, allow_nan=False)


def _as_integer(line: bytes) -> int | None:
    digits = line[1:].removeprefix(b"-")
    if line[:1] == b"i" and digits.isdigit() and len(digits) < 20:
        return int(line[1:])
    return None
