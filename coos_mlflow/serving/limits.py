"""What a request may hold, and how one that holds something else is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence

from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import shown
from coos_mlflow.plates.schema import CELL_SHAPE

JSON = "application/json"
PARQUET = "application/vnd.apache.parquet"

MAX_BYTES = {JSON: 16 * 2**20, PARQUET: 64 * 2**20}
"""Of a request's body, and of what a gzip body unpacks to. A cell takes about 48 kB as JSON, of
which the worst, empty lists in lists, takes 25 times that in memory, and 10 to 16 kB as Parquet."""

MAX_CELLS = 2048
"""Of a request; 32 MB of counts."""

COUNTS = math.prod(CELL_SHAPE)
"""Numbers of a cell."""

WHERE = "the request"
"""What sentences call it."""


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


def too_large(kind: str) -> RefusedRequestError:
    """Return what is said of a body that is larger than `MAX_BYTES`."""
    most = MAX_BYTES[kind] // 2**20
    return RefusedRequestError(
        f"{WHERE}: more than {most} MiB of {kind} found; expected at most that, and {MAX_CELLS:,} "
        "cells: send several requests.",
        413,
    )


def check_count(n_cells: int) -> None:
    """Refuse more cells than a request may bring."""
    if n_cells > MAX_CELLS:
        raise RefusedRequestError(
            f"{WHERE}: {n_cells:,} cells found, expected at most {MAX_CELLS:,}: send several "
            "requests.",
            413,
        )


def column_of_cells(names: Sequence[object], holds_lists: Sequence[bool]) -> int:
    """Return the place of a table's one column of lists; indices and wells beside it stay unread.

    A lone column is taken for the cells whatever it holds: its type is refused later.

    Parameters
    ----------
    names : sequence
        Of all columns.
    holds_lists : sequence of bool
        Which of them hold lists.

    Raises
    ------
    DataError
        Naming the columns, where it is not clear which one holds the cells.
    """
    lists = [place for place, is_list in enumerate(holds_lists) if is_list]
    one = f"one column of flat lists of {COUNTS:,} counts (2 x 64 x 64), one list a cell"
    if len(lists) > 1:
        several = listed("column", [names[place] for place in lists])
        raise DataError(f"{WHERE}: {several} of lists found, expected {one}; drop the others.")
    if not lists and len(names) != 1:
        raise DataError(f"{WHERE}: {listed('column', names)} found, expected {one}.")
    return lists[0] if lists else 0


def listed(noun: str, names: Sequence[object]) -> str:
    """Return names that a request brought as a sentence says them: ``columns 'a', 'b'``."""
    if not names:
        return f"no {noun}"
    first = ", ".join(repr(shown(name, 30)) for name in names[:5])
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return f"{noun}{'s' if len(names) > 1 else ''} {first}{more}"
