"""Score plates on a Dask cluster: submit the blocks of each plate, collect its results.

Open this to change the scheduling. `coos_mlflow.scoring.cluster_tasks` is the workers' side.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from coos_mlflow._utils.cluster import fate, result_of, versions
from coos_mlflow._utils.progress import Advance, progress, say
from coos_mlflow._utils.signals import raise_swallowed_signal
from coos_mlflow._utils.timings import Timings
from coos_mlflow.errors import ClusterError, CoosError, DataError, OutputError, RunNotLoggedError
from coos_mlflow.plates.layout import Layout
from coos_mlflow.scoring.cluster_tasks import (
    Finished,
    WorkerSpec,
    finish_plate,
    score_block,
    survey_plate,
)
from coos_mlflow.scoring.job import Block, Job, Survey, check_replaceable, found_results
from coos_mlflow.scoring.parts import discard_work, open_work
from coos_mlflow.scoring.record import Scored, with_run
from coos_mlflow.scoring.scorer import Scorer

if TYPE_CHECKING:
    from distributed import Client, Future

RETRIES = 2
"""Further attempts at a task that cannot write its results, such as when shared storage fails."""

MAX_PENDING_PLATES = 64
"""Plates that are submitted at a time; each keeps its lock file open in this process."""

_LOCK = "in-use"


@dataclass(frozen=True)
class _PendingPlate:
    """A plate whose blocks are submitted to the workers."""

    job: Job
    opened: ExitStack
    blocks: list[Future]


def score_on(
    client: Client,
    scorer: Scorer,
    plates: Sequence[Path],
    out: Path,
    *,
    force: bool = False,
    resume: bool = True,
    layout: Layout | None = None,
    mixed_wells: bool = False,
) -> Iterator[Scored | CoosError]:
    """Score plates on a cluster, and yield each when it is done.

    All workers must reach the plates and `out` under the same paths. Results are byte for byte
    those of a scoring without a cluster on the same kind of processor.

    Parameters
    ----------
    client : distributed.Client
        From `coos_mlflow._utils.cluster.connect`.
    scorer : Scorer
    plates : sequence of Path
    out, force, resume, layout, mixed_wells
        As for `Scorer.score`.

    Yields
    ------
    Scored, or DataError, OutputError, ClusterError, RunNotLoggedError
        Results of a plate, or the error that prevented them.

    Raises
    ------
    ClusterError
        When a worker cannot read a plate, write results or load the model, or when the cluster is
        lost.
    """
    with _shared_bundle(scorer.bundle, out.absolute()) as bundle:
        # The precision is decided here: a worker without bfloat16 then emulates it.
        spec = WorkerSpec(
            bundle=bundle,
            digest=scorer.model.digest,
            dataset=scorer.dataset,
            precision=scorer.prepared_precision,
            versions=tuple(versions().items()),
        )
        surveys = _surveys(client, spec, plates, layout)
        total = sum(entry.n_cells for entry in surveys if isinstance(entry, Survey))
        with (
            progress(f"Scoring {len(plates)} plates", total, "cells") as advance,
            _DaskScorer(client, spec, resume, advance) as dask_scorer,
        ):
            for plate, surveyed in zip(plates, surveys, strict=True):
                if isinstance(surveyed, Survey):
                    places = plate.absolute(), out.absolute()
                    job = scorer.job(
                        *places, surveyed, force=force, layout=layout, mixed_wells=mixed_wells
                    )
                    known = dask_scorer.start(job)
                else:
                    known = surveyed
                if known:
                    yield known
                while len(dask_scorer.pending) >= MAX_PENDING_PLATES:
                    yield dask_scorer.next_result()
            while dask_scorer.pending:
                yield dask_scorer.next_result()


class _DaskScorer:
    """Submit plates to the workers and collect their results.

    A context manager: on exit it cancels the blocks that are still pending, and keeps their parts.
    """

    def __init__(self, client: Client, spec: WorkerSpec, resume: bool, advance: Advance) -> None:
        from distributed import as_completed

        self.pending: dict[Future, _PendingPlate] = {}
        self._client = client
        self._spec = spec
        self._resume = resume
        self._advance = advance
        self._completed = as_completed()

    def start(self, job: Job) -> Scored | CoosError | None:
        """Submit a plate to the workers; return its outcome if that is known already."""
        if not job.force and (drift := found_results(job)):
            discard_work(job)
            self._advance(job.n_cells)
            return _with_run_or_error(Scored(job, drift))
        try:
            check_replaceable(job)
            self._submit_plate(job)
        except OutputError as error:
            return error
        return None

    def _submit_plate(self, job: Job) -> None:
        """Submit the missing blocks of a plate, and the task that finishes it after them."""
        opened = ExitStack()
        work = opened.enter_context(open_work(job, self._resume))
        missing = work.missing()
        known = job.n_cells - sum(stop - start for start, stop in missing)
        if known:
            say(f"{job.plate.name}: {known:,} of {job.n_cells:,} cells were scored before")
            self._advance(known)
        blocks = [self._submit(score_block, job, block) for block in missing]
        for block, future in zip(missing, blocks, strict=True):
            future.add_done_callback(self._progress_callback(block, job.plate.name))
        finished = self._submit(finish_plate, job, blocks)
        self.pending[finished] = _PendingPlate(job, opened, blocks)
        self._completed.add(finished)

    def next_result(self) -> Scored | CoosError:
        """Wait for the next plate to be done, and log its run."""
        from distributed import KilledWorker

        # Progress callbacks run in another thread, which cannot raise a swallowed signal.
        raise_swallowed_signal()
        finished = next(self._completed)
        plate = self.pending.pop(finished)
        try:
            # Raised inside the context, so that `open_work` keeps or removes the parts.
            with plate.opened:
                result = result_of(finished)
                if isinstance(result, CoosError):
                    self._client.cancel(plate.blocks)
                    raise result
        except (DataError, OutputError) as error:
            return error
        except KilledWorker as error:
            return ClusterError(f"{plate.job.plate}: {fate(error)}")
        assert isinstance(result, Finished)
        phases = {"cells": result.cells_seconds, "drift and report": result.finish_seconds}
        return _with_run_or_error(Scored(plate.job, result.drift, Timings(phases)))

    def _submit(self, work: Callable[..., Any], *arguments: Any) -> Future:
        return self._client.submit(work, self._spec, *arguments, retries=RETRIES, pure=False)

    def _progress_callback(self, block: Block, name: str) -> Callable[[Future], None]:
        def tell(future: Future) -> None:
            if future.status == "finished":
                self._advance(block.stop - block.start, name)

        return tell

    def __enter__(self) -> _DaskScorer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self.pending:
            return
        say("Stopped; the same command goes on where it was, with or without --dask.")
        with suppress(Exception):  # the cluster itself may be lost
            self._client.cancel([f for plate in self.pending.values() for f in plate.blocks])
        for plate in self.pending.values():
            # `open_work` takes GeneratorExit for an interruption, and keeps the parts.
            with suppress(GeneratorExit):
                plate.opened.__exit__(GeneratorExit, GeneratorExit(), None)


def _surveys(
    client: Client, spec: WorkerSpec, plates: Sequence[Path], layout: Layout | None
) -> list[Survey | DataError]:
    """Let workers read every file for its digest; return the error of each unfit file."""
    from distributed import as_completed

    surveys: dict[int, Survey | DataError] = {}
    futures = {}
    for number, plate in enumerate(plates):
        try:
            n_bytes = plate.stat().st_size
        except OSError as error:
            surveys[number] = DataError(f"{plate}: cannot be read any more ({error.strerror}).")
            continue
        future = client.submit(survey_plate, spec, plate.absolute(), n_bytes, layout, pure=False)
        futures[future] = number
    with progress("Hashing", len(futures), "plates") as advance:
        for future in as_completed(list(futures)):
            result = result_of(future)
            if isinstance(result, CoosError) and not isinstance(result, DataError):
                raise result
            surveys[futures[future]] = result
            advance(1)
    return [surveys[number] for number in range(len(plates))]


def _with_run_or_error(scored: Scored) -> Scored | RunNotLoggedError:
    try:
        return with_run(scored)
    except RunNotLoggedError as error:
        return error


@contextmanager
def _shared_bundle(bundle: Path, out: Path) -> Iterator[Path]:
    """Copy a model into the folder of results, so that workers need no tracking store.

    Each command has its own copy. Copies left by killed commands are removed.
    """
    created = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob(".model-*"):
            _remove_unused(left)
        shared = Path(tempfile.mkdtemp(prefix=".model-", dir=out))
        shared.chmod(0o755)
        lock = FileLock(shared / _LOCK)
        lock.acquire(blocking=False)
        shutil.copytree(bundle, shared / bundle.name)
    except (OSError, shutil.Error) as error:
        raise OutputError(f"{out}: the model cannot be copied there ({error}).") from error
    try:
        yield shared / bundle.name
    finally:
        lock.release()
        shutil.rmtree(shared, ignore_errors=True)
        for folder in created:
            with suppress(OSError):
                folder.rmdir()


def _remove_unused(shared: Path) -> None:
    lock = FileLock(shared / _LOCK)
    with suppress(Timeout, OSError):
        lock.acquire(blocking=False)
        lock.release()
        shutil.rmtree(shared, ignore_errors=True)
