"""The three parts of the paired cell inpainting network: two encoders and a decoder.

Architecture after Lu et al. 2019, "Learning unsupervised feature representations for single cell
microscopy images with paired cell inpainting"; where it names no value, Keras' default.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from coos_mlflow.representations.nn.inference import RectifiedConvolution
from coos_mlflow.representations.nn.networks import Tensors, scaled

SOURCE_CHANNELS = {"conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256}
"""Convolutions of the source encoder at width 1."""

TARGET_CHANNELS = {"conv1": 16, "conv2": 32, "conv3": 32}
"""Convolutions of the target marker encoder at width 1."""

DECODER_CHANNELS = (256, 384, 384, 256, 96)
"""3x3 convolutions of the decoder at width 1; a 1x1 convolution to one channel follows."""

POOLED = ("conv1", "conv2")
"""Layers of either encoder that are followed by 2x2 max-pooling, such as 64 -> 32 -> 16 pixels."""

UPSAMPLED = (3, 4)
"""Indices of the decoder's convolutions after 2x2 upsampling, such as 16 -> 32 -> 64 pixels."""

CROP_FACTOR = 2 ** len(POOLED)
"""Height and width of the cells are multiples of this, so that the decoder reaches them again."""

NORM_EPSILON, NORM_MOMENTUM = 1e-3, 0.01
"""Batch normalisation: Keras' defaults. Its decay of 0.99 is torch's momentum of 0.01."""


class Encoder(nn.Module):
    """3x3 convolutions, each followed by ReLU and then batch normalisation.

    Parameters
    ----------
    channels_in : int
    channels : dict of str to int
        Output channels of each convolution, by layer.
    """

    def __init__(self, channels_in: int, channels: dict[str, int]) -> None:
        super().__init__()
        self.convolutions, self.norms = nn.ModuleDict(), nn.ModuleDict()
        for name, channels_out in channels.items():
            self.convolutions[name] = RectifiedConvolution(channels_in, channels_out, 3, padding=1)
            self.norms[name] = nn.BatchNorm2d(channels_out, NORM_EPSILON, NORM_MOMENTUM)
            channels_in = channels_out

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the last layer, normalised, at a quarter of the images' height and width."""
        x = images
        for name in self.convolutions:
            x = self._normalise_and_pool(name, self.convolutions[name](x))
        return x

    def features(self, images: torch.Tensor, layers: Collection[str]) -> Tensors:
        """Return the largest activation of each channel, after ReLU and before normalisation.

        Parameters
        ----------
        images : Tensor, shape (n, channels_in, height, width)
        layers : collection of str
            Layers to return; deeper layers are not computed.

        Returns
        -------
        dict of str to Tensor, shape (n, channels of the layer)
        """
        features: Tensors = {}
        x = images
        for name in self.convolutions:
            activations = self.convolutions[name](x)
            if name in layers:
                features[name] = activations.amax(dim=(2, 3))
            if len(features) == len(set(layers)):
                break
            x = self._normalise_and_pool(name, activations)
        return features

    def _normalise_and_pool(self, name: str, activations: torch.Tensor) -> torch.Tensor:
        normalised = self.norms[name](activations)
        return functional.max_pool2d(normalised, 2) if name in POOLED else normalised


class PairedCellInpainting(nn.Module):
    """Predicts the protein of a target cell from its nucleus and from another cell.

    At width 1 it has 7,320,609 trainable parameters. Keras' count includes the running means and
    variances: 7,323,521 numbers.

    Parameters
    ----------
    width : float
        Factor on every number of channels; 1 is the published network.
    seed : int
        Seed of the initial weights.
    """

    def __init__(self, width: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        self.source = source_encoder(width)
        self.target = Encoder(1, _all_scaled(TARGET_CHANNELS, width))
        joined = scaled(SOURCE_CHANNELS["conv5"], width) + scaled(TARGET_CHANNELS["conv3"], width)
        self.decoder = _decoder(joined, [scaled(c, width) for c in DECODER_CHANNELS])
        _initialise(self, torch.Generator().manual_seed(seed))

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the protein of target cells.

        Parameters
        ----------
        source : Tensor, shape (n, 2, crop, crop)
            Protein and nucleus in [0, 1].
        target : Tensor, shape (n, 1, crop, crop)
            Nucleus in [0, 1].

        Returns
        -------
        Tensor, shape (n, 1, crop, crop)
        """
        return self.decoder(torch.cat([self.source(source), self.target(target)], dim=1))


class UpsamplingConvolution(nn.Conv2d):
    """A 3x3 convolution of an image upsampled twofold by repeating pixels, in one operation.

    A 3x3 window of the upsampled image covers only 2x2 pixels of the original, in four ways, one
    for each of the four copies of a pixel. Weights that meet copies of the same pixel are summed.
    Four 2x2 convolutions of the original then give the same numbers, with 4 products instead of 9.

    Parameters
    ----------
    channels_in, channels_out : int
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (n, channels_out, 2 height, 2 width) of images (n, channels_in, height, width)."""
        height, width = images.shape[2:]
        weight = _summed(_summed(self.weight, -2), -1).flatten(0, 2)
        assert self.bias is not None
        # The padded result has height + 1 rows; one copy uses all but the last, the other all
        # but the first. The same holds for columns.
        windows = functional.conv2d(images, weight, self.bias.repeat(4), padding=1)
        copies = windows.permute(0, 2, 3, 1).chunk(4, dim=3)
        rows = [
            torch.stack([copies[2 * x + y][:, y : y + height, x : x + width] for x in (0, 1)], 3)
            for y in (0, 1)
        ]
        return torch.stack(rows, 2).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


def _summed(weight: torch.Tensor, axis: int) -> torch.Tensor:
    """Return weights (2, ..., 2, ...) for the first and the second copy of a pixel on an axis."""
    before, here, after = weight.unbind(axis)
    first = torch.stack([before, here + after], axis)
    second = torch.stack([before + here, after], axis)
    return torch.stack([first, second])


def source_encoder(width: float) -> Encoder:
    """Return the encoder whose layers are the features, with torch's default initial weights."""
    return Encoder(2, _all_scaled(SOURCE_CHANNELS, width))


def unit_range(images: np.ndarray) -> np.ndarray:
    """Bring each image and channel (n, c, height, width) to [0, 1]; constant ones become 0."""
    rescaled = images.astype(np.float32)
    rescaled -= rescaled.min(axis=(2, 3), keepdims=True)
    spread = rescaled.max(axis=(2, 3), keepdims=True)
    rescaled /= np.where(spread > 0, spread, np.float32(1))
    return rescaled


def _all_scaled(channels: dict[str, int], width: float) -> dict[str, int]:
    return {name: scaled(count, width) for name, count in channels.items()}


def _decoder(channels_in: int, channels: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, channels_out in enumerate(channels):
        if index in UPSAMPLED:
            layers.append(UpsamplingConvolution(channels_in, channels_out))
        else:
            layers.append(nn.Conv2d(channels_in, channels_out, 3, padding=1))
        layers.append(nn.ReLU())
        channels_in = channels_out
    return nn.Sequential(*layers, nn.Conv2d(channels_in, 1, 1))


def _initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw weights as Keras does: uniform after Glorot and Bengio 2010, biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
