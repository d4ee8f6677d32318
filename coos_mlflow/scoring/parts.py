"""Store the scores of each block of cells in a Parquet file, so that a stopped scoring can resume.

Open this to change the columns of a part, or the folder of parts.
"""

from __future__ import annotations

import hashlib
import json
import math
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
from coos_mlflow.plates.schema import CHANNELS
from coos_mlflow.scoring.job import Block, Job, found_assessment

_FACTS = "job.json"
_LOCK = "lock"
_ENDING = ".parquet"
_KEY_DIGITS = 12
_VERSION = 3
"""Changes with the columns of a part, so that parts with other columns are scored again."""
_NOVELTY, _FLAG, _CELL, _THUMBNAIL = "novelty", "flag", "cell", "look"


@dataclass(frozen=True)
class Part:
    """Scores of the cells of a block, with all data that the drift report needs.

    Parameters
    ----------
    block : Block
    probabilities : ndarray of float32, shape (n, classes)
    features : ndarray of float32, shape (n, dims)
        Projected (`coos_mlflow.drift.reference.Projection`).
    raw : ndarray of float32, shape (n, len(RAW_FIGURES))
        From `coos_mlflow.drift.image_quality.raw_figures`.
    novelty : ndarray of float64, shape (n,)
        Distance from the reference (`coos_mlflow.drift.reference.Reference.novelty`).
    flags : ndarray of int8, shape (n,)
        Which cells are unusable (`coos_mlflow.plates.schema.flag_unusable`); their figures are
        NaN.
    digests : ndarray of uint64, shape (n,)
        Digests to find copies by (`coos_mlflow.plates.copies.cell_digests`).
    plate_axes : ndarray of float32, shape (n, axes)
        See `coos_mlflow.model.cell_model.CellScores`.
    thumbnails : dict of ndarray, shape (2, crop, crop)
        Raw counts of the candidates for the report, by their row in the block.
    """

    block: Block
    probabilities: np.ndarray
    features: np.ndarray
    raw: np.ndarray
    novelty: np.ndarray
    flags: np.ndarray
    digests: np.ndarray
    plate_axes: np.ndarray
    thumbnails: dict[int, np.ndarray]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.probabilities)

    def packed(self, job: str) -> bytes:
        """Return the part as a Parquet file, with its job and block as metadata."""
        columns = {
            **_columns("p", self.probabilities),
            **_columns("feature", self.features),
            **_columns("raw", self.raw),
            **_columns("axis", self.plate_axes),
            _NOVELTY: pa.array(self.novelty, pa.float64()),
            _FLAG: pa.array(self.flags, pa.int8()),
            _CELL: pa.array(self.digests, pa.uint64()),
            _THUMBNAIL: pa.array(
                [self._packed_thumbnail(row) for row in range(len(self))], pa.binary()
            ),
        }
        counts = next((str(thumbnail.dtype) for thumbnail in self.thumbnails.values()), "uint16")
        metadata = {"job": job, "block": str(self.block), "counts": counts}
        table = pa.table(columns).replace_schema_metadata(metadata)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return sink.getvalue().to_pybytes()

    @classmethod
    def unpacked(cls, packed: bytes, block: Block, job: str) -> Part:
        """Return the part from the content of its file.

        Raises
        ------
        ValueError
            For a part of another job or block.
        """
        table = pq.read_table(pa.BufferReader(packed))
        metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        if (metadata.get("job"), metadata.get("block")) != (job, str(block)):
            raise ValueError("is part of something else")
        thumbnails = {
            row: _square(np.frombuffer(thumbnail, metadata["counts"]))
            for row, thumbnail in enumerate(table[_THUMBNAIL].to_pylist())
            if thumbnail is not None
        }
        matrices = (_matrix(table, name) for name in ("p", "feature", "raw", "axis"))
        probabilities, features, raw, axes = matrices
        novelty, flags, digests = (table[name].to_numpy() for name in (_NOVELTY, _FLAG, _CELL))
        return cls(block, probabilities, features, raw, novelty, flags, digests, axes, thumbnails)

    def _packed_thumbnail(self, row: int) -> bytes | None:
        thumbnail = self.thumbnails.get(row)
        return None if thumbnail is None else thumbnail.tobytes()


