"""Tasks of a Dask worker: survey a plate, score a block of it, finish it.

A CoosError is returned as a value, since Dask would retry a task that raises. Only an OutputError
is raised, since a retry may help if results cannot be written.
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
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.plates.layout import Layout
from coos_mlflow.plates.reader import Plate, open_plate
from coos_mlflow.scoring.blocks import score_blocks
from coos_mlflow.scoring.finish import finish
from coos_mlflow.scoring.job import Block, Job, Stamp, Survey, survey
from coos_mlflow.scoring.parts import WorkFolder

P = ParamSpec("P")
R = TypeVar("R")

_one_at_a_time = threading.Lock()
"""Guards the model and the open plates, which all threads of a worker share and load once."""


@dataclass(frozen=True)
class WorkerSpec:
    """The model and versions that all tasks of one command share.

    Parameters
    ----------
    bundle : Path
        Bundle of the model, on storage that workers share.
    digest : str or None
        Digest of the bundle, as kept in the registry.
    dataset : Dataset
        What the model's cells are.
    precision : {"fp32", "bf16"}
    versions : tuple of (str, str)
        Versions that a worker's packages must have (`coos_mlflow._utils.cluster.versions`).
    """

    bundle: Path
    digest: str | None
    dataset: Dataset
    precision: str
    versions: tuple[tuple[str, str], ...]


class Finished(NamedTuple):
    """A plate whose results are written: content of drift.json, and seconds spent by workers."""

    drift: dict[str, Any]
    cells_seconds: float
    finish_seconds: float


def _errors_as_values(work: Callable[P, R]) -> Callable[P, R | CoosError]:
    @wraps(work)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R | CoosError:
        try:
            return work(*args, **kwargs)
        except OutputError:
            raise
        except CoosError as error:
            return error

    return wrapper


@_errors_as_values
def survey_plate(
    spec: WorkerSpec, plate: Path, n_bytes: int, layout: Layout | None = None
) -> Survey:
    """Read a plate file, which must have `n_bytes` bytes, for its digest."""
    check_versions(dict(spec.versions))
    check_reach(plate, n_bytes)
    return survey(plate, spec.dataset, layout=layout)


@_errors_as_values
def score_block(spec: WorkerSpec, job: Job, block: Block) -> float:
    """Write the part of a block, unless it exists; return the seconds that it took."""
    began = time.perf_counter()
    classifier = _classifier(spec)
    check_reach(job.work)
    work = WorkFolder(job)
    if not work.holds(block):
        for part in score_blocks(classifier, _plate(spec, job), [block]):
            work.write(part)
    return time.perf_counter() - began


@_errors_as_values
def finish_plate(spec: WorkerSpec, job: Job, blocks: list[float | CoosError]) -> Finished:
    """Turn the parts of a plate into its results; `blocks` are the results of `score_block`."""
    began = time.perf_counter()
    seconds = 0.0
    for outcome in blocks:
        if isinstance(outcome, CoosError):
            raise outcome
        seconds += outcome
    check_reach(job.work)
    drift = finish(_plate(spec, job), WorkFolder(job), _classifier(spec))
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


def _plate(spec: WorkerSpec, job: Job) -> Plate:
    with _one_at_a_time:
        check_reach(job.plate, job.stamp.n_bytes)
        return _opened(job.plate, job.stamp, spec.dataset)


@lru_cache(maxsize=2)
def _opened(path: Path, stamp: Stamp, dataset: Dataset) -> Plate:
    """Open a plate, once for all of its blocks, since opening reads all of its ids."""
    return open_plate(path, dataset, check_labels=False)
