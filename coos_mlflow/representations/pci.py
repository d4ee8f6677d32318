"""PCI, paired cell inpainting: features of a network trained on images alone, without labels.

Lu et al. 2019, section 3.1: "a self-supervised method designed for microscopy images", trained
"unsupervised on the Training dataset exclusively"; features "from all layers of the source cell
encoder of this model (max-pooling convolutional layers)". The settings are the published ones of
the method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from coos_mlflow.errors import DataError
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations.base import Range, Seed, ordered_layers
from coos_mlflow.representations.nn.inpainting import Inpainting
from coos_mlflow.representations.nn.networked import Count, NetworkRepresentation, Rate, Width
from coos_mlflow.representations.nn.networks import best_device, scaled
from coos_mlflow.representations.nn.pairs import Pairs
from coos_mlflow.representations.nn.pci_network import (
    CROP_FACTOR,
    SOURCE_CHANNELS,
    Encoder,
    PairedCellInpainting,
    source_encoder,
    unit_range,
)
from coos_mlflow.representations.nn.precision import Precision
from coos_mlflow.representations.nn.training import Plan, TrainingContext, train

REPORTED = ("conv3", "conv4", "conv5")
"""The layers in the paper's Table 3."""


class PCI(NetworkRepresentation[Encoder]):
    """The paper's self-supervised baseline.

    Height and width of the cells must be a multiple of four. The weights do not depend on them.
    It is trained without labels, so no cell of Training is held out. It has seen the images of
    Training's plates, so scores on those plates are slightly too good.

    Parameters
    ----------
    layers : sequence of str
        Layers of the source encoder that are features, "conv1" to "conv5".
    width : float
        Factor on every number of channels; 1 is the paper's network.
    epochs, batch : int
        Passes over the paired cells, and cells in each step of the optimiser. A batch that one
        pass does not fill is filled from the next pass, also after the last one.
    learning_rate : float
        Adam's rate.
    least_cells : int
        Minimum cells of a well; smaller wells are left out. A well imaged on two days, or on two
        microscopes, counts as two.
    seed : int
        Seed of the weights, the batches, the pairs and the flips.
    precision : str
        Precision of training: "auto", "fp32" or "bf16". `prepare` sets that of inference.
    check_every : int
        Iterations between checkpoints, each with a figure; the weights do not depend on it.
    """

    key = "pci"
    version = "2"
    title = "PCI"
    layers: tuple[str, ...] = REPORTED
    layer_titles: ClassVar[dict[str, str]] = {name: name.title() for name in SOURCE_CHANNELS}
    trainable = True
    file = "pci.safetensors"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Two to three minutes on two cores at simulated scale 0.05. There are few steps, so each
        # is larger; least_cells fits the wells of the smallest simulation.
        "quick": {
            "width": 0.125,
            "epochs": 20,
            "batch": 16,
            "learning_rate": 2e-3,
            "least_cells": 6,
            "check_every": 250,
        },
    }

    def __init__(
        self,
        layers: Sequence[str] = REPORTED,
        width: Width = 1.0,
        epochs: Count = 30,
        batch: Count = 64,
        learning_rate: Rate = 1e-4,
        least_cells: Annotated[int, Range(2)] = 30,
        seed: Seed = 0,
        precision: Precision = "auto",
        check_every: Count = 500,
    ):
        super().__init__()
        self.layers = ordered_layers("PCI", layers, SOURCE_CHANNELS)
        self.width = width
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.least_cells = least_cells
        self.seed = seed
        self.precision = precision
        self._check_every = check_every

    def params(self) -> dict[str, Any]:
        """Return the settings of the network and its training, and the layers."""
        return self._settings() | {"layers": list(self.layers)}

    def training_params(self) -> dict[str, Any]:
        """Return the settings without the layers: all five are trained in any case."""
        return {name: value for name, value in self.params().items() if name != "layers"}

    def feature_names(self, layer: str) -> tuple[str, ...]:
        """Return Conv3 1, Conv3 2, ..., one for each channel of a layer."""
        channels = scaled(SOURCE_CHANNELS[layer], self.width)
        return tuple(f"{self.layer_titles[layer]} {i + 1}" for i in range(channels))

    def check_cells(self) -> None:
        """Refuse crops that cannot be halved twice; see `Representation.check_cells`."""
        crop = self.dataset.crop
        if remainder := crop % CROP_FACTOR:
            smaller = crop - remainder
            raise DataError(
                f"PCI halves a crop twice; data set {self.dataset.name} with a crop of {crop} "
                f"pixels found, expected a multiple of {CROP_FACTOR}, such as {smaller} or "
                f"{smaller + CROP_FACTOR}: cut its cells to one of these, or train another "
                "representation."
            )

    @property
    def training_summary(self) -> dict[str, float]:
        """Number of paired cells and of iterations, and the final loss."""
        return self._facts

    def fit(self, training: CellBatch, context: TrainingContext) -> None:
        """Train on the images of Training and keep the source encoder as it is at the end."""
        device = best_device()
        task = self.training_task(training, device)
        iterations = math.ceil(self.epochs * task.n_cells / min(self.batch, task.n_cells))
        plan = Plan(iterations, self.batch, self._check_every, self.seed, self.precision)
        history = train(task, plan, context, device).history
        self._facts = {
            "paired_cells": task.n_cells,
            "iterations": iterations,
            "loss": history[-1]["loss"],
        }
        encoder = task.network.source.state_dict()
        self._use({name: tensor.cpu() for name, tensor in encoder.items()}, "PCI")

    def training_task(self, training: CellBatch, device: torch.device) -> Inpainting:
        """Return the inpainting task on the wells of Training with enough cells."""
        if training.plates is None or training.wells is None:
            raise DataError(
                "PCI pairs cells of one well, and these cells lack plateIDs or wellIDs."
            )
        pairs = Pairs(
            training.plates,
            training.wells,
            self.least_cells,
            training.dates,
            training.microscopes,
        )
        network = PairedCellInpainting(self.width, self.seed)
        return Inpainting(network, training.images, pairs, self.learning_rate, device)

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        """Bring each image to [0, 1]; see `Representation.preprocess`."""
        return unit_range(images)

    def compute(
        self, prepared: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute the largest activation of each channel; see `Representation.compute`."""
        requested = self.requested_layers(layers)
        return self._infer(prepared, lambda encoder, cells: encoder.features(cells, requested))

    def _build(self) -> Encoder:
        return source_encoder(self.width)


REPRESENTATION = PCI
