"""A training step as it is taken, against the bare step on tensors that are there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benches import in_turn
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations import create
from coos_mlflow.representations.nn.networks import autocast, best_device, to_device, uses_bf16
from coos_mlflow.representations.nn.training import TrainingTask
from coos_mlflow.simulate import simulate_plate_cells

STEPS = 5

WIDTHS = {"cpu": 0.25, "cuda": 1.0}
"""The quick presets' networks on a processor, the paper's on a GPU."""

SETTINGS: dict[str, dict[str, Any]] = {"deeploc": {}, "pci": {"least_cells": 2}}


def run(cells: int = 1400, rounds: int = 5) -> dict[str, Any]:
    """Time both networks at the paper's batch sizes, as trained, bare, and bare in float32."""
    device = best_device()
    found = simulate_plate_cells(seed=0, wells_per_class=1, cells_per_well=-(-cells // 7))
    wells = np.repeat([f"{i:03d}{i:03d}000" for i in range(7)], len(found["images"]) // 7)
    known = CellBatch(0, found["images"], found["labels"], np.full(len(wells), "1"), wells)
    bf16 = uses_bf16("auto", device)
    print(f"{device.type}, {'bf16' if bf16 else 'fp32'}, width {WIDTHS[device.type]}")
    result: dict[str, Any] = {"device": device.type, "bf16": bf16}
    for key in ("deeploc", "pci"):
        settings: Any = create(key, width=WIDTHS[device.type], **SETTINGS[key])
        task = settings.training_task(known, device)
        batch = min(settings.params()["batch"], task.n_cells)
        sides = steps_of(task, batch, device, bf16)
        whole, bare, fp32 = (seconds / STEPS for seconds in in_turn(sides, rounds))
        print(
            f"{key:8} batch {batch}: step {1e3 * whole:7.1f} ms, bare {1e3 * bare:7.1f} ms, "
            f"ratio {whole / bare:.3f}; {batch / whole:,.0f} images/s; fp32 takes "
            f"{fp32 / bare:.2f} times as long"
        )
        result[key] = {
            "ratio": round(whole / bare, 3),
            "images_per_second": round(batch / whole),
            "fp32_over_auto": round(fp32 / bare, 2),
        }
    return result | {"ratio": max(result[key]["ratio"] for key in ("deeploc", "pci"))}


def steps_of(
    task: TrainingTask, batch: int, device: torch.device, bf16: bool
) -> list[Callable[[], None]]:
    """Return what takes a few steps: drawing their cells, on fixed cells, and those in float32."""
    to_device(task.network, device)
    task.network.train()
    optimiser = task.optimiser()
    rng = np.random.default_rng(0)
    fixed = task.draw(np.arange(batch), rng)

    def steps(draw: Callable[[], tuple[torch.Tensor, ...]], lower: bool) -> None:
        for _ in range(STEPS):
            with autocast(device, lower):
                loss = task.loss(*draw())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    def drawn() -> tuple[torch.Tensor, ...]:
        return task.draw(rng.integers(0, task.n_cells, batch), rng)

    sides: list[Callable[[], None]] = [
        lambda: steps(drawn, bf16),
        lambda: steps(lambda: fixed, bf16),
        lambda: steps(lambda: fixed, False),
    ]
    for side in sides:
        side()
    return sides
