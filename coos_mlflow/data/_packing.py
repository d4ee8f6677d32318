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
_CHECKSUM_BYTES = 4
_LZF_LENGTH = 2
_SCALE_OFFSET_COUNT, _SCALE_OFFSET_SIZE, _SCALE_OFFSET_HEAD = 2, 4, 21
# Which parameters of a filter say how much it unpacks.


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
        For filters whose work cannot be verified, and for more than one that packs.
    """
    properties = dataset.id.get_create_plist()
    found = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    steps = [Filter(code, parameters) for code, _, parameters, _ in found]
    known = {*_PACKING, _SHUFFLE, _FLETCHER32}
    if unknown := [step.code for step in steps if step.code not in known]:
        raise DataError(
            f"{where}: number {unknown[0]} found, a filter that is not installed or cannot be "
            "verified; expected gzip, lzf, scaleoffset, shuffle or fletcher32 (`h5repack -f "
            "GZIP=1` makes such a copy)."
        )
    if len([step for step in steps if step.code in _PACKING]) > 1:
        raise DataError(f"{where}: packed by more than one filter; expected one (h5repack).")
    return steps


def unpacked_length(packed: bytes, used: list[Filter], limit: int) -> int | None:
    """Return to how many bytes a chunk unpacks, or None where it does not or to more than limit."""
    for code, parameters in reversed(used):
        if code == _FLETCHER32:
            packed = packed[:-_CHECKSUM_BYTES]
        elif code == _DEFLATE:
            packed = _inflated(packed, limit + _CHECKSUM_BYTES)
        elif code == _LZF:
            expected = parameters[_LZF_LENGTH] if len(parameters) > _LZF_LENGTH else None
            return expected if _lzf_length()(np.frombuffer(packed, np.uint8)) == expected else None
        elif code == _SCALE_OFFSET:
            if len(parameters) <= _SCALE_OFFSET_SIZE:
                return None
            count, size = parameters[_SCALE_OFFSET_COUNT], parameters[_SCALE_OFFSET_SIZE]
            return count * size if _holds_scaled(packed, count, size) else None
    return len(packed)


def unpacked(packed: bytes, used: list[Filter], limit: int) -> bytes:
    """Return what a chunk was before steps that keep bytes (`Filter.keeps_bytes`) packed it."""
    for code, _ in reversed(used):
        if code == _FLETCHER32:
            packed = packed[:-_CHECKSUM_BYTES]
        elif code == _DEFLATE:
            packed = _inflated(packed, limit + _CHECKSUM_BYTES)
    return packed


def _holds_scaled(packed: bytes, count: int, size: int) -> bool:
    """Tell whether as many bits are there as HDF5 will read, which does not look.

    Behind 21 bytes, of which the first four say how many bits a value has, come the values
    (H5Zscaleoffset.c of HDF5).
    """
    bits = int.from_bytes(packed[:4], "little")
    if bits > 8 * size:
        return False
    values = count * size if bits == 8 * size else count * bits // 8 + 1
    return len(packed) >= _SCALE_OFFSET_HEAD + values


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
