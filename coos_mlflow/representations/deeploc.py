"""DeepLoc: a convolutional network taught the seven classes; features of its last hidden layer.

Lu et al. 2019, section 3.1: "a fully supervised 11-layer CNN", trained "for 10,000 iterations with
a batch size of 128 on 80% of the Training dataset", the best iteration "(at intervals of 500)" on
the other 20 % kept. Architecture and settings are those of okraus/DeepLoc (BSD-3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch.nn.functional import cross_entropy

from coos_mlflow.errors import DataError
from coos_mlflow.metrics import balanced_error, confusion_matrix
from coos_mlflow.plates.schema import CELL_SHAPE, CHANNELS, CLASSES, IMAGE_SIZE, CellBatch
from coos_mlflow.representations.base import PROBABILITIES, VALIDATION_ERROR
from coos_mlflow.representations.nn.adam import TensorFlowAdam
from coos_mlflow.representations.nn.deeploc_network import (
    EVALUATION_OFFSETS,
    FULLY_CONNECTED,
    DeepLocNetwork,
    augmented,
    averaged_answers,
    stretch,
)
from coos_mlflow.representations.nn.networked import Networked
from coos_mlflow.representations.nn.networks import (
    LARGEST_SEED,
    LARGEST_WIDTH,
    Tensors,
    best_device,
    check_positive,
    check_whole,
    is_whole,
    scaled,
)
from coos_mlflow.representations.nn.precision import check_precision
from coos_mlflow.representations.nn.training import Lesson, Plan, Workshop, train

FC2 = "fc2"

HELD_OUT = 0.2
"""Share of Training that chooses the iteration (Lu et al. 2019, section 3.1)."""

SMALLEST_BATCH = 2
"""Batch normalisation has no variance of one cell."""

_JUDGED_AT_A_TIME = 64

_HELD_OUT = "held_out"

_BLOCK = 1024
"""Cells of Training stretched at a time: percentiles take several times an image's memory."""


class DeepLoc(Networked[DeepLocNetwork]):
    """The paper's supervised baseline.

    Parameters
    ----------
    width : float
        Factor on every number of channels; 1 is the paper's.
    iterations, batch : int
        Steps of the optimiser, and cells in each, two at least.
    learning_rate, decay, decay_every : float, float, int
        Adam's rate is ``learning_rate * decay ** (iteration // decay_every)``.
    check_every : int
        Iterations between validations.
    crops : int
        60x60 crops over which an answer is averaged, 5 (centre and corners, DeepLoc's) or 1.
    seed : int
        Of the weights, the split 80/20, the batches and the augmentation.
    precision : str
        Of training: "auto", "fp32" or "bf16". That of answers is up to `prepare`.
    """

    key = "deeploc"
    version = "2"
    title = "DeepLoc"
    layers = (FC2,)
    layer_titles: ClassVar[dict[str, str]] = {FC2: "FC2"}
    learns = True
    answers = True
    packages = ("numba", "safetensors", "torch")
    file = "deeploc.safetensors"
    beside = (_HELD_OUT,)
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
        width: float = 1.0,
        iterations: int = 10_000,
        batch: int = 128,
        learning_rate: float = 0.1,
        decay: float = 0.96,
        decay_every: int = 25,
        check_every: int = 500,
        crops: int = 5,
        seed: int = 0,
        precision: str = "auto",
    ):
        super().__init__()
        check_positive("DeepLoc", LARGEST_WIDTH, width=width)
        check_positive("DeepLoc", learning_rate=learning_rate)
        check_positive("DeepLoc", 1, decay=decay)
        check_whole(
            "DeepLoc", 1, iterations=iterations, decay_every=decay_every, check_every=check_every
        )
        check_whole("DeepLoc", SMALLEST_BATCH, batch=batch)
        check_whole("DeepLoc", 0, LARGEST_SEED, seed=seed)
        check_precision(precision)
        if not is_whole(crops) or crops not in EVALUATION_OFFSETS:
            raise DataError(f"DeepLoc crops={crops!r} found, expected 1 or 5.")
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
        """Return the settings of network and training."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def feature_names(self, layer: str = FC2) -> tuple[str, ...]:
        """Return FC2 1, FC2 2, ..., or the classes for the probabilities."""
        if layer == PROBABILITIES:
            return CLASSES
        return tuple(f"FC2 {i + 1}" for i in range(scaled(FULLY_CONNECTED, self.width)))

    @property
    def learnt(self) -> dict[str, float]:
        """The iteration that was kept, and its balanced error in % on the held-out cells."""
        return self._facts

    def fit(self, training: CellBatch, workshop: Workshop) -> None:
        """Train on 80 % of Training and keep the iteration that is best on the other 20 %."""
        device = best_device()
        plan = Plan(self.iterations, self.batch, self.check_every, self.seed, self.precision)
        learnt = train(self.lesson(training, device), plan, workshop, device)
        self._use(learnt.tensors, self.title)
        self._facts = {"best_iteration": learnt.best_iteration}
        if learnt.error is not None:
            self._facts[VALIDATION_ERROR] = learnt.error

    def lesson(self, training: CellBatch, device: torch.device) -> Lesson:
        """Return what there is to learn from the cells of Training, 80 % of them."""
        if training.labels is None:
            raise DataError("DeepLoc learns from labels, and these cells have none.")
        taught, held_out = _split(training.labels, self.seed)
        self._beside = {_HELD_OUT: torch.from_numpy(held_out)}
        return _Classification(self, training, taught, held_out, device)

    def held_out(self, n_cells: int) -> np.ndarray:
        """Return which cells of Training chose the iteration and taught nothing else."""
        return np.isin(np.arange(n_cells), self._beside.get(_HELD_OUT, ()))

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        """Stretch each image by its own percentiles; see `stretch`."""
        return stretch(images)

    def compute(
        self, prepared: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute FC2 and the probabilities; see `Representation.compute`."""

        def answer(network: DeepLocNetwork, cells: torch.Tensor) -> Tensors:
            probabilities, fc2 = averaged_answers(network, cells, self.crops)
            return {PROBABILITIES: probabilities, FC2: fc2}

        return self._answers(prepared, answer)

    def _build(self) -> DeepLocNetwork:
        return DeepLocNetwork(self.width)


