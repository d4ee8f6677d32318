"""A representation learns once: from Training into the cache, its curves into MLflow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from filelock import FileLock
from mlflow.exceptions import MlflowException

from coos_mlflow.cache import make_cache_home
from coos_mlflow.data.cells import CellBatch
from coos_mlflow.data.plate import open_plate
from coos_mlflow.features import short_hash
from coos_mlflow.progress import progress
from coos_mlflow.representations import Representation
from coos_mlflow.tracking.artifacts import log_data
from coos_mlflow.tracking.runs import TRAINING_EXPERIMENT, log_new_params, run
from coos_mlflow.training_data import TrainingData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEARNT = "learnt"
_RUN = "run.json"


def learn_once(
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
    if not representation.learns:
        return
    folder = _folder(representation, data)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / _LEARNT).exists():
            if not resume:
                shutil.rmtree(folder, ignore_errors=True)
            _learn(representation, data, tags, folder)
        representation.restore(folder / _LEARNT)


def _folder(representation: Representation, data: TrainingData) -> Path:
    """Return where a learning with these settings from these cells keeps what it makes."""
    what = {
        "version": representation.version,
        "params": representation.lesson_params(),
        "training": data.digests["training"],
    }
    return make_cache_home() / "networks" / f"{representation.key}-{short_hash(what)}"


def _learn(
    representation: Representation, data: TrainingData, tags: dict[str, object], folder: Path
) -> None:
    # Imported here: what learns nothing needs no torch.
    from coos_mlflow.training import Workshop

    folder.mkdir(exist_ok=True)
    name = f"{representation.key} network"
    with run(name, TRAINING_EXPERIMENT, tags, resume=_stopped_run(folder)) as active:
        (folder / _RUN).write_text(json.dumps({"run_id": active.info.run_id}))
        log_new_params(representation.params())
        log_data(data)

        def on_figure(file: str, figure: Figure) -> None:
            if data.simulated:
                figure.suptitle(f"{figure.get_suptitle()}, simulated cells")
            mlflow.log_figure(figure, file)

        workshop = Workshop(
            folder,
            on_metrics=lambda iteration, metrics: mlflow.log_metrics(metrics, step=iteration),
            on_figure=on_figure,
        )
        representation.fit(_all_cells(data.paths["training"]), workshop)
        mlflow.log_metrics(representation.learnt)
        partial = folder / f".{_LEARNT}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        representation.save(partial)
        partial.rename(folder / _LEARNT)
    workshop.forget()


def _stopped_run(folder: Path) -> str | None:
    """Return the run in which a stopped training was logged, if this store has it."""
    try:
        run_id = str(json.loads((folder / _RUN).read_text())["run_id"])
        mlflow.get_run(run_id)
    except (OSError, ValueError, KeyError, MlflowException):
        return None
    return run_id


def _all_cells(path: Path) -> CellBatch:
    with open_plate(path) as plate, progress(f"Reading {path.name}"):
        return next(plate.batches(plate.n_cells))
