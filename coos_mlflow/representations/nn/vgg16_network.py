"""The thirteen convolutions of VGG16, and their preprocessing.

Simonyan & Zisserman 2015, "Very deep convolutional networks for large-scale image recognition"
(arXiv:1409.1556), Table 1, configuration D. The fully connected layers are left out.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from coos_mlflow.representations.nn.inference import RectifiedConvolution
from coos_mlflow.representations.nn.networks import Tensors

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Filters of each convolution, block by block, with 2x2 max-pooling between blocks."""

MEANS_RGB = (123.68, 116.779, 103.939)
"""ImageNet's mean in red, green and blue, out of 255, as used when the weights were trained.

Keras' `preprocess_input` subtracts the same means in its order blue, green, red: (103.939,
116.779, 123.68). torchvision gives means in [0, 1] with five decimals, (0.48235, 0.45882,
0.40784); times 255 they differ from these by -0.681, +0.220 and +0.060.
"""


class Convolution(NamedTuple):
    """A 3x3 convolution: name in the paper, number in torchvision, input and output channels."""

    name: str
    number: int
    inputs: int
    outputs: int
    after_pooling: bool

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of its two tensors by torchvision's state-dict keys."""
        key = f"features.{self.number}"
        return {
            f"{key}.weight": (self.outputs, self.inputs, 3, 3),
            f"{key}.bias": (self.outputs,),
        }


def _list_convolutions() -> tuple[Convolution, ...]:
    convolutions = []
    number, inputs = 0, 3
    for block, widths in enumerate(WIDTHS, start=1):
        for index, outputs in enumerate(widths, start=1):
            name = f"conv{block}_{index}"
            after_pooling = block > 1 and index == 1
            convolutions.append(Convolution(name, number, inputs, outputs, after_pooling))
            inputs = outputs
            number += 2  # torchvision also numbers the ReLU after each convolution,
        number += 1  # and the pooling after each block
    return tuple(convolutions)


CONVOLUTIONS = {convolution.name: convolution for convolution in _list_convolutions()}
"""Convolutions by name, from the first to the deepest."""


def convolutions_up_to(layers: Collection[str]) -> list[Convolution]:
    """Return all convolutions up to the deepest of the given layers."""
    names = list(CONVOLUTIONS)
    deepest = max((names.index(layer) for layer in layers), default=-1)
    return [CONVOLUTIONS[name] for name in names[: deepest + 1]]


def tensor_shapes(convolutions: Collection[Convolution]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor by its state-dict key."""
    return {key: shape for c in convolutions for key, shape in c.shapes.items()}


class Vgg16Network(nn.Module):
    """The convolutions up to the deepest of some layers; weights are to be loaded.

    Parameters
    ----------
    layers : collection of str
        Names in `CONVOLUTIONS`.
    """

    def __init__(self, layers: Collection[str]) -> None:
        super().__init__()
        self.features = nn.ModuleDict(
            {
                # Initialising would take time and change the state of torch's generator.
                str(c.number): nn.utils.skip_init(
                    RectifiedConvolution, c.inputs, c.outputs, 3, padding=1
                )
                for c in convolutions_up_to(layers)
            }
        )

    def forward(self, images: torch.Tensor, layers: Collection[str]) -> Tensors:
        """Return the largest activation of each filter after ReLU, (n, filters) by layer.

        Parameters
        ----------
        images : Tensor, shape (n, 3, height, width)
            Output of `zero_centred`.
        layers : collection of str
            Layers to return; deeper layers are not computed.
        """
        activations = {}
        for convolution in convolutions_up_to(layers):
            if convolution.after_pooling:
                images = functional.max_pool2d(images, 2)
            images = self.features[str(convolution.number)](images)
            if convolution.name in layers:
                activations[convolution.name] = images.amax(dim=(2, 3))
        return activations


def eight_bit(protein: np.ndarray) -> np.ndarray:
    """Map the range of each image to 0..255 and round.

    Parameters
    ----------
    protein : ndarray, shape (n, height, width)
        Raw counts of any real dtype; a constant image becomes 0.

    Returns
    -------
    ndarray of uint8, shape (n, height, width)
    """
    stretched = protein.astype(np.float64)
    stretched -= stretched.min(axis=(1, 2), keepdims=True)
    spread = stretched.max(axis=(1, 2), keepdims=True)
    stretched *= 255
    stretched /= np.where(spread > 0, spread, 1)
    return np.rint(stretched, out=stretched).astype(np.uint8)


def zero_centred(protein: torch.Tensor) -> torch.Tensor:
    """Copy one channel to red, green and blue, and subtract the means of ImageNet.

    Parameters
    ----------
    protein : Tensor of uint8, shape (n, height, width)
        Output of `eight_bit`.

    Returns
    -------
    Tensor of float32, shape (n, 3, height, width)
        Channels red, green, blue; channels-last in memory.
    """
    means = torch.tensor(MEANS_RGB, device=protein.device)[:, None, None]
    return (protein.float()[:, None] - means).contiguous(memory_format=torch.channels_last)


def random_weights(convolutions: Collection[Convolution], seed: int) -> Tensors:
    """Draw normal weights that preserve the size of activations (He et al. 2015); biases are 0."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for key, shape in tensor_shapes(convolutions).items():
        drawn = np.zeros(shape, np.float32)
        if len(shape) > 1:
            deviation = np.sqrt(2 / np.prod(shape[1:]), dtype=np.float32)
            drawn = deviation * rng.standard_normal(shape, np.float32)
        tensors[key] = torch.from_numpy(drawn)
    return tensors
