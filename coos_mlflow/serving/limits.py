"""What a request may hold, and how one that holds something else is refused."""

from __future__ import annotations

import math

from coos_mlflow.data.cells import CELL_SHAPE
from coos_mlflow.errors import DataError

JSON = "application/json"
PARQUET = "application/vnd.apache.parquet"

MAX_BYTES = {JSON: 16 * 2**20, PARQUET: 64 * 2**20}
"""Of a request's body. A cell takes about 48 kB as JSON, of which the worst, empty lists in lists,
takes 25 times that in memory, and 10 to 16 kB as Parquet."""

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
