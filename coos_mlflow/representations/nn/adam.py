"""Adam as TensorFlow 1 takes its steps; both networks were published in TensorFlow."""

from __future__ import annotations

import math
from typing import Any

import torch

EPSILON = 1e-8
"""Default of TensorFlow 1's `AdamOptimizer`, which DeepLoc and paired_cell_inpainting use."""


class TensorFlowAdam(torch.optim.Adam):
    """Adam with an epsilon of 1e-8 that is added before the correction of the bias.

    TensorFlow 1 documents ``rate * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + epsilon)``
    as step t, counted from 1. torch divides ``sqrt(v)`` by ``sqrt(1 - beta2**t)`` before it adds
    its epsilon. Divided by the same, the epsilon makes both steps one.
    """

    def step(self, closure: Any = None) -> Any:
        """Take a step; see `torch.optim.Adam.step`."""
        for group in self.param_groups:
            # Counted by torch, in what a checkpoint keeps: a resumed training counts on.
            done = float(self.state[group["params"][0]].get("step", 0))
            group["eps"] = EPSILON / math.sqrt(1 - group["betas"][1] ** (done + 1))
        return super().step(closure)
