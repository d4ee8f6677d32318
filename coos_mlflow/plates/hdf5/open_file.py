"""Open HDF5 files from any source, and explain in one sentence why a file cannot be read.

Follow links, read ids and attributes. Open this module to change which files are refused.
"""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from coos_mlflow.errors import CoosError, DataError
from coos_mlflow.plates.columns import MAX_ID_CHARACTERS, clean_ids, shown
from coos_mlflow.plates.file_names import check_name
from coos_mlflow.plates.hdf5.chunks import Entries

_COLUMN_BLOCK_BYTES = 2**24
_MAX_LINKS = 16
_MAX_ATTRIBUTE_VALUES = 16
_NUMBER_TYPES = (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID, h5py.h5t.TypeEnumID)
SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""The first bytes of an HDF5 file."""

_H5PY_ERRORS = (OSError, RuntimeError, LookupError, ValueError, TypeError)


@contextmanager
def reading(path: Path, what: str = "") -> Iterator[None]:
    """Turn an exception of h5py into a `DataError` that names the place in the file."""
    try:
        yield
    except CoosError:
        raise
    except _H5PY_ERRORS as error:
        place = f"{path}:{what}" if what else f"{path}:"
        if number := getattr(error, "errno", None):
            reason = os.strerror(number)
            raise DataError(f"{place} cannot be read from the disk ({reason}).") from error
        raise DataError(
            f"{place} cannot be read, the file is damaged ({first_line(error)})."
        ) from error


def open_file(path: Path) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises
    ------
    DataError
        For a path that is missing, not a regular file or unreadable; for a file that is empty, not
        HDF5 or truncated; and for a name that `check_name` refuses.
    """
    check_name(path)
    try:
        if not path.exists():
            raise DataError(f"{path}: no such file, expected a plate in an HDF5 file.")
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise DataError(f"{path}: is {kind}, expected a plate in an HDF5 file.")
        with path.open("rb") as file:
            head = file.read(len(SIGNATURE))
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}).") from error
    except ValueError as error:
        raise DataError(f"{str(path)!r}: is no file name ({error}).") from error
    if not head:
        raise DataError(f"{path}: the file is empty (0 bytes), expected an HDF5 file.")
    if not h5py.is_hdf5(path):
        raise DataError(
            f"{path}: not an HDF5 file, it starts with bytes {head.hex(' ')}, "
            f"expected {SIGNATURE.hex(' ')}."
        )
    try:
        return h5py.File(path, "r")
    except _H5PY_ERRORS as error:
        raise DataError(_why_not_open(path, error)) from error


def has(file: h5py.File, name: str) -> bool:
    """Return whether a link of that name exists, without following it."""
    return bool(file.id.links.exists(name.encode()))


