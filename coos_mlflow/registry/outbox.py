"""Fitted models and scoring runs that wait on disk until the tracking store has taken them.

A fit may take hours, and the store may be away when it ends. So a fitted model is written into the
cache before the store is asked for anything, and is logged and registered from there. Of a scoring
the cache keeps a note of its results' folder. `coos sync` logs both.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
from filelock import FileLock
from mlflow.exceptions import MlflowException

from coos_mlflow._utils.cache import cache_home, make_cache_home
from coos_mlflow._utils.files import new_folder, write_whole
from coos_mlflow._utils.versions import check_fits
from coos_mlflow.errors import OutputError, RegistryError, RunNotLoggedError
from coos_mlflow.metrics import Evaluation
from coos_mlflow.model.bundle import ARTIFACT
from coos_mlflow.plates.dataset import TrainingData
from coos_mlflow.plates.schema import SPLITS
from coos_mlflow.registry import versions
from coos_mlflow.registry.artifacts import log_data, log_evaluations, log_model, resolved_path
from coos_mlflow.registry.results import Results, results_in
from coos_mlflow.registry.retry import with_retry
from coos_mlflow.registry.runs import (
    TRAINING_EXPERIMENT,
    first_line,
    log_new_params,
    run,
    store_name,
)
from coos_mlflow.registry.scoring_runs import find_run, log_results

_MODELS, _FACTS, _LOGGED = "rows", "row.json", "logged.txt"
_RUNS = "unsent"
_GONE = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True)
class PendingModel:
    """A fitted model, complete on disk, that is not registered yet.

    Parameters
    ----------
    folder : Path
        Holds `row.json` and the model's bundle.
    """

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """All that is logged beside the model: name, title, tags, params, metrics and more."""
        said: dict[str, Any] = json.loads((self.folder / _FACTS).read_text())
        return said

    @property
    def bundle(self) -> Path:
        """The model, as `coos_mlflow.model.bundle.save` wrote it."""
        return self.folder / ARTIFACT

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """By split."""
        said = self.facts["evaluations"]
        return {split: Evaluation.from_dict(said[split]) for split in SPLITS}

    @property
    def data(self) -> TrainingData:
        """What it was fitted on; the files may be gone meanwhile."""
        said = self.facts["data"]
        paths = {split: Path(said["paths"][split]) for split in SPLITS}
        return TrainingData.remembered(paths, said["simulated"], said["digests"])

    @property
    def store(self) -> str:
        """The tracking store that it was fitted for."""
        return str(self.facts["store"])

    @property
    def is_whole(self) -> bool:
        """Whether it can be read."""
        try:
            return bool(self.facts["store"] and self.facts["tags"]["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def lock(self) -> FileLock:
        """Return the lock that is held while the model is fitted or logged."""
        make_cache_home(_MODELS)
        return FileLock(self.lock_file)

    @property
    def lock_file(self) -> Path:
        """The file of `lock`."""
        return self.folder.with_name(f".{self.folder.name}.lock")

    def logged(self) -> str | None:
        """Return the model that a try before has logged, if the store still has it."""
        try:
            uri = (self.folder / _LOGGED).read_text()
        except FileNotFoundError:
            return None
        if not versions.is_logged(uri):
            return None
        try:
            made_by = mlflow.get_logged_model(uri.removeprefix(versions.LOGGED)).source_run_id
            if mlflow.get_run(made_by).info.status != "FINISHED":  # the store went before its end
                mlflow.MlflowClient().set_terminated(made_by)
        except MlflowException as error:
            if error.error_code == _GONE:
                return None
            raise
        return uri

    @property
    def title(self) -> str:
        """What messages call it."""
        return str(self)

    def log(self) -> str | None:
        """Register the model and say so; None where another process has done it meanwhile."""
        pending = PendingModel(self.folder)  # `facts` read anew
        return f"registered {register(pending)}" if pending.is_whole else None

    def __str__(self) -> str:
        """Return ``texture-lr hist (model)``."""
        return f"{self.facts['title']} ({self.facts['name']})"


@dataclass(frozen=True)
class PendingRun:
    """Results of a scoring whose run is not logged yet; a file in the cache says so.

    Parameters
    ----------
    file : Path
        In the cache.
    folder, plate : Path
        Of the results.
    seconds : float
        Duration of the scoring.
    store : str
        The tracking store that it is for; empty where that is not known.
    """

    file: Path
    folder: Path
    plate: Path
    seconds: float
    store: str

    @classmethod
    def of(cls, results: Results) -> PendingRun:
        """Return the note of results for the tracking store in use."""
        store = store_name()
        name = f"{results.key}-{hashlib.sha256(store.encode()).hexdigest()[:8]}.json"
        file = cache_home() / _RUNS / name
        plate = resolved_path(results.plate)
        return cls(file, results.folder.resolve(), plate, results.seconds, store)

    @classmethod
    def read(cls, file: Path) -> PendingRun | None:
        """Return what was written, None for what cannot be read."""
        try:
            facts = json.loads(file.read_text())
            folder, plate = Path(facts["folder"]), Path(facts["plate"])
            return cls(file, folder, plate, float(facts["seconds"]), str(facts["store"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def title(self) -> str:
        """What messages call it."""
        return str(self.folder)

    @property
    def results(self) -> Results | None:
        """The results, None where they are gone or were replaced."""
        results = results_in(self.folder, self.plate, self.seconds)
        return results if results and self.file.stem.startswith(results.key) else None

    def keep(self) -> bool:
        """Write the file, and tell whether that was possible."""
        facts = {"folder": str(self.folder), "plate": str(self.plate), "seconds": self.seconds}
        try:
            make_cache_home(_RUNS)
            write_whole(self.file, json.dumps(facts | {"store": self.store}).encode())
        except (OutputError, OSError):
            return False
        return True

    def lock(self) -> FileLock:
        """Return the lock that is held while the run is logged.

        Raises
        ------
        OutputError
            When the cache cannot be written.
        """
        make_cache_home(_RUNS)
        # A singleton: `coos sync` holds it when `log_or_keep` takes it again in the same process.
        return FileLock(self._lock_file, is_singleton=True)

    @property
    def _lock_file(self) -> Path:
        return self.file.with_name(f".{self.file.stem}.lock")

    def log(self) -> str | None:
        """Log the run and say so; None where another process has logged it meanwhile."""
        results = self.results
        if results is None or (self.store and not self.file.exists()):
            return None
        run_id = log_or_keep(results)
        self.forget()
        return f"logged {results.folder} as run {run_id}"

    def forget(self) -> None:
        """Remove file and lock. A file that cannot be removed is found again, and its run too."""
        for file in (self.file, self._lock_file):
            with suppress(OSError):
                file.unlink()


Pending = PendingModel | PendingRun


def pending_models() -> list[PendingModel]:
    """Return all fitted models that wait to be logged, for whichever store."""
    folders = sorted((cache_home() / _MODELS).glob("[!.]*"))
    return [model for folder in folders if (model := PendingModel(folder)).is_whole]


def pending_runs() -> list[PendingRun]:
    """Return all scorings of this machine whose runs wait to be logged, for whichever store."""
    files = sorted((cache_home() / _RUNS).glob("[!.]*.json"))
    return [run for file in files if (run := PendingRun.read(file))]


def keep(fingerprint: str, facts: dict[str, Any], bundle: Path) -> PendingModel:
    """Keep a fitted model for the tracking store in use: its facts, and its bundle, which is moved.

    Raises
    ------
    OutputError
        When the cache takes no more.
    """
    pending = pending_model(fingerprint)
    try:
        make_cache_home(_MODELS)
        with new_folder(pending.folder) as partial:
            shutil.move(bundle, partial / ARTIFACT)
            (partial / _FACTS).write_text(json.dumps(facts | {"store": store_name()}, indent=1))
    except OSError as error:
        raise OutputError(
            f"{pending.folder}: the fitted model cannot be kept there ({error.strerror or error}); "
            "make room, or set COOS_CACHE to another folder."
        ) from error
    return pending


def register(pending: PendingModel) -> versions.ModelRef:
    """Log the run of a fitted model, register the model, and remove the folder.

    An earlier try may have logged the run or registered the model; neither is done twice.

    Raises
    ------
    RunNotLoggedError
        When the store does not take it. The folder stays then.
    RegistryError
        When it was fitted by a version of this package that the installed one does not fit.
    """
    facts = pending.facts
    check_fits(
        facts["tags"]["package_version"],
        f"{pending}, kept in {pending.folder} until it is deleted,",
    )
    name, fingerprint = facts["name"], facts["tags"]["fingerprint"]
    try:
        made = with_retry(lambda: versions.find_version(name, fingerprint))
        if made is None:
            uri = pending.logged() or _log(pending)
            made = versions.register(name, uri, facts["tags"])
        versions.update_champion(name)
    except (RegistryError, MlflowException, OSError) as error:
        raise RunNotLoggedError(
            f"{pending}: fitted and kept in {pending.folder}, but it could not be logged in "
            f"{store_name()} ({first_line(error)}); `coos sync`, or the same command, logs it."
        ) from error
    forget(pending)
    return made


def _log(pending: PendingModel) -> str:
    """Log the run of a fitted model, and return its model's ``models:/m-...``, kept beside it."""
    facts = pending.facts
    with run(facts["run"], TRAINING_EXPERIMENT, facts["run_tags"]):
        log_new_params(facts["params"])
        log_data(pending.data)
        for file, content in facts["files"].items():
            mlflow.log_dict(content, file)
        mlflow.log_metrics(facts["metrics"])
        log_evaluations(pending.evaluations, facts["title"], facts["data"]["simulated"])
        uri = log_model(pending.bundle, facts["requirements"])
        # Before the run ends, which the store may not be told any more; a full disk does not
        # keep the model from being registered.
        with suppress(OSError):
            (pending.folder / _LOGGED).write_text(uri)
    return uri


