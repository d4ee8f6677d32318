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

from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations.base import PROBABILITIES, Range, Seed
from coos_mlflow.representations.nn.adam import TensorFlowAdam
from coos_mlflow.representations.nn.classification import (
    CROPS,
    MICROSCOPE,
    Augmentation,
    Classification,
    Division,
    Unit,
)
from coos_mlflow.representations.nn.deeploc_network import (
    FULLY_CONNECTED,
    DeepLocNetwork,
    averaged_outputs,
    evaluation_crops,
)
from coos_mlflow.representations.nn.networked import Count, Rate, Width
from coos_mlflow.representations.nn.networks import Tensors, scaled
from coos_mlflow.representations.nn.precision import Precision
from coos_mlflow.representations.nn.supervised import SupervisedRepresentation

FC2 = "fc2"

MIN_BATCH = 2
"""Batch normalisation needs a variance, which one cell does not have."""


class DeepLoc(SupervisedRepresentation[DeepLocNetwork]):
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
    augment : {"crops", "microscope"}
        DeepLoc's random crops, or `coos_mlflow.representations.nn.microscope`.
    hold_out : {"cells", "plates"}
        What chooses the iteration: a fifth of the cells of each class, or whole plates.
    """

    key = "deeploc"
    version = "2"
    title: str = "DeepLoc"
    layers = (FC2,)
    layer_titles: ClassVar[dict[str, str]] = {FC2: "FC2"}
    file = "deeploc.safetensors"
    variants = ({"augment": MICROSCOPE, "hold_out": "plates"},)
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
        augment: Augmentation = "crops",
        hold_out: Unit = "cells",
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
        self.augment = augment
        self.hold_out = hold_out
        if augment != CROPS:
            self.title = f"DeepLoc, {augment}"

    @property
    def name(self) -> str:
        """The key, with "-microscope" for that augmentation, which is not the paper's DeepLoc."""
        return self.key if self.augment == CROPS else f"{self.key}-{self.augment}"

    def params(self) -> dict[str, Any]:
        """Return the settings of the network and its training."""
        return self._settings()

    def feature_names(self, layer: str = FC2) -> tuple[str, ...]:
        """Return FC2 1, FC2 2, ...; for the probabilities the names of the classes."""
        if layer == PROBABILITIES:
            return self.dataset.class_names
        return tuple(f"FC2 {i + 1}" for i in range(scaled(FULLY_CONNECTED, self.width)))

    def compute(
        self, prepared: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute FC2 and the probabilities; see `Representation.compute`."""

        def outputs(network: DeepLocNetwork, cells: torch.Tensor) -> Tensors:
            probabilities, fc2 = averaged_outputs(network, cells, self.crops)
            return {PROBABILITIES: probabilities, FC2: fc2}

        return self._infer(prepared, outputs)

    def task_of(
        self, training: CellBatch, division: Division, device: torch.device
    ) -> Classification:
        """Return the task of classifying the cells that are not held out."""
        return _Classification(self, training, division, device)

    def _build(self) -> DeepLocNetwork:
        crop, n_classes = self.dataset.crop, self.dataset.n_classes
        return DeepLocNetwork(crop, n_classes, self.width, self.seed)


class _Classification(Classification):
    """DeepLoc's optimiser, and its answer over several crops."""

    network: DeepLocNetwork

    def __init__(
        self, settings: DeepLoc, training: CellBatch, division: Division, device: torch.device
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
        )

    def optimiser(self) -> torch.optim.Optimizer:
        return TensorFlowAdam(self.network.parameters(), self.settings.learning_rate)

    def learning_rate(self, iteration: int) -> float:
        steps = iteration // self.settings.decay_every
        return self.settings.learning_rate * self.settings.decay**steps

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        return averaged_outputs(self.network, images, self.settings.crops)[0]

    def cropped(self, images: torch.Tensor) -> torch.Tensor:
        return evaluation_crops(images, 1)[0]


REPRESENTATION = DeepLoc
