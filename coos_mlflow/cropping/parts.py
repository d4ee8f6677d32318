"""Keep the cells of each field in a file of its own, so that a stopped cropping can go on.

Open this to change what is kept of a field, or the folder of parts.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock, Timeout

from coos_mlflow._utils.files import write_whole
from coos_mlflow.cropping.job import CropJob
from coos_mlflow.errors import OutputError
from coos_mlflow.fields.cells import FieldCells

_LOCK = "lock"
_COLUMN = "column_"
_KEY_DIGITS = 16


@dataclass(frozen=True)
class FieldPart:
    """What a field gave.

    Parameters
    ----------
    cells : FieldCells
    labels : ndarray of int32, shape (height, width)
        All nuclei that were found, also those without a cell.
    figures : dict of str to float
        From `coos_mlflow.fields.quality.field_figures`.
    """

    cells: FieldCells
    labels: np.ndarray
    figures: dict[str, float]

    def packed(self) -> bytes:
        """Return the part as a zip of NumPy arrays."""
        columns = self.cells.columns
        facts = {
            "figures": {k: v if math.isfinite(v) else None for k, v in self.figures.items()},
            "left_out": self.cells.left_out,
            "shape": self.labels.shape,
            "n_cells": len(self.cells),
            "n_touching": int(columns["touching"].sum()),
            "n_dividing": int(columns["dividing"].sum()),
            "dtype": str(self.cells.images.dtype),
        }
        labels = zlib.compress(self.labels.astype("<i4").tobytes(), 1)
        sink = io.BytesIO()
        np.savez(
            sink,
            allow_pickle=False,
            facts=np.frombuffer(json.dumps(facts).encode(), np.uint8),
            labels=np.frombuffer(labels, np.uint8),
            images=self.cells.images,
            **{f"{_COLUMN}{name}": values for name, values in columns.items()},
        )
        return sink.getvalue()

    @classmethod
    def unpacked(cls, path: Path) -> FieldPart:
        """Read a part.

        Raises
        ------
        OSError, ValueError, KeyError, BadZipFile, zlib.error
            When it is missing or damaged.
        """
        with np.load(path, allow_pickle=False) as arrays:
            facts = json.loads(arrays["facts"].tobytes())
            columns = {
                name.removeprefix(_COLUMN): arrays[name]
                for name in arrays.files
                if name.startswith(_COLUMN)
            }
            cells = FieldCells(arrays["images"], columns, facts["left_out"])
            raw = zlib.decompress(arrays["labels"].tobytes())
        labels = np.frombuffer(raw, "<i4").reshape(facts["shape"]).astype(np.int32)
        return cls(cells, labels, _with_nan(facts["figures"]))


def _with_nan(figures: dict[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in figures.items()}


class PartFolder:
    """The folder of a job's parts; it can be sent to a worker.

    Parameters
    ----------
    path : Path
    key : str
        Digest of the job, which the names of its parts hold.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key[:_KEY_DIGITS]

    def write(self, index: int, part: FieldPart) -> None:
        """Write the part of a field, complete or not at all.

        Raises
        ------
        OutputError
        """
        try:
            write_whole(self._file(index), part.packed())
        except OSError as error:
            raise OutputError(
                f"{self._file(index)}: cannot be written ({error.strerror}); the fields before it "
                "are kept, and the same command goes on from there once that is mended."
            ) from error

    def read(self, index: int) -> FieldPart:
        """Read the part of a field.

        Raises
        ------
        OutputError
            When it is missing or damaged.
        """
        with self._reading(index):
            return FieldPart.unpacked(self._file(index))

    def facts(self, index: int) -> dict[str, Any]:
        """Read what a part says of its field, without its images: see `FieldPart.packed`."""
        with self._reading(index), np.load(self._file(index), allow_pickle=False) as arrays:
            facts = json.loads(arrays["facts"].tobytes())
        return facts | {"figures": _with_nan(facts["figures"])}

    def holds(self, index: int) -> bool:
        """Return whether a field has an undamaged part."""
        try:
            self.read(index)
        except OutputError:
            return False
        return True

    @contextmanager
    def _reading(self, index: int) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise OutputError(
                f"{self._file(index)}: is missing or damaged; the same command makes it again."
            ) from error

    def _file(self, index: int) -> Path:
        return self.path / f"{index:07d}-{self.key}.npz"


@contextmanager
def open_parts(job: CropJob, resume: bool = True) -> Iterator[PartFolder]:
    """Open the folder of a job's parts under a lock, and remove parts of other jobs from it.

    The folder is removed after success. Otherwise the parts stay for the next attempt.

    Raises
    ------
    OutputError
        When the folder cannot be made, or another process uses it.
    """
    try:
        job.work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(job.work / _LOCK)
        lock.acquire(blocking=False)
        # Another process may have removed the folder at its end, before this one had the lock.
        if not (job.work / _LOCK).exists():
            lock.release()
            raise Timeout(lock.lock_file)
    except Timeout:
        raise OutputError(
            f"{job.out}: another process is writing it; wait for its end, or choose another file."
        ) from None
    except OSError as error:
        raise OutputError(f"{job.work}: cannot be made ({error.strerror}).") from error
    done = False
    try:
        parts = PartFolder(job.work, job.digest)
        for path in job.work.iterdir():
            if path.name != _LOCK and not (resume and f"-{parts.key}." in path.name):
                path.unlink(missing_ok=True)
        yield parts
        done = True
    finally:
        if done:
            shutil.rmtree(job.work, ignore_errors=True)
        lock.release()
