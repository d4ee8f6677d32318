"""What a scoring leaves: results of a plate, and their MLflow run, at once or later."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlflow
from filelock import FileLock
from mlflow.entities import LoggedModelInput
from mlflow.exceptions import MlflowException

from coos_mlflow._utils.cache import cache_home, make_cache_home
from coos_mlflow._utils.timings import Timings
from coos_mlflow.errors import OutputError, RunNotLoggedError
from coos_mlflow.registry import versions
from coos_mlflow.registry.artifacts import describe_dataset, known_place, log_input
from coos_mlflow.registry.runs import SCORING_EXPERIMENT, first_line, run, store_name
from coos_mlflow.registry.scoring_runs import ESTIMATES
from coos_mlflow.scoring.job import Job, key_of
from coos_mlflow.scoring.results import DRIFT, REPORT, REPORT_MD, RESULTS, read_drift

_JOB_TAG = "coos_mlflow.job"
_UNSENT = "unsent"


@dataclass(frozen=True)
class Scored:
    """Results of one plate.

    Parameters
    ----------
    job : Job
    drift : dict
        What `drift.json` holds.
    timings : Timings
        From opening the plate to the last file; empty where the results were there before.
    run_id : str or None
        The MLflow run, once it is logged.
    """

    job: Job
    drift: dict[str, Any]
    timings: Timings = field(default_factory=Timings)
    run_id: str | None = None

    @property
    def plate(self) -> Path:
        """The file that was scored."""
        return self.job.plate

    @property
    def folder(self) -> Path:
        """Where the results are."""
        return self.job.folder

    @property
    def model(self) -> versions.ModelRef:
        """What it was scored with."""
        return self.job.model

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.job.n_cells

    @property
    def class_counts(self) -> dict[str, int]:
        """Cells by the name of their predicted class."""
        return _class_counts(self.drift)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are there."""
        return tuple(self.folder / name for name in RESULTS)

    @property
    def simulated(self) -> dict[str, bool]:
        """Whether the plate, and what the model was trained on, is simulated."""
        return dict(self.drift["simulated"])


def recorded(scored: Scored) -> Scored:
    """Return a scoring with its MLflow run, which is made unless it was.

    Raises
    ------
    RunNotLoggedError
        When the store takes no run.
    """
    plate = known_place(scored.plate)
    results = Results(scored.folder, plate, scored.drift, scored.timings.seconds)
    try:
        return replace(scored, run_id=send(results, new=bool(scored.timings.phases)))
    except RunNotLoggedError as error:
        error.done = scored
        raise


@dataclass(frozen=True)
class Results:
    """Results of a plate on disk, as much of them as a run needs.

    Parameters
    ----------
    folder : Path
    plate : Path
        The file, which may be gone meanwhile, or its mere name.
    drift : dict
        What `drift.json` holds.
    seconds : float
        That the scoring took, 0 where nobody knows any more.
    """

    folder: Path
    plate: Path
    drift: dict[str, Any]
    seconds: float = 0.0

    @property
    def key(self) -> str:
        """The key of the job that made them."""
        return key_of(self.drift, self.folder)


def send(results: Results, *, new: bool = False) -> str:
    """Return the run of results, which is made unless it was; should that fail, note it.

    Parameters
    ----------
    new : bool
        Whether they were made just now, so that no run can be there.

    Raises
    ------
    RunNotLoggedError
        When the store takes no run; `coos sync` finds the note.
    """
    note = Note.of(results)
    if not results.seconds and (before := Note.read(note.file)):
        results = replace(results, seconds=before.seconds)
        note = Note.of(results)
    # Before the first try: who waits for a store that is gone is often interrupted. Of results
    # without a note, where the cache cannot be written, no other process knows.
    noted = note.write()
    lock = note.held() if noted else nullcontext()
    try:
        with lock:
            run_id = (None if new else find_run(results)) or _log(results)
    except (RunNotLoggedError, MlflowException, OSError) as error:
        sync = "`coos sync`, or the same command," if noted else "the same command"
        raise RunNotLoggedError(
            f"{results.folder}: the results are there, but their run could not be logged in "
            f"{store_name()} ({first_line(error)}); {sync} logs it."
        ) from error
    note.forget()
    return run_id


