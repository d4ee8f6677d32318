"""Verify the heaps that hold an HDF5 file's text of variable length.

HDF5 2.0.0 walks a damaged heap for ever, where nothing can interrupt it, so the sizes are
checked before it is asked (HDF5 File Format Specification 3.0, section III.E, "Global Heap").
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from coos_mlflow.errors import DataError

_SIGNATURE = b"GCOL\x01\x00\x00\x00"
_ALIGNMENT = 8


def check_heaps(path: Path, length_bytes: int) -> None:
    """Refuse a file with a heap whose objects do not fill it exactly.

    Parameters
    ----------
    path : Path
    length_bytes : int
        Bytes of a length, as the file's superblock says.

    Raises
    ------
    DataError
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_SIGNATURE)
        while start >= 0:
            end = _heap_end(content, start, length_bytes)
            if end is None:
                raise DataError(
                    f"{path}: the heap of variable-length text at byte {start:,} is damaged; "
                    "copy or download the file again."
                )
            start = content.find(_SIGNATURE, end)


def longest_text(references: bytes, address_bytes: int) -> int:
    """Return the largest length in bytes that references to a heap claim.

    HDF5 2.0.0 takes memory for what is claimed before it looks whether the heap holds as much.

    Parameters
    ----------
    references : bytes
        One after the other, as the file holds them.
    address_bytes : int
        Bytes of an address, as the file's superblock says.
    """
    form = np.dtype([("length", "<u4"), ("object", f"V{address_bytes + 4}")])
    return int(np.frombuffer(references, form)["length"].max(initial=0))


def _heap_end(content: mmap.mmap, start: int, length_bytes: int) -> int | None:
    """Walk the objects of a heap; None where their sizes lead out of it."""

    def length_at(position: int) -> int:
        return int.from_bytes(content[position : position + length_bytes], "little")

    first = _aligned(len(_SIGNATURE) + length_bytes)
    object_header = _aligned(8 + length_bytes)
    end = start + length_at(start + len(_SIGNATURE))
    if not start + first <= end <= len(content):
        return None
    position = start + first
    while position + object_header <= end:
        index = int.from_bytes(content[position : position + 2], "little")
        size = length_at(position + 8)
        # Free space (index 0) counts its own header, an object does not.
        step = size if index == 0 else object_header + _aligned(size)
        if step < object_header or position + step > end:
            return None
        position += step
    return end


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
