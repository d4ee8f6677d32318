"""Networks for inference: batch normalisation folded, ReLU fused, in bfloat16 where faster.

`inference_network` builds them. `torch.compile` would also fuse each convolution with its ReLU and
lay out the weights once, but needs a C++ compiler and 16 to 22 s of one core. This file takes a
fraction of a second.
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
"""Batch sizes by device for crops of 64 pixels (`same_pixels`), small enough that feature maps stay
in the cache and reuse memory."""

MAX_SPLIT_CHANNELS = 4
"""A bfloat16 convolution with at most this many input channels splits each number in two.

Images and weights are then sums of two bfloat16 numbers, with twice the digits. It concerns the
first layer, which is a hundredth of the work and caused half of the error of DeepLoc's
probabilities: it sums few products, so rounding errors do not average out.
"""

Network = TypeVar("Network", bound=nn.Module)


class RectifiedConvolution(nn.Conv2d):
    """A convolution followed by ReLU, which `inference_network` fuses."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the activations (n, filters, height, width)."""
        return functional.relu(super().forward(images))


class FusedConvolution(nn.Module):
    """A convolution and its ReLU, if any, in one pass, with weights of fixed precision.

    Parameters
    ----------
    convolution : nn.Conv2d
        Its weights are copied.
    dtype : torch.dtype
        Dtype of weights and activations; inputs are cast to it.
    rectified : bool
        Whether a ReLU follows.
    """

    def __init__(self, convolution: nn.Conv2d, dtype: torch.dtype, rectified: bool = True) -> None:
        super().__init__()
        self.rectified = rectified
        weight = convolution.weight.detach()
        self.split = dtype == torch.bfloat16 and weight.shape[1] <= MAX_SPLIT_CHANNELS
        if self.split:
            # Of (high + low) * (high + low) all products but low * low, which is negligible.
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
        self._reordered_weight: torch.Tensor | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the activations (n, filters, height, width)."""
        if self.split:
            high, low = _halves(images)
            images = torch.cat([high, low, high], dim=1)
        images = images.to(self.weight.dtype)
        if not _fuses(self.weight):
            padding, stride, dilation, groups = self.window
            bias = self.bias.to(images.dtype)
            outputs = functional.conv2d(
                images, self.weight, bias, stride, padding, dilation, groups
            )
            return outputs.relu_() if self.rectified else outputs
        if self._reordered_weight is None:
            # oneDNN's own memory layout, computed at the first batch for its shape.
            self._reordered_weight = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *self.window, list(images.shape)
            )
        after = "relu" if self.rectified else "none"
        return torch.ops.mkldnn._convolution_pointwise(
            images, self._reordered_weight, self.bias, *self.window, after, [], ""
        )


class SingleThreadLinear(nn.Module):
    """A linear layer that gives the same digits on any number of cores.

    With several threads, sums of thousands of products round differently for each number of
    threads. One thread suffices: the layer is a hundredth of the work of the convolutions.

    Parameters
    ----------
    linear : nn.Linear
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the linear layer's output."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            outputs: torch.Tensor = self.linear(inputs)
        finally:
            torch.set_num_threads(threads)
        return outputs


def _halves(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two bfloat16 tensors whose sum has twice the digits of one."""
    high = tensor.bfloat16()
    return high, (tensor - high).bfloat16()


def _rounded(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Round the weights of a convolution so that the sum of each window stays the same.

    The rounding error of a weight is added to the next weight of its window (error diffusion,
    Floyd & Steinberg 1976). Neighbouring pixels are similar, so the sum matters most.
    """
    rounded = torch.empty_like(weight, dtype=dtype)
    error = torch.zeros_like(weight[:, :, 0, 0])
    for y in range(weight.shape[2]):
        # Every other row backwards, so that the next weight is always a neighbour.
        for x in range(weight.shape[3]) if y % 2 == 0 else reversed(range(weight.shape[3])):
            exact = weight[:, :, y, x] + error
            rounded[:, :, y, x] = exact.to(dtype)
            error = exact - rounded[:, :, y, x]
    return rounded


def _fuses(weight: torch.Tensor) -> bool:
    """Return whether oneDNN can fuse convolution and ReLU for such weights."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return weight.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def inference_network(network: Network, bf16: bool) -> Network:
    """Return a copy of a trained network that computes the same outputs faster.

    Batch normalisation directly after a convolution or a linear layer is folded into it.
    Convolutions are fused with their ReLU.

    Parameters
    ----------
    network : nn.Module
        Its convolutions are followed by batch normalisation, and perhaps ReLU, in an
        `nn.Sequential`, or are `RectifiedConvolution`.
    bf16 : bool
        Compute convolutions in bfloat16; all other layers stay in single precision.
    """
    fast = copy.deepcopy(network).eval()
    dtype = torch.bfloat16 if bf16 else torch.float32
    with torch.no_grad():
        for module in list(fast.modules()):
            if isinstance(module, nn.Sequential):
                _fold(module, dtype)
            for name, child in list(module.named_children()):
                if isinstance(child, RectifiedConvolution):
                    setattr(module, name, FusedConvolution(child, dtype))
                elif isinstance(child, nn.Linear):
                    setattr(module, name, SingleThreadLinear(child))
    return fast


def _fold(layers: nn.Sequential, dtype: torch.dtype) -> None:
    """Fold normalisation and ReLU into the layer before them; identities take their positions."""
    for i, (layer, norm) in enumerate(pairwise(list(layers))):
        if isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
            layers[i] = SingleThreadLinear(fuse_linear_bn_eval(layer, norm))
            layers[i + 1] = nn.Identity()
        elif isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            rectified = i + 2 < len(layers) and isinstance(layers[i + 2], nn.ReLU)
            layers[i] = FusedConvolution(fuse_conv_bn_eval(layer, norm), dtype, rectified)
            layers[i + 1] = nn.Identity()
            if rectified:
                layers[i + 2] = nn.Identity()
