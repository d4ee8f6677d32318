"""Adam with TensorFlow 1's step rule, since DeepLoc and PCI were published in TensorFlow."""

from __future__ import annotations

import math
from typing import Any

import torch

EPSILON = 1e-8
"""Default of TensorFlow 1's `AdamOptimizer`, used by DeepLoc and paired_cell_inpainting."""


class TensorFlowAdam(torch.optim.Adam):
    """Adam that adds its epsilon of 1e-8 before the bias correction.

    TensorFlow 1 documents step t, counted from 1, as
    ``rate * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + epsilon)``.
    torch divides ``sqrt(v)`` by ``sqrt(1 - beta2**t)`` before it adds its epsilon. With the
    epsilon divided by the same factor, both steps are equal.
    """

    def step(self, closure: Any = None) -> Any:
        """Take a step; see `torch.optim.Adam.step`."""
        for group in self.param_groups:
            # torch's own counter is part of a checkpoint, so a resumed training continues it.
            done = float(self.state[group["params"][0]].get("step", 0))
            group["eps"] = EPSILON / math.sqrt(1 - group["betas"][1] ** (done + 1))
        return super().step(closure)
