"""A plate's answers in parts: a Parquet file for each block of cells, so that none is lost."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.jobs import Block, Job
from coos_mlflow.progress import say

_FACTS = "job.json"
_LOCK = "lock"
_RESULTS = "results"
_PICTURE = "picture"


@dataclass(frozen=True)
class Part:
    """What a model says of the cells of a block, and all that the drift report will ask for.

    Parameters
    ----------
    block : Block
    probabilities : ndarray of float32, shape (n, 7)
    features : ndarray of float32, shape (n, dims)
        Projected (`coos_mlflow.drift.reference.Projection`).
    raw : ndarray of float32, shape (n, len(RAW_FIGURES))
        What `raw_figures` returned.
    pictures : dict of bytes
        WebP pictures of cells that may come into the report, by their row in the block.
    """

    block: Block
    probabilities: np.ndarray
    features: np.ndarray
    raw: np.ndarray
    pictures: dict[int, bytes]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.probabilities)

    def packed(self, job: str) -> bytes:
        """Return the part as a Parquet file that says to which job and block it belongs."""
        columns = {
            **_columns("p", self.probabilities),
            **_columns("feature", self.features),
            **_columns("raw", self.raw),
            _PICTURE: pa.array([self.pictures.get(row) for row in range(len(self))], pa.binary()),
        }
        table = pa.table(columns).replace_schema_metadata({"job": job, "block": str(self.block)})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return sink.getvalue().to_pybytes()

    @classmethod
    def unpacked(cls, packed: bytes, block: Block, job: str) -> Part:
        """Return the part that `packed` has packed.

        Raises
        ------
        ValueError
            For that of another job or block.
        """
        table = pq.read_table(pa.BufferReader(packed))
        said = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        if (said.get("job"), said.get("block")) != (job, str(block)):
            raise ValueError("is part of something else")
        pictures = enumerate(table[_PICTURE].to_pylist())
        return cls(
            block,
            _matrix(table, "p"),
            _matrix(table, "feature"),
            _matrix(table, "raw"),
            {row: picture for row, picture in pictures if picture is not None},
        )


def _columns(name: str, matrix: np.ndarray) -> dict[str, pa.Array]:
    return {
        f"{name}_{number}": pa.array(np.ascontiguousarray(column), pa.float32())
        for number, column in enumerate(matrix.T)
    }


def _matrix(table: pa.Table, name: str) -> np.ndarray:
    columns = [column for column in table.column_names if column.startswith(f"{name}_")]
    found = np.empty((len(table), len(columns)), np.float32)
    for number in range(len(columns)):
        found[:, number] = table[f"{name}_{number}"].to_numpy()
    return found


class WorkFolder:
    """The folder of a job's parts; `open_work` makes or finds it.

    Parameters
    ----------
    job : Job
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.path = job.work
        self._said = facts_text(job)

    def write(self, part: Part) -> None:
        """Write a part, whole or not at all, its digest in its name.

        Raises
        ------
        OutputError
            When there is no room or no right to; the parts before it stay.
        """
        packed = part.packed(self._said)
        path = self.path / f"{part.block.start:010d}-{_digest(packed)}.parquet"
        # Two workers may write the same part at a time; each has a file of its own.
        partial = path.with_name(f".{path.name}.{os.uname().nodename}-{os.getpid()}")
        try:
            with partial.open("wb") as file:
                file.write(packed)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise OutputError(
                f"{path}: cannot be written ({error.strerror}); what was scored before it is "
                "kept, and the same command goes on from there once that is mended."
            ) from error

    def read(self, block: Block) -> Part:
        """Read the part of a block.

        Raises
        ------
        ValueError
            Where there is none, or it is damaged or of another job.
        OSError
        """
        # Of two that workers with different processors have written, the same one every time.
        for path in sorted(self.path.glob(f"{block.start:010d}-*.parquet")):
            packed = path.read_bytes()
            if _digest(packed) == path.stem.partition("-")[2]:
                return Part.unpacked(packed, block, self._said)
        raise ValueError(f"{self.path}: holds no sound part for cell {block.start}")

    def missing(self) -> list[Block]:
        """Return the blocks without a sound part of this job, in order."""
        return [block for block in self.job.blocks if not self._holds(block)]

    def _holds(self, block: Block) -> bool:
        try:
            self.read(block)
        except (OSError, ValueError):
            return False
        return True

    def results(self) -> Path:
        """Return a new folder for the results; another attempt may be at work beside this one."""
        return Path(tempfile.mkdtemp(prefix=f"{_RESULTS}-", dir=self.path))


def _digest(packed: bytes) -> str:
    return hashlib.sha256(packed).hexdigest()[:32]


def facts_text(job: Job) -> str:
    """Return what two jobs must have in common to share their parts."""
    return json.dumps(job.facts | {"block_cells": job.block_cells}, sort_keys=True)


@contextmanager
def open_work(job: Job, resume: bool = True) -> Iterator[WorkFolder]:
    """Open the folder of a job's parts, alone in this process, and keep what fits in it.

    It is removed when all went well, and when the plate turns out to be unfit; otherwise the parts
    stay for the next attempt.

    Parameters
    ----------
    job : Job
    resume : bool
        Keep the parts that an earlier attempt has left.

    Raises
    ------
    OutputError
        Where it cannot be made, or another process is at work in it.
    """
    made = [parent for parent in job.work.parents if not parent.exists()]
    try:
        job.work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(job.work / _LOCK)
        lock.acquire(blocking=False)
    except Timeout:
        raise OutputError(
            f"{job.folder}: another process is scoring into it; wait for its end, or choose "
            "another --out folder."
        ) from None
    except OSError as error:
        raise OutputError(f"{job.folder}: cannot be made ({error.strerror}).") from error
    try:
        work = WorkFolder(job)
        _keep_what_fits(work, resume)
        yield work
    except DataError:
        _remove(job.work, made)
        raise
    else:
        _remove(job.work, made)
    finally:
        lock.release()


def _keep_what_fits(work: WorkFolder, resume: bool) -> None:
    facts = work.path / _FACTS
    try:
        known = facts.read_text(encoding="utf-8") if facts.exists() else None
        if resume and known == work._said:
            return
        if resume and known:
            say(
                f"{work.job.plate.name}: scored from its first cell, since the plate, the model, "
                "a setting or a package has changed since it was stopped"
            )
        for path in work.path.iterdir():
            if path.name != _LOCK:
                _remove(path, [])
        facts.write_text(work._said, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{work.path}: cannot be written ({error.strerror}).") from error


def _remove(path: Path, parents: Sequence[Path]) -> None:
    """Remove a file or folder, and those of its parents that are then empty."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    for parent in parents:
        if parent.exists() and not any(parent.iterdir()):
            parent.rmdir()
