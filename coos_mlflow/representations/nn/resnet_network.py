"""A small residual network for cells (He et al. 2016, arXiv:1512.03385)."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import relu

from coos_mlflow.plates.dataset import CHANNELS
from coos_mlflow.representations.nn.networks import scaled

POOL = "pool"
"""Name of the layer of pooled features."""

STAGES = (64, 128, 256)
"""Channels of the stages, the first three of He et al. 2016. Each stage but the first halves the
image; the stem halves it before."""

STEM = 32
"""Channels of the first convolution, of 3x3 on all pixels; 7x7 on every other one in He et al. for
images of 224 pixels (chosen)."""

LOGIT_DEVIATION = 0.01
"""Standard deviation of the last layer's initial weights (chosen)."""


def pooled_names(width: float) -> tuple[str, ...]:
    """Return the names of the pooled features: Mean 1, ..., Maximum 1, ..."""
    channels = range(1, scaled(STAGES[-1], width) + 1)
    return tuple(f"{name} {i}" for name in ("Mean", "Maximum") for i in channels)


class Encoder(nn.Module):
    """A stem, three stages of residual blocks, mean and maximum over the image.

    It takes images of any size. The maximum sees a single bright dot, which a mean does not.

    Parameters
    ----------
    width : float
        Factor on every number of channels.
    blocks : int
        Residual blocks of two convolutions in each stage.
    generator : torch.Generator
        Of the initial weights.
    """

    def __init__(self, width: float, blocks: int, generator: torch.Generator) -> None:
        super().__init__()
        before = scaled(STEM, width)
        self.stem = nn.Sequential(
            *_normalised(len(CHANNELS), before, 3, 1), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        )
        stages: list[nn.Module] = []
        for stage, outputs in enumerate(scaled(channels, width) for channels in STAGES):
            for block in range(blocks):
                stages.append(Residual(before, outputs, 2 if stage and not block else 1))
                before = outputs
        self.stages = nn.Sequential(*stages)
        self.n_features = 2 * before
        self._initialise(generator)

    def pooled(self, images: torch.Tensor) -> torch.Tensor:
        """Return the pooled features (n, 512 x width) of images.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 2, height, width)
        """
        images = images.contiguous(memory_format=torch.channels_last)
        maps = self.stages(self.stem(images)).float()
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)

    def _initialise(self, generator: torch.Generator) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # He et al. 2015, arXiv:1502.01852: the variance 2 / (inputs of an output).
                inputs = module.weight[0].numel()
                nn.init.normal_(module.weight, 0, math.sqrt(2 / inputs), generator=generator)
            elif isinstance(module, Residual):
                # Blocks begin as their shortcuts (Goyal et al. 2017, arXiv:1706.02677).
                nn.init.zeros_(module.branch[-1].weight)  # type: ignore[arg-type]


class ResNet(Encoder):
    """The encoder and one linear layer.

    With two blocks in a stage it has 14 layers and 2.8 million parameters at width 1.

    Parameters
    ----------
    n_classes : int
    width, blocks : float, int
        See `Encoder`.
    seed : int
        Seed of the initial weights.
    """

    def __init__(self, n_classes: int, width: float = 1.0, blocks: int = 2, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        super().__init__(width, blocks, generator)
        self.logits = nn.Linear(self.n_features, n_classes)
        nn.init.normal_(self.logits.weight, 0, LOGIT_DEVIATION, generator=generator)
        nn.init.zeros_(self.logits.bias)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits (n, classes) and the pooled features (n, 512 x width) of images.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 2, height, width)
        """
        features = self.pooled(images)
        return self.logits(features), features


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_normalised(inputs, outputs, 3, stride),
            nn.ReLU(inplace=True),
            *_normalised(outputs, outputs, 3, 1),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Sequential(*([] if same else _normalised(inputs, outputs, 1, stride)))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the activations (n, outputs, height / stride, width / stride)."""
        return relu(self.branch(maps) + self.shortcut(maps), inplace=True)


def _normalised(inputs: int, outputs: int, side: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]
