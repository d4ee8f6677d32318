"""The training task of paired cell inpainting, and the figure that shows its progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import mse_loss

from coos_mlflow.representations.nn.adam import TensorFlowAdam
from coos_mlflow.representations.nn.networks import same_pixels
from coos_mlflow.representations.nn.pairs import Pairs
from coos_mlflow.representations.nn.pci_network import PairedCellInpainting, unit_range
from coos_mlflow.representations.nn.training import TrainingTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BETAS = (0.5, 0.999)
"""Adam's betas: the published first one, and the default second one."""

SHOWN = 6
"""Pairs in the figure."""

_BLOCK = 1024
"""Cells of 64 pixels brought to [0, 1] at once (`same_pixels`), which bounds the memory."""


class Inpainting(TrainingTask):
    """Predict the protein of a target cell from its nucleus and a source cell of the same well.

    The loss is the mean squared error of the predicted protein.

    Parameters
    ----------
    network : PairedCellInpainting
    images : ndarray, shape (n, 2, crop, crop)
        Raw counts of Training.
    pairs : Pairs
        The cells of Training to pair.
    learning_rate : float
    device : torch.device
        Device of the cells and the network.
    """

    network: PairedCellInpainting

    carries_over = True  # as the generator of paired_cell_inpainting does

    def __init__(
        self,
        network: PairedCellInpainting,
        images: np.ndarray,
        pairs: Pairs,
        learning_rate: float,
        device: torch.device,
    ) -> None:
        self.network = network
        self.n_cells = len(pairs)
        self._pairs = pairs
        self._learning_rate = learning_rate
        self._device = device
        # Half precision keeps 11 bits of [0, 1], about as many as the camera's counts have.
        # All of COOS-7 then takes 0.7 GB of the device instead of 1.4.
        shape = (len(pairs), *images.shape[1:])
        self._cells = torch.empty(shape, dtype=torch.float16, device=device)
        size = same_pixels(_BLOCK, shape)
        for start in range(0, len(pairs), size):
            block = unit_range(images[pairs.cells[start : start + size]])
            self._cells[start : start + size] = torch.from_numpy(block)

    def optimiser(self) -> torch.optim.Optimizer:
        """Return TensorFlow's Adam over all weights."""
        return TensorFlowAdam(self.network.parameters(), self._learning_rate, BETAS)

    def loss(self, *drawn: torch.Tensor) -> torch.Tensor:
        """Return the mean squared error of the inpainted protein channel."""
        source, target = drawn
        predicted = self.network(source, target[:, 1:])
        return mse_loss(predicted.float(), target[:, :1])

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return source cells and a partner of each as target, all flipped independently.

        Returns
        -------
        source, target : Tensor of float32, shape (k, 2, crop, crop)
        """
        targets = self._pairs.partners(rows, rng)
        flips = torch.from_numpy(rng.random((4, len(rows))) < 0.5).to(self._device)
        return (
            flipped(self._cells_at(rows), flips[0], flips[1]),
            flipped(self._cells_at(targets), flips[2], flips[3]),
        )

    def figure(self, iteration: int) -> tuple[str, Figure]:
        """Draw the same few unflipped pairs at every check, from wells all over Training."""
        rows = np.unique(np.linspace(0, self.n_cells - 1, SHOWN).astype(np.int64))
        partners = self._pairs.partners(rows, np.random.default_rng(0))
        source, target = self._cells_at(rows), self._cells_at(partners)
        predicted = self.network(source, target[:, 1:]).float()
        shown = torch.cat([source, target[:, 1:], predicted, target[:, :1]], dim=1)
        title = f"Paired cell inpainting after {iteration:,} iterations"
        return f"inpainting/{iteration:06d}.png", _picture(shown.cpu().numpy(), title)

    def _cells_at(self, rows: np.ndarray) -> torch.Tensor:
        return self._cells[torch.from_numpy(rows).to(self._device)].float()


def flipped(images: torch.Tensor, left_right: torch.Tensor, up_down: torch.Tensor) -> torch.Tensor:
    """Return images (n, c, height, width), flipped where the masks (n,) are True."""
    images = torch.where(left_right[:, None, None, None], images.flip(3), images)
    return torch.where(up_down[:, None, None, None], images.flip(2), images)


GAMMA = 0.6
"""Gamma of the figure: predictions are much dimmer than the truth and invisible at 1."""

ROWS = ("source protein", "source nucleus", "target nucleus", "predicted protein", "true protein")


def _picture(shown: np.ndarray, title: str) -> Figure:
    """Draw pairs side by side; `shown` is (pairs, rows, height, width), all on one scale."""
    # Imported here: inference needs no matplotlib.
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    n_pairs, n_rows = shown.shape[:2]
    figure = Figure(figsize=(1.4 * n_pairs + 1.6, 1.4 * n_rows + 0.6), layout="constrained")
    axes = figure.subplots(n_rows, n_pairs, squeeze=False)
    for row, name in enumerate(ROWS):
        for pair in range(n_pairs):
            ax = axes[row, pair]
            ax.imshow(shown[pair, row], cmap="gray", norm=PowerNorm(GAMMA, 0, 1))
            ax.set_xticks([])
            ax.set_yticks([])
        axes[row, 0].set_ylabel(name.replace(" ", "\n"), rotation=0, ha="right", va="center")
    figure.suptitle(f"{title}; all on one scale, gamma {GAMMA}")
    return figure
