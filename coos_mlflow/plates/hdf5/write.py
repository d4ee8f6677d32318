"""Write HDF5 files, and report failed writes without passing them to HDF5.

HDF5 corrupts its own memory when a write fails below it. Open this module to change how a full disk
or a signal is handled during writing.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from coos_mlflow._utils.files import on_failure
from coos_mlflow._utils.signals import deferred_signals
from coos_mlflow.errors import CoosError, OutputError
from coos_mlflow.plates.hdf5.open_file import first_line


class DeferredErrorFile(io.FileIO):
    """A file that keeps the error of its first failed write and ignores all later writes."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, and keep the first error in `error`."""
        rest = memoryview(data).cast("B")
        try:
            while self.error is None and len(rest):
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Truncate, and keep the first error in `error`."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


class NewFile:
    """An HDF5 file that is being written.

    HDF5 corrupts its own memory when a write fails below it: a full disk crashed the process with
    h5py 3.16. Therefore a failed write is hidden from HDF5, and raised by `check` and `close`.

    Parameters
    ----------
    path : Path
        Must not exist yet.

    Attributes
    ----------
    h5 : h5py.File
    """

    def __init__(self, path: Path) -> None:
        self._raw = DeferredErrorFile(path, "x+b")
        with on_failure(path.unlink), on_failure(self._raw.close):
            self.h5 = h5py.File(self._raw, "w")

    def check(self) -> None:
        """Raise the OSError of the first write that failed."""
        if self._raw.error is not None:
            raise self._raw.error

    def close(self) -> None:
        """Flush and close the file, and raise the OSError of the first write that failed."""
        try:
            self.h5.close()
        finally:
            self._raw.close()
        self.check()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an exception of h5py while writing into an `OutputError`."""
    try:
        # An exception from a signal handler inside `DeferredErrorFile` would fail a write of HDF5.
        with deferred_signals(ignore_repeats=True) as waiting:
            try:
                yield
            finally:
                waiting.obey()
    except CoosError:
        raise
    except (OSError, RuntimeError) as error:
        reason = "no space left on the disk" if _is_full(error) else first_line(error)
        raise OutputError(f"{path}: cannot be written ({reason}).") from error


def set_attributes(file: h5py.File, attributes: dict[str, Any]) -> None:
    """Store numbers and text in the form that `plain_attributes` reads."""
    for name, value in attributes.items():
        file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value


def _is_full(error: BaseException) -> bool:
    number = getattr(error, "errno", None)
    return number == errno.ENOSPC or f"errno = {errno.ENOSPC}" in str(error)
