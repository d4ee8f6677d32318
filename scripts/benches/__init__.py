"""Benches, one file each: `run(cells=..., rounds=...)` prints both sides and returns its figures.

Machines are shared and noisy: both sides run in turn in one process, and ratios of medians count.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_PLATES = 4
"""Plates that simulated cells are spread over; COOS-7 has as many of each class."""


def in_turn(sides: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Return the median seconds of each side, all run once in every round."""
    taken: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, seconds in zip(sides, taken, strict=True):
            began = time.perf_counter()
            side()
            seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds) for seconds in taken]


def texture_features(cells: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the 69 texture features (cells, 69) and the labels of simulated cells."""
    from coos_mlflow.representations import create
    from coos_mlflow.simulate import simulate_plate_cells

    texture = create("texture")
    per_well = -(-cells // (7 * N_PLATES * 8))
    features, labels = [], []
    for seed in range(N_PLATES):
        plate = simulate_plate_cells(seed=seed, wells_per_class=8, cells_per_well=per_well)
        features.append(texture.transform(plate["images"])[texture.layers[0]])
        labels.append(plate["labels"])
    X, y = np.concatenate(features), np.concatenate(labels)
    chosen = np.sort(np.random.default_rng(0).choice(len(y), min(cells, len(y)), replace=False))
    return X[chosen], y[chosen]
