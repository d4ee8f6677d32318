"""Undo the HDF5 filters blosc, and blosc2: a frame with one such chunk, often cut into blocks.

The frame is that of https://github.com/Blosc/c-blosc2/blob/main/README_CFRAME_FORMAT.rst. Where
its header has a part "b2nd", the chunk was padded to whole blocks, which follow each other.
"""

from __future__ import annotations

import math

import imagecodecs
import numpy as np

_ZEROS = 0x81
"""The last byte of a chunk's place, where it is not stored because it holds zeros."""

_MAX_PADDING = 4
"""How many times as large as a chunk its whole blocks may be."""

_EXTENDED, _LAZY, _UNSET = 0b101, 0b1000, 0b1000000
"""Bits of flags: of a header with 32 bytes, and of chunks without their numbers."""

_CODECS, _FILTERS = 4, 4
"""Up to these, codecs (BloscLZ, LZ4, -, zlib, Zstandard) and filters belong to c-blosc2. For others
it would look for a plugin."""


def without_blosc(
    packed: bytes | bytearray, parameters: tuple[int, ...], limit: int
) -> bytes | bytearray:
    """Undo the filter blosc, and blosc2 inside its frame.

    c-blosc2 knows both; unlike c-blosc, it reads nothing behind a chunk that is cut short.

    Raises
    ------
    ValueError, RuntimeError
        For a chunk that is damaged, or of more than `limit` bytes.
    """
    flags = packed[2]
    extended = flags & _EXTENDED == _EXTENDED
    if flags >> 5 > _CODECS or (extended and max(packed[16:22]) > _FILTERS):
        raise ValueError("a codec or filter that is no part of c-blosc2")
    if extended and packed[31] & (_LAZY | _UNSET):
        raise ValueError("a chunk that is not stored")
    return imagecodecs.blosc2_decode(packed, out=limit)


def without_blosc2(
    frame: bytes | bytearray, parameters: tuple[int, ...], limit: int
) -> bytes | bytearray:
    """Return the chunk in the order of its axes.

    Raises
    ------
    ValueError, RuntimeError
        For a frame that is damaged, that hdf5plugin does not write, or of too large a chunk.
    """
    if frame[2:10] != b"b2frame\0":
        raise ValueError("no frame of blosc2")
    header, whole, size, stored = (
        int.from_bytes(frame[first:last], "big")
        for first, last in ((11, 15), (16, 24), (30, 38), (39, 47))
    )
    if size > _MAX_PADDING * limit or max(whole, header + stored) > len(frame):
        raise ValueError(f"{size:,} bytes claimed in {stored:,}")
    if stored:
        chunk = without_blosc(frame[header : header + stored], (), size)
    elif without_blosc(frame[header:], (), 8)[-1] == _ZEROS:
        chunk = bytes(size)
    else:
        raise ValueError("a chunk that is not stored")
    at = frame.find(b"\xa4b2nd\xd2", 0, header)
    return chunk if at < 0 else _of_blocks(chunk, frame, int.from_bytes(frame[at + 6 : at + 10]))


def _of_blocks(chunk: bytes | bytearray, frame: bytes | bytearray, at: int) -> bytes:
    """Put the blocks of a chunk side by side and cut off what pads them."""
    rank, at = frame[at + 7], at + 8
    at += 1 + 9 * rank  # behind the lengths of the whole array, which is the chunk
    sides, blocks = (
        [int.from_bytes(frame[i : i + 4]) for i in range(first + 2, first + 2 + 5 * rank, 5)]
        for first in (at, at + 1 + 5 * rank)
    )
    if not all(0 < block <= side for side, block in zip(sides, blocks, strict=True)):
        raise ValueError(f"blocks {blocks} in a chunk {sides}")
    grid = [-(-side // block) for side, block in zip(sides, blocks, strict=True)]
    entry, rest = divmod(len(chunk), math.prod(grid) * math.prod(blocks))
    if rest or not entry:
        raise ValueError(f"blocks {blocks} of a chunk {sides} in {len(chunk):,} bytes")
    order = [axis for pair in zip(range(rank), range(rank, 2 * rank), strict=True) for axis in pair]
    side_by_side = np.frombuffer(chunk, f"V{entry}").reshape(grid + blocks).transpose(order)
    padded = side_by_side.reshape([n * block for n, block in zip(grid, blocks, strict=True)])
    return padded[tuple(slice(side) for side in sides)].tobytes()
