"""Haralick's features at five distances: our kernel against mahotas, on one core each."""

from __future__ import annotations

from typing import Any

import numpy as np
from joblib import cpu_count
from threadpoolctl import threadpool_limits

from benches import in_turn
from coos_mlflow.representations import create
from coos_mlflow.representations._haralick import haralick
from coos_mlflow.representations.texture import quantise
from coos_mlflow.simulate import simulate_plate_cells


def run(cells: int = 40, rounds: int = 5) -> dict[str, Any]:
    """Measure `cells` images, and the whole extraction on 512."""
    import mahotas

    distances = np.array([1, 2, 4, 8, 16])
    per_class = -(-cells // 7)
    plate = simulate_plate_cells(seed=0, wells_per_class=1, cells_per_well=per_class)["images"]
    images = quantise(plate[:cells, 0])

    @threadpool_limits.wrap(limits=1)
    def by_mahotas() -> np.ndarray:
        return np.array(
            [
                [mahotas.features.haralick(i, distance=int(d), return_mean=True) for d in distances]
                for i in images
            ]
        )

    def by_kernel() -> np.ndarray:
        return haralick(images, distances)

    difference = np.abs(by_kernel() / by_mahotas() - 1).max()
    many = np.tile(plate, (-(-512 // len(plate)), 1, 1, 1))[:512]
    whole = create("texture")
    seconds = in_turn([by_mahotas, by_kernel, lambda: whole.transform(many)], rounds)
    reference, kernel = (1e3 * s / len(images) for s in seconds[:2])
    rate = len(many) / seconds[2]
    print(f"mahotas, one core               {reference:8.3f} ms a cell")
    print(f"kernel, one core                {kernel:8.3f} ms a cell")
    print(f"ratio                           {reference / kernel:8.1f}")
    print(f"largest relative difference     {difference:8.1e}")
    print(f"all 69 features, {cpu_count()} cores      {rate:8.0f} cells/s")
    return {
        "ratio": round(reference / kernel, 1),
        "mahotas_ms": round(reference, 3),
        "kernel_ms": round(kernel, 4),
        "largest_relative_difference": float(difference),
        "cells_per_second": round(rate),
    }
