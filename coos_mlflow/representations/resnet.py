"""ResNet: a small residual network, trained to answer alike whatever the microscope.

It sees each cell as other microscopes would show it (`nn/microscope.py`). It is not one of the
paper's models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations.base import PROBABILITIES, VALIDATION_ERROR, Range, Seed
from coos_mlflow.representations.nn.classification import (
    MICROSCOPE,
    Augmentation,
    Classification,
    Division,
    Objective,
    Unit,
    divided,
)
from coos_mlflow.representations.nn.deeploc_network import stretch
from coos_mlflow.representations.nn.networked import Count, NetworkRepresentation, Rate, Width
from coos_mlflow.representations.nn.networks import Tensors, best_device, scaled
from coos_mlflow.representations.nn.precision import Precision
from coos_mlflow.representations.nn.resnet_network import STAGES, ResNet
from coos_mlflow.representations.nn.training import Plan, TrainingContext, train

POOL = "pool"

WARM_UP = 0.05
"""Share of the iterations in which the rate rises to its full value (chosen)."""

_HELD_OUT = "held_out"
"""Name of the tensor of held-out rows in the file of weights."""


class ResNetCells(NetworkRepresentation[ResNet]):
    """A residual network with the augmentation of microscopes.

    Cells of Training without a label take no part in its training. They count as held out.

    Parameters
    ----------
    width : float
        Factor on every number of channels.
    blocks : int
        Residual blocks in each of three stages: 8 layers with one, 14 with two.
    iterations, batch : int
        Steps of the optimiser, and cells in each step, at least two.
    learning_rate : float
        Greatest rate of AdamW (Loshchilov & Hutter 2019). It rises first, then falls to 0 as a
        cosine.
    weight_decay : float
    check_every : int
        Iterations between validations.
    augment : {"microscope", "crops"}
        `coos_mlflow.representations.nn.microscope`, or DeepLoc's random crops.
    hold_out : {"cells", "plates"}
        What chooses the iteration: a fifth of the cells of each class, or whole plates. Cells are
        held out where too few plates have each class; a warning says so. The reference of a
        registered version holds what is held out. Of whole plates these can be too few to judge new
        plates by.
    batches : {"cells", "plates"}
        Whether cells, or pairs of plate and class, have the same weight in a batch.
    objective : {"average", "groupdro"}
        The mean loss, or GroupDRO over pairs of plate and class (Sagawa et al. 2020).
    seed : int
        Seed of the weights, the held-out part, the batches and the augmentation.
    precision : str
        Precision of training: "auto", "fp32" or "bf16". `prepare` sets that of inference.
    """

    key = "resnet"
    version = "1"
    title: str = "ResNet"
    layers = (POOL,)
    layer_titles: ClassVar[dict[str, str]] = {POOL: "Pool"}
    instead_of = "deeploc"
    trainable = True
    classifies = True
    packages = ("numba", "safetensors", "torch")
    file = "resnet.safetensors"
    extra_tensors = (_HELD_OUT,)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "quick": {"width": 0.5, "blocks": 1, "iterations": 800, "check_every": 100},
    }

    def __init__(
        self,
        width: Width = 1.0,
        blocks: Annotated[int, Range(1, 100)] = 2,
        iterations: Count = 10_000,
        batch: Annotated[int, Range(2)] = 128,
        learning_rate: Rate = 3e-3,
        weight_decay: Annotated[float, Range(0, 1)] = 0.05,
        check_every: Count = 500,
        augment: Augmentation = "microscope",
        hold_out: Unit = "cells",
        batches: Unit = "cells",
        objective: Objective = "average",
        seed: Seed = 0,
        precision: Precision = "auto",
    ):
        super().__init__()
        self.width = width
        self.blocks = blocks
        self.iterations = iterations
        self.batch = batch
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.check_every = check_every
        self.augment = augment
        self.hold_out = hold_out
        self.batches = batches
        self.objective = objective
        self.seed = seed
        self.precision = precision
        if augment != MICROSCOPE:
            self.title = f"ResNet, {augment}"

    @property
    def name(self) -> str:
        """The key, with "-crops" for that augmentation, which is a control."""
        return self.key if self.augment == MICROSCOPE else f"{self.key}-{self.augment}"

    def params(self) -> dict[str, Any]:
        """Return the settings of the network and its training."""
        return self._settings()

    def feature_names(self, layer: str = POOL) -> tuple[str, ...]:
        """Return Mean 1, ..., Maximum 1, ...; for the probabilities the names of the classes."""
        if layer == PROBABILITIES:
            return self.dataset.class_names
        channels = range(1, scaled(STAGES[-1], self.width) + 1)
        return tuple(f"{name} {i}" for name in ("Mean", "Maximum") for i in channels)

    @property
    def training_summary(self) -> dict[str, float]:
        """The best iteration, its balanced error in % on what is held out, and held-out plates."""
        return self._facts

    def fit(self, training: CellBatch, context: TrainingContext) -> None:
        """Train on the cells that are not held out and keep the iteration best on the others."""
        device = best_device()
        plan = Plan(self.iterations, self.batch, self.check_every, self.seed, self.precision)
        division = divided(self.title, training, self.hold_out, self.seed)
        result = train(self.task_of(training, division, device), plan, context, device)
        self._use(result.tensors, self.title)
        self._facts = {
            "best_iteration": result.best_iteration,
            "held_out_plates": division.plates,
            VALIDATION_ERROR: result.error,
        }

    def task_of(
        self, training: CellBatch, division: Division, device: torch.device
    ) -> Classification:
        """Return the task of classifying the cells that are not held out."""
        others = np.setdiff1d(np.arange(len(training)), division.fitted)
        self._extra_tensors = {_HELD_OUT: torch.from_numpy(others)}
        return _Classification(self, training, division, device)

    def held_out(self, n_cells: int) -> np.ndarray:
        """Return the cells of Training that no weight was fitted to, as a mask (n_cells,).

        They are the labelled cells that chose the best iteration, and all cells without a label.
        """
        return np.isin(np.arange(n_cells), self._extra_tensors.get(_HELD_OUT, ()))

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        """Stretch each image by its own percentiles, whatever gain and offset; see `stretch`."""
        return stretch(images)

    def compute(
        self, prepared: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute the pooled features and the probabilities; see `Representation.compute`."""

        def outputs(network: ResNet, cells: torch.Tensor) -> Tensors:
            logits, pooled = network(cells.contiguous(memory_format=torch.channels_last))
            return {PROBABILITIES: logits.softmax(dim=1), POOL: pooled}

        return self._infer(prepared, outputs)

    def _build(self) -> ResNet:
        return ResNet(self.dataset.n_classes, self.width, self.blocks, self.seed)


class _Classification(Classification):
    """ResNet's optimiser and rate, and its answer of one look."""

    network: ResNet

    def __init__(
        self, settings: ResNetCells, training: CellBatch, division: Division, device: torch.device
    ):
        self.settings = settings
        super().__init__(
            settings._build(),
            training,
            division,
            settings.dataset.n_classes,
            device,
            augment=settings.augment,
            pixel_size=settings.dataset.pixel_size,
            batches=settings.batches,
            objective=settings.objective,
        )

    def optimiser(self) -> torch.optim.Optimizer:
        settings = self.settings
        return torch.optim.AdamW(
            self.network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )

    def learning_rate(self, iteration: int) -> float:
        done = iteration / self.settings.iterations
        rising = (iteration + 1) / (WARM_UP * self.settings.iterations)
        falling = (1 + math.cos(math.pi * done)) / 2
        return self.settings.learning_rate * min(rising, falling)

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images.contiguous(memory_format=torch.channels_last))[0].softmax(dim=1)


REPRESENTATION = ResNetCells
