"""`SupervisedRepresentation`, the base class of networks that are trained on labels."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch

from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations.base import VALIDATION_ERROR
from coos_mlflow.representations.nn.classification import Classification, Division, Unit, divided
from coos_mlflow.representations.nn.deeploc_network import stretch
from coos_mlflow.representations.nn.inference import Network
from coos_mlflow.representations.nn.networked import NetworkRepresentation
from coos_mlflow.representations.nn.networks import best_device
from coos_mlflow.representations.nn.training import Plan, TrainingContext, train

_HELD_OUT = "held_out"
"""Name of the tensor of held-out rows in the file of weights."""


class SupervisedRepresentation(NetworkRepresentation[Network]):
    """A network that learns the classes, classifies by itself, and remembers what is held out."""

    trainable = True
    classifies = True
    packages = ("numba", "safetensors", "torch")
    extra_tensors = (_HELD_OUT,)

    iterations: int
    batch: int
    check_every: int
    seed: int
    precision: str
    hold_out: Unit

    @abstractmethod
    def task_of(
        self, training: CellBatch, division: Division, device: torch.device
    ) -> Classification:
        """Return the task of classifying the cells that are not held out."""

    @property
    def training_summary(self) -> dict[str, float]:
        """The best iteration, its balanced error in % on what is held out, and held-out plates."""
        return self._facts

    def fit(self, training: CellBatch, context: TrainingContext) -> None:
        """Train on the cells that are not held out and keep the iteration best on the others."""
        device = best_device()
        plan = Plan(self.iterations, self.batch, self.check_every, self.seed, self.precision)
        task = self.training_task(training, device)
        result = train(task, plan, context, device)
        self._use(result.tensors, self.title)
        self._facts = {
            "best_iteration": result.best_iteration,
            "held_out_plates": task.division.plates,
            VALIDATION_ERROR: result.error,
        }

    def training_task(self, training: CellBatch, device: torch.device) -> Classification:
        """Divide Training, and return the task of classifying the cells that are not held out."""
        division = divided(self.title, training, self.hold_out, self.seed)
        others = np.setdiff1d(np.arange(len(training)), division.fitted)
        self._extra_tensors = {_HELD_OUT: torch.from_numpy(others)}
        return self.task_of(training, division, device)

    def held_out(self, n_cells: int) -> np.ndarray:
        """Return the cells of Training that no weight was fitted to, as a mask (n_cells,).

        They are the labelled cells that chose the best iteration, and all cells without a label.
        """
        return np.isin(np.arange(n_cells), self._extra_tensors.get(_HELD_OUT, ()))

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        """Stretch each image by its own percentiles, whatever gain and offset; see `stretch`."""
        return stretch(images)
