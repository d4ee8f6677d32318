"""Plates scored by the workers of a Dask cluster: blocks out, parts back, results once."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coos_mlflow.answering import answer
from coos_mlflow.cluster import (
    check_reach,
    check_versions,
    keep_to_own_cores,
    result_of,
    versions,
)
from coos_mlflow.data.plate import open_plate
from coos_mlflow.errors import CoosError, DataError, OutputError
from coos_mlflow.finishing import finish
from coos_mlflow.jobs import Block, Job, Survey, found_results, survey
from coos_mlflow.parts import WorkFolder, open_work
from coos_mlflow.progress import Advance, progress, say
from coos_mlflow.results import check_folder
from coos_mlflow.scoring import Scored, Scorer, recorded
from coos_mlflow.timings import Timings
from coos_mlflow.tracking.pyfunc import CellClassifier

if TYPE_CHECKING:
    from distributed import Client, Future

RETRIES = 2
"""Further attempts at a block that fails, as when shared storage falters."""

Outcome = tuple[Path, "Scored | DataError | OutputError"]
"""A plate, and its results or why there are none."""


MOST_FLIGHTS = 64
"""Plates that are with the workers at a time; each keeps a file open here."""


@dataclass(frozen=True)
class _Flight:
    """A plate whose blocks are with the workers."""

    plate: Path
    job: Job
    opened: ExitStack
    blocks: list[Future]
    began: float


def score_on(
    client: Client,
    scorer: Scorer,
    plates: Sequence[Path],
    out: Path,
    *,
    force: bool = False,
    resume: bool = True,
) -> Iterator[Outcome]:
    """Score plates on a cluster, whichever is done first coming first.

    Plates and `out` must be where all workers find them, under the same path. Results are byte for
    byte those of a scoring without a cluster on the same kind of processor.

    Parameters
    ----------
    client : distributed.Client
        From `coos_mlflow.cluster.connect`.
    scorer : Scorer
    plates : sequence of Path
    out, force, resume
        As for `Scorer.score`.

    Yields
    ------
    plate : Path
    outcome : Scored, DataError or OutputError

    Raises
    ------
    ClusterError
        When a worker cannot do what this machine can: read a plate, write results, load the
        model; or when the cluster is lost.
    """
    with _shared_bundle(scorer.bundle, out.absolute()) as bundle:
        crew = _Crew(client, bundle)
        surveys = crew.survey(plates)
        total = sum(found.n_cells for found in surveys if isinstance(found, Survey))
        with progress(f"Scoring {len(plates)} plates", total, "cells") as advance, crew:
            for plate, found in zip(plates, surveys, strict=True):
                outcome = _start(crew, scorer, plate, out, found, force, resume, advance)
                if outcome:
                    yield plate, outcome
                while len(crew.flights) >= MOST_FLIGHTS:
                    yield crew.land()
            while crew.flights:
                yield crew.land()


def _start(
    crew: _Crew,
    scorer: Scorer,
    plate: Path,
    out: Path,
    found: Survey | DataError,
    force: bool,
    resume: bool,
    advance: Advance,
) -> Scored | DataError | OutputError | None:
    """Give a plate to the workers, unless its outcome is known."""
    if isinstance(found, DataError):
        return found
    job = scorer.job(plate.absolute(), out.absolute(), found)
    if not force and (drift := found_results(job)):
        advance(job.n_cells)
        return recorded(Scored(job, drift))
    try:
        check_folder(job.folder, force)
        crew.start(plate, job, resume, advance)
    except OutputError as error:
        return error
    return None


class _Crew:
    """The workers, and the plates that they are at; a context manager that ends all flights.

    Parameters
    ----------
    client : distributed.Client
    bundle : Path
        Of the model, where workers find it.
    """

    def __init__(self, client: Client, bundle: Path) -> None:
        from distributed import as_completed

        self.flights: dict[Future, _Flight] = {}
        self._client = client
        self._bundle = bundle
        self._expected = versions()
        self._landing = as_completed()

    def survey(self, plates: Sequence[Path]) -> list[Survey | DataError]:
        """Let workers read every file for its digest; what is unfit comes as its error."""
        from distributed import as_completed

        futures = [
            self._client.submit(
                _survey, plate.absolute(), plate.stat().st_size, self._expected, pure=False
            )
            for plate in plates
        ]
        with progress("Hashing", len(futures), "plates") as advance:
            for _ in as_completed(futures):
                advance(1)
        return [_survey_or_error(future) for future in futures]

    def start(self, plate: Path, job: Job, resume: bool, advance: Advance) -> None:
        """Give the blocks of a plate to the workers that are not there yet."""
        opened = ExitStack()
        work = opened.enter_context(open_work(job, resume))
        missing = work.missing()
        known = job.n_cells - sum(stop - start for start, stop in missing)
        if known:
            say(f"{plate.name}: {known:,} of {job.n_cells:,} cells were scored before")
            advance(known)
        blocks = []
        for block in missing:
            future = self._client.submit(
                _answer, self._bundle, job, block, self._expected, retries=RETRIES, pure=False
            )
            future.add_done_callback(_teller(advance, block, plate.name))
            blocks.append(future)
        # Behind the blocks of the plates before it, so that these are finished first.
        finished = self._client.submit(
            _finish, self._bundle, job, self._expected, blocks, retries=RETRIES, pure=False
        )
        self.flights[finished] = _Flight(plate, job, opened, blocks, time.perf_counter())
        self._landing.add(finished)

    def land(self) -> Outcome:
        """Wait for the next plate to be done, and log its run."""
        finished = next(self._landing)
        flight = self.flights.pop(finished)
        outcome: Scored | DataError | OutputError
        try:
            with flight.opened:
                drift = result_of(finished)
        except (DataError, OutputError) as error:
            self._client.cancel(flight.blocks)
            outcome = error
        else:
            seconds = {"cluster": time.perf_counter() - flight.began}
            outcome = recorded(Scored(flight.job, drift, Timings(seconds)))
        return flight.plate, outcome

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *raised: Any) -> None:
        with suppress(Exception):  # the cluster may be what was lost
            self._client.cancel([f for flight in self.flights.values() for f in flight.blocks])
        for flight in self.flights.values():
            with suppress(CoosError, GeneratorExit, KeyboardInterrupt, SystemExit):
                # As an interruption: the parts stay.
                flight.opened.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)


def _survey_or_error(future: Future) -> Survey | DataError:
    try:
        return result_of(future)
    except DataError as error:
        return error


def _teller(advance: Advance, block: Block, name: str) -> Any:
    def tell(future: Future) -> None:
        if future.status == "finished":
            advance(block.stop - block.start, name)

    return tell


@contextmanager
def _shared_bundle(bundle: Path, out: Path) -> Iterator[Path]:
    """Copy a model to where results go, so that workers need no tracking store."""
    shared = out / f".model-{_digest(bundle)}"
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        if not shared.exists():
            out.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=".model-partial-", dir=out))
            shutil.copytree(bundle, partial, dirs_exist_ok=True)
            partial.chmod(0o755)
            with suppress(FileExistsError):
                partial.rename(shared)
    except OSError as error:
        raise OutputError(f"{out}: the model cannot be copied there ({error}).") from error
    try:
        yield shared
    finally:
        # Another command may be at work with the same model.
        if not list(out.glob(".*.parts/job.json")):
            shutil.rmtree(shared, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def _digest(folder: Path) -> str:
    said = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        said.update(str(path.relative_to(folder)).encode())
        said.update(path.read_bytes())
    return said.hexdigest()[:16]


def _survey(plate: Path, n_bytes: int, expected: dict[str, str]) -> Survey:
    """Look at a plate; runs in a worker."""
    check_versions(expected)
    check_reach(plate, n_bytes)
    return survey(plate)


def _answer(bundle: Path, job: Job, block: Block, expected: dict[str, str]) -> None:
    """Write the part of a block; runs in a worker."""
    classifier = _loaded(bundle, tuple(expected.items()))
    check_reach(job.plate, job.stamp.n_bytes)
    check_reach(job.work)
    classifier.prepare(job.precision)
    work = WorkFolder(job)
    with open_plate(job.plate) as plate:
        for part in answer(classifier, plate, [block]):
            work.write(part)


def _finish(
    bundle: Path, job: Job, expected: dict[str, str], answered: list[None]
) -> dict[str, Any]:
    """Turn all parts of a plate into its results; runs in a worker."""
    classifier = _loaded(bundle, tuple(expected.items()))
    check_reach(job.work)
    with open_plate(job.plate) as plate:
        return finish(plate, WorkFolder(job), classifier.reference)


@lru_cache(maxsize=1)
def _loaded(bundle: Path, expected: tuple[tuple[str, str], ...]) -> CellClassifier:
    """Load the model, once in each worker."""
    check_versions(dict(expected))
    check_reach(bundle)
    keep_to_own_cores()
    return CellClassifier().load(bundle)
