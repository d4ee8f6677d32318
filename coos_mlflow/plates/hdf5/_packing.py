"""Unpack chunks by undoing their HDF5 filters, without the HDF5 library and its plugins.

No filter returns more than the chunk's size and a few bytes, even if a damaged chunk claims more.
The formats are those of HDF5 (H5Zdeflate.c, H5Zshuffle.c, H5Zfletcher32.c), h5py (lzf) and the
Python package hdf5plugin (the others). `_scale_offset` and `_blosc2` hold the two longer ones. Open
this module to add a filter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.hdf5._blosc2 import without_blosc, without_blosc2
from coos_mlflow.plates.hdf5._filter_names import copy_without, name_of
from coos_mlflow.plates.hdf5._scale_offset import keeps_all_bits, without_scale_offset

if TYPE_CHECKING:
    import h5py

Filter = tuple[int, tuple[int, ...]]
"""HDF5's number of a filter, and its parameters for a dataset."""

Content = bytes | bytearray

_OVERHEAD = 64
"""Upper bound on the bytes that scaleoffset and fletcher32 together add to a chunk."""

_SHUFFLE, _SCALE_OFFSET = 2, 6
_LOOPED_BYTES = 8


def filters_of(dataset: h5py.Dataset, where: str) -> list[Filter]:
    """Return the filters of a dataset, in the order in which they were applied.

    Raises
    ------
    DataError
        For unsupported filters, for two compressors, and for scaleoffset in an order in which
        HDF5 does not always read back the numbers that were written.
    """
    properties = dataset.id.get_create_plist()
    entries = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    for code, _, _, name in entries:
        if code not in _UNDO:
            raise DataError(
                f"{where}: packed by {name_of(code, name)}, expected gzip, lzf, blosc, blosc2, "
                "zstd, lz4, bitshuffle, scaleoffset, shuffle or fletcher32; "
                f"{copy_without(code)}."
            )
    steps = [(code, parameters) for code, _, parameters, _ in entries]
    codes = [code for code, _ in steps]
    names = ", ".join(map(name_of, codes))
    if sum(code in _COMPRESSORS for code in codes) > 1:
        raise DataError(
            f"{where}: packed by more than one filter: {names}; expected one of gzip, lzf, blosc, "
            "blosc2, zstd, lz4 and bitshuffle, once; write the dataset again."
        )
    if not _scaled_first(steps):
        raise DataError(
            f"{where}: packed by {names}, in an order that HDF5 does not always unpack; expected "
            "scaleoffset once and before the others; write the dataset again."
        )
    if _SCALE_OFFSET in codes and dataset.dtype.kind == "O":
        raise DataError(
            f"{where}: text of variable length packed by scaleoffset found, which is for numbers; "
            "write the dataset again."
        )
    return steps


def unpacked(packed: Content, used: list[Filter], size: int) -> Content:
    """Return the content of a chunk after undoing its filters.

    Parameters
    ----------
    packed : bytes
        The chunk as stored in the file.
    used : list of Filter
        In the order in which they were applied.
    size : int
        Size of the unpacked chunk in bytes.

    Returns
    -------
    bytes, `size` of them

    Raises
    ------
    ValueError
        For a chunk that is damaged or unpacks to a different size.
    """
    for code, parameters in reversed(used):
        try:
            packed = _UNDO[code](packed, parameters, size + _OVERHEAD)
        except (RuntimeError, ValueError, LookupError) as error:
            raise ValueError(f"{name_of(code)}: {error}") from error
    if len(packed) != size:
        raise ValueError(f"{len(packed):,} bytes come out")
    return packed


def _scaled_first(steps: list[Filter]) -> bool:
    """Return whether HDF5 can undo scaleoffset at its place among the filters.

    Scaleoffset works on numbers, so a filter that changes the number of bytes must come later. If
    it keeps all bits, HDF5 2.0.0 passes on the size of the buffer instead of the chunk's size.
    Filters undone after it then give wrong counts.
    """
    places = [at for at, (code, _) in enumerate(steps) if code == _SCALE_OFFSET]
    if not places:
        return True
    before = [code for code, _ in steps[: places[0]]]
    harmless = not before or (before == [_SHUFFLE] and not keeps_all_bits(steps[places[0]][1]))
    return len(places) == 1 and harmless


