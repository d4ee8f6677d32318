"""What a request may hold, and how one that holds something else is refused."""

from __future__ import annotations

from collections.abc import Sequence

from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import shown

JSON = "application/json"
NPY = "application/x-npy"
"""Of NumPy's format. No media type of it is registered; SageMaker's clients send this one."""

MAX_BYTES = {JSON: 16 * 2**20, NPY: 65 * 2**20}
"""Of a request's body, and of what a gzip body unpacks to. A cell takes about 48 kB as JSON, of
which the worst, empty lists in lists, takes 25 times that in memory. `MAX_CELLS` of float32 take
64 MiB as .npy, and a header."""

MAX_CELLS = 2048
"""Of a request; 32 MB of counts."""

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


def listed(noun: str, names: Sequence[object]) -> str:
    """Return names that a request brought as a sentence says them: ``columns 'a', 'b'``."""
    if not names:
        return f"no {noun}"
    first = ", ".join(repr(shown(name, 30)) for name in names[:5])
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return f"{noun}{'s' if len(names) > 1 else ''} {first}{more}"
