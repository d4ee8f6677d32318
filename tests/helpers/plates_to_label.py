"""Plates whose truth is known, as arrays."""

from __future__ import annotations

import numpy as np

from coos_mlflow.audit.frame import Frame


def simulated_frame(
    wells: int = 6, cells: int = 20, n_classes: int = 5, skill: float = 0.7, seed: int = 0
) -> tuple[Frame, np.ndarray]:
    """Return the cells of a plate with one class a well, and their true classes.

    `skill` is how far the true class's probability exceeds that of others.
    """
    rng = np.random.default_rng(seed)
    n = wells * cells * n_classes
    truths = np.repeat(np.arange(n_classes), wells * cells)
    names = np.array([f"{number:03d}" for number in range(wells * n_classes)]).repeat(cells)
    probabilities = rng.dirichlet(np.full(n_classes, 0.3), n)
    probabilities[np.arange(n), truths] += skill
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Frame(np.arange(n), np.full(n, "plate"), names, probabilities, True), truths
