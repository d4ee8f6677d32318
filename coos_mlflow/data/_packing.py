"""What HDF5's filters have packed, undone here as far as it takes to know what comes out.

The formats are those of H5Zdeflate.c, H5Zfletcher32.c and H5Zscaleoffset.c of HDF5,
and of liblzf, which h5py brings.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from coos_mlflow.errors import DataError

if TYPE_CHECKING:
    import h5py

_DEFLATE, _SHUFFLE, _FLETCHER32, _SCALE_OFFSET, _LZF = 1, 2, 3, 6, 32000
_PACKING = (_DEFLATE, _LZF, _SCALE_OFFSET)
_READ = (*_PACKING, _SHUFFLE, _FLETCHER32)

_NAMES = {
    _DEFLATE: "gzip",
    _SHUFFLE: "shuffle",
    _FLETCHER32: "fletcher32",
    4: "szip",
    5: "nbit",
    _SCALE_OFFSET: "scaleoffset",
    305: "lzo",
    307: "bzip2",
    _LZF: "lzf",
    32001: "blosc",
    32003: "snappy",
    32004: "lz4",
    32007: "jpeg-xr",
    32008: "bitshuffle",
    32012: "jpeg-ls",
    32013: "zfp",
    32014: "fpzip",
    32015: "zstd",
    32016: "b3d",
    32017: "sz",
    32019: "jpeg",
    32022: "bitgroom",
    32023: "granular bitround",
    32024: "sz3",
    32025: "delta-rice",
    32026: "blosc2",
    32027: "flac",
}
"""Filters by number: HDF5's own (H5Zpublic.h) and those registered with The HDF Group."""

_CHECKSUM_BYTES = 4
_LZF_LENGTH = 2
_SHUFFLE_SIZE = 0
_SCALE_TYPE, _SCALE_FACTOR, _SCALE_COUNT, _SCALE_SIZE, _SCALE_HEAD = 0, 1, 2, 4, 21
# Which parameters of a filter say how much it unpacks.

_INTEGER_SCALE = 2
"""The scale type of integers, whose scale factor is the number of bits of a value."""


class Filter(NamedTuple):
    """A step by which chunks are packed."""

    code: int
    parameters: tuple[int, ...]

    @property
    def keeps_bytes(self) -> bool:
        """Whether `unpacked` can undo it."""
        return self.code in (_DEFLATE, _FLETCHER32)


def filters_of(dataset: h5py.Dataset, where: str) -> list[Filter]:
    """Return the steps by which the chunks of a dataset are packed, in their order.

    Raises
    ------
    DataError
        For filters whose work cannot be verified.
    """
    properties = dataset.id.get_create_plist()
    found = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    steps = [Filter(code, parameters) for code, _, parameters, _ in found]
    if unknown := [step.code for step in steps if step.code not in _READ]:
        raise DataError(
            f"{where}: packed by {filter_name(unknown[0])}, expected gzip, lzf, scaleoffset, "
            "shuffle or fletcher32; `h5repack -f GZIP=1 OLD NEW` makes such a copy where it has "
            "that filter (`pip install hdf5plugin`, and set HDF5_PLUGIN_PATH to its PLUGIN_PATH)."
        )
    packing = [step.code for step in steps if step.code in _PACKING]
    # What scaleoffset has packed can be followed through gzip, but not what lies below it.
    followed = len(packing) < 2 or packing == [_SCALE_OFFSET, _DEFLATE]
    if _SCALE_OFFSET in packing:
        # Behind another filter HDF5 2.0.0 reads wrong counts from chunks that keep all bits.
        followed &= steps[0].code == _SCALE_OFFSET
    if not followed:
        names = ", then ".join(filter_name(step.code) for step in steps)
        raise DataError(
            f"{where}: packed by {names}, expected one of gzip, lzf and scaleoffset, or gzip upon "
            "scaleoffset; `h5repack -f GZIP=1 OLD NEW` makes such a copy."
        )
    return steps


def filter_name(code: int) -> str:
    """Return what a filter is called, with its number where users may have to look it up."""
    if code in _READ:
        return _NAMES[code]
    return f"{_NAMES.get(code, 'a filter')} (HDF5 filter {code})"


