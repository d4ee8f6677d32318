"""Fitted rows on disk, from their fit until the tracking store has taken them.

A fit may take hours, and a store may be gone when it ends: what is logged and registered is read
from a folder that was written before the store is asked for anything.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
from filelock import FileLock
from mlflow.exceptions import MlflowException

from coos_mlflow._utils.cache import cache_home, make_cache_home
from coos_mlflow._utils.versions import check_fits
from coos_mlflow.errors import OutputError, RegistryError, RunNotLoggedError
from coos_mlflow.metrics import Evaluation
from coos_mlflow.model.bundle import ARTIFACT
from coos_mlflow.plates.dataset import TrainingData
from coos_mlflow.plates.schema import SPLITS
from coos_mlflow.registry import versions
from coos_mlflow.registry.artifacts import log_data, log_evaluations, log_model
from coos_mlflow.registry.retry import with_retry
from coos_mlflow.registry.runs import (
    TRAINING_EXPERIMENT,
    first_line,
    log_new_params,
    run,
    store_name,
)

_ROWS, _FACTS, _LOGGED = "rows", "row.json", "logged.txt"
_GONE = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True)
class KeptRow:
    """A fitted row, complete on disk.

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

    def held(self) -> FileLock:
        """Return its lock: who fits or logs it holds it, others wait or pass it by."""
        make_cache_home(_ROWS)
        return FileLock(self.lock_file)

    @property
    def lock_file(self) -> Path:
        """What `held` locks."""
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

    def __str__(self) -> str:
        """Return ``texture-lr hist (model)``."""
        return f"{self.facts['title']} ({self.facts['name']})"


def held(fingerprint: str) -> FileLock:
    """Return the lock of the row of a fingerprint; see `KeptRow.held`."""
    return row_of(fingerprint).held()


def find(fingerprint: str) -> KeptRow | None:
    """Return the row of a fingerprint, if one is kept for the tracking store in use."""
    row = row_of(fingerprint)
    return row if row.is_whole else None


def all_rows() -> list[KeptRow]:
    """Return all rows that are kept, for whichever store."""
    rows = [KeptRow(folder) for folder in sorted(_home().glob("[!.]*"))]
    return [row for row in rows if row.is_whole]


def keep(fingerprint: str, facts: dict[str, Any], bundle: Path) -> KeptRow:
    """Keep a row for the tracking store in use: its facts, and its bundle, which is moved.

    Raises
    ------
    OutputError
        When the cache takes no more.
    """
    row = row_of(fingerprint)
    try:
        make_cache_home(_ROWS)
        partial = Path(tempfile.mkdtemp(prefix=".row-", dir=row.folder.parent))
        try:
            shutil.move(bundle, partial / ARTIFACT)
            (partial / _FACTS).write_text(json.dumps(facts | {"store": store_name()}, indent=1))
            shutil.rmtree(row.folder, ignore_errors=True)
            partial.rename(row.folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"{row.folder}: the fitted row cannot be kept there ({error.strerror or error}); "
            "make room, or set COOS_CACHE to another folder."
        ) from error
    return row


def send(row: KeptRow) -> versions.ModelRef:
    """Log a row as a run, register its model, and forget the folder.

    What a try before has done is not done again: neither a run nor a model comes twice.

    Raises
    ------
    RunNotLoggedError
        When the store does not take it; the row stays on disk.
    RegistryError
        When it was fitted by a version of this package that the installed one does not fit.
    """
    facts = row.facts
    check_fits(
        facts["tags"]["package_version"], f"{row}, kept in {row.folder} until it is deleted,"
    )
    name, fingerprint = facts["name"], facts["tags"]["fingerprint"]
    try:
        made = with_retry(lambda: versions.find_version(name, fingerprint))
        if made is None:
            uri = row.logged() or _log(row)
            made = versions.register(name, uri, facts["tags"])
        versions.crown(name)
    except (RegistryError, MlflowException, OSError) as error:
        raise RunNotLoggedError(
            f"{row}: fitted and kept in {row.folder}, but it could not be logged in "
            f"{store_name()} ({first_line(error)}); `coos sync`, or the same command, logs it."
        ) from error
    forget(row)
    return made


def _log(row: KeptRow) -> str:
    """Make the run of a row and return its model's ``models:/m-...``, which is noted beside it."""
    facts = row.facts
    with run(facts["run"], TRAINING_EXPERIMENT, facts["run_tags"]):
        log_new_params(facts["params"])
        log_data(row.data)
        for file, content in facts["files"].items():
            mlflow.log_dict(content, file)
        mlflow.log_metrics(facts["metrics"])
        log_evaluations(row.evaluations, facts["title"], facts["data"]["simulated"])
        uri = log_model(row.bundle, facts["requirements"])
        # Before the run ends, which the store may not be told any more; a full disk does not
        # keep the model from being registered.
        with suppress(OSError):
            (row.folder / _LOGGED).write_text(uri)
    return uri


def forget(row: KeptRow) -> None:
    """Remove a row that is registered, and its lock: who waits for it finds the row registered."""
    shutil.rmtree(row.folder, ignore_errors=True)
    with suppress(OSError):
        row.lock_file.unlink()


def row_of(fingerprint: str) -> KeptRow:
    """Return where the row of a fingerprint is kept for the tracking store in use, be it or not."""
    store = hashlib.sha256(store_name().encode()).hexdigest()[:8]
    return KeptRow(_home() / f"{fingerprint}-{store}")


def _home() -> Path:
    return cache_home() / _ROWS
