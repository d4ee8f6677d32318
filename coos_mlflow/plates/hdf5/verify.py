"""Verify the chunks of a dataset before HDF5 unpacks them.

HDF5 2.0.0 takes it for granted that a chunk unpacks to its full size: what lies behind a shorter
one in memory becomes pixels, or ends the process, and a longer one is unpacked to its end, however
much that is. So each chunk is unpacked here first, as far as its size, and only its length counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import shown
from coos_mlflow.plates.hdf5._packing import Filter, filters_of, unpacked, unpacked_length

if TYPE_CHECKING:
    import h5py

MAX_ROW_BYTES = 2**29
"""Chunks side by side must all be unpacked to read one cell: 512 MiB, or 32,768 cells of uint16."""

MAX_PACKING = 200
"""Bytes of cells that one stored byte may become; counts of a camera pack 2-fold, and 10-fold where
the background was set to 0."""

_FEW_BYTES = 2**16
"""What is no larger may be packed as well as it can."""

_THREADS = 4
_UNPACKED_BYTES = 2**28
"""What verifying may hold at once, unless one chunk alone is more."""

_TWICE = -1
"""Size of a chunk that the file holds twice."""


class Chunks:
    """The chunks of a dataset, each verified once; a contiguous dataset has none.

    Parameters
    ----------
    dataset : h5py.Dataset
    where : str
        What to name in messages, such as ``"plate.h5:/data"``.
    file_bytes : int

    Attributes
    ----------
    entry_bytes : int
        What the file holds for an entry.

    Raises
    ------
    DataError
        For chunks that are too large or lie upon each other, and for filters whose work cannot be
        verified.
    """

    def __init__(self, dataset: h5py.Dataset, where: str, file_bytes: int) -> None:
        self._id, self._where = dataset.id, where
        self._shape: tuple[int, ...] = dataset.shape
        self._sides: tuple[int, ...] = dataset.chunks or ()
        self.entry_bytes = _entry_bytes(dataset)
        self._chunk_bytes = math.prod(self._sides) * self.entry_bytes
        self._bytes = math.prod(self._shape) * self.entry_bytes
        self._verified: set[int] = set()
        if not self._sides:
            return
        self._grid = [
            -(-length // side) for length, side in zip(self._shape, self._sides, strict=True)
        ]
        row_bytes = self._chunk_bytes * math.prod(self._grid[1:])
        if row_bytes > MAX_ROW_BYTES:
            smaller = "x".join(map(str, (64, *self._shape[1:])))
            raise DataError(
                f"{where}: chunks {self._sides} found, of which {row_bytes:,} bytes are unpacked "
                f"to read one cell, expected at most {MAX_ROW_BYTES:,}; `h5repack -l "
                f"{shown(dataset.name[1:])}:CHUNK={smaller}` makes smaller ones."
            )
        self._filters = filters_of(dataset, where)
        self._mask = 2 ** len(self._filters) - 1
        self._stored = self._id.get_storage_size()
        if self._stored > file_bytes:
            raise DataError(
                f"{where}: chunks of {self._stored:,} bytes found in a file of {file_bytes:,}; "
                "some of them lie upon each other."
            )

    def check_packing(self) -> None:
        """Refuse what would become absurdly much.

        Raises
        ------
        DataError
        """
        if self._sides and self._bytes > max(MAX_PACKING * self._stored, _FEW_BYTES):
            raise DataError(
                f"{self._where}: {self._bytes:,} bytes packed into {self._stored:,} found, "
                f"expected at most {MAX_PACKING} times as many; no camera's counts pack so well."
            )

    def verify(self, start: int, stop: int) -> None:
        """Unpack the chunks that hold the entries `start` to `stop` - 1, and look at their lengths.

        Raises
        ------
        DataError
            For a chunk that is missing or does not unpack to its size.
        """
        if not self._sides:
            return
        rows = {*range(start // self._sides[0], -(-stop // self._sides[0]))} - self._verified
        for row in sorted(rows):
            self._check_sizes(row)
        places = [place for row in sorted(rows) for place in self._packed(row)]
        if len(places) > 1:
            # Side by side: zlib lets other threads work.
            threads = min(_THREADS, max(1, _UNPACKED_BYTES // max(1, self._chunk_bytes)))
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(self._check_content, places))
        else:
            list(map(self._check_content, places))
        self._verified |= rows

    def contents(self) -> Iterator[bytes]:
        """Yield what each chunk holds unpacked, for text of variable length that was verified."""
        for place in np.ndindex(*self._grid):
            content, used = self._read(place)
            yield unpacked(content, used, self._chunk_bytes)

    @cached_property
    def _found(self) -> tuple[np.ndarray, np.ndarray]:
        """Sizes in bytes and filter masks of all chunks, in the order of their places."""
        # In one pass: to ask for a single chunk, HDF5 walks through all before it.
        sizes, masks = np.zeros(self._grid, np.int64), np.zeros(self._grid, np.uint32)

        def note(chunk: h5py.h5d.StoreInfo) -> None:
            place = tuple(
                start // side for start, side in zip(chunk.chunk_offset, self._sides, strict=True)
            )
            if any(at >= length for at, length in zip(place, self._grid, strict=True)):
                return
            # One that is there twice is told from the one that was verified by no size.
            sizes[place] = _TWICE if sizes[place] else chunk.size
            masks[place] = chunk.filter_mask

        self._id.chunk_iter(note)
        return sizes, masks

    def _check_sizes(self, row: int) -> None:
        """Refuse a row of chunks with one that is missing or of an impossible size."""
        sizes = self._found[0][row]
        wrong = (sizes != self._chunk_bytes) & ~self._is_packed(row)
        wrong |= (sizes <= 0) | (sizes > 2 * self._chunk_bytes + _FEW_BYTES)
        if wrong.any():
            self._refuse(row, int(sizes[wrong].flat[0]))

    def _is_packed(self, row: int) -> np.ndarray:
        return self._found[1][row] & self._mask != self._mask

    def _packed(self, row: int) -> Iterator[tuple[int, ...]]:
        """Yield the places of the chunks of a row that are packed."""
        for place in np.argwhere(self._is_packed(row)):
            yield (row, *place.tolist())

    def _check_content(self, place: tuple[int, ...]) -> None:
        """Refuse a chunk that does not unpack to its size."""
        content, used = self._read(place)
        if unpacked_length(content, used, self._chunk_bytes) != self._chunk_bytes:
            self._refuse(place[0], len(content))

    def _read(self, place: tuple[int, ...]) -> tuple[bytes, list[Filter]]:
        """Return a chunk as it is stored, and the steps by which it is packed."""
        steps = zip(place, self._sides, strict=True)
        mask, content = self._id.read_direct_chunk(tuple(at * side for at, side in steps))
        return content, [step for bit, step in enumerate(self._filters) if not mask >> bit & 1]

    def _refuse(self, row: int, found: int) -> NoReturn:
        first = row * self._sides[0]
        last = min(first + self._sides[0], self._shape[0]) - 1
        raise DataError(
            f"{self._where}, cells {first} to {last}, cannot be read, the file is damaged: a chunk "
            f"of {max(found, 0):,} bytes does not unpack to {self._chunk_bytes:,}."
        )


def _entry_bytes(dataset: h5py.Dataset) -> int:
    """Return how many bytes the file holds for an entry.

    Of text of variable length these are a reference: four bytes of length, the address of a heap
    and four bytes that say which of its objects is meant.
    """
    if dataset.dtype.kind != "O":
        return int(dataset.dtype.itemsize)
    address_bytes, _ = dataset.file.id.get_create_plist().get_sizes()
    return 4 + int(address_bytes) + 4
