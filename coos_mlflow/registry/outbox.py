"""Keep fitted models and scoring runs on disk until the tracking store has taken them.

A fit may take hours, and the store may be unavailable when it ends. So a fitted model is first
written into the cache, and is logged and registered from there. For a scoring, the cache keeps a
small file that names the folder of the results. `coos sync` logs both.
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
from coos_mlflow.plates.dataset import Dataset, coos7
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.registry import versions
from coos_mlflow.registry.adapted import give_alias
from coos_mlflow.registry.artifacts import (
    CARD,
    describe_dataset,
    describe_splits,
    log_data,
    log_evaluations,
    log_input,
    log_model,
    resolved_path,
)
from coos_mlflow.registry.notes import NOTE, for_page
from coos_mlflow.registry.ranking import ADAPTED_FROM
from coos_mlflow.registry.results import Results, results_in
from coos_mlflow.registry.retry import with_retry
from coos_mlflow.registry.runs import (
    first_line,
    log_new_params,
    run,
    store_name,
    training_experiment,
)
from coos_mlflow.registry.scoring_runs import find_run, log_results, update_run

_MODELS, _FACTS, _LOGGED = "rows", "row.json", "logged.txt"
_RUNS = "unsent"
_GONE = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True)
class PendingModel:
    """A fitted model on disk that is not registered yet.

    Parameters
    ----------
    folder : Path
        Holds `row.json` and the model's bundle.
    """

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Everything that is logged beside the model: name, title, tags, params, metrics, ..."""
        facts: dict[str, Any] = json.loads((self.folder / _FACTS).read_text())
        return facts

    @property
    def bundle(self) -> Path:
        """The model, as `coos_mlflow.model.bundle.save` wrote it."""
        return self.folder / ARTIFACT

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """Evaluations by split."""
        entries = self.facts["evaluations"]
        return {split: Evaluation.from_dict(entry) for split, entry in entries.items()}

    @property
    def card(self) -> str:
        """The model card in Markdown; empty where an older package left none."""
        return str(self.facts.get("card", ""))

    @property
    def data(self) -> TrainingData:
        """The data that it was fitted on; the files may have been deleted since."""
        data = self.facts["data"]
        paths, digests, described = data.get("files"), data["digests"], data.get("dataset")
        if paths is None:  # kept by 0.1, which knew COOS-7's splits alone, one file each
            paths = {split: [path] for split, path in data["paths"].items()}
            digests = {split: [digest] for split, digest in digests.items()}
        where = str(self.folder / _FACTS)
        return TrainingData.remembered(
            coos7() if described is None else Dataset.from_dict(described, where),
            {split: tuple(map(Path, files)) for split, files in paths.items()},
            data["simulated"],
            {split: tuple(of_files) for split, of_files in digests.items()},
        )

    @property
    def store(self) -> str:
        """The tracking store that it was fitted for."""
        return str(self.facts["store"])

    @property
    def is_whole(self) -> bool:
        """Whether the facts are complete and can be read."""
        try:
            return bool(self.facts["store"] and self.facts["tags"]["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def lock(self) -> FileLock:
        """Return the lock to hold while the model is fitted or logged."""
        make_cache_home(_MODELS)
        return FileLock(self.lock_file)

    @property
    def lock_file(self) -> Path:
        """The file of `lock`."""
        return self.folder.with_name(f".{self.folder.name}.lock")

    def logged(self) -> str | None:
        """Return the URI of the model logged by an earlier attempt, if the store still has it."""
        try:
            uri = (self.folder / _LOGGED).read_text()
        except FileNotFoundError:
            return None
        if not versions.is_logged(uri):
            return None
        try:
            made_by = mlflow.get_logged_model(uri.removeprefix(versions.LOGGED)).source_run_id
            if mlflow.get_run(made_by).info.status != "FINISHED":  # the store failed before its end
                mlflow.MlflowClient().set_terminated(made_by)
        except MlflowException as error:
            if error.error_code == _GONE:
                return None
            raise
        return uri

    @property
    def title(self) -> str:
        """Its name in messages."""
        return str(self)

    def log(self) -> str | None:
        """Register the model and say so; return None if another process has registered it."""
        pending = PendingModel(self.folder)  # a new object, since `facts` is cached
        return f"registered {register(pending)}" if pending.is_whole else None

    def __str__(self) -> str:
        """Return ``texture-lr hist (model)``."""
        return f"{self.facts['title']} ({self.facts['name']})"


@dataclass(frozen=True)
class PendingRun:
    """Results of a scoring whose run is not logged yet, recorded by a file in the cache.

    Parameters
    ----------
    file : Path
        The file in the cache.
    folder, plate : Path
        The folder of the results, and the plate that was scored.
    seconds : float
        Duration of the scoring.
    store : str
        The tracking store that the run is for; empty if unknown.
    """

    file: Path
    folder: Path
    plate: Path
    seconds: float
    store: str

    @classmethod
    def of(cls, results: Results) -> PendingRun:
        """Return the pending run of results for the tracking store in use."""
        store = store_name()
        name = f"{results.key}-{hashlib.sha256(store.encode()).hexdigest()[:8]}.json"
        file = cache_home() / _RUNS / name
        plate = resolved_path(results.plate)
        return cls(file, results.folder.resolve(), plate, results.seconds, store)

    @classmethod
    def read(cls, file: Path) -> PendingRun | None:
        """Read the pending run that a file records; return None if it cannot be read."""
        try:
            facts = json.loads(file.read_text())
            folder, plate = Path(facts["folder"]), Path(facts["plate"])
            return cls(file, folder, plate, float(facts["seconds"]), str(facts["store"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def title(self) -> str:
        """Its name in messages."""
        return str(self.folder)

    @property
    def results(self) -> Results | None:
        """The results; None if they were deleted or replaced."""
        results = results_in(self.folder, self.plate, self.seconds)
        return results if results and self.file.stem.startswith(results.key) else None

    def keep(self) -> bool:
        """Write the file; return whether that was possible."""
        facts = {"folder": str(self.folder), "plate": str(self.plate), "seconds": self.seconds}
        try:
            make_cache_home(_RUNS)
            write_whole(self.file, json.dumps(facts | {"store": self.store}).encode())
        except (OutputError, OSError):
            return False
        return True

    def lock(self) -> FileLock:
        """Return the lock to hold while the run is logged.

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
        """Log the run and say so; return None if another process has logged it."""
        results = self.results
        if results is None or (self.store and not self.file.exists()):
            return None
        run_id = log_or_keep(results)
        self.forget()
        return f"logged {results.folder} as run {run_id}"

    def forget(self) -> None:
        """Remove the file and its lock.

        Removal may fail without harm: the next attempt finds the run logged already.
        """
        for file in (self.file, self._lock_file):
            with suppress(OSError):
                file.unlink()


Pending = PendingModel | PendingRun


def pending_models() -> list[PendingModel]:
    """Return all fitted models that wait to be logged, for any tracking store."""
    folders = sorted((cache_home() / _MODELS).glob("[!.]*"))
    return [model for folder in folders if (model := PendingModel(folder)).is_whole]


def pending_runs() -> list[PendingRun]:
    """Return all scorings of this machine whose runs wait to be logged, for any store."""
    files = sorted((cache_home() / _RUNS).glob("[!.]*.json"))
    return [run for file in files if (run := PendingRun.read(file))]


def keep(fingerprint: str, facts: dict[str, Any], bundle: Path) -> PendingModel:
    """Move the bundle of a fitted model, with its facts, into the cache of pending models.

    It is kept for the tracking store in use.

    Raises
    ------
    OutputError
        When the cache cannot be written.
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

    An earlier attempt may have logged the run or registered the model; neither is done twice.

    Raises
    ------
    RunNotLoggedError
        When the store does not accept it. The folder is kept.
    RegistryError
        When the package version that fitted it does not fit the installed one.
    """
    facts = pending.facts
    check_fits(
        facts["tags"]["package_version"],
        f"{pending}, kept in {pending.folder} until it is deleted,",
    )
    name, fingerprint = facts["name"], facts["tags"]["fingerprint"]
    try:
        model = with_retry(lambda: versions.find_version(name, fingerprint))
        if model is None:
            uri = pending.logged() or _log(pending)
            model = versions.register(name, uri, facts["tags"])
        versions.describe(model, for_page(pending.card, CARD))
        if ADAPTED_FROM in facts["tags"]:
            model = give_alias(model)
        else:
            versions.update_champion(name)
    except (RegistryError, MlflowException, OSError) as error:
        raise RunNotLoggedError(
            f"{pending}: fitted and kept in {pending.folder}, but it could not be logged in "
            f"{store_name()} ({first_line(error)}); `coos sync`, or the same command, logs it."
        ) from error
    forget(pending)
    return model


def _log(pending: PendingModel) -> str:
    """Log the run of a fitted model, and return its model's URI, ``models:/m-...``.

    The URI is also written beside the model, for a later attempt.
    """
    facts, data = pending.facts, pending.data
    note = for_page(pending.card, CARD)
    with run(facts["run"], training_experiment(data.dataset), facts["run_tags"] | {NOTE: note}):
        log_new_params(facts["params"])
        log_data(data)
        if plate := facts.get("plate"):
            path, sha256 = Path(plate["path"]), plate["sha256"]
            log_input(describe_dataset(path, path.name, sha256), "adapting", {"sha256": sha256})
        for file, content in facts["files"].items():
            mlflow.log_dict(content, file)
        mlflow.log_text(pending.card, CARD)
        # Before the metrics, which name it.
        model = log_model(pending.bundle, facts["requirements"], facts["name"], note)
        if pending.evaluations:  # a version adapted to a plate was evaluated on its labels alone
            log_evaluations(
                pending.evaluations,
                data.dataset,
                describe_splits(data),
                facts["title"],
                data.simulated,
                model.model_id,
            )
        mlflow.log_metrics(facts["metrics"], model_id=model.model_id)
        # Written before the run ends, since ending it may fail if the store is lost. A full disk
        # must not keep the model from being registered.
        with suppress(OSError):
            (pending.folder / _LOGGED).write_text(model.model_uri)
    return str(model.model_uri)


def forget(pending: PendingModel) -> None:
    """Remove a registered model from the cache, with its lock.

    A process that waits for the lock then finds the model registered.
    """
    shutil.rmtree(pending.folder, ignore_errors=True)
    with suppress(OSError):
        pending.lock_file.unlink()


def pending_model(fingerprint: str) -> PendingModel:
    """Return the place in the cache of a model, by its fingerprint and the store in use."""
    store = hashlib.sha256(store_name().encode()).hexdigest()[:8]
    return PendingModel(cache_home() / _MODELS / f"{fingerprint}-{store}")


def log_or_keep(results: Results, *, new: bool = False) -> str:
    """Return the id of the run of results; log the run first if there is none.

    A run that is there is brought up to date with the labelled cells. If logging fails, a file in
    the cache records the run for `coos sync`.

    Parameters
    ----------
    new : bool
        Whether the scoring has just ended, so that there is no run yet.

    Raises
    ------
    RunNotLoggedError
        When the store does not accept the run.
    """
    pending = PendingRun.of(results)
    if not results.seconds and (kept := PendingRun.read(pending.file)):
        results = replace(results, seconds=kept.seconds)
        pending = PendingRun.of(results)
    # Kept before the first attempt, since users often interrupt the wait for an unavailable store.
    # Without a writable cache no lock is needed: no other process knows of the run.
    kept_on_disk = pending.keep()
    lock = pending.lock() if kept_on_disk else nullcontext()
    try:
        with lock:
            found = None if new else find_run(results)
            if found and results.drift.get("audit"):
                update_run(found, results)
            run_id = found or log_results(results)
    except (RunNotLoggedError, MlflowException, OSError) as error:
        sync = "`coos sync`, or the same command," if kept_on_disk else "the same command"
        raise RunNotLoggedError(
            f"{results.folder}: the results are there, but their run could not be logged in "
            f"{store_name()} ({first_line(error)}); {sync} logs it."
        ) from error
    pending.forget()
    return run_id
