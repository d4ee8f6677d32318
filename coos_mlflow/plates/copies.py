"""Find copies: cells of a plate with the same pixels as an earlier cell, in both channels.

Open this module to change how cells are compared.
"""

from __future__ import annotations

import hashlib

import numpy as np

from coos_mlflow.plates.flags import COPY, USABLE

_DIGEST_BYTES = 8
"""Bytes kept of each SHA-256. Among ten million plates of a million cells each, fewer than one is
expected to hold two different cells with the same bytes."""


def cell_digests(images: np.ndarray) -> np.ndarray:
    """Return a number for each cell; equal pixels give equal numbers.

    Parameters
    ----------
    images : ndarray, shape (n, 2, crop, crop)
        Raw counts; cells of different dtypes have different numbers.

    Returns
    -------
    ndarray of uint64, shape (n,)
    """
    cells = np.ascontiguousarray(images)
    digests = b"".join(hashlib.sha256(cell.data).digest()[:_DIGEST_BYTES] for cell in cells)
    return np.frombuffer(digests, np.uint64)


class CopyFinder:
    """Remember the cells of a plate while it is read in batches, and find copies of earlier ones.

    Memory grows by about 70 bytes a cell.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def flagged(self, flags: np.ndarray, digests: np.ndarray) -> np.ndarray:
        """Return the flags of the next cells, with `COPY` for copies of earlier usable cells.

        Parameters
        ----------
        flags : ndarray of int8, shape (n,)
            From `coos_mlflow.plates.flags.flag_unusable`.
        digests : ndarray of uint64, shape (n,)
            From `cell_digests`.
        """
        updated = flags.copy()
        for row in np.flatnonzero(flags == USABLE).tolist():
            digest = int(digests[row])
            if digest in self._seen:
                updated[row] = COPY
            self._seen.add(digest)
        return updated
