"""What drift and report add to scoring by texture-lr: seconds, and resident memory.

Of a file with one simulated plate and one with eight, the slower counts: a plate is assessed in
much the same time whatever its cells.
"""

from __future__ import annotations

import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from drift_validation import one_scoring, service

from benches._scoring import own_place, texture_lr, write_plates
from coos_mlflow.scoring import scorer as scoring

PLATES = (1, 8)
"""In the files."""


class Added(NamedTuple):
    """What drift and report took of a scoring.

    Parameters
    ----------
    seconds, whole : float
        Theirs, and those of the whole scoring.
    mib : float
        By how much the resident size rose meanwhile, at its peak.
    """

    seconds: float
    whole: float
    mib: float


def run(cells: int = 10_080, rounds: int = 3) -> dict[str, Any]:
    """Score `cells` cells, as one plate and as eight."""
    found = []
    with own_place() as folder:
        scorer = texture_lr()
        for plates in PLATES:
            plate = write_plates(folder / f"{plates}.h5", cells, -(-cells // plates))
            asked = (f"{scorer.model.name}/{scorer.model.version}", plate, folder / "watched")
            added = [_in_its_own_process(*asked) for _ in range(rounds)]
            commands = [service.score(scorer, plate, folder / f"{i}") for i in range(rounds)]
            found.append(_summary(plates, added, commands))
    slower = max(found, key=lambda one: one["seconds"])
    return slower | {"cells": cells, "mib": max(one["mib"] for one in found)}


def _summary(plates: int, added: list[Added], commands: list[service.Scoring]) -> dict[str, Any]:
    seconds, whole, mib = (statistics.median(column) for column in zip(*added, strict=True))
    command = statistics.median(one.command_seconds for one in commands)
    peak = statistics.median(one.mib for one in commands)
    print(
        f"plates {plates}: drift and report {seconds:.2f} s, {mib:.0f} MiB; scoring {whole:.2f} s, "
        f"ratio {seconds / whole:.3f}; whole command {command:.2f} s, {peak:.0f} MiB"
    )
    return {
        "ratio": round(seconds / whole, 3),
        "plates": plates,
        "seconds": round(seconds, 2),
        "scoring_seconds": round(whole, 2),
        "command_seconds": round(command, 2),
        "added_mib": round(mib),
        "mib": round(peak),
    }


def _in_its_own_process(model: str, plate: Path, out: Path) -> Added:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_watched, model, plate, out).result()


def _watched(model: str, plate: Path, out: Path) -> Added:
    """Score a plate on two cores, and look at this process' memory around drift and report."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: one_scoring.CORES])
    finish, risen = scoring.finish, []

    def watched(*given: Any) -> dict[str, Any]:
        # What is resident now becomes the peak so far (proc(5)).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = one_scoring.peak_mib()
        drift = finish(*given)
        risen.append(one_scoring.peak_mib() - before)
        return drift

    with patch.object(scoring, "finish", watched):
        timings = scoring.Scorer.load(model).score(plate, out, force=True).timings
    return Added(timings.phases["drift and report"], timings.seconds, risen[0])
