"""Networks in the form in which they answer: folded, fused, and in bfloat16 where that is faster.

A convolution that is taken with its ReLU in one pass, of weights that are laid out once for it, is
what `torch.compile` would make of these networks too, after 16 to 22 s of one core; made here, it
takes a fraction of a second, and no C++ compiler.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

CELLS_AT_A_TIME = {"cpu": 16, "cuda": 512}
"""Small enough that maps stay in a processor's cache and in memory that is used again."""

FEW_CHANNELS = 4
"""Of images up to so many channels, and of their weights, bfloat16 keeps two halves of the digits.

The first layer is a hundredth of the work, and its rounding was half of the error of DeepLoc's
probabilities: few products are summed there, and errors do not average out.
"""

Network = TypeVar("Network", bound=nn.Module)


class RectifiedConvolution(nn.Conv2d):
    """A convolution and its ReLU, which `answering_form` takes in one pass."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the activations (n, filters, height, width)."""
        return functional.relu(super().forward(images))


class FusedConvolution(nn.Module):
    """A convolution and its ReLU in one pass, with weights in one precision for good.

    Parameters
    ----------
    convolution : nn.Conv2d
        Its weights are copied.
    dtype : torch.dtype
        Of the weights and the activations; images are brought to it.
    """

    def __init__(self, convolution: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        weight = convolution.weight.detach()
        self.in_two = dtype == torch.bfloat16 and weight.shape[1] <= FEW_CHANNELS
        if self.in_two:
            high, low = _halves(weight)
            weight = torch.cat([high, high, low], dim=1)
        else:
            weight = _rounded(weight, dtype)
        self.weight = weight.to(memory_format=torch.channels_last)
        assert convolution.bias is not None
        self.bias = convolution.bias.detach().clone()  # oneDNN adds it in single precision
        self.window: tuple[Any, ...] = (
            list(convolution.padding),
            list(convolution.stride),
            list(convolution.dilation),
            convolution.groups,
        )
        self._laid_out: torch.Tensor | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the activations (n, filters, height, width)."""
        if self.in_two:
            high, low = _halves(images)
            images = torch.cat([high, low, high], dim=1)
        images = images.to(self.weight.dtype)
        if not _fuses(self.weight):
            padding, stride, dilation, groups = self.window
            bias = self.bias.to(images.dtype)
            return functional.conv2d(
                images, self.weight, bias, stride, padding, dilation, groups
            ).relu_()
        if self._laid_out is None:
            self._laid_out = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *self.window, list(images.shape)
            )
        return torch.ops.mkldnn._convolution_pointwise(
            images, self._laid_out, self.bias, *self.window, "relu", [], ""
        )


class SteadyLinear(nn.Module):
    """A linear layer that gives the same digits on any number of cores.

    Sums of thousands of products are divided among threads, and end differently for each division;
    it is a hundredth of the work of the convolutions, so one thread takes it all.

    Parameters
    ----------
    linear : nn.Linear
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the linear layer returns."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            found: torch.Tensor = self.linear(inputs)
        finally:
            torch.set_num_threads(threads)
        return found


def _halves(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two tensors of bfloat16 whose sum has twice the digits of one."""
    high = tensor.bfloat16()
    return high, (tensor - high).bfloat16()


def _rounded(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Round the weights of a convolution so that each window keeps its sum.

    What one weight loses is handed to the next of its window (error diffusion, Floyd & Steinberg
    1976): neighbouring pixels are much alike, so that what counts is the sum.
    """
    found = torch.empty_like(weight, dtype=dtype)
    lost = torch.zeros_like(weight[:, :, 0, 0])
    for y in range(weight.shape[2]):
        # There and back, so that each weight hands on to a neighbour.
        for x in range(weight.shape[3]) if y % 2 == 0 else reversed(range(weight.shape[3])):
            wanted = weight[:, :, y, x] + lost
            found[:, :, y, x] = wanted.to(dtype)
            lost = wanted - found[:, :, y, x]
    return found


def _fuses(weight: torch.Tensor) -> bool:
    """Tell whether oneDNN, which has convolution and ReLU in one, is there for such weights."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return weight.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def answering_form(network: Network, bf16: bool) -> Network:
    """Return a copy of a trained network that gives the same answers faster.

    Batch normalisation directly behind a convolution or a linear layer is folded into it.
    Convolutions are fused with their ReLU, and taken in bfloat16 if that is asked for; all else
    stays in single precision.

    Parameters
    ----------
    network : nn.Module
        Its convolutions stand before batch normalisation and ReLU in an `nn.Sequential`, or are
        `RectifiedConvolution`.
    bf16 : bool
    """
    made = copy.deepcopy(network).eval()
    dtype = torch.bfloat16 if bf16 else torch.float32
    with torch.no_grad():
        for module in list(made.modules()):
            if isinstance(module, nn.Sequential):
                _fold(module, dtype)
            for name, child in list(module.named_children()):
                if isinstance(child, RectifiedConvolution):
                    setattr(module, name, FusedConvolution(child, dtype))
    return made


def _fold(layers: nn.Sequential, dtype: torch.dtype) -> None:
    """Put one layer in the place of a convolution or linear layer and of what belongs to it."""
    for i, (layer, norm) in enumerate(pairwise(list(layers))):
        if isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
            layers[i] = SteadyLinear(fuse_linear_bn_eval(layer, norm))
            layers[i + 1] = nn.Identity()
        elif isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            assert isinstance(layers[i + 2], nn.ReLU)
            layers[i] = FusedConvolution(fuse_conv_bn_eval(layer, norm), dtype)
            layers[i + 1], layers[i + 2] = nn.Identity(), nn.Identity()