@dataclass(frozen=True)
class Note:
    """That results have no run yet, in the cache of the machine that made them.

    Parameters
    ----------
    file : Path
    folder, plate : Path
        Of the results.
    seconds : float
        That the scoring took.
    store : str
        The tracking store that it was made for.
    """

    file: Path
    folder: Path
    plate: Path
    seconds: float
    store: str

    @classmethod
    def of(cls, results: Results) -> Note:
        """Return the note of results for the tracking store in use."""
        store = store_name()
        name = f"{results.key}-{hashlib.sha256(store.encode()).hexdigest()[:8]}.json"
        file = cache_home() / _UNSENT / name
        plate = known_place(results.plate)
        return cls(file, results.folder.resolve(), plate, results.seconds, store)

    @classmethod
    def read(cls, file: Path) -> Note | None:
        """Return what was written, None for what cannot be read."""
        try:
            said = json.loads(file.read_text())
            folder, plate = Path(said["folder"]), Path(said["plate"])
            return cls(file, folder, plate, float(said["seconds"]), str(said["store"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def results(self) -> Results | None:
        """What it speaks of, None where that is not there, or was replaced."""
        found = results_in(self.folder, self.plate, self.seconds)
        return found if found and self.file.stem.startswith(found.key) else None

    def write(self) -> bool:
        """Put it down, whole or not; without it the same command still logs the results."""
        said = {"folder": str(self.folder), "plate": str(self.plate), "seconds": self.seconds}
        partial = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        try:
            make_cache_home(_UNSENT)
            partial.write_text(json.dumps(said | {"store": self.store}))
            partial.replace(self.file)
        except (OutputError, OSError):
            with suppress(OSError):
                partial.unlink()
            return False
        return True

    def held(self) -> FileLock:
        """Return the lock of whoever logs the results.

        Raises
        ------
        OutputError
            When the cache cannot be written.
        """
        make_cache_home(_UNSENT)
        # One for all who ask in this process: `coos sync` holds it when `send` takes it again.
        return FileLock(self._lock, is_singleton=True)

    @property
    def _lock(self) -> Path:
        return self.file.with_name(f".{self.file.stem}.lock")

    def forget(self) -> None:
        """Remove it and its lock; what cannot be removed is found again, and its run too."""
        for file in (self.file, self._lock):
            with suppress(OSError):
                file.unlink()


def notes() -> list[Note]:
    """Return the notes of all results on this machine that have no run, for whichever store."""
    files = sorted((cache_home() / _UNSENT).glob("[!.]*.json"))
    return [note for file in files if (note := Note.read(file))]


def results_in(folder: Path, plate: Path | None = None, seconds: float = 0.0) -> Results | None:
    """Return the results in a folder, None where it holds none of a scoring."""
    drift = read_drift(folder)
    if drift is None or not all((folder / name).is_file() for name in RESULTS):
        return None
    try:
        found = Results(folder, plate or Path(drift["plate_file"]["name"]), drift, seconds)
        return found if found.key else None
    except (KeyError, TypeError):
        return None


def find_run(results: Results) -> str | None:
    """Return the run of results that were logged before, to its end."""
    runs = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.`{_JOB_TAG}` = '{results.key}' and attributes.status = 'FINISHED'",
        max_results=1,
        output_format="list",
    )
    return str(runs[0].info.run_id) if runs else None


def _log(results: Results) -> str:
    """Make the scoring an MLflow run linked to the model; its results are on disk already."""
    drift, folder = results.drift, results.folder
    model, sha256 = drift["model"], drift["plate_file"]["sha256"]
    tags = {
        "model": f"{model['name']}/{model['version']}",
        "verdict": drift["verdict"],
        "reason": drift["reason"],
        "simulated_plate": drift["simulated"]["plate"],
        "simulated_model": drift["simulated"]["model"],
        "results": str(folder.resolve()),
        _JOB_TAG: results.key,
    }
    with run(f"score {results.plate.stem}", SCORING_EXPERIMENT, tags) as active:
        dataset = describe_dataset(results.plate, results.plate.name, sha256)
        linked = LoggedModelInput(model["id"]) if model["id"] else None
        log_input(dataset, "scoring", {"sha256": sha256}, linked)
        mlflow.log_metrics(_metrics(drift, results.seconds))
        for name in (DRIFT, REPORT, REPORT_MD):
            mlflow.log_artifact(str(folder / name))
        return str(active.info.run_id)


def _metrics(drift: dict[str, Any], seconds: float) -> dict[str, float]:
    """Return what can be compared from run to run; of several plates, the farthest's distances."""
    n_cells = drift["plate_file"]["n_cells"]
    metrics: dict[str, float | None] = {
        "n_cells": n_cells,
        "n_unusable": sum(drift["left_out"]["unusable"].values()),
        "n_copies": drift["left_out"]["copies"],
        "seconds": seconds or None,
    }
    counts = _class_counts(drift)
    for name, cells in counts.items():
        metrics[f"share {name}"] = cells / sum(counts.values())
    placed = [p for p in drift["plates"] if p["score"] is not None]
    if placed:
        worst = max(placed, key=lambda p: p["score"])
        metrics |= {"plate_p": worst["p"], "plate_score": worst["score"]}
        metrics |= {f"distance {view}": d for view, d in worst["distances"].items()}
        metrics |= {f"usual {view}": d for view, d in worst["usual"].items()}
    estimate = drift.get("error") or {}
    for metric, key in zip(ESTIMATES, ("balanced_error", "low", "high"), strict=True):
        metrics[metric] = estimate.get(key)
    return {name: value for name, value in metrics.items() if value is not None}


def _class_counts(drift: dict[str, Any]) -> dict[str, int]:
    shares = drift["class_shares"]
    return dict(zip(shares["classes"], shares["cells"], strict=True))