def _square(counts: np.ndarray) -> np.ndarray:
    """Return the counts of a cell in its shape, (2, crop, crop)."""
    crop = math.isqrt(len(counts) // len(CHANNELS))
    return counts.reshape(len(CHANNELS), crop, crop)


def _columns(name: str, matrix: np.ndarray) -> dict[str, pa.Array]:
    return {
        f"{name}_{number}": pa.array(np.ascontiguousarray(column), pa.float32())
        for number, column in enumerate(matrix.T)
    }


def _matrix(table: pa.Table, name: str) -> np.ndarray:
    columns = [column for column in table.column_names if column.startswith(f"{name}_")]
    matrix = np.empty((len(table), len(columns)), np.float32)
    for number in range(len(columns)):
        matrix[:, number] = table[f"{name}_{number}"].to_numpy()
    return matrix


class WorkFolder:
    """The folder of a job's parts; `open_work` creates or finds it.

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
        """Write a part, complete or not at all; its name holds the digests of job and content.

        Raises
        ------
        DataError
            When the plate file has changed since its digest was taken.
        OutputError
            When the disk is full or not writable. Earlier parts are kept.
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
            packed = next(filter(None, map(_sound, paths.get(block.start, ()))), None)
            if packed is None:
                raise OutputError(
                    f"{self.path}: the part of cell {block.start} has gone or is damaged; the "
                    "same command scores it again."
                )
            yield Part.unpacked(packed, block, self._said)

    def missing(self) -> list[Block]:
        """Return the blocks of this job without an undamaged part, in order.

        There are none where the same assessment exists, which only lacks the layout.
        """
        if found_assessment(self.job):
            return []
        paths = self._paths()
        return [b for b in self.job.blocks if not any(map(_sound, paths.get(b.start, ())))]

    def holds(self, block: Block) -> bool:
        """Tell whether a block has an undamaged part."""
        names = self.path.glob(f"{block.start:010d}-{self._key}-*{_ENDING}")
        return any(map(_sound, names))

    def results(self) -> Path:
        """Return a new folder for the results; each attempt has its own, as two may run at once."""
        return Path(tempfile.mkdtemp(prefix="results-", dir=self.path))

    def _paths(self) -> dict[int, list[Path]]:
        """Return the files of each block by its first cell, always in the same order.

        A block may have two: workers with different processors may each have written one.
        """
        paths: dict[int, list[Path]] = {}
        for path in sorted(self.path.glob(f"*-{self._key}-*{_ENDING}")):
            paths.setdefault(int(path.name.partition("-")[0]), []).append(path)
        return paths


def _sound(path: Path) -> bytes | None:
    """Return the content of a part, or None if the digest in its name does not match."""
    try:
        packed = path.read_bytes()
    except OSError:
        return None
    return packed if path.name.removesuffix(_ENDING).endswith(_digest(packed)) else None


def _digest(packed: bytes) -> str:
    return hashlib.sha256(packed).hexdigest()[:32]


def facts_text(job: Job) -> str:
    """Return the facts of a job's cells as text; jobs with the same text share their parts."""
    extra = {"block_cells": job.block_cells, "parts_version": _VERSION}
    return json.dumps(job.cell_facts | extra, sort_keys=True)


@contextmanager
def open_work(job: Job, resume: bool = True) -> Iterator[WorkFolder]:
    """Open the folder of a job's parts under a lock, and remove parts of other jobs from it.

    The folder is removed after success, and if the plate turns out to be unfit. Otherwise the parts
    stay for the next attempt.

    Parameters
    ----------
    job : Job
    resume : bool
        Keep the parts that an earlier attempt has left.

    Raises
    ------
    OutputError
        When the folder cannot be created, or another process uses it.
    """
    created = [parent for parent in job.work.parents if not parent.exists()]
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
            _remove_empty([job.work, *created])


def discard_work(job: Job) -> None:
    """Remove the parts left by a scoring that was killed after its results were written."""
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
    """Empty a folder, except for the lock and for parts with the text `but` in their name."""
    for path in folder.iterdir():
        if path.name == _LOCK or (but and but in path.name and path.suffix == _ENDING):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders that are empty or hold only a released lock."""
    for folder in folders:
        with suppress(OSError):
            (folder / _LOCK).unlink(missing_ok=True)
            folder.rmdir()
