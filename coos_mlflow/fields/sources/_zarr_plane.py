"""Read one plane of a zarr array, here or at an address, without trusting what it claims.

Chunks are checked before zarr unpacks them, since zarr unpacks as much as a chunk claims to hold.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from coos_mlflow.errors import CoosError, DataError, without_passwords
from coos_mlflow.fields.sources._zarr_package import zarr_package
from coos_mlflow.plates.columns import shown
from coos_mlflow.plates.tiff_pages import MAX_PIXELS

METADATA = {2: ".zarray", 3: "zarr.json"}
"""Name of the metadata of an array, by the version of zarr."""

_OVERHEAD = 64
"""Upper bound on the bytes that checksums add to a chunk."""


@dataclass(frozen=True)
class ZarrPlane:
    """A plane of a zarr array.

    Parameters
    ----------
    root : str
        Folder or address of the plate. No file outside is read.
    path : str
        Of the array in the plate.
    zarr_format : int
        2 or 3.
    index : tuple of int or None
        Place on each axis, from 0; None for height and width.
    x_first : bool
        Whether the axis of the width comes before that of the height.
    may_be_empty : bool
        Whether it may have no chunk, as label images without a nucleus.
    """

    root: str
    path: str
    zarr_format: int
    index: tuple[int | None, ...]
    x_first: bool = False
    may_be_empty: bool = False

    @property
    def place(self) -> str:
        """The array, and the place of the plane in it."""
        places = ", ".join(":" if one is None else str(one) for one in self.index)
        return f"{without_passwords(self.root)}/{self.path}[{places}]"

    def stamp(self) -> tuple[str | int, ...]:
        """Return the place, and size and time of change of each chunk's file.

        At an address, the place alone stands in for these.
        """
        marks: list[str | int] = [self.path, *(-1 if one is None else one for one in self.index)]
        if not _is_address(self.root):
            for file in self._files(self._array()):
                try:
                    status = file.stat()
                    marks += [status.st_size, status.st_mtime_ns]
                except OSError:
                    marks.append("missing")
        return tuple(marks)

    def read(self) -> np.ndarray:
        """Return the counts; see `coos_mlflow.fields.plate_images.Plane.read`."""
        with _Reported(self.place):
            array = self._array()
            self._check(array)
            image = np.asarray(array[tuple(slice(None) if i is None else i for i in self.index)])
        if not (self.may_be_empty or image.any() or any(self._stored(array))):
            raise DataError(
                f"{self.place}: holds no counts, since none of its chunks is there; the plate was "
                "not copied whole, or the image is black."
            )
        image = image.T if self.x_first else image
        return np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("="))

    def _array(self) -> Any:
        """Return the open array."""
        changed: tuple[int, ...] = ()
        if not _is_address(self.root):
            try:
                status = (Path(self.root) / self.path / METADATA[self.zarr_format]).stat()
            except OSError as error:
                raise DataError(f"{self.place}: cannot be read ({error.strerror}).") from error
            changed = (status.st_size, status.st_mtime_ns)
        with _Reported(self.place):
            return _open(f"{self.root}/{self.path}", self.zarr_format, changed)

    def _check(self, array: Any) -> None:
        """Refuse an array that claims more than memory holds, and files outside the plate."""
        if len(self.index) != array.ndim:
            raise DataError(f"{self.place}: {array.ndim} axes found, expected {len(self.index)}.")
        free = [size for size, at in zip(array.shape, self.index, strict=True) if at is None]
        if math.prod(free) > MAX_PIXELS or math.prod(_stored_shape(array)) > MAX_PIXELS:
            raise DataError(
                f"{self.place}: pixels of shape {array.shape} in chunks of {_stored_shape(array)} "
                f"claimed, expected at most {MAX_PIXELS:,} in a plane and in a chunk; the metadata "
                "are damaged."
            )
        if array.dtype.kind not in "uif":
            raise DataError(
                f"{self.place}: dtype {array.dtype} found, expected whole or real numbers."
            )
        if not _is_address(self.root):
            root = Path(self.root).resolve()
            for file in self._files(array):
                if not file.resolve().is_relative_to(root):
                    raise DataError(
                        f"{file}: is a link out of {self.root}, expected files inside; it is not "
                        "read."
                    )

    def _keys(self, array: Any) -> Iterator[str]:
        """Yield the names of the plane's chunks."""
        steps = zip(self.index, array.shape, _stored_shape(array), strict=True)
        ranges = [
            range(math.ceil(size / chunk)) if at is None else (at // chunk,)
            for at, size, chunk in steps
        ]
        for place in product(*ranges):
            yield array.metadata.encode_chunk_key(place)

    def _files(self, array: Any) -> Iterator[Path]:
        folder = Path(self.root) / self.path
        return (folder / key for key in self._keys(array))

    def _stored(self, array: Any) -> Iterator[bool]:
        """Yield whether each chunk is there."""
        if not _is_address(self.root):
            yield from (file.exists() for file in self._files(array))
        else:
            from fsspec.core import url_to_fs

            with _Reported(self.place):
                files, folder = url_to_fs(f"{self.root}/{self.path}")
                yield from (files.exists(f"{folder}/{key}") for key in self._keys(array))


class _Reported:
    """Turn any exception of zarr and its stores into one sentence."""

    def __init__(self, place: str):
        self.place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        # zarr, its codecs and stores raise many types of exceptions for damaged arrays.
        if isinstance(error, Exception) and not isinstance(error, CoosError):
            reason = shown(without_passwords(str(error).partition("\n")[0])) or kind.__name__
            raise DataError(f"{self.place}: cannot be read ({reason}).") from error


def _is_address(location: str) -> bool:
    return "://" in location


def _stored_shape(array: Any) -> tuple[int, ...]:
    """Return the shape of what is one file: a shard, or a chunk where there are none."""
    return array.shards or array.chunks


@lru_cache(maxsize=64)
def _open(address: str, zarr_format: int, changed: tuple[int, ...]) -> Any:
    """Open an array, once for each state of its metadata."""
    zarr = zarr_package()
    kinds = zarr.storage
    if _is_address(address):
        store = kinds.FsspecStore.from_url(address, read_only=True)
    else:
        store = kinds.LocalStore(address, read_only=True)
    array = zarr.open_array(store, mode="r", zarr_format=zarr_format)
    claims = _claims(array, address)
    if claims is None:
        return array
    most = math.prod(array.chunks) * array.dtype.itemsize + _OVERHEAD
    bounded = _bounded_store(kinds.WrapperStore)(store, address, claims, most)
    return zarr.open_array(bounded, mode="r", zarr_format=zarr_format)


@lru_cache(maxsize=1)
def _bounded_store(wrapper: Any) -> Any:
    """Return the class of a store that refuses chunks that claim too much."""
    from zarr.abc.store import RangeByteRequest

    class BoundedStore(wrapper):
        """A store that looks at each chunk, or chunk of a shard, before zarr unpacks it."""

        def __init__(self, store: Any, address: str, claims: Callable, most: int):
            super().__init__(store)
            self.address, self.claims, self.most = address, claims, most

        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            found = await super().get(key, prototype, byte_range)
            is_chunk = byte_range is None or isinstance(byte_range, RangeByteRequest)
            if found is None or not is_chunk or key in (*METADATA.values(), ".zattrs"):
                return found
            size = self.claims(found.to_bytes(), self.most)
            if size > self.most:
                raise DataError(
                    f"{without_passwords(self.address)}/{key}: unpacks to more than the "
                    f"{self.most:,} bytes of a chunk; it is damaged."
                )
            return found

    return BoundedStore


def _claims(array: Any, address: str) -> Callable[[bytes, int], int] | None:
    """Return the function that says how much a chunk unpacks to; None without compression.

    Raises
    ------
    DataError
        For codecs of which this cannot be said.
    """
    metadata = array.metadata.to_dict()
    if array.metadata.zarr_format == 2:
        used = [one["id"] for one in [*(metadata["filters"] or ()), metadata["compressor"]] if one]
    else:
        used = list(_codecs(metadata["codecs"]))
    compressors = [name for name in used if name not in _SAME_SIZE]
    if len(compressors) > 1 or not set(compressors) <= set(_CLAIMS):
        raise DataError(
            f"{without_passwords(address)}: packed by {shown(' and '.join(compressors))}, expected "
            f"one of {', '.join(_CLAIMS)}; write the plate again."
        )
    return _CLAIMS[compressors[0]] if compressors else None


def _codecs(codecs: Any) -> Iterator[str]:
    """Yield the names of codecs, and of those in shards."""
    for codec in codecs:
        yield str(codec["name"])
        yield from _codecs(codec.get("configuration", {}).get("codecs", ()))


def _zstd_claims(packed: bytes, most: int) -> int:
    """Return the size that stands in the header of a frame (RFC 8878, 3.1.1.1)."""
    if packed[:4] != b"\x28\xb5\x2f\xfd" or len(packed) < 6:
        return 0  # zarr will refuse it
    flag, single = packed[4] >> 6, packed[4] >> 5 & 1
    start = 5 + (not single) + (0, 1, 2, 4)[packed[4] & 3]
    length = (single, 2, 4, 8)[flag]
    if not length:
        return _unpacked_size(imagecodecs.zstd_decode, packed, most)
    size = int.from_bytes(packed[start : start + length], "little")
    return size + 256 if length == 2 else size


def _blosc_claims(packed: bytes, most: int) -> int:
    """Return the size in a header of Blosc (README_CHUNK_FORMAT: bytes 4 to 8)."""
    return int.from_bytes(packed[4:8], "little")


def _lz4_claims(packed: bytes, most: int) -> int:
    """Return the size that numcodecs puts before a block of LZ4."""
    return int.from_bytes(packed[:4], "little")


def _gzip_claims(packed: bytes, most: int) -> int:
    """Return the size to which gzip or zlib unpacks, or one above `most`."""
    try:
        return len(zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(packed, most + 1))
    except zlib.error:
        return 0  # zarr will refuse it


def _unpacked_size(decode: Callable, packed: bytes, most: int) -> int:
    """Return the size to which a chunk unpacks, or one above `most`."""
    try:
        return len(decode(packed, out=most))
    except (RuntimeError, ValueError):
        return most + 1


_CLAIMS: dict[str, Callable[[bytes, int], int]] = {
    "zstd": _zstd_claims,
    "blosc": _blosc_claims,
    "gzip": _gzip_claims,
    "zlib": _gzip_claims,
    "lz4": _lz4_claims,
}

_SAME_SIZE = ("bytes", "transpose", "crc32c", "sharding_indexed", "shuffle", "delta")
"""Codecs that do not change the size of a chunk, but for a checksum."""
