"""DeepLoc: a network trained on the classes, and the features of its last hidden layer.

Lu et al. 2019, section 3.1: "a fully supervised 11-layer CNN", trained "for 10,000 iterations with
a batch size of 128 on 80% of the Training dataset", the best iteration "(at intervals of 500)" on
the other 20 % kept. Architecture and settings are those of okraus/DeepLoc (BSD-3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split
from torch.nn.functional import cross_entropy

from coos_mlflow.errors import DataError
from coos_mlflow.metrics import balanced_error
from coos_mlflow.plates.dataset import UNLABELLED
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations.base import PROBABILITIES, VALIDATION_ERROR, Range, Seed
from coos_mlflow.representations.nn.adam import TensorFlowAdam
from coos_mlflow.representations.nn.deeploc_network import (
    FULLY_CONNECTED,
    DeepLocNetwork,
    augmented,
    averaged_outputs,
    stretch,
)
from coos_mlflow.representations.nn.networked import Count, NetworkRepresentation, Rate, Width
from coos_mlflow.representations.nn.networks import Tensors, best_device, same_pixels, scaled
from coos_mlflow.representations.nn.precision import Precision
from coos_mlflow.representations.nn.training import Plan, TrainingContext, TrainingTask, train

FC2 = "fc2"

HELD_OUT = 0.2
"""Share of Training that chooses the iteration (Lu et al. 2019, section 3.1)."""

MIN_BATCH = 2
"""Batch normalisation needs a variance, which one cell does not have."""

_VALIDATION_BATCH = 64
"""Cells of 64 pixels validated at once (`same_pixels`)."""

_HELD_OUT = "held_out"
"""Name of the tensor of held-out rows in the file of weights."""

_BLOCK = 1024
"""Cells of 64 pixels stretched at once (`same_pixels`): copies need several times their memory."""


class DeepLoc(NetworkRepresentation[DeepLocNetwork]):
    """The paper's supervised baseline.

    Cells of Training without a label take no part in its training. They count as held out.

    Parameters
    ----------
    width : float
        Factor on every number of channels; 1 is the paper's network.
    iterations, batch : int
        Steps of the optimiser, and cells in each step, at least two.
    learning_rate, decay, decay_every : float, float, int
        Adam's rate is ``learning_rate * decay ** (iteration // decay_every)``.
    check_every : int
        Iterations between validations.
    crops : int
        Crops over which the output is averaged: 5 (centre and corners, as DeepLoc) or 1. They
        are of 60x60 pixels for cells of 64x64, and of the same share of larger and smaller ones.
    seed : int
        Seed of the weights, the split 80/20, the batches and the augmentation.
    precision : str
        Precision of training: "auto", "fp32" or "bf16". `prepare` sets that of inference.
    """

    key = "deeploc"
    version = "2"
    title = "DeepLoc"
    layers = (FC2,)
    layer_titles: ClassVar[dict[str, str]] = {FC2: "FC2"}
    trainable = True
    classifies = True
    packages = ("numba", "safetensors", "torch")
    file = "deeploc.safetensors"
    extra_tensors = (_HELD_OUT,)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "quick": {
            "width": 0.25,
            "iterations": 400,
            "learning_rate": 0.01,
            "decay_every": 4,
            "check_every": 100,
        },
    }

    def __init__(
        self,
        width: Width = 1.0,
        iterations: Count = 10_000,
        batch: Annotated[int, Range(MIN_BATCH)] = 128,
        learning_rate: Rate = 0.1,
        decay: Annotated[float, Range(above=0, most=1)] = 0.96,
        decay_every: Count = 25,
        check_every: Count = 500,
        crops: Literal[1, 5] = 5,
        seed: Seed = 0,
        precision: Precision = "auto",
    ):
        super().__init__()
        self.width = width
        self.iterations = iterations
        self.batch = batch
        self.learning_rate = learning_rate
        self.decay = decay
        self.decay_every = decay_every
        self.check_every = check_every
        self.crops = crops
        self.seed = seed
        self.precision = precision

    def params(self) -> dict[str, Any]:
        """Return the settings of the network and its training."""
        return self._settings()

    def feature_names(self, layer: str = FC2) -> tuple[str, ...]:
        """Return FC2 1, FC2 2, ...; for the probabilities the names of the classes."""
        if layer == PROBABILITIES:
            return self.dataset.class_names
        return tuple(f"FC2 {i + 1}" for i in range(scaled(FULLY_CONNECTED, self.width)))

    @property
    def training_summary(self) -> dict[str, float]:
        """The best iteration, and its balanced error in % on the held-out cells."""
        return self._facts

    def fit(self, training: CellBatch, context: TrainingContext) -> None:
        """Train on 80 % of the labelled cells and keep the iteration that is best on the others."""
        device = best_device()
        plan = Plan(self.iterations, self.batch, self.check_every, self.seed, self.precision)
        result = train(self.training_task(training, device), plan, context, device)
        self._use(result.tensors, self.title)
        self._facts = {"best_iteration": result.best_iteration}
        if result.error is not None:
            self._facts[VALIDATION_ERROR] = result.error

    def training_task(self, training: CellBatch, device: torch.device) -> TrainingTask:
        """Return the task of classifying 80 % of the labelled cells of Training."""
        if training.labels is None:
            raise DataError("DeepLoc is trained on labels, and these cells have none.")
        fitted, held_out = _split(training.labels, self.seed)
        others = np.setdiff1d(np.arange(len(training)), fitted)
        self._extra_tensors = {_HELD_OUT: torch.from_numpy(others)}
        return _Classification(self, training, fitted, held_out, device)

    def held_out(self, n_cells: int) -> np.ndarray:
        """Return the cells of Training that no weight was fitted to, as a mask (n_cells,).

        They are the labelled cells that chose the best iteration, and all cells without a label.
        """
        return np.isin(np.arange(n_cells), self._extra_tensors.get(_HELD_OUT, ()))

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        """Stretch each image by its own percentiles; see `stretch`."""
        return stretch(images)

    def compute(
        self, prepared: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute FC2 and the probabilities; see `Representation.compute`."""

        def outputs(network: DeepLocNetwork, cells: torch.Tensor) -> Tensors:
            probabilities, fc2 = averaged_outputs(network, cells, self.crops)
            return {PROBABILITIES: probabilities, FC2: fc2}

        return self._infer(prepared, outputs)

    def _build(self) -> DeepLocNetwork:
        crop, n_classes = self.dataset.crop, self.dataset.n_classes
        return DeepLocNetwork(crop, n_classes, self.width, self.seed)


