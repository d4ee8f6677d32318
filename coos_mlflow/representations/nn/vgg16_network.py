"""The thirteen convolutions of VGG16, what they are fed, and where their weights come from.

Simonyan & Zisserman 2015, "Very deep convolutional networks for large-scale image recognition"
(arXiv:1409.1556), Table 1, configuration D. The fully connected layers are not needed here.
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
from coos_mlflow.representations.nn.vgg16_weights import Published

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Filters of each convolution, block by block; 2x2 max-pooling stands between the blocks."""

MEANS_RGB = (123.68, 116.779, 103.939)
"""What the originals were trained with: mean of ImageNet in red, green and blue, out of 255.

Keras' `preprocess_input` subtracts the same, as (103.939, 116.779, 123.68) in its order blue,
green, red. torchvision gives means in [0, 1] with five decimals, (0.48235, 0.45882, 0.40784); times
255 they are -0.681, +0.220 and +0.060 away from these.
"""


class Convolution(NamedTuple):
    """A 3x3 convolution: its name in the paper, torchvision's number, filters in and out."""

    name: str
    number: int
    inputs: int
    outputs: int
    after_pooling: bool

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of its two tensors under torchvision's state-dict keys."""
        key = f"features.{self.number}"
        return {
            f"{key}.weight": (self.outputs, self.inputs, 3, 3),
            f"{key}.bias": (self.outputs,),
        }


def _list_convolutions() -> tuple[Convolution, ...]:
    found = []
    number, inputs = 0, 3
    for block, widths in enumerate(WIDTHS, start=1):
        for place, outputs in enumerate(widths, start=1):
            name = f"conv{block}_{place}"
            found.append(Convolution(name, number, inputs, outputs, block > 1 and place == 1))
            inputs = outputs
            number += 2  # torchvision numbers the ReLU behind each convolution too,
        number += 1  # and the pooling behind each block
    return tuple(found)


CONVOLUTIONS = {convolution.name: convolution for convolution in _list_convolutions()}
"""By name, from the image inwards."""


def up_to(layers: Collection[str]) -> list[Convolution]:
    """Return the convolutions that some layers need, down to the deepest of them."""
    names = list(CONVOLUTIONS)
    deepest = max((names.index(layer) for layer in layers), default=-1)
    return [CONVOLUTIONS[name] for name in names[: deepest + 1]]


def shapes_of(convolutions: Collection[Convolution]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor by its state-dict key."""
    return {key: shape for c in convolutions for key, shape in c.shapes.items()}


_HASH = "88682ab5"

PUBLISHED = Published(
    key="vgg16",
    title="VGG16",
    url=f"https://download.pytorch.org/models/vgg16_features-amdegroot-{_HASH}.pth",
    sha256=_HASH,
    megabytes=553,
    licence="CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/), "
    "released by the Visual Geometry Group, University of Oxford",
    citation="Simonyan K, Zisserman A. Very deep convolutional networks for large-scale image "
    "recognition. ICLR 2015. arXiv:1409.1556",
    shapes=shapes_of(CONVOLUTIONS.values()),
)
"""Oxford's original convolutions with the first one turned to RGB order.

torchvision's `VGG16_Weights.IMAGENET1K_FEATURES`, which came by way of SSD, whose author changed
the fully connected layers alone (weiliu89/caffe, issue 258). Keras, which the paper used, ports the
same originals, and its documentation names their licence. torchvision's other file,
``vgg16-397923af.pth``, was trained anew with another preprocessing.
"""


class Vgg16Network(nn.Module):
    """The convolutions that some layers need, without weights until some are loaded.

    Parameters
    ----------
    layers : collection of str
        Names in `CONVOLUTIONS`.
    """

    def __init__(self, layers: Collection[str]) -> None:
        super().__init__()
        self.features = nn.ModuleDict(
            {
                # Not initialised: that would take time, and numbers from torch's own generator.
                str(c.number): nn.utils.skip_init(
                    RectifiedConvolution, c.inputs, c.outputs, 3, padding=1
                )
                for c in up_to(layers)
            }
        )

    def forward(self, images: torch.Tensor, layers: Collection[str]) -> Tensors:
        """Return the greatest activation of each filter after ReLU, (n, filters) by layer.

        Parameters
        ----------
        images : Tensor, shape (n, 3, height, width)
            From `zero_centred`.
        layers : collection of str
            What to return; nothing behind the deepest of them is computed.
        """
        found = {}
        for convolution in up_to(layers):
            if convolution.after_pooling:
                images = functional.max_pool2d(images, 2)
            images = self.features[str(convolution.number)](images)
            if convolution.name in layers:
                found[convolution.name] = images.amax(dim=(2, 3))
        return found


def eight_bit(protein: np.ndarray) -> np.ndarray:
    """Stretch each image from its minimum and maximum to 0..255 and round it.

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
    """Put images of one channel into all three, and subtract the channels' means.

    Parameters
    ----------
    protein : Tensor of uint8, shape (n, height, width)
        From `eight_bit`.

    Returns
    -------
    Tensor of float32, shape (n, 3, height, width)
        Channels red, green, blue, and last in memory.
    """
    means = torch.tensor(MEANS_RGB, device=protein.device)[:, None, None]
    return (protein.float()[:, None] - means).contiguous(memory_format=torch.channels_last)


def random_weights(convolutions: Collection[Convolution], seed: int) -> Tensors:
    """Draw normal weights that keep the size of activations (He et al. 2015), and no biases."""
    rng = np.random.default_rng(seed)
    found = {}
    for key, shape in shapes_of(convolutions).items():
        drawn = np.zeros(shape, np.float32)
        if len(shape) > 1:
            deviation = np.sqrt(2 / np.prod(shape[1:]), dtype=np.float32)
            drawn = deviation * rng.standard_normal(shape, np.float32)
        found[key] = torch.from_numpy(drawn)
    return found
