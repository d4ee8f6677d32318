"""Undo the HDF5 filters blosc and blosc2.

A chunk of blosc2 is a frame with one blosc chunk, often cut into blocks. The frame's format is
https://github.com/Blosc/c-blosc2/blob/main/README_CFRAME_FORMAT.rst. If its header has a part
"b2nd", the chunk was padded to whole blocks and stored block by block.
"""

from __future__ import annotations

import math

import imagecodecs
import numpy as np

_ZEROS = 0x81
"""Last byte of the offset of a chunk of zeros, which is not stored."""

_MAX_PADDING = 4
"""Largest ratio of the size of the padded blocks to the size of the chunk."""

_EXTENDED, _LAZY, _UNSET = 0b101, 0b1000, 0b1000000
"""Bits of flags. The first marks a header of 32 bytes, the others chunks stored without data."""

_CODECS, _FILTERS = 4, 4
"""Largest numbers of codecs (BloscLZ, LZ4, -, zlib, Zstandard) and filters in c-blosc2. For larger
ones it would look for a plugin."""


def without_blosc(
    packed: bytes | bytearray, parameters: tuple[int, ...], limit: int
) -> bytes | bytearray:
    """Decode a blosc or blosc2 chunk, without a frame.

    c-blosc2 decodes both. Unlike c-blosc, it does not read past the end of a chunk that is cut off.

    Raises
    ------
    ValueError, RuntimeError
        For a chunk that is damaged, or unpacks to more than `limit` bytes.
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
    """Decode a blosc2 frame, and return its chunk in the order of the axes.

    Raises
    ------
    ValueError, RuntimeError
        For a frame that is damaged or that hdf5plugin does not write, and for too large a chunk.
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
    """Arrange the blocks of a chunk in a grid, and cut off the padding."""
    rank, at = frame[at + 7], at + 8
    at += 1 + 9 * rank  # skip the lengths of the whole array, which is the chunk
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
