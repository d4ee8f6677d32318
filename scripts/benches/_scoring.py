"""What the benches of scoring share: a place of their own, models, plates, and whole commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.plates.writer import PlateWriter
from coos_mlflow.representations import create
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.simulate import simulate_plate_cells
from coos_mlflow.training import train
from coos_mlflow.training.data import SIMULATED, choose

SCALE = 0.05
"""Size of the simulated data set that texture models are fitted on, 1 being that of COOS-7."""

NETWORK_SCALE = 0.01
"""The same for networks, which take minutes for the features of more."""

PLATE_SEED = 990_000
"""Far from the seeds of data sets."""

WELLS_PER_CLASS, CELLS_PER_WELL = 8, 90

PER_PLATE = 7 * WELLS_PER_CLASS * CELLS_PER_WELL
"""Cells of a physical plate: 5,040; COOS-7's hold about as many."""

WARM_UP = 56
"""Cells scored before anything is measured, so that what is compiled once is compiled."""

ONE_STEP: dict[str, Any] = {"iterations": 1, "check_every": 1}
"""Of a training, for a network of which only the time matters."""

TEXTURE_LR = "texture-lr"

BIN = Path(sys.executable).parent
"""Where the commands of this environment are."""


@contextmanager
def own_place() -> Iterator[Path]:
    """Be at home in a temporary folder, which goes at the end, also that of `kill`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as name, at_home(Path(name)):
        yield Path(name)


@contextmanager
def at_home(folder: Path) -> Iterator[None]:
    """Go to a folder that holds cache and tracking store, also those of other processes."""
    with chdir(folder), patch.dict(os.environ):
        os.environ |= {
            "COOS_CACHE": str(folder / "cache"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            # `mlflow` starts other commands of its environment by their names.
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        with patch("mlflow.tracking.fluent._active_experiment_id", None):
            yield


def texture_data() -> TrainingData:
    """Return the simulated data set for texture models."""
    return choose(SIMULATED, SCALE)


def network_data() -> TrainingData:
    """Return the simulated data set for networks."""
    return choose(SIMULATED, NETWORK_SCALE)


def registered(key: str, kind: str, data: TrainingData, params: dict[str, Any]) -> Scorer:
    """Return a scorer by a model that is trained and registered unless it was.

    Parameters
    ----------
    key : str
        Of the representation.
    kind : str
        Of the classifier; its layer is the last that the representation is made with.
    data : TrainingData
    params : dict
        Of the representation.
    """
    made = create(key, **params)
    rows = train.rows_of(made, [kind], made.layers[-1:])
    (row,) = train.train_rows(made, data, rows=rows, preset="quick", overrides={"cv_folds": 2})
    return Scorer.load(f"{row.model.name}/{row.model.version}")


def texture_lr() -> Scorer:
    """Return a scorer by texture and L1 logistic regression."""
    return registered("texture", "lr", texture_data(), {})


def write_plates(path: Path, cells: int, per_plate: int | None = None) -> Path:
    """Write simulated cells into a file, the same ones again as another plate until it is full.

    Scoring takes as long for them as for others; simulating others takes longer than that.

    Parameters
    ----------
    path : Path
    cells : int
        In the file.
    per_plate : int, optional
        Different cells, of one plate; `PER_PLATE` by default.
    """
    different = min(cells, per_plate or PER_PLATE)
    per_well = -(-different // (7 * WELLS_PER_CLASS))
    found = simulate_plate_cells(
        seed=PLATE_SEED, wells_per_class=WELLS_PER_CLASS, cells_per_well=per_well
    )
    with PlateWriter(path, cells, attrs={"simulated": True}) as writer:
        for number, start in enumerate(range(0, cells, different)):
            some = {name: column[: min(different, cells - start)] for name, column in found.items()}
            plates = np.full(len(some["labels"]), f"simulated {number}")
            writer.append(**(some | {"plates": plates}))
    return path


def all_images(path: Path) -> np.ndarray:
    """Read a plate as one array (n, 2, 64, 64)."""
    with open_plate(path) as plate:
        return next(plate.batches(plate.n_cells)).images


def command(name: str, arguments: Sequence[str]) -> float:
    """Run a command of this environment to its end and return its seconds."""
    began = time.perf_counter()
    done = subprocess.run([BIN / name, *arguments], check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{name} {' '.join(arguments)} failed:\n{done.stderr}")
    return seconds
