"""Find cells that are in a plate more than once: the same pixels in both channels."""

from __future__ import annotations

import hashlib

import numpy as np

from coos_mlflow.plates.flags import COPY, USABLE

_DIGEST_BYTES = 8
"""Bytes kept of each SHA-256. Of ten million plates of a million cells each, fewer than one holds
two different cells that share them."""


def cell_digests(images: np.ndarray) -> np.ndarray:
    """Return a number for the pixels of each cell, the same for the same pixels.

    Parameters
    ----------
    images : ndarray, shape (n, 2, 64, 64)
        Raw counts; cells of different dtypes have different numbers.

    Returns
    -------
    ndarray of uint64, shape (n,)
    """
    cells = np.ascontiguousarray(images)
    digests = b"".join(hashlib.sha256(cell.data).digest()[:_DIGEST_BYTES] for cell in cells)
    return np.frombuffer(digests, np.uint64)


class CopyFinder:
    """Remembers the cells of a plate, so that copies of earlier cells are found as they stream by.

    Memory grows by about 70 bytes a cell.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def flagged(self, flags: np.ndarray, digests: np.ndarray) -> np.ndarray:
        """Return the flags of the next cells, with `COPY` for copies of usable cells before them.

        Parameters
        ----------
        flags : ndarray of int8, shape (n,)
            From `coos_mlflow.plates.flags.flag_unusable`.
        digests : ndarray of uint64, shape (n,)
            From `cell_digests`.
        """
        found = flags.copy()
        for row in np.flatnonzero(flags == USABLE).tolist():
            digest = int(digests[row])
            if digest in self._seen:
                found[row] = COPY
            self._seen.add(digest)
        return found
