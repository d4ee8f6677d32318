"""A screen over one, two and four worker processes of this machine, and what many would take.

Workers have one thread each; starting them and loading the model come before the clock. Cells are
simulated, scored by texture-lr. The forecast for many workers reads the measured seconds of each
piece of work off this machine, and takes storage to keep up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from benches._scoring import own_place, texture_lr, write_plates
from coos_mlflow._utils.cluster import LOCAL, connect
from coos_mlflow.errors import CoosError
from coos_mlflow.scoring.cluster import score_on
from coos_mlflow.scoring.job import BLOCK, survey
from coos_mlflow.scoring.scorer import Scorer

if TYPE_CHECKING:
    from distributed import Client

WORKERS = (1, 2, 4)

FILES = 8
"""Over which the cells are spread."""

TASKS = 2000
"""Of nothing, by which the scheduler's own time for a task is measured."""

SCREEN_PLATES, SCREEN_CELLS = 1000, 10_000
"""The screen of the forecast: ten million cells."""

FORECAST = (10, 100, 1000)
"""Workers of the forecast."""


def run(cells: int = 65_536, rounds: int = 1) -> dict[str, Any]:
    """Score `cells` cells in `FILES` files."""
    with own_place() as folder:
        scorer = texture_lr()
        plates = [write_plates(folder / f"p{i}.h5", -(-cells // FILES)) for i in range(FILES)]
        few = write_plates(folder / "few.h5", 56)
        costs = _costs(scorer, plates[0], few, folder)
        seconds, overhead = {}, 0.0
        for n in WORKERS:
            with connect(LOCAL, n) as client:
                _warm_up(client, scorer, few, folder / f"warm-{n}", n)
                taken = [
                    _score_all(client, scorer, plates, folder / f"{n}-{i}") for i in range(rounds)
                ]
                seconds[n] = sorted(taken)[len(taken) // 2]
                overhead = _overhead(client)
            print(
                f"{n} workers  {seconds[n]:7.1f} s  {cells / seconds[n]:8,.0f} cells/s  "
                f"ratio to one {seconds[1] / seconds[n]:.2f}"
            )
    costs["task"] = overhead
    for name, value in costs.items():
        print(f"{name:8} {1e3 * value:9.2f} ms")
    forecast = {n: _forecast(costs, n) for n in FORECAST}
    for n, found in forecast.items():
        print(f"{n:5} workers: {found['seconds']:8.0f} s, most of it {found['bottleneck']}")
    return {
        "ratio": round(seconds[1] / seconds[2], 3),
        "seconds": {str(n): round(s, 1) for n, s in seconds.items()},
        "milliseconds": {name: round(1e3 * value, 3) for name, value in costs.items()},
        "forecast": {str(n): found for n, found in forecast.items()},
    }


def _score_all(client: Client, scorer: Scorer, plates: Sequence[Path], out: Path) -> float:
    began = time.perf_counter()
    for outcome in score_on(client, scorer, plates, out):
        if isinstance(outcome, CoosError):
            raise outcome
    return time.perf_counter() - began


def _warm_up(client: Client, scorer: Scorer, few: Path, out: Path, workers: int) -> None:
    """Let every worker load the model and what it compiles."""
    for number in range(2 * workers):
        _score_all(client, scorer, [few], out / str(number))


def _costs(scorer: Scorer, plate: Path, few: Path, folder: Path) -> dict[str, float]:
    """Return the seconds of each piece of work on one core, by what does it."""
    from threadpoolctl import threadpool_limits

    one_core = patch.dict(os.environ, {"LOKY_MAX_CPU_COUNT": "1"})
    with threadpool_limits(1), one_core:
        scorer.score(few, folder / "alone")
        began = time.perf_counter()
        found = survey(plate, scorer.dataset)
        surveyed = time.perf_counter() - began
        began = time.perf_counter()
        scored = scorer.score(plate, folder / "alone")
        logged = time.perf_counter() - began - scored.timings.seconds
    busy = sum(scored.timings.stages.values())
    blocks = -(-found.n_cells // BLOCK)
    return {
        "survey": surveyed,
        "block": busy / blocks,
        "finish": scored.timings.phases["drift and report"],
        "log": logged,
    }


def _overhead(client: Client) -> float:
    began = time.perf_counter()
    client.gather(client.map(abs, range(TASKS), pure=False))
    return (time.perf_counter() - began) / TASKS


def _forecast(costs: dict[str, float], workers: int) -> dict[str, Any]:
    """Return how long a screen takes, and what decides it.

    What workers do is shared by them; the scheduler hands out tasks and the client logs plates one
    after the other, beside them. The last blocks and the last plate's results wait for nobody.
    """
    blocks = SCREEN_PLATES * -(-SCREEN_CELLS // BLOCK)
    work = blocks * costs["block"] + SCREEN_PLATES * (costs["survey"] + costs["finish"])
    side_by_side = {
        "the workers": work / workers,
        "the scheduler": (blocks + 2 * SCREEN_PLATES) * costs["task"],
        "the client, which logs": SCREEN_PLATES * costs["log"],
    }
    bottleneck = max(side_by_side, key=side_by_side.__getitem__)
    tail = costs["block"] + costs["finish"] + costs["log"]
    return {"seconds": round(side_by_side[bottleneck] + tail, 1), "bottleneck": bottleneck}
