"""Read the entries of a dataset. Each chunk is unpacked once, by `_packing` instead of HDF5.

HDF5 2.0.0 does not check that a chunk unpacks to its full size. After a shorter chunk it reads
memory past the end as pixels, or crashes. A longer chunk is unpacked without a limit.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import MAX_ID_CHARACTERS, shown
from coos_mlflow.plates.hdf5._heap import Heaps
from coos_mlflow.plates.hdf5._packing import filters_of, unpacked

MAX_CELLS = 50_000_000
"""Largest number of cells (400 GB of 16-bit pixels). A larger one means a damaged or hostile
header."""

MAX_ROW_BYTES = 2**29
"""Largest size of a row of chunks, 512 MiB or 32,768 cells of uint16. A row is all chunks that must
be unpacked to read one cell."""

MAX_PACKING = 200
"""Largest ratio of unpacked to stored bytes. Camera counts pack 2-fold, and 10-fold if the
background was set to 0."""

_FEW_BYTES = 2**16
"""Datasets up to this size may have any packing ratio."""


class Entries:
    """The entries of a dataset along its first axis.

    Parameters
    ----------
    dataset : h5py.Dataset
    where : str
        Name of the dataset for messages, such as ``"plate.h5:/data"``.
    file_bytes : int
        Size of the file.

    Raises
    ------
    DataError
        For too many entries, values that were never written, chunks that are too large or
        overlap, and unsupported filters.
    """

    def __init__(self, dataset: h5py.Dataset, where: str, file_bytes: int) -> None:
        self._dataset, self._where = dataset, where
        self._shape: tuple[int, ...] = dataset.shape
        self._sides: tuple[int, ...] = dataset.chunks or ()
        self._kind = dataset.id.get_type()
        self._sizes = dataset.file.id.get_create_plist().get_sizes()
        self._is_text = dataset.dtype.kind == "O"
        # A reference to text of variable length: its length, the address of a heap, a number.
        entry_bytes = 4 + self._sizes[0] + 4 if self._is_text else self._kind.get_size()
        self._entry = np.dtype(f"V{entry_bytes}")
        self._bytes = math.prod(self._shape) * entry_bytes
        self._stored = dataset.id.get_storage_size()
        if self._sides:
            self._check_chunks(file_bytes)
        self._check_written(file_bytes)

    def check_packing(self) -> None:
        """Refuse a dataset that would unpack to more than `MAX_PACKING` times its stored size.

        Raises
        ------
        DataError
        """
        if self._sides and self._bytes > max(MAX_PACKING * self._stored, _FEW_BYTES):
            raise DataError(
                f"{self._where}: {self._bytes:,} bytes packed into {self._stored:,} found, "
                f"expected at most {MAX_PACKING} times as many; no camera's counts pack so well."
            )

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read the entries `start` to `stop` - 1.

        Returns
        -------
        ndarray, shape (stop - start, ...)
            Values of the dataset's dtype. Text of variable length is returned as bytes objects.

        Raises
        ------
        DataError
            For a chunk that does not unpack to its size, and for damaged text.
        """
        if not (self._sides or self._is_text):
            return self._dataset[start:stop]
        if self._sides:
            entries = np.empty((stop - start, *self._shape[1:]), self._entry)
            for row in range(start // self._sides[0], -(-stop // self._sides[0])):
                first = row * self._sides[0]
                of_row = slice(max(start - first, 0), stop - first)
                part = self._row(row)[of_row]
                at = max(first - start, 0)
                entries[at : at + len(part)] = part
        else:
            entries = self._references(start, stop)
        if self._is_text:
            texts = self._heaps.texts(entries, 4 * MAX_ID_CHARACTERS, self._where)
            return np.array(texts, object).reshape(entries.shape)
        return self._converted(entries)

    def _check_chunks(self, file_bytes: int) -> None:
        self._grid = [
            -(-length // side) for length, side in zip(self._shape, self._sides, strict=True)
        ]
        self._chunk_bytes = math.prod(self._sides) * self._entry.itemsize
        row_bytes = self._chunk_bytes * math.prod(self._grid[1:])
        if row_bytes > MAX_ROW_BYTES:
            smaller = "x".join(map(str, (64, *self._shape[1:])))
            raise DataError(
                f"{self._where}: chunks {self._sides} found, of which {row_bytes:,} bytes are "
                f"unpacked to read one cell, expected at most {MAX_ROW_BYTES:,}; `h5repack -l "
                f"{shown(self._dataset.name[1:])}:CHUNK={smaller}` makes smaller ones."
            )
        self._filters = filters_of(self._dataset, self._where)
        self._last: tuple[int, np.ndarray] | None = None
        if self._stored > file_bytes:
            raise DataError(
                f"{self._where}: chunks of {self._stored:,} bytes found in a file of "
                f"{file_bytes:,}; some of them lie upon each other."
            )

    def _check_written(self, file_bytes: int) -> None:
        """Refuse a dataset that claims more than the file holds, before any memory is allocated."""
        if self._shape[0] > MAX_CELLS:
            raise DataError(
                f"{self._where}: {self._shape[0]:,} entries claimed by a file of {file_bytes:,} "
                f"bytes, expected at most {MAX_CELLS:,}."
            )
        if self._sides:
            claimed, unit = math.prod(self._grid), "chunks"
            stored = self._dataset.id.get_num_chunks()
        else:
            claimed, unit, stored = self._bytes, "bytes", self._stored
        if stored < claimed:
            raise DataError(
                f"{self._where}: shape {self._shape} needs {claimed:,} {unit}, but the file holds "
                f"{stored:,}; it was not written to its end."
            )

    def _row(self, row: int) -> np.ndarray:
        """Return all entries of a row of chunks. The last row is cached."""
        if self._last and self._last[0] == row:
            return self._last[1]
        self._last = None
        first = row * self._sides[0]
        shape = (min(self._sides[0], self._shape[0] - first), *self._shape[1:])
        entries = np.empty(shape, self._entry)
        for place in np.ndindex(1, *self._grid[1:]):
            corner = [at * side for at, side in zip(place, self._sides, strict=True)]
            part = entries[
                tuple(slice(at, at + side) for at, side in zip(corner, self._sides, strict=True))
            ]
            chunk = self._chunk((first, *corner[1:]))
            part[...] = chunk[tuple(map(slice, part.shape))]
        self._last = row, entries
        return entries

    def _chunk(self, corner: tuple[int, ...]) -> np.ndarray:
        """Read a chunk and unpack it."""
        # The packed size in the file can be any number, so the buffer is limited to the largest
        # size that a filter produces.
        most = self._chunk_bytes + self._chunk_bytes // 8 + _FEW_BYTES
        room = np.empty(min(most, self._stored), np.uint8)
        try:
            mask, packed = self._dataset.id.read_direct_chunk(corner, out=room)
            used = [step for bit, step in enumerate(self._filters) if not mask >> bit & 1]
            content = unpacked(bytes(packed), used, self._chunk_bytes)
        except (RuntimeError, ValueError) as error:
            last = min(corner[0] + self._sides[0], self._shape[0]) - 1
            raise DataError(
                f"{self._where}, cells {corner[0]} to {last}, cannot be read, the file is damaged: "
                f"a chunk does not unpack to {self._chunk_bytes:,} bytes ({shown(error)})."
            ) from error
        return np.frombuffer(content, self._entry).reshape(self._sides)

    def _converted(self, entries: np.ndarray) -> np.ndarray:
        """Convert entries from the file's type to NumPy's."""
        dtype = self._dataset.dtype
        memory = h5py.h5t.py_create(dtype)
        if self._kind == memory:
            return entries.view(dtype)
        size = entries.nbytes
        buffer = np.zeros(max(size, entries.size * dtype.itemsize), np.uint8)
        buffer[:size] = np.frombuffer(entries, np.uint8)
        h5py.h5t.convert(self._kind, memory, entries.size, buffer)
        return buffer[: entries.size * dtype.itemsize].view(dtype).reshape(entries.shape)

    @cached_property
    def _heaps(self) -> Heaps:
        file, (address_bytes, length_bytes) = self._dataset.file, self._sizes
        return Heaps(Path(file.filename), address_bytes, length_bytes, file.userblock_size)

    def _references(self, start: int, stop: int) -> np.ndarray:
        """Read the references to heaps that are stored for text of variable length."""
        offset = self._dataset.id.get_offset()
        if offset is None:
            raise DataError(
                f"{self._where}: text of variable length inside the header of the dataset found, "
                f"expected it in the file; `h5repack -l {shown(self._dataset.name[1:])}:CONTI` "
                "puts it there."
            )
        with Path(self._dataset.file.filename).open("rb") as file:
            file.seek(offset + start * self._entry.itemsize)
            return np.fromfile(file, self._entry, stop - start)