def unpacked_length(packed: bytes, used: list[Filter], limit: int) -> int | None:
    """Return to how many bytes a chunk unpacks, or None where it does not or to more than limit."""
    scaled = any(step.code == _SCALE_OFFSET for step in used)
    for code, parameters in reversed(used):
        if code == _FLETCHER32:
            packed = packed[:-_CHECKSUM_BYTES]
        elif code == _DEFLATE:
            packed = _inflated(packed, limit + _CHECKSUM_BYTES + _SCALE_HEAD)
        elif code == _SHUFFLE and scaled:
            packed = _unshuffled(packed, parameters[_SHUFFLE_SIZE] if parameters else 0)
        elif code == _LZF:
            expected = parameters[_LZF_LENGTH] if len(parameters) > _LZF_LENGTH else None
            return expected if _lzf_length()(np.frombuffer(packed, np.uint8)) == expected else None
        elif code == _SCALE_OFFSET:
            return _scaled_length(packed, parameters)
    return len(packed)


def unpacked(packed: bytes, used: list[Filter], limit: int) -> bytes:
    """Return what a chunk was before steps that keep bytes (`Filter.keeps_bytes`) packed it."""
    for code, _ in reversed(used):
        if code == _FLETCHER32:
            packed = packed[:-_CHECKSUM_BYTES]
        elif code == _DEFLATE:
            packed = _inflated(packed, limit + _CHECKSUM_BYTES)
    return packed


def _unshuffled(packed: bytes, size: int) -> bytes:
    """Return bytes in the order that HDF5's shuffle had found them in (H5Zshuffle.c)."""
    n_values = len(packed) // size if size > 0 else 0
    shuffled = np.frombuffer(packed, np.uint8, n_values * size)
    return shuffled.reshape(size, n_values).T.tobytes() + packed[n_values * size :]


def _scaled_length(packed: bytes, parameters: tuple[int, ...]) -> int | None:
    """Return to how many bytes scaleoffset unpacks a chunk, None where it holds too few."""
    if len(parameters) <= _SCALE_SIZE:
        return None
    count, size = parameters[_SCALE_COUNT], parameters[_SCALE_SIZE]
    if parameters[_SCALE_TYPE] == _INTEGER_SCALE and parameters[_SCALE_FACTOR] == 8 * size:
        return len(packed)  # asked for all bits of a value, HDF5 leaves a chunk as it is
    return count * size if _holds_scaled(packed, count, size) else None


def _holds_scaled(packed: bytes, count: int, size: int) -> bool:
    """Tell whether as many bits are there as HDF5 will read, which does not look.

    Behind 21 bytes, of which the first four say how many bits a value has, come the values
    (H5Zscaleoffset.c of HDF5).
    """
    bits = int.from_bytes(packed[:4], "little")
    if bits > 8 * size:
        return False
    values = count * size if bits == 8 * size else count * bits // 8 + 1
    return len(packed) >= _SCALE_HEAD + values


def _inflated(packed: bytes, limit: int) -> bytes:
    """Return what zlib has packed, nothing where it is damaged or longer than `limit`."""
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(packed, limit)
    except zlib.error:
        return b""
    return unpacked if stream.eof else b""


@cache
def _lzf_length() -> Callable[[np.ndarray], int]:
    """Return the function that adds up LZF's runs, -1 where they do not end with the chunk.

    Each run either stands there or repeats what came before.
    """
    # Imported here: it takes a while, and few plates are packed so.
    from numba import njit

    @njit(cache=True, nogil=True)
    def length_of(packed):  # type: ignore[no-untyped-def]
        at = length = 0
        while at < len(packed):
            control = packed[at]
            if control < 32:
                at += control + 2
                length += control + 1
                continue
            more = 1 if control >> 5 == 7 else 0
            if at + 1 + more >= len(packed):
                return -1
            length += (control >> 5) + 2
            if more:
                length += packed[at + 1]
            at += 2 + more
        return length if at == len(packed) else -1

    return length_of
