"""Read text of variable length from the heaps of an HDF5 file, without the HDF5 library.

On a damaged heap HDF5 2.0.0 loops for ever and cannot be interrupted. It also allocates memory for
a length before it checks that the heap holds as much. The format is in the HDF5 File Format
Specification 3.0, section III.E, "Global Heap".
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from coos_mlflow.errors import DataError

_SIGNATURE = b"GCOL\x01\x00\x00\x00"
_ALIGNMENT = 8


class Heaps:
    """The heaps of a file. Each is read once.

    Parameters
    ----------
    path : Path
    address_bytes, length_bytes : int
        Bytes of an address and of a length, from the superblock of the file.
    base : int
        Offset in the file from which addresses count.
    """

    def __init__(self, path: Path, address_bytes: int, length_bytes: int, base: int) -> None:
        self._path, self._length_bytes, self._base = path, length_bytes, base
        with path.open("rb") as file:
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._unwalked = len(self._content)
        self._objects: dict[int, dict[int, tuple[int, int]]] = {}
        address = f"<u{address_bytes}"
        self._reference = np.dtype([("length", "<u4"), ("heap", address), ("object", "<u4")])

    def texts(self, references: np.ndarray, longest: int, where: str) -> list[bytes]:
        """Return the texts of references.

        Parameters
        ----------
        references : ndarray of void
            References as stored in the file.
        longest : int
            Largest number of bytes of a text.
        where : str
            Name of the dataset for messages.

        Raises
        ------
        DataError
            For longer texts, damaged heaps and references to objects that do not exist.
        """
        entries = np.ascontiguousarray(references).view(self._reference).ravel()
        claimed = int(entries["length"].max(initial=0))
        if claimed > longest:
            raise DataError(
                f"{where}: text of {claimed:,} bytes found, expected at most {longest:,}."
            )
        return [self._text(*reference) for reference in entries.tolist()]

    def _text(self, length: int, address: int, index: int) -> bytes:
        if not length:
            return b""
        start = self._base + address
        if start not in self._objects:
            self._objects[start] = self._walk(start)
        at, size = self._objects[start].get(index, (0, -1))
        if size < length:
            raise self._damaged(start)
        return self._content[at : at + length].partition(b"\0")[0]

    def _walk(self, start: int) -> dict[int, tuple[int, int]]:
        """Return position and size of each object of a heap, by its number."""
        position = start + _aligned(len(_SIGNATURE) + self._length_bytes)
        header = _aligned(8 + self._length_bytes)
        heap_bytes = self._length_at(start + len(_SIGNATURE))
        end = start + heap_bytes
        # Overlapping heaps would let a small file take hours, so all heaps together are limited.
        self._unwalked -= heap_bytes
        signed = self._content[start : start + len(_SIGNATURE)] == _SIGNATURE
        if not signed or self._unwalked < 0 or not position <= end <= len(self._content):
            raise self._damaged(start)
        objects = {}
        while position + header <= end:
            index = int.from_bytes(self._content[position : position + 2], "little")
            size = self._length_at(position + 8)
            # The size of free space (index 0) includes its header, the size of an object does not.
            step = size if index == 0 else header + _aligned(size)
            if step < header or position + step > end:
                raise self._damaged(start)
            objects[index] = (position + header, size)
            position += step
        return objects

    def _length_at(self, position: int) -> int:
        return int.from_bytes(self._content[position : position + self._length_bytes], "little")

    def _damaged(self, start: int) -> DataError:
        return DataError(
            f"{self._path}: the heap of variable-length text at byte {start:,} is damaged; "
            "copy or download the file again."
        )


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