def forget(pending: PendingModel) -> None:
    """Remove a model that is registered, and its lock: a process that waits finds it registered."""
    shutil.rmtree(pending.folder, ignore_errors=True)
    with suppress(OSError):
        pending.lock_file.unlink()


def pending_model(fingerprint: str) -> PendingModel:
    """Return where the model of a fingerprint is kept for the tracking store in use, if it is."""
    store = hashlib.sha256(store_name().encode()).hexdigest()[:8]
    return PendingModel(cache_home() / _MODELS / f"{fingerprint}-{store}")


def log_or_keep(results: Results, *, new: bool = False) -> str:
    """Return the run of results, logging it unless it was logged; keep it where that fails.

    Parameters
    ----------
    new : bool
        Whether the scoring has just ended, so that there is no run yet.

    Raises
    ------
    RunNotLoggedError
        When the store takes no run; `coos sync` finds the pending.
    """
    pending = PendingRun.of(results)
    if not results.seconds and (kept := PendingRun.read(pending.file)):
        results = replace(results, seconds=kept.seconds)
        pending = PendingRun.of(results)
    # Kept before the first try, since waiting for a store that is away is often interrupted.
    # Where the cache cannot be written there is no lock either: no other process knows of the run.
    kept_on_disk = pending.keep()
    lock = pending.lock() if kept_on_disk else nullcontext()
    try:
        with lock:
            run_id = (None if new else find_run(results)) or log_results(results)
    except (RunNotLoggedError, MlflowException, OSError) as error:
        sync = "`coos sync`, or the same command," if kept_on_disk else "the same command"
        raise RunNotLoggedError(
            f"{results.folder}: the results are there, but their run could not be logged in "
            f"{store_name()} ({first_line(error)}); {sync} logs it."
        ) from error
    pending.forget()
    return run_id
