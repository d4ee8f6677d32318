"""A plate's answers in parts: a Parquet file for each block of cells, so that none is lost."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from coos_mlflow._utils.files import write_whole
from coos_mlflow._utils.progress import say
from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.plates.schema import CELL_SHAPE
from coos_mlflow.scoring.job import Block, Job

_FACTS = "job.json"
_LOCK = "lock"
_ENDING = ".parquet"
_KEY_DIGITS = 12
_VERSION = 2
"""Changes with the columns of a part, so that parts with other columns are scored again."""
_NOVELTY, _FLAG, _CELL, _THUMBNAIL = "novelty", "flag", "cell", "look"


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
    novelty : ndarray of float64, shape (n,)
        Distance from the reference (`coos_mlflow.drift.reference.Reference.novelty`).
    flags : ndarray of int8, shape (n,)
        Which cells are unusable (`coos_mlflow.plates.schema.flag_unusable`); all that is said of
        these is NaN.
    digests : ndarray of uint64, shape (n,)
        By which copies are found (`coos_mlflow.plates.copies.cell_digests`).
    thumbnails : dict of ndarray, shape (2, 64, 64)
        Raw counts of the cells that may come into the report, by their row in the block.
    """

    block: Block
    probabilities: np.ndarray
    features: np.ndarray
    raw: np.ndarray
    novelty: np.ndarray
    flags: np.ndarray
    digests: np.ndarray
    thumbnails: dict[int, np.ndarray]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.probabilities)

    def packed(self, job: str) -> bytes:
        """Return the part as a Parquet file that says to which job and block it belongs."""
        columns = {
            **_columns("p", self.probabilities),
            **_columns("feature", self.features),
            **_columns("raw", self.raw),
            _NOVELTY: pa.array(self.novelty, pa.float64()),
            _FLAG: pa.array(self.flags, pa.int8()),
            _CELL: pa.array(self.digests, pa.uint64()),
            _THUMBNAIL: pa.array(
                [self._packed_thumbnail(row) for row in range(len(self))], pa.binary()
            ),
        }
        counts = next((str(thumbnail.dtype) for thumbnail in self.thumbnails.values()), "uint16")
        said = {"job": job, "block": str(self.block), "counts": counts}
        table = pa.table(columns).replace_schema_metadata(said)
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
        thumbnails = {
            row: np.frombuffer(thumbnail, said["counts"]).reshape(CELL_SHAPE)
            for row, thumbnail in enumerate(table[_THUMBNAIL].to_pylist())
            if thumbnail is not None
        }
        probabilities, features, raw = (_matrix(table, name) for name in ("p", "feature", "raw"))
        novelty, flags, digests = (table[name].to_numpy() for name in (_NOVELTY, _FLAG, _CELL))
        return cls(block, probabilities, features, raw, novelty, flags, digests, thumbnails)

    def _packed_thumbnail(self, row: int) -> bytes | None:
        thumbnail = self.thumbnails.get(row)
        return None if thumbnail is None else thumbnail.tobytes()


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
        self._key = _digest(self._said.encode())[:_KEY_DIGITS]

    def write(self, part: Part) -> None:
        """Write a part, whole or not at all, the digests of job and content in its name.

        Raises
        ------
        DataError
            When the plate file has changed meanwhile.
        OutputError
            When there is no room or no right to; the parts before it stay.
        """
        self.job.check_unchanged()
        packed = part.packed(self._said)
        path = self.path / f"{part.block.start:010d}-{self._key}-{_digest(packed)}{_ENDING}"
        try:
            write_whole(path, packed)
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be written ({error.strerror}); what was scored before it is "
                "kept, and the same command goes on from there once that is mended."
            ) from error

    def parts(self) -> Iterator[Part]:
        """Read the parts of all blocks, in order.

        Raises
        ------
        OutputError
            When one is missing or damaged.
        """
        paths = self._paths()
        for block in self.job.blocks:
            found = next(filter(None, map(_sound, paths.get(block.start, ()))), None)
            if found is None:
                raise OutputError(
                    f"{self.path}: the part of cell {block.start} has gone or is damaged; the "
                    "same command scores it again."
                )
            yield Part.unpacked(found, block, self._said)

    def missing(self) -> list[Block]:
        """Return the blocks without a sound part of this job, in order."""
        paths = self._paths()
        return [b for b in self.job.blocks if not any(map(_sound, paths.get(b.start, ())))]

    def holds(self, block: Block) -> bool:
        """Tell whether a block has a sound part."""
        names = self.path.glob(f"{block.start:010d}-{self._key}-*{_ENDING}")
        return any(map(_sound, names))

    def results(self) -> Path:
        """Return a new folder for the results; another attempt may be at work beside this one."""
        return Path(tempfile.mkdtemp(prefix="results-", dir=self.path))

    def _paths(self) -> dict[int, list[Path]]:
        """Return the files of each block by its first cell, always in the same order.

        Two workers with different processors may have written one each.
        """
        found: dict[int, list[Path]] = {}
        for path in sorted(self.path.glob(f"*-{self._key}-*{_ENDING}")):
            found.setdefault(int(path.name.partition("-")[0]), []).append(path)
        return found


def _sound(path: Path) -> bytes | None:
    """Return the content of a part that is as it was written."""
    try:
        packed = path.read_bytes()
    except OSError:
        return None
    return packed if path.name.removesuffix(_ENDING).endswith(_digest(packed)) else None


def _digest(packed: bytes) -> str:
    return hashlib.sha256(packed).hexdigest()[:32]


def facts_text(job: Job) -> str:
    """Return what two jobs must have in common to share their parts."""
    extra = {"block_cells": job.block_cells, "parts_version": _VERSION}
    return json.dumps(job.facts | extra, sort_keys=True)


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
    done = False
    try:
        work = WorkFolder(job)
        _keep_what_fits(work, resume)
        yield work
        done = True
    except DataError:
        done = True
        raise
    finally:
        if done:
            _empty(job.work)
        lock.release()
        if done:
            _remove_empty([job.work, *made])


def discard_work(job: Job) -> None:
    """Remove the parts that a scoring has left which was killed after its results were there."""
    if job.work.exists():
        with suppress(OutputError), open_work(job):
            pass


def _keep_what_fits(work: WorkFolder, resume: bool) -> None:
    facts = work.path / _FACTS
    try:
        known = facts.read_text(encoding="utf-8") if facts.exists() else None
        if resume and known not in (None, work._said):
            say(
                f"{work.job.plate.name}: scored from its first cell, since the plate, the model, "
                "a setting or a package has changed since it was stopped"
            )
        _empty(work.path, but=f"-{work._key}-" if resume else None)
        facts.write_text(work._said, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{work.path}: cannot be written ({error.strerror}).") from error


def _empty(folder: Path, but: str | None = None) -> None:
    """Remove all but the lock from a folder, and but files with something in their name."""
    for path in folder.iterdir():
        if path.name == _LOCK or (but and but in path.name and path.suffix == _ENDING):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders that are empty, but for a lock that nobody holds."""
    for folder in folders:
        with suppress(OSError):
            (folder / _LOCK).unlink(missing_ok=True)
            folder.rmdir()
