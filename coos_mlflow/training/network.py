"""A representation learns once: from Training into the cache, its curves into MLflow."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException

from coos_mlflow._utils.cache import make_cache_home
from coos_mlflow._utils.progress import progress
from coos_mlflow.errors import RegistryError, RunNotLoggedError
from coos_mlflow.plates.dataset import TrainingData
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.registry.artifacts import log_data
from coos_mlflow.registry.retry import patiently
from coos_mlflow.registry.runs import (
    TRAINING_EXPERIMENT,
    first_line,
    log_new_params,
    run,
    store_name,
)
from coos_mlflow.representations import Representation
from coos_mlflow.training.features import short_hash

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)

_LEARNT, _WORK = "learnt", "work"
_RUN = "run.json"

PATIENCE = 300.0
"""Seconds that a training waits for a tracking store before it stops with a checkpoint."""


def train_or_restore(
    representation: Representation,
    data: TrainingData,
    tags: dict[str, object],
    *,
    resume: bool = True,
) -> None:
    """Give a representation what it learns from Training, learning it now or recalling it.

    Parameters
    ----------
    representation : Representation
        Learns, or is restored, in place; nothing happens to one that learns nothing.
    data : TrainingData
        Only its Training split is looked at.
    tags : dict
        Of the run in which it learns.
    resume : bool
        Go on from the checkpoint of a training that was stopped, in the same MLflow run, rather
        than begin anew. What comes out is the same.
    """
    if not representation.trainable:
        return
    folder = _folder(representation, data)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(folder):
        if not _restored(representation, folder):
            if not resume:
                shutil.rmtree(folder, ignore_errors=True)
            _learn(representation, data, tags, folder)
            representation.restore(folder / _LEARNT)
        shutil.rmtree(folder / _WORK, ignore_errors=True)


def _folder(representation: Representation, data: TrainingData) -> Path:
    """Return where a learning with these settings from these cells keeps what it makes."""
    what = {
        "version": representation.version,
        "params": representation.training_params(),
        "training": data.digests["training"],
        **_arithmetic(representation),
    }
    return make_cache_home() / "networks" / f"{representation.key}-{short_hash(what)}"


def _arithmetic(representation: Representation) -> dict[str, str]:
    """Return on what a network is trained here, and how precisely: other weights come elsewhere."""
    # Imported here: what learns nothing needs no torch.
    from coos_mlflow.representations.nn.networks import best_device, uses_bf16

    device = best_device()
    asked = str(representation.params().get("precision", "auto"))
    precision = "bf16" if uses_bf16(asked, device) else "fp32"
    return {"device": device.type, "precision": precision}


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Let one process at a time train a network; the others then find it done."""
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.warning("Another process is training this network (%s); waiting for it.", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _restored(representation: Representation, folder: Path) -> bool:
    """Tell whether the network was there; a damaged one is removed."""
    if not (folder / _LEARNT).exists():
        return False
    try:
        representation.restore(folder / _LEARNT)
    except RegistryError as error:
        _log.warning("%s It is trained again.", error)
        shutil.rmtree(folder / _LEARNT)
        return False
    return True


def _learn(
    representation: Representation, data: TrainingData, tags: dict[str, object], folder: Path
) -> None:
    # Imported here: what learns nothing needs no torch.
    from coos_mlflow.representations.nn.training import TrainingContext

    folder.mkdir(exist_ok=True)
    tags = tags | {f"trained.{k}": v for k, v in _arithmetic(representation).items()}
    name = f"{representation.key} network"
    with (
        _checkpoint_named(name, folder),
        run(name, TRAINING_EXPERIMENT, tags, resume=_stopped_run(folder)) as active,
    ):
        (folder / _RUN).write_text(json.dumps({"run_id": active.info.run_id}))
        log_new_params(representation.params())
        log_data(data)

        def on_figure(file: str, figure: Figure) -> None:
            if data.simulated:
                figure.suptitle(f"{figure.get_suptitle()}, simulated cells")
            _tell(lambda: mlflow.log_figure(figure, file))

        context = TrainingContext(
            folder / _WORK,
            on_metrics=lambda iteration, metrics: _tell(
                lambda: mlflow.log_metrics(metrics, step=iteration)
            ),
            on_figure=on_figure,
        )
        representation.fit(_all_cells(data.paths["training"]), context)
        mlflow.log_metrics(
            {f"learnt_{k}": value for k, value in representation.training_summary.items()}
        )
        partial = folder / f".{_LEARNT}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        representation.save(partial)
        partial.rename(folder / _LEARNT)


@contextmanager
def _checkpoint_named(name: str, folder: Path) -> Iterator[None]:
    """Say where a training goes on whose store has gone."""
    try:
        yield
    except RunNotLoggedError as error:
        raise RunNotLoggedError(
            f"{error} The {name} has its checkpoint in {folder}; the same command goes on there."
        ) from error


def _tell(log: Callable[[], None]) -> None:
    """Log something, waiting for a store that is away for some minutes."""
    try:
        patiently(log, PATIENCE)
    except OSError as error:  # of a folder of artifacts, or of a server that keeps them
        raise RunNotLoggedError(
            f"{store_name()} took no artifact ({first_line(error)})."
        ) from error


def _stopped_run(folder: Path) -> str | None:
    """Return the run in which a stopped training was logged, if it can be gone on with here."""
    try:
        run_id = str(json.loads((folder / _RUN).read_text())["run_id"])
        found = mlflow.get_run(run_id).info
    except (OSError, ValueError, KeyError, MlflowException):
        return None
    parent = mlflow.active_run()
    here = parent.info.experiment_id if parent else found.experiment_id
    return run_id if (found.lifecycle_stage, found.experiment_id) == ("active", here) else None


def _all_cells(path: Path) -> CellBatch:
    with open_plate(path) as plate, progress(f"Reading {path.name}"):
        return next(plate.batches(plate.n_cells))
