"""VICReg: the residual network of ResNet, trained without labels.

It learns to see the same cell in what two microscopes would show of it (Bardes, Ponce and LeCun
2022, ICLR, arXiv:2105.04906). It is not one of the paper's models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations.base import Range, Seed
from coos_mlflow.representations.nn.deeploc_network import stretch
from coos_mlflow.representations.nn.networked import Count, NetworkRepresentation, Rate, Width
from coos_mlflow.representations.nn.networks import best_device
from coos_mlflow.representations.nn.precision import Precision
from coos_mlflow.representations.nn.resnet_network import POOL, Encoder, pooled_names
from coos_mlflow.representations.nn.training import Plan, TrainingContext, train
from coos_mlflow.representations.nn.two_views import DEVIATIONS, Agreement, TwoViews


class VICReg(NetworkRepresentation[Encoder]):
    """A residual network that learns what two microscopes show alike of a cell.

    It is trained without labels, so no cell of Training is held out. It has seen the images of
    Training's plates, so scores on those plates are slightly too good.

    Parameters
    ----------
    width : float
        Factor on every number of channels.
    blocks : int
        Residual blocks in each of three stages: 7 layers with one, 13 with two.
    iterations, batch : int
        Steps of the optimiser, and cells in each step, at least two.
    learning_rate : float
        Greatest rate of AdamW (Loshchilov & Hutter 2019). It rises first, then falls to 0 as a
        cosine.
    weight_decay : float
    seed : int
        Seed of the weights, the batches and the views.
    precision : str
        Precision of training: "auto", "fp32" or "bf16". `prepare` sets that of inference.
    check_every : int
        Iterations between checkpoints; the weights do not depend on it.
    """

    key = "vicreg"
    version = "1"
    title = "VICReg"
    layers = (POOL,)
    instead_of = "pci"
    trainable = True
    packages = ("numba", "safetensors", "torch")
    file = "vicreg.safetensors"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "quick": {"width": 0.5, "blocks": 1, "iterations": 300, "check_every": 100},
    }

    def __init__(
        self,
        width: Width = 1.0,
        blocks: Annotated[int, Range(1, 100)] = 2,
        iterations: Count = 10_000,
        batch: Annotated[int, Range(2)] = 128,
        learning_rate: Rate = 3e-3,
        weight_decay: Annotated[float, Range(0, 1)] = 0.05,
        seed: Seed = 0,
        precision: Precision = "auto",
        check_every: Count = 500,
    ):
        super().__init__()
        self.width = width
        self.blocks = blocks
        self.iterations = iterations
        self.batch = batch
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.seed = seed
        self.precision = precision
        self._check_every = check_every

    def params(self) -> dict[str, Any]:
        """Return the settings of the network and its training."""
        return self._settings()

    def feature_names(self, layer: str = POOL) -> tuple[str, ...]:
        """Return Mean 1, ..., Maximum 1, ..."""
        return pooled_names(self.width)

    @property
    def training_summary(self) -> dict[str, float]:
        """The final loss, and how the dimensions of the embedding scatter at the end."""
        return self._facts

    def fit(self, training: CellBatch, context: TrainingContext) -> None:
        """Train on the images of Training and keep the encoder as it is at the end."""
        device = best_device()
        plan = Plan(self.iterations, self.batch, self._check_every, self.seed, self.precision)
        task = self.training_task(training, device)
        history = train(task, plan, context, device).history
        latest = {name: value for point in history for name, value in point.items()}
        self._facts = {name: latest[name] for name in ("loss", *DEVIATIONS)}
        encoder = task.network.encoder.state_dict()
        self._use({name: tensor.cpu() for name, tensor in encoder.items()}, self.title)

    def training_task(self, training: CellBatch, device: torch.device) -> Agreement:
        """Return the task of embedding two views of each cell of Training alike."""
        return Agreement(
            TwoViews(self.width, self.blocks, self.seed),
            training.images,
            self.iterations,
            self.learning_rate,
            self.weight_decay,
            device,
            self.dataset.pixel_size,
        )

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        """Stretch each image by its own percentiles, whatever gain and offset; see `stretch`."""
        return stretch(images)

    def compute(
        self, prepared: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute the pooled features; see `Representation.compute`."""
        return self._infer(prepared, lambda encoder, cells: {POOL: encoder.pooled(cells)})

    def _build(self) -> Encoder:
        return Encoder(self.width, self.blocks, torch.Generator().manual_seed(self.seed))


REPRESENTATION = VICReg
