"""Ids of any bytes: a target of `fuzz.guided`.

What `clean_ids` may raise is DataError; all else, and any breach of what the readers of ids rely
on, is a finding.
"""

from __future__ import annotations

import numpy as np

from coos_mlflow.data.columns import MAX_ID_CHARACTERS, clean_ids
from coos_mlflow.data.wells import (
    N_COLUMNS,
    N_ROWS,
    OPAQUE,
    opaque_ids,
    parse_well,
    well_names,
    well_positions,
)
from coos_mlflow.errors import DataError

EXAMPLES = (b"012003000\nB03\nb3\nB003", b"P24\n\xff\x00\nmitochondria", b"i16384\ni-1", b" a01 \n")

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
    assert 1 <= well.row <= N_ROWS and 1 <= well.column <= N_COLUMNS
    assert well.field is None or 0 <= well.field <= 999
    again = parse_well(well.name)
    assert again is not None and (again.row, again.column) == (well.row, well.column)


def _try_columns(ids: np.ndarray) -> None:
    names, (rows, columns) = well_names(ids), well_positions(ids)
    assert well_names(names).tolist() == names.tolist()
    unknown = set(opaque_ids(ids))
    for text, name, row, column in zip(ids.tolist(), names, rows, columns, strict=True):
        assert (text in unknown) == (row == OPAQUE) == (column == OPAQUE)
        assert name == text or row != OPAQUE


def _as_integer(line: bytes) -> int | None:
    digits = line[1:].removeprefix(b"-")
    if line[:1] == b"i" and digits.isdigit() and len(digits) < 20:
        return int(line[1:])
    return None
