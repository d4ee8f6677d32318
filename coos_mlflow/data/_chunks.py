"""Verify the chunks of a dataset before HDF5 unpacks them.

HDF5 2.0.0 takes it for granted that a chunk unpacks to its full size: what lies behind a shorter
one in memory becomes pixels, or ends the process, and a longer one is unpacked to its end, however
much that is. So each chunk is unpacked here first, as far as its size, and only its length counts.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np

from coos_mlflow.data.columns import shown
from coos_mlflow.errors import DataError

if TYPE_CHECKING:
    import h5py

MAX_CHUNK_BYTES = 2**28
"""One chunk must be unpacked whole to read one cell of it: 256 MiB, or 16,384 cells of uint16."""

MAX_PACKING = 200
"""Bytes of cells that one stored byte may become; counts of a camera pack 2-fold, and 10-fold where
the background was set to 0."""

_DEFLATE, _SHUFFLE, _FLETCHER32, _SCALE_OFFSET, _LZF = 1, 2, 3, 6, 32000
_PACKING = (_DEFLATE, _LZF, _SCALE_OFFSET)
_CHECKSUM_BYTES = 4
_LZF_LENGTH = 2
_SCALE_OFFSET_COUNT, _SCALE_OFFSET_SIZE, _SCALE_OFFSET_HEAD = 2, 4, 21
# Which parameters of a filter say how much it unpacks.

_FEW_BYTES = 2**16
"""What is no larger may be packed as well as it can."""

_THREADS = 4

_TWICE = -1
"""Size of a chunk that the file holds twice."""


class _Filter(NamedTuple):
    """A step by which chunks are packed."""

    code: int
    parameters: tuple[int, ...]


class Chunks:
    """The chunks of a dataset, each verified once; a contiguous dataset has none.

    Parameters
    ----------
    dataset : h5py.Dataset
    where : str
        What to name in messages, such as ``"plate.h5:/data"``.
    file_bytes : int

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
        self._chunk_bytes = math.prod(self._sides) * dataset.dtype.itemsize
        self._bytes = math.prod(self._shape) * dataset.dtype.itemsize
        self._verified: set[int] = set()
        if not self._sides:
            return
        if self._chunk_bytes > MAX_CHUNK_BYTES:
            name = shown(dataset.name[1:])
            raise DataError(
                f"{where}: chunks {self._sides} of {self._chunk_bytes:,} bytes found, expected at "
                f"most {MAX_CHUNK_BYTES:,}; `h5repack -l {name}:CHUNK=64x2x64x64` "
                "makes smaller ones."
            )
        self._filters = _filters(dataset, where)
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
            with ThreadPoolExecutor(_THREADS) as pool:
                list(pool.map(self._check_content, places))
        else:
            list(map(self._check_content, places))
        self._verified |= rows

    @cached_property
    def _found(self) -> tuple[np.ndarray, np.ndarray]:
        """Sizes in bytes and filter masks of all chunks, in the order of their places."""
        # In one pass: to ask for a single chunk, HDF5 walks through all before it.
        grid = [-(-length // side) for length, side in zip(self._shape, self._sides, strict=True)]
        sizes, masks = np.zeros(grid, np.int64), np.zeros(grid, np.uint32)

        def note(chunk: h5py.h5d.StoreInfo) -> None:
            place = tuple(
                start // side for start, side in zip(chunk.chunk_offset, self._sides, strict=True)
            )
            if any(at >= length for at, length in zip(place, grid, strict=True)):
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
        steps = zip(place, self._sides, strict=True)
        mask, content = self._id.read_direct_chunk(tuple(at * side for at, side in steps))
        used = [step for bit, step in enumerate(self._filters) if not mask >> bit & 1]
        if _unpacked_length(content, used, self._chunk_bytes) != self._chunk_bytes:
            self._refuse(place[0], len(content))

    def _refuse(self, row: int, found: int) -> NoReturn:
        first = row * self._sides[0]
        last = min(first + self._sides[0], self._shape[0]) - 1
        raise DataError(
            f"{self._where}, cells {first} to {last}, cannot be read, the file is damaged: a chunk "
            f"of {max(found, 0):,} bytes does not unpack to {self._chunk_bytes:,}."
        )


def _filters(dataset: h5py.Dataset, where: str) -> list[_Filter]:
    """Return the steps by which chunks are packed, in their order."""
    properties = dataset.id.get_create_plist()
    found = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    steps = [_Filter(code, parameters) for code, _, parameters, _ in found]
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


def _unpacked_length(packed: bytes, used: list[_Filter], limit: int) -> int | None:
    """Return to how many bytes a chunk unpacks, or None where it does not or to more than limit."""
    for code, parameters in reversed(used):
        if code == _FLETCHER32:
            packed = packed[:-_CHECKSUM_BYTES]
        elif code == _DEFLATE:
            packed = _inflated(packed, limit + _CHECKSUM_BYTES)
        elif code == _LZF:
            expected = parameters[_LZF_LENGTH] if len(parameters) > _LZF_LENGTH else None
            return expected if _lzf_length(packed) == expected else None
        elif code == _SCALE_OFFSET:
            count, size = parameters[_SCALE_OFFSET_COUNT], parameters[_SCALE_OFFSET_SIZE]
            return count * size if _holds_scaled(packed, count, size) else None
    return len(packed)


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


def _lzf_length(packed: bytes) -> int | None:
    """Add up the lengths of LZF's runs, which either stand there or repeat what came before."""
    at = length = 0
    while at < len(packed):
        control = packed[at]
        if control < 32:
            at += control + 2
            length += control + 1
            continue
        more = control >> 5 == 7
        if at + 1 + more >= len(packed):
            return None
        length += (control >> 5) + 2 + (packed[at + 1] if more else 0)
        at += 2 + more
    return length if at == len(packed) else None
