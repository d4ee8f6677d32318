"""Measurements beside their peers: `scripts/bench.py NAME`. The last line is one JSON object.

Machines are shared and noisy: both sides run in turn in one process, and ratios of medians count.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from coos_mlflow.representations import create
from coos_mlflow.representations._glcm import haralick
from coos_mlflow.representations.texture import quantise
from coos_mlflow.simulate import simulate_plate_cells

Images = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(BENCHES))
    parser.add_argument("--cells", type=int, default=40, help="cells that the slower side gets")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    arguments = parser.parse_args()
    result = BENCHES[arguments.name](arguments.cells, arguments.rounds)
    machine = {"machine": platform.machine(), "cores": cpu_count()}
    print(json.dumps({"bench": arguments.name} | result | machine))


def texture(cells: int, rounds: int) -> dict[str, Any]:
    """Haralick's features at five distances: our kernel against mahotas, on one core each."""
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


def in_turn(sides: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Return the median seconds of each side, all run once in every round."""
    taken: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, seconds in zip(sides, taken, strict=True):
            began = time.perf_counter()
            side()
            seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds) for seconds in taken]


BENCHES: dict[str, Callable[[int, int], dict[str, Any]]] = {"texture": texture}

if __name__ == "__main__":
    main()