class _Classification(Lesson):
    """Cross-entropy on augmented crops of the taught cells; balanced error on the held-out ones."""

    network: DeepLocNetwork

    def __init__(
        self,
        settings: DeepLoc,
        cells: CellBatch,
        taught: np.ndarray,
        held_out: np.ndarray,
        device: torch.device,
    ):
        self.settings = settings
        self.network = DeepLocNetwork(settings.width, settings.seed)
        self.n_cells = len(taught)
        # All of Training stays on the device: 1.4 GB for the 41,456 cells of COOS-7.
        self._images = torch.empty(
            (len(taught), IMAGE_SIZE, IMAGE_SIZE, len(CHANNELS)), device=device
        )
        _stretch_into(self._images.permute(0, 3, 1, 2), cells.images, taught)
        self._judged = torch.empty((len(held_out), *CELL_SHAPE), device=device)
        _stretch_into(self._judged, cells.images, held_out)
        labels = np.asarray(cells.labels, np.int64)
        self._labels = torch.from_numpy(labels[taught]).to(device)
        self._truth = labels[held_out]

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
        parts = [
            averaged_answers(self.network, block, self.settings.crops)[0].argmax(dim=1).cpu()
            for block in self._judged.split(_JUDGED_AT_A_TIME)
        ]
        predicted = torch.cat(parts).numpy()
        return float(balanced_error(confusion_matrix(self._truth, predicted)))


def _stretch_into(place: torch.Tensor, images: np.ndarray, rows: np.ndarray) -> None:
    """Put the stretched cells `rows` into a tensor (len(rows), 2, 64, 64), a block at a time."""
    for start in range(0, len(rows), _BLOCK):
        block = stretch(images[rows[start : start + _BLOCK]])
        place[start : start + _BLOCK] = torch.from_numpy(block)


def _split(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that teach and those held out, 80 % and 20 % of each class, sorted."""
    rows = np.arange(len(labels))
    try:
        taught, held = train_test_split(
            rows, test_size=HELD_OUT, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"Training holds {len(labels)} cells of {len(np.unique(labels))} classes, too few to "
            "keep a fifth of each class for validation."
        ) from error
    return np.sort(taught), np.sort(held)


REPRESENTATION = DeepLoc