def _without_shuffle(packed: Content, parameters: tuple[int, ...], limit: int) -> Content:
    """Put the bytes of each number together again. Left-over bytes are at the end, unshuffled."""
    size = max(1, parameters[0])
    whole = len(packed) // size * size
    numbers = np.frombuffer(packed, np.uint8, whole).reshape(size, whole // size)
    if size > _LOOPED_BYTES:
        return numbers.T.tobytes() + packed[whole:]
    unpacked = bytearray(packed)
    rows = np.frombuffer(unpacked, np.uint8, whole).reshape(-1, size)
    for byte in range(size):  # six times as fast as transposing
        rows[:, byte] = numbers[byte]
    return unpacked


def _without_checksum(packed: Content, parameters: tuple[int, ...], limit: int) -> Content:
    content, stored = packed[:-4], int.from_bytes(packed[-4:], "little")
    if imagecodecs.h5checksum_fletcher32(content) != stored:
        raise ValueError("the checksum is that of other bytes")
    return content


def _without_lz4(packed: Content, parameters: tuple[int, ...], limit: int) -> Content:
    # The decoder allocates the size it is given, so the claimed size is checked first.
    size = _claimed(packed[:8], limit)
    return imagecodecs.lz4h5_decode(packed, out=size)


def _without_bitshuffle(packed: Content, parameters: tuple[int, ...], limit: int) -> Content:
    """Decode each block by LZ4 or Zstandard if it was compressed, then undo the shuffle of bits."""
    size, block, compressor = (*parameters[2:5], 0)[:3]
    if compressor == 0:
        return imagecodecs.bitshuffle_decode(packed, itemsize=size, blocksize=block)
    decode = {2: imagecodecs.lz4_decode, 3: imagecodecs.zstd_decode}[compressor]
    total, block = _claimed(packed[:8], limit), int.from_bytes(packed[8:12], "big")
    if not size or not block or block % (8 * size):
        raise ValueError(f"blocks of {block} bytes, of numbers of {size}")
    whole = total // (8 * size) * 8 * size  # only groups of eight numbers are shuffled
    at, parts = 12, []
    for first in range(0, whole, block):
        end = at + 4 + int.from_bytes(packed[at : at + 4], "big")
        if end > len(packed):
            raise ValueError("a block is cut short")
        parts.append(decode(packed[at + 4 : end], out=min(block, whole - first)))
        at = end
    shuffled = b"".join([*parts, packed[at : at + total - whole]])
    return imagecodecs.bitshuffle_decode(shuffled, itemsize=size, blocksize=block // size)


def _claimed(head: Content, limit: int) -> int:
    """Return the size that a chunk claims, or raise ValueError if it is above the limit."""
    size = int.from_bytes(head, "big")
    if size > limit:
        raise ValueError(f"{size:,} bytes claimed")
    return size


_UNDO: dict[int, Callable[[Content, tuple[int, ...], int], Content]] = {
    1: lambda packed, _, limit: imagecodecs.deflate_decode(packed, out=limit),
    32000: lambda packed, _, limit: imagecodecs.lzf_decode(packed, out=limit),
    32001: without_blosc,
    32026: without_blosc2,
    32015: lambda packed, _, limit: imagecodecs.zstd_decode(packed, out=limit),
    32004: _without_lz4,
    32008: _without_bitshuffle,
    6: without_scale_offset,
    2: _without_shuffle,
    3: _without_checksum,
}
"""Function that undoes each filter. Arguments: chunk, parameters of the filter, most bytes out."""

_COMPRESSORS = {1, 32000, 32001, 32026, 32015, 32004, 32008}
