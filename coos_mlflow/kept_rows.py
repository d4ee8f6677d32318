"""Fitted rows on disk, from their fit until the tracking store has taken them.

A fit may take hours, and a store may be gone when it ends: what is logged and registered is read
from a folder that was written before the store is asked for anything.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from coos_mlflow.cache import cache_home, make_cache_home
from coos_mlflow.data.cells import SPLITS
from coos_mlflow.errors import OutputError, RunNotLoggedError
from coos_mlflow.evaluation import Evaluation
from coos_mlflow.installed import check_fits
from coos_mlflow.tracking import pyfunc, registry
from coos_mlflow.tracking.artifacts import log_data, log_evaluations, log_model
from coos_mlflow.tracking.runs import TRAINING_EXPERIMENT, first_line, log_new_params, run
from coos_mlflow.training_data import TrainingData

_FACTS = "row.json"


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
        """The model, as `coos_mlflow.tracking.pyfunc.save_bundle` wrote it."""
        return self.folder / pyfunc.ARTIFACT

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

    def __str__(self) -> str:
        """Return ``texture-lr hist (model)``."""
        return f"{self.facts['title']} ({self.facts['name']})"


def find(fingerprint: str) -> KeptRow | None:
    """Return the row of a fingerprint, if it is kept."""
    row = KeptRow(_home() / fingerprint)
    return row if (row.folder / _FACTS).is_file() else None


def all_rows() -> Iterator[KeptRow]:
    """Yield all rows that are kept."""
    for facts in sorted(_home().glob(f"[!.]*/{_FACTS}")):
        yield KeptRow(facts.parent)


def keep(fingerprint: str, facts: dict[str, Any], bundle: Path) -> KeptRow:
    """Keep a row: its facts, and its bundle, which is moved.

    Raises
    ------
    OutputError
        When the cache takes no more.
    """
    row = KeptRow(_home() / fingerprint)
    try:
        make_cache_home()
        row.folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".row-", dir=row.folder.parent))
        try:
            shutil.move(bundle, partial / pyfunc.ARTIFACT)
            (partial / _FACTS).write_text(json.dumps(facts, indent=1))
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


def send(row: KeptRow) -> registry.ModelRef:
    """Log a row as a run, register its model, and forget the folder.

    Raises
    ------
    RunNotLoggedError
        When the store does not take it; the row stays on disk.
    RegistryError
        When it was fitted by a version of this package that the installed one does not fit.
    """
    facts = row.facts
    check_fits(facts["tags"]["package_version"], str(row))
    try:
        with run(facts["run"], TRAINING_EXPERIMENT, facts["run_tags"]):
            log_new_params(facts["params"])
            log_data(row.data)
            for file, content in facts["files"].items():
                mlflow.log_dict(content, file)
            mlflow.log_metrics(facts["metrics"])
            log_evaluations(row.evaluations, facts["title"], facts["data"]["simulated"])
            uri = log_model(row.bundle, facts["requirements"])
            made = registry.register(facts["name"], uri, facts["tags"])
        registry.crown(facts["name"])
    except (RunNotLoggedError, MlflowException, OSError) as error:
        raise RunNotLoggedError(
            f"{row}: fitted and kept in {row.folder}, but it could not be logged in "
            f"{mlflow.get_tracking_uri()} ({first_line(error)}); `coos sync`, or the same command, "
            "logs it."
        ) from error
    forget(row)
    return made


def forget(row: KeptRow) -> None:
    """Remove a row that is registered."""
    shutil.rmtree(row.folder, ignore_errors=True)


def _home() -> Path:
    return cache_home() / "rows"