def own_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Open a dataset that is stored completely in this file.

    Raises
    ------
    DataError
        For a group, external links, external storage and virtual datasets. A plate from an unknown
        source must not make the reader open other files.
    """
    where = f"{file.filename}:/{name}"
    entry = file[_follow_links(file, name, where)]
    if not isinstance(entry, h5py.Dataset):
        kind = type(entry).__name__.lower()
        raise DataError(f"{where}: is a {kind}, expected a dataset.")
    if entry.is_virtual:
        raise DataError(f"{where}: is a virtual dataset {_OTHER_FILES}")
    if entry.external:
        name = f"'{shown(entry.external[0][0])}'"
        raise DataError(f"{where}: keeps its values in {name} {_OTHER_FILES}")
    return entry


_OTHER_FILES = (
    "and so would read other files, which is refused; expected values stored in the file itself "
    "(h5repack makes such a copy)."
)


def _follow_links(file: h5py.File, name: str, where: str) -> str:
    """Resolve soft links in `name`, and return a path of hard links only."""
    done: list[str] = []
    pending = [name]
    hops = 0
    while pending:
        part = pending.pop(0)
        if part in ("", "."):
            continue
        path = "/".join([*done, part])
        if not has(file, path):
            raise DataError(f"{where}: is a link to /{shown(path)}, which the file does not hold.")
        link = file.get(path, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            other = f"'{shown(link.filename)}'"
            raise DataError(f"{where}: is an external link to {other} {_OTHER_FILES}")
        if isinstance(link, h5py.SoftLink):
            hops += 1
            if hops > _MAX_LINKS:
                raise DataError(f"{where}: is a circle of links, expected a dataset.")
            done = [] if link.path.startswith("/") else done
            pending = link.path.split("/") + pending
        else:
            done.append(part)
    return "/".join(done)


def read_ids(dataset: h5py.Dataset, entries: Entries, where: str) -> np.ndarray:
    """Read a whole id column as printable text.

    Parameters
    ----------
    dataset : h5py.Dataset, shape (n,) or (n, 1)
        Text of fixed or variable length, integers, or floats with whole values.
    entries : Entries
        Entries of the same dataset.

    Returns
    -------
    ndarray of str, shape (n,)
    """
    dtype = dataset.dtype
    text = h5py.check_string_dtype(dtype) is not None
    if not text and dtype.kind not in "uif":
        raise DataError(f"{where}: dtype {shown(dtype)} found, expected text or whole numbers.")
    if dtype.kind == "S" and dtype.itemsize > 4 * MAX_ID_CHARACTERS:
        raise DataError(
            f"{where}: text of {dtype.itemsize:,} bytes an entry found, "
            f"expected at most {4 * MAX_ID_CHARACTERS:,}."
        )
    n = dataset.shape[0]
    step = max(1, _COLUMN_BLOCK_BYTES // max(64, dtype.itemsize))
    blocks = [
        clean_ids(entries.read(first, min(first + step, n)).ravel().tolist(), where, first)
        for first in range(0, n, step)
    ]
    return np.concatenate(blocks)


def filters(dataset: h5py.Dataset) -> str:
    """Return the filters of a dataset in order of use, such as ``"shuffle, deflate"``."""
    properties = dataset.id.get_create_plist()
    names = [properties.get_filter(i)[3] for i in range(properties.get_nfilters())]
    return ", ".join(clean_ids(names, dataset.name).tolist()) or "none"


def plain_attributes(file: h5py.File) -> dict[str, Any]:
    """Return the attributes that are numbers, text of fixed length, or lists of up to 16 of them.

    Text of variable length is left out, so that opening a plate does not read its heap.
    """
    plain: dict[str, Any] = {}
    for name in file.attrs:
        attribute = file.attrs.get_id(name)
        kind = attribute.get_type()
        fixed_text = isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str()
        numbers = isinstance(kind, _NUMBER_TYPES)
        shape = attribute.shape  # None if the attribute has no value
        plain_type = fixed_text or numbers
        if not plain_type or shape is None or math.prod(shape) > _MAX_ATTRIBUTE_VALUES:
            continue
        value = file.attrs[name]
        value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        if isinstance(value, bytes):
            value = value.decode("utf-8", errors="backslashreplace")
        if isinstance(value, str | bool | int | float | list):
            plain[str(name)] = value
    return plain


def _why_not_open(path: Path, error: Exception) -> str:
    message = str(error)
    size = path.stat().st_size
    if "truncated file" in message:
        expected = re.search(r"stored_eof = (\d+)", message)
        needed = f"{int(expected[1]):,} bytes" if expected else "more"
        return (
            f"{path}: the file is truncated, it has {size:,} bytes, expected {needed}; copy or "
            "download it again, or write it again if the program that wrote it was stopped."
        )
    if "consistency flags" in message:
        return (
            f"{path}: the file was not closed: a program still writes to it, or ended before it "
            f"closed it; close that program, and if there is none, run `h5clear -s {path}`."
        )
    if "unable to lock" in message:
        held = re.search(rf"errno = ({errno.EAGAIN}|{errno.EACCES})\b", message)
        if held:
            return f"{path}: another program has the file open to write to it; close it there."
        return (
            f"{path}: the file cannot be locked, as on some network disks ({first_line(error)}); "
            "set HDF5_USE_FILE_LOCKING=FALSE while no program writes to it."
        )
    return (
        f"{path}: the HDF5 file is damaged, or the program that wrote it was stopped ({size:,} "
        f"bytes; {first_line(error)}); copy, download or write it again."
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an HDF5 error message as printable text."""
    lines = str(error).strip("'\"").splitlines()
    return shown(lines[0] if lines else type(error).__name__, 300)
