"""ResNet: a small residual network, trained to answer alike whatever the microscope.

It sees each cell as other microscopes would show it (`nn/microscope.py`). It is not one of the
paper's models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations.base import PROBABILITIES, Range, Seed
from coos_mlflow.representations.nn.classification import (
    MICROSCOPE,
    Augmentation,
    Classification,
    Division,
    Objective,
    Unit,
)
from coos_mlflow.representations.nn.networked import Count, Rate, Width
from coos_mlflow.representations.nn.networks import Tensors
from coos_mlflow.representations.nn.precision import Precision
from coos_mlflow.representations.nn.resnet_network import POOL, ResNet, pooled_names
from coos_mlflow.representations.nn.supervised import SupervisedRepresentation
from coos_mlflow.representations.nn.training import warmed_cosine


class ResNetCells(SupervisedRepresentation[ResNet]):
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
    file = "resnet.safetensors"
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
        return pooled_names(self.width)

    def compute(
        self, prepared: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute the pooled features and the probabilities; see `Representation.compute`."""

        def outputs(network: ResNet, cells: torch.Tensor) -> Tensors:
            logits, pooled = network(cells)
            return {PROBABILITIES: logits.softmax(dim=1), POOL: pooled}

        return self._infer(prepared, outputs)

    def task_of(
        self, training: CellBatch, division: Division, device: torch.device
    ) -> Classification:
        """Return the task of classifying the cells that are not held out."""
        return _Classification(self, training, division, device)

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
        settings = self.settings
        return settings.learning_rate * warmed_cosine(iteration, settings.iterations)

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images)[0].softmax(dim=1)


REPRESENTATION = ResNetCells
