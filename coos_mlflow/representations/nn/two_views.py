"""The training task of VICReg: two views of each cell, and the loss that makes them agree.

Bardes, Ponce and LeCun 2022 (ICLR, arXiv:2105.04906), named "the paper" here.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss, relu

from coos_mlflow.representations.nn.deeploc_network import stretch_into
from coos_mlflow.representations.nn.microscope import microscope
from coos_mlflow.representations.nn.networks import autocast, same_pixels
from coos_mlflow.representations.nn.resnet_network import Encoder
from coos_mlflow.representations.nn.training import TrainingTask, warmed_cosine

INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
"""Weights of the three terms of the loss (the paper, section 4.2)."""

LEAST_DEVIATION = 1.0
"""The variance term is 0 where a dimension scatters this much (the paper, section 4.1)."""

EPSILON = 1e-4
"""Added to variances under the root (the paper, section 4.2)."""

EXPANSION = 4
"""Width of the expander by that of the features: 8,192 by 2,048 in the paper."""

DEVIATIONS = ("embedding_deviation", "least_embedding_deviation")
"""Names of the curves of `Agreement.measured`."""

_MEASURED = 512
"""Cells on which the scatter of the embedding is measured."""

_AT_ONCE = 64
"""Cells of 64 pixels embedded at once (`same_pixels`) where no gradient is needed."""


class TwoViews(nn.Module):
    """An encoder and the expander behind it, which is used in training alone.

    Parameters
    ----------
    width, blocks : float, int
        See `Encoder`.
    seed : int
        Seed of the initial weights.
    """

    def __init__(self, width: float = 1.0, blocks: int = 2, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.encoder = Encoder(width, blocks, generator)
        features = self.encoder.n_features
        wide = EXPANSION * features
        self.expander = nn.Sequential(
            *_normalised(features, wide, generator),
            *_normalised(wide, wide, generator),
            _linear(wide, wide, generator),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embedding (n, 2048 x width) of images, float32.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 2, height, width)
        """
        embedding: torch.Tensor = self.expander(self.encoder.pooled(images))
        return embedding.float()


def _normalised(inputs: int, outputs: int, generator: torch.Generator) -> list[nn.Module]:
    layers = [nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]
    return [_linear(inputs, outputs, generator), *layers]


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a layer without bias, which a normalisation or the loss would take away again."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, 0, inputs**-0.5, generator=generator)
    return layer


def vicreg_loss(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the loss of the embeddings of two views (the paper, algorithm 1).

    The mean square of the difference; the mean of what the standard deviation of a dimension lacks
    to `LEAST_DEVIATION`; the sum of the squares of the covariances of two dimensions, by the number
    of dimensions. The last two are summed over both views. The authors' code halves the second.

    Parameters
    ----------
    one, other : Tensor of float32, shape (n, d)

    Returns
    -------
    Tensor of float32
        A scalar.
    """
    scatter = _lacking(one) + _lacking(other)
    together = _covariances(one) + _covariances(other)
    return INVARIANCE * mse_loss(one, other) + VARIANCE * scatter + COVARIANCE * together


def _lacking(embedding: torch.Tensor) -> torch.Tensor:
    deviations = (embedding.var(dim=0) + EPSILON).sqrt()
    return relu(LEAST_DEVIATION - deviations).mean()


def _covariances(embedding: torch.Tensor) -> torch.Tensor:
    n, d = embedding.shape
    centred = embedding - embedding.mean(dim=0)
    squares = (centred.T @ centred / (n - 1)).square()
    return (squares.sum() - squares.diagonal().sum()) / d


class Agreement(TrainingTask):
    """Embed each cell alike as two microscopes would show it (`microscope`).

    Each view is normalised by its own batch, as in the authors' code. All of Training stays on the
    device: 1.4 GB for the 41,456 cells of COOS-7.

    Parameters
    ----------
    network : TwoViews
    images : ndarray, shape (n, 2, crop, crop)
        Raw counts of Training.
    iterations : int
        Steps of the optimiser, over which the rate falls to 0.
    learning_rate, weight_decay : float
        Of AdamW.
    device : torch.device
        Device of the cells and the network.
    pixel_size : float, optional
        Micrometres of a pixel, for `microscope`.
    """

    network: TwoViews

    def __init__(
        self,
        network: TwoViews,
        images: np.ndarray,
        iterations: int,
        learning_rate: float,
        weight_decay: float,
        device: torch.device,
        pixel_size: float | None = None,
    ) -> None:
        self.network = network
        self.n_cells = len(images)
        self._iterations = iterations
        self._learning_rate, self._weight_decay = learning_rate, weight_decay
        self._pixel_size = pixel_size
        self._cells = torch.empty(images.shape, device=device)
        stretch_into(self._cells, images, np.arange(len(images)))

    def optimiser(self) -> torch.optim.Optimizer:
        """Return AdamW over all weights."""
        return torch.optim.AdamW(
            self.network.parameters(), self._learning_rate, weight_decay=self._weight_decay
        )

    def learning_rate(self, iteration: int) -> float:
        """Return a rate that rises first, then falls to 0; see `warmed_cosine`."""
        return self._learning_rate * warmed_cosine(iteration, self._iterations)

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two views of each cell.

        Returns
        -------
        one, other : Tensor of float32, shape (k, 2, crop, crop)
        """
        cells = self._cells[torch.from_numpy(rows).to(self._cells.device)]
        return microscope(cells, rng, self._pixel_size), microscope(cells, rng, self._pixel_size)

    def loss(self, *drawn: torch.Tensor) -> torch.Tensor:
        """Return the loss of the embeddings of both views; see `vicreg_loss`."""
        one, other = (self.network(view) for view in drawn)
        with autocast(one.device, bf16=False):
            return vicreg_loss(one, other)

    def measured(self) -> dict[str, float]:
        """Return the mean and the least standard deviation of the dimensions of the embedding.

        Both are of unchanged cells from all over Training. They are near 0 where all cells have
        the same embedding, and 1 is what the loss asks for.
        """
        rows = np.unique(np.linspace(0, self.n_cells - 1, _MEASURED).astype(np.int64))
        cells = self._cells[torch.from_numpy(rows).to(self._cells.device)]
        parts = cells.split(same_pixels(_AT_ONCE, cells.shape))
        deviations = torch.cat([self.network(part) for part in parts]).std(dim=0)
        values = (float(deviations.mean()), float(deviations.min()))
        return dict(zip(DEVIATIONS, values, strict=True))
