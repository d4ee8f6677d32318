"""PCI, paired cell inpainting: features learnt from images alone, without labels.

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
from coos_mlflow.representations.base import Range, Seed, in_order
from coos_mlflow.representations.nn.inpainting import Inpainting
from coos_mlflow.representations.nn.networked import Count, Networked, Rate, Width
from coos_mlflow.representations.nn.networks import best_device, scaled
from coos_mlflow.representations.nn.pairs import Pairs
from coos_mlflow.representations.nn.pci_network import (
    SOURCE_CHANNELS,
    Encoder,
    PairedCellInpainting,
    source_encoder,
    unit_range,
)
from coos_mlflow.representations.nn.precision import Precision
from coos_mlflow.representations.nn.training import Plan, Workshop, train

REPORTED = ("conv3", "conv4", "conv5")
"""Layers in the paper's Table 3."""


class PCI(Networked[Encoder]):
    """The paper's self-supervised baseline.

    It never sees a label, so no cell of Training is held out; but it has seen the images of
    Training's plates, which a score on those plates flatters a little.

    Parameters
    ----------
    layers : sequence of str
        Those of the source encoder that are features, "conv1" to "conv5".
    width : float
        Factor on every number of channels; 1 is the paper's.
    epochs, batch : int
        Passes over the cells that take part, and cells in each step of the optimiser. A step takes
        what is left of one pass and the rest from the next; the last one is filled likewise.
    learning_rate : float
        Of Adam.
    least_cells : int
        Cells that a well needs to take part; a well that was imaged on two days, or on two
        microscopes, counts as two.
    seed : int
        Of the weights, the batches, the pairs and the flips.
    precision : str
        Of training: "auto", "fp32" or "bf16". That of features is up to `prepare`.
    check_every : int
        Iterations between checkpoints, each with a picture; what is learnt does not depend on it.
    """

    key = "pci"
    version = "2"
    title = "PCI"
    layers: tuple[str, ...] = REPORTED
    layer_titles: ClassVar[dict[str, str]] = {name: name.title() for name in SOURCE_CHANNELS}
    learns = True
    file = "pci.safetensors"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        # Two to three minutes on two cores at simulated scale 0.05: small steps are few there, so
        # they are larger, and the wells are those of the smallest simulation.
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
        self.layers = in_order("PCI", layers, SOURCE_CHANNELS)
        self.width = width
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.least_cells = least_cells
        self.seed = seed
        self.precision = precision
        self._check_every = check_every

    def params(self) -> dict[str, Any]:
        """Return the settings of network and training, and the layers."""
        settings = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return settings | {"layers": list(self.layers)}

    def lesson_params(self) -> dict[str, Any]:
        """Return the settings without the layers: all five are learnt, whichever are asked for."""
        return {name: value for name, value in self.params().items() if name != "layers"}

    def feature_names(self, layer: str) -> tuple[str, ...]:
        """Return Conv3 1, Conv3 2, ...: a layer's channels."""
        channels = scaled(SOURCE_CHANNELS[layer], self.width)
        return tuple(f"{self.layer_titles[layer]} {i + 1}" for i in range(channels))

    @property
    def learnt(self) -> dict[str, float]:
        """How many cells took part, for how many iterations, and the loss at the end."""
        return self._facts

    def fit(self, training: CellBatch, workshop: Workshop) -> None:
        """Train on the images of Training and keep the source encoder as it is at the end."""
        device = best_device()
        lesson = self.lesson(training, device)
        iterations = math.ceil(self.epochs * lesson.n_cells / min(self.batch, lesson.n_cells))
        plan = Plan(iterations, self.batch, self._check_every, self.seed, self.precision)
        history = train(lesson, plan, workshop, device).history
        self._facts = {
            "paired_cells": lesson.n_cells,
            "iterations": iterations,
            "loss": history[-1]["loss"],
        }
        encoder = lesson.network.source.state_dict()
        self._use({name: tensor.cpu() for name, tensor in encoder.items()}, "PCI")

    def lesson(self, training: CellBatch, device: torch.device) -> Inpainting:
        """Return what there is to learn from the cells of Training, in wells that are full."""
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
        """Compute the largest activations of some layers; see `Representation.compute`."""
        asked = self.asked_for(layers)
        return self._answers(prepared, lambda encoder, cells: encoder.features(cells, asked))

    def _build(self) -> Encoder:
        return source_encoder(self.width)


REPRESENTATION = PCI