class _Classification(TrainingTask):
    """Cross-entropy on augmented crops of the fitted cells; balanced error of the held-out ones."""

    network: DeepLocNetwork

    def __init__(
        self,
        settings: DeepLoc,
        cells: CellBatch,
        fitted: np.ndarray,
        held_out: np.ndarray,
        device: torch.device,
    ):
        self.settings = settings
        self.network = settings._build()
        self.n_cells = len(fitted)
        # All of Training stays on the device: 1.4 GB for the 41,456 cells of COOS-7.
        # Channels last: `augmented` then gathers whole pixels.
        channels, height, width = settings.dataset.cell_shape
        self._images = torch.empty((len(fitted), height, width, channels), device=device)
        _stretch_into(self._images.permute(0, 3, 1, 2), cells.images, fitted)
        self._held_out_images = torch.empty((len(held_out), channels, height, width), device=device)
        _stretch_into(self._held_out_images, cells.images, held_out)
        labels = np.asarray(cells.labels, np.int64)
        self._labels = torch.from_numpy(labels[fitted]).to(device)
        self._held_out_labels = labels[held_out]

    def optimiser(self) -> torch.optim.Optimizer:
        return TensorFlowAdam(self.network.parameters(), self.settings.learning_rate)

    def learning_rate(self, iteration: int) -> float:
        steps = iteration // self.settings.decay_every
        return self.settings.learning_rate * self.settings.decay**steps

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        chosen = torch.from_numpy(rows).to(self._labels.device, non_blocking=True)
        return augmented(self._images, rows, rng), self._labels[chosen]

    def loss(self, *drawn: torch.Tensor) -> torch.Tensor:
        crops, labels = drawn
        logits, _ = self.network(crops)
        return cross_entropy(logits.float(), labels)

    def validation_error(self) -> float:
        batch = same_pixels(_VALIDATION_BATCH, self._held_out_images.shape)
        parts = [
            averaged_outputs(self.network, block, self.settings.crops)[0].argmax(dim=1).cpu()
            for block in self._held_out_images.split(batch)
        ]
        classes = range(self.settings.dataset.n_classes)
        predicted = torch.cat(parts).numpy()
        counts = confusion_matrix(self._held_out_labels, predicted, labels=classes)
        return float(balanced_error(counts))


def _stretch_into(target: torch.Tensor, images: np.ndarray, rows: np.ndarray) -> None:
    """Write the stretched cells `rows` to a tensor (len(rows), 2, crop, crop), block by block."""
    size = same_pixels(_BLOCK, images.shape)
    for start in range(0, len(rows), size):
        block = stretch(images[rows[start : start + size]])
        target[start : start + size] = torch.from_numpy(block)


def _split(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted rows to fit on and to hold out, 80 % and 20 % of each class."""
    rows = np.flatnonzero(labels != UNLABELLED)
    classes = labels[rows]
    try:
        fitted, held_out = train_test_split(
            rows, test_size=HELD_OUT, stratify=classes, random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"Training holds {len(rows)} labelled cells of {len(np.unique(classes))} classes, "
            "too few to keep a fifth of each class for validation; label more of the rare ones."
        ) from error
    return np.sort(fitted), np.sort(held_out)


REPRESENTATION = DeepLoc
