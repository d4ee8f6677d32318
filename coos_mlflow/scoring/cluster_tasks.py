"""What a worker of a Dask cluster does: survey a plate, answer a block of it, finish it.

Errors that a user can meet come back as values, since Dask would try their work again; what may go
away by itself, results that cannot be written, is raised.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from coos_mlflow._utils.cluster import check_reach, check_versions, keep_to_own_cores
from coos_mlflow.errors import CoosError, OutputError
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.plates.reader import Plate, open_plate
from coos_mlflow.scoring.blocks import score_blocks
from coos_mlflow.scoring.finish import finish
from coos_mlflow.scoring.job import Block, Job, Stamp, Survey, survey
from coos_mlflow.scoring.parts import WorkFolder

P = ParamSpec("P")
R = TypeVar("R")

_one_at_a_time = threading.Lock()
"""Threads of a worker share the model and open plates, and load them once."""


@dataclass(frozen=True)
class WorkerSpec:
    """What all work of a screen needs.

    Parameters
    ----------
    bundle : Path
        Of the model, on storage that workers share.
    digest : str or None
        Of the bundle, as the registry has it.
    precision : {"fp32", "bf16"}
    versions : tuple of (str, str)
        That a worker's packages are to have (`coos_mlflow._utils.cluster.versions`).
    """

    bundle: Path
    digest: str | None
    precision: str
    versions: tuple[tuple[str, str], ...]


class Finished(NamedTuple):
    """A plate whose results are there: drift.json's content, and the seconds of workers."""

    drift: dict[str, Any]
    cells_seconds: float
    finish_seconds: float


def _told(work: Callable[P, R]) -> Callable[P, R | CoosError]:
    @wraps(work)
    def told(*args: P.args, **kwargs: P.kwargs) -> R | CoosError:
        try:
            return work(*args, **kwargs)
        except OutputError:
            raise
        except CoosError as error:
            return error

    return told


@_told
def survey_plate(spec: WorkerSpec, plate: Path, n_bytes: int) -> Survey:
    """Read a plate file of so many bytes for its digest."""
    check_versions(dict(spec.versions))
    check_reach(plate, n_bytes)
    return survey(plate)


@_told
def score_block(spec: WorkerSpec, job: Job, block: Block) -> float:
    """Write the part of a block, unless it is there; return the seconds that it took."""
    began = time.perf_counter()
    classifier = _classifier(spec)
    check_reach(job.work)
    work = WorkFolder(job)
    if not work.holds(block):
        for part in score_blocks(classifier, _plate(job.plate, job.stamp), [block]):
            work.write(part)
    return time.perf_counter() - began


@_told
def finish_plate(spec: WorkerSpec, job: Job, answered: list[float | CoosError]) -> Finished:
    """Turn all parts of a plate into its results, once all blocks are answered."""
    began = time.perf_counter()
    seconds = 0.0
    for told in answered:
        if isinstance(told, CoosError):
            raise told
        seconds += told
    check_reach(job.work)
    drift = finish(_plate(job.plate, job.stamp), WorkFolder(job), _classifier(spec).reference)
    return Finished(drift, seconds, time.perf_counter() - began)


def _classifier(spec: WorkerSpec) -> CellModel:
    with _one_at_a_time:
        return _loaded(spec)


@lru_cache(maxsize=1)
def _loaded(spec: WorkerSpec) -> CellModel:
    """Load the model, once in each worker."""
    check_versions(dict(spec.versions))
    check_reach(spec.bundle)
    keep_to_own_cores()
    classifier = CellModel.load(spec.bundle, spec.digest)
    classifier.prepare(spec.precision)
    return classifier


def _plate(path: Path, stamp: Stamp) -> Plate:
    with _one_at_a_time:
        check_reach(path, stamp.n_bytes)
        return _opened(path, stamp)


@lru_cache(maxsize=2)
def _opened(path: Path, stamp: Stamp) -> Plate:
    """Open a plate, once for all of its blocks: its ids are read whole."""
    return open_plate(path)
