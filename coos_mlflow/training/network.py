"""Training of a representation's network: weights into the cache, curves into an MLflow run.

`train_or_restore` is the entry point. A network is trained once for the same settings and cells.
"""

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
from coos_mlflow._utils.files import new_folder
from coos_mlflow._utils.progress import progress
from coos_mlflow.errors import RegistryError, RunNotLoggedError
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.plates.schema import CellBatch, concatenated
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.registry.artifacts import log_data
from coos_mlflow.registry.retry import with_retry
from coos_mlflow.registry.runs import (
    first_line,
    log_new_params,
    run,
    store_name,
    training_experiment,
)
from coos_mlflow.representations import Representation
from coos_mlflow.training.features import short_hash

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from coos_mlflow.representations.nn.training import TrainingContext

_log = logging.getLogger(__name__)

_WEIGHTS, _WORK = "learnt", "work"
"""Folders of a cache entry: finished weights, and the checkpoint of a running training."""

_RUN = "run.json"

PATIENCE = 300.0
"""Seconds to wait for an unreachable tracking store before stopping with a checkpoint."""


def train_or_restore(
    representation: Representation,
    data: TrainingData,
    tags: dict[str, object],
    *,
    resume: bool = True,
) -> None:
    """Load a representation's weights from the cache, or train them on Training and cache them.

    Parameters
    ----------
    representation : Representation
        Changed in place; a representation that is not trainable stays as it is. One that is made
        of others has their weights.
    data : TrainingData
        Only the Training split is read.
    tags : dict
        Tags of the MLflow run of the training.
    resume : bool
        Resume a stopped training from its checkpoint, in the same MLflow run. Otherwise it starts
        anew. The weights are the same.

    Raises
    ------
    RunNotLoggedError
        Where the tracking store stays unreachable; the message names the checkpoint.
    TrainingError
        Where the loss is no longer finite, or the checkpoint is damaged.
    """
    for part in representation.parts:
        train_or_restore(part, data, tags, resume=resume)
    if representation.parts or not representation.trainable:
        return
    folder = _folder(representation, data)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(folder):
        if not _restore(representation, folder):
            if not resume:
                shutil.rmtree(folder, ignore_errors=True)
            _train(representation, data, tags, folder)
            representation.restore(folder / _WEIGHTS)
        shutil.rmtree(folder / _WORK, ignore_errors=True)


def _folder(representation: Representation, data: TrainingData) -> Path:
    """Return the cache entry of a training with these settings on these cells."""
    training = {
        "version": representation.version,
        "params": representation.training_params(),
        "training": data.digests[TRAINING],
        "labels": [[one.label, one.name] for one in data.dataset.classes],
        "channels": data.dataset.read_channels,
        **_device_and_precision(representation),
    }
    return make_cache_home() / "networks" / f"{representation.key}-{short_hash(training)}"


def _device_and_precision(representation: Representation) -> dict[str, str]:
    """Return the device and the precision of the training, on which the weights depend."""
    # Imported here: representations that are not trained need no torch.
    from coos_mlflow.representations.nn.networks import best_device, uses_bf16

    device = best_device()
    setting = str(representation.params().get("precision", "auto"))
    precision = "bf16" if uses_bf16(setting, device) else "fp32"
    return {"device": device.type, "precision": precision}


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Let only one process train this network; the others wait and then find the weights."""
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


def _restore(representation: Representation, folder: Path) -> bool:
    """Load weights from the cache; return whether there were any. Damaged ones are removed."""
    if not (folder / _WEIGHTS).exists():
        return False
    try:
        representation.restore(folder / _WEIGHTS)
    except RegistryError as error:
        _log.warning("%s It is trained again.", error)
        shutil.rmtree(folder / _WEIGHTS)
        return False
    return True


def _train(
    representation: Representation, data: TrainingData, tags: dict[str, object], folder: Path
) -> None:
    """Train in an MLflow run and write the weights into the cache."""
    folder.mkdir(exist_ok=True)
    tags = tags | {f"trained.{k}": v for k, v in _device_and_precision(representation).items()}
    name = f"{representation.key} network"
    with (
        _name_checkpoint_in_errors(name, folder),
        run(name, training_experiment(data.dataset), tags, resume=_stopped_run(folder)) as active,
    ):
        (folder / _RUN).write_text(json.dumps({"run_id": active.info.run_id}))
        log_new_params(representation.params())
        log_data(data)
        cells = _all_cells(data)
        representation.fit(cells, _logging_context(folder / _WORK, data.simulated))
        summary = representation.training_summary.items()
        # The prefix "learnt_" is kept, so that new runs compare with older ones.
        mlflow.log_metrics({f"learnt_{key}": value for key, value in summary})
        with new_folder(folder / _WEIGHTS) as partial:
            representation.save(partial)


def _logging_context(folder: Path, simulated: bool) -> TrainingContext:
    """Return a context that logs metrics and figures to the active MLflow run."""
    # Imported here: representations that are not trained need no torch.
    from coos_mlflow.representations.nn.training import TrainingContext

    def on_metrics(iteration: int, metrics: dict[str, float]) -> None:
        _log_with_retry(lambda: mlflow.log_metrics(metrics, step=iteration))

    def on_figure(file: str, figure: Figure) -> None:
        if simulated:
            figure.suptitle(f"{figure.get_suptitle()}, simulated cells")
        _log_with_retry(lambda: mlflow.log_figure(figure, file))

    return TrainingContext(folder, on_metrics, on_figure)


@contextmanager
def _name_checkpoint_in_errors(name: str, folder: Path) -> Iterator[None]:
    """Add the checkpoint's folder to the error of a lost tracking store."""
    try:
        yield
    except RunNotLoggedError as error:
        raise RunNotLoggedError(
            f"{error} The {name} has its checkpoint in {folder}; the same command resumes there."
        ) from error


def _log_with_retry(log: Callable[[], None]) -> None:
    """Log to the store, retrying for `PATIENCE` seconds where it is unreachable."""
    try:
        with_retry(log, PATIENCE)
    except OSError as error:  # of a folder of artifacts, or of a server that keeps them
        raise RunNotLoggedError(
            f"{store_name()} took no artifact ({first_line(error)})."
        ) from error


def _stopped_run(folder: Path) -> str | None:
    """Return the id of a stopped training's run, or None where it cannot be resumed here."""
    try:
        run_id = str(json.loads((folder / _RUN).read_text())["run_id"])
        info = mlflow.get_run(run_id).info
    except (OSError, ValueError, KeyError, MlflowException):
        return None
    parent = mlflow.active_run()
    # A nested run must be in the experiment of its parent.
    experiment = parent.info.experiment_id if parent else info.experiment_id
    resumable = (info.lifecycle_stage, info.experiment_id) == ("active", experiment)
    return run_id if resumable else None


def _all_cells(data: TrainingData) -> CellBatch:
    """Read all cells of Training, file by file."""
    batches = []
    for path in data.files[TRAINING]:
        with data.open(path) as plate, progress(f"Reading {path.name}"):
            batches.append(next(plate.batches(plate.n_cells)))
    return concatenated(batches)
