"""Limits on the size of a request, and the error for a request above them.

Open this module to change how many bytes or cells a request may hold.
"""

from __future__ import annotations

from collections.abc import Sequence

from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import shown

JSON = "application/json"
NPY = "application/x-npy"
"""Media type of NumPy's format. None is registered; SageMaker's clients send this one."""

MAX_BYTES = {JSON: 16 * 2**20, NPY: 65 * 2**20}
"""Largest size of a request's body, and of an unpacked gzip body. A cell of 64 pixels takes about
48 kB as JSON. The worst JSON, nested empty lists, takes 25 times its size in memory. `MAX_CELLS` of
float32 take 64 MiB as .npy at 64 pixels, plus the header."""

MAX_CELLS = 2048
"""Largest number of cells in a request: 32 MB of counts at 64 pixels."""

WHERE = "the request"
"""Name of a request in messages."""


class RefusedRequestError(DataError):
    """A request that is refused before any cell is read.

    Parameters
    ----------
    sentence : str
        Message for the client.
    status : int
        HTTP status code.
    """

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


def too_large(kind: str) -> RefusedRequestError:
    """Return the error for a body that is larger than `MAX_BYTES`."""
    most = MAX_BYTES[kind] // 2**20
    return RefusedRequestError(
        f"{WHERE}: more than {most} MiB of {kind} found; expected at most that, and {MAX_CELLS:,} "
        "cells: send several requests.",
        413,
    )


def check_count(n_cells: int) -> None:
    """Refuse more than `MAX_CELLS` cells."""
    if n_cells > MAX_CELLS:
        raise RefusedRequestError(
            f"{WHERE}: {n_cells:,} cells found, expected at most {MAX_CELLS:,}: send several "
            "requests.",
            413,
        )


def listed(noun: str, names: Sequence[object]) -> str:
    """Format names from a request for a message: ``columns 'a', 'b'``."""
    if not names:
        return f"no {noun}"
    first = ", ".join(repr(shown(name, 30)) for name in names[:5])
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return f"{noun}{'s' if len(names) > 1 else ''} {first}{more}"
