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
from coos_mlflow.plates.hdf5._filter_names import copy_without, name_of

if TYPE_CHECKING:
    import h5py

_DEFLATE, _SHUFFLE, _FLETCHER32, _SCALE_OFFSET, _LZF = 1, 2, 3, 6, 32000
_CHECKSUM_BYTES = 4
_LZF_LENGTH = 2
_SCALE_OFFSET_TYPE, _SCALE_OFFSET_BITS, _SCALE_OFFSET_COUNT, _SCALE_OFFSET_SIZE = 0, 1, 2, 4
# Which parameters of a filter say how much it unpacks.
_FLOATS = 0  # H5Z_SO_FLOAT_DSCALE, the type of scaling for floats
_SCALE_OFFSET_HEAD = 21
_OVERHEAD = _SCALE_OFFSET_HEAD + 1 + _CHECKSUM_BYTES
"""Bytes by which scaleoffset and fletcher32 together make a chunk larger than it was."""


class Filter(NamedTuple):
    """A step by which chunks are packed."""

    code: int
    parameters: tuple[int, ...]

    @property
    def is_raw(self) -> bool:
        """Whether this is scaleoffset told to keep all bits, which leaves a chunk as it is."""
        if self.code != _SCALE_OFFSET or len(self.parameters) <= _SCALE_OFFSET_SIZE:
            return False
        bits = self.parameters[_SCALE_OFFSET_BITS]
        # HDF5 takes a greater number of bits for a negative one, and then it does unpack.
        return (
            self.parameters[_SCALE_OFFSET_TYPE] != _FLOATS
            and bits == 8 * self.parameters[_SCALE_OFFSET_SIZE]
            and bits in (8, 16, 32, 64)
        )


def filters_of(dataset: h5py.Dataset, where: str) -> list[Filter]:
    """Return the steps by which the chunks of a dataset are packed, in their order.

    Raises
    ------
    DataError
        For filters whose work cannot be verified, for packing twice, and for an order that HDF5
        does not always unpack.
    """
    properties = dataset.id.get_create_plist()
    found = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    for code, _, _, name in found:
        if code not in (_DEFLATE, _LZF, _SCALE_OFFSET, _SHUFFLE, _FLETCHER32):
            raise DataError(
                f"{where}: packed by {name_of(code, name)}, expected gzip, lzf, scaleoffset, "
                f"shuffle or fletcher32; {copy_without(code)}."
            )
    steps = [Filter(code, parameters) for code, _, parameters, _ in found]
    codes = [step.code for step in steps]
    names = ", ".join(map(name_of, codes))
    if len([code for code in codes if code in (_DEFLATE, _LZF)]) > 1:
        raise DataError(
            f"{where}: packed by more than one filter: {names}; expected gzip or lzf, once; "
            "write the dataset again."
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


def unpacked_length(packed: bytes, used: list[Filter], limit: int) -> int:
    """Return to how many bytes a chunk unpacks; never `limit` where it does not unpack."""
    if used and used[0].code == _SHUFFLE:
        used = used[1:]  # undone last, it changes no length
    scaled = [at for at, step in enumerate(used) if step.code == _SCALE_OFFSET and not step.is_raw]
    if not scaled:
        return len(unpacked(packed, used, limit))
    (at,) = scaled
    return _scaled_length(unpacked(packed, used[at + 1 :], limit), used[at].parameters)


def unpacked(packed: bytes, used: list[Filter], limit: int) -> bytes:
    """Return what a chunk was before these steps packed it, all but scaleoffset undone.

    Nothing comes out of a chunk that is damaged or unpacks to much more than `limit`.
    """
    for code, parameters in reversed(used):
        if code == _FLETCHER32:
            packed = packed[:-_CHECKSUM_BYTES]
        elif code == _DEFLATE:
            packed = _inflated(packed, limit + _OVERHEAD)
        elif code == _LZF:
            # HDF5 takes as much memory as the parameter says.
            claimed = parameters[_LZF_LENGTH] if len(parameters) > _LZF_LENGTH else 0
            packed = _without_lzf(packed, limit + _OVERHEAD) if claimed <= limit else b""
        elif code == _SHUFFLE:
            packed = _unshuffled(packed, parameters)
    return packed


def _scaled_first(steps: list[Filter]) -> bool:
    """Tell whether scaleoffset stands where HDF5 undoes it.

    It works on numbers, so whatever changes their count of bytes must come later. Where it keeps
    all bits, it hands on the size of the buffer instead of the chunk's, and what is undone after it
    goes wrong: HDF5 2.0.0 reads other counts than were written.
    """
    places = [at for at, step in enumerate(steps) if step.code == _SCALE_OFFSET]
    if not places:
        return True
    before = [step.code for step in steps[: places[0]]]
    harmless = not before or (before == [_SHUFFLE] and not steps[places[0]].is_raw)
    return len(places) == 1 and harmless


def _scaled_length(packed: bytes, parameters: tuple[int, ...]) -> int:
    """Return how many bytes of values come out of scaleoffset, 0 where too few bits are there.

    HDF5 does not look whether they are. Behind 21 bytes, of which the first four say how many bits
    a value has, come the values (H5Zscaleoffset.c of HDF5).
    """
    if len(parameters) <= _SCALE_OFFSET_SIZE:
        return 0
    count, size = parameters[_SCALE_OFFSET_COUNT], parameters[_SCALE_OFFSET_SIZE]
    bits = int.from_bytes(packed[:4], "little")
    if bits > 8 * size:
        return 0
    values = count * size if bits == 8 * size else count * bits // 8 + 1
    return count * size if len(packed) >= _SCALE_OFFSET_HEAD + values else 0


def _unshuffled(packed: bytes, parameters: tuple[int, ...]) -> bytes:
    """Put the bytes of each number together again; bytes that make none stand at the end."""
    size = max(1, parameters[0]) if parameters else 1
    whole = len(packed) // size * size
    numbers = np.frombuffer(packed, np.uint8, whole).reshape(size, whole // size)
    return numbers.T.tobytes() + packed[whole:]


def _inflated(packed: bytes, limit: int) -> bytes:
    """Return what zlib has packed, nothing where it is damaged or longer than `limit`."""
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(packed, limit)
    except zlib.error:
        return b""
    return unpacked if stream.eof else b""


def _without_lzf(packed: bytes, limit: int) -> bytes:
    """Return what LZF has packed, nothing where it is damaged or longer than `limit`."""
    room = np.empty(limit, np.uint8)
    length = _lzf()(np.frombuffer(packed, np.uint8), room)
    return room[: max(length, 0)].tobytes()


@cache
def _lzf() -> Callable[[np.ndarray, np.ndarray], int]:
    """Return the function that undoes LZF and says how many bytes came out, -1 where none can.

    Each run either stands there or repeats what came before.
    """
    # Imported here: it takes a while, and few plates are packed so.
    from numba import njit

    @njit(cache=True, nogil=True)
    def undo(packed, room):  # type: ignore[no-untyped-def]
        at = length = 0
        while at < len(packed):
            control = int(packed[at])
            at += 1
            if control < 32:
                run = control + 1
                if at + run > len(packed) or length + run > len(room):
                    return -1
                room[length : length + run] = packed[at : at + run]
                at += run
            else:
                run = (control >> 5) + 2
                if run == 9 and at < len(packed):
                    run += int(packed[at])
                    at += 1
                if at >= len(packed):
                    return -1
                back = ((control & 31) << 8) + int(packed[at]) + 1
                at += 1
                if back > length or length + run > len(room):
                    return -1
                for i in range(length, length + run):
                    room[i] = room[i - back]
            length += run
        return length

    return undo
