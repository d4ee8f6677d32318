"""Peak resident size of `coos-score`: few cells against all of COOS-7's, by texture-lr.

Both are processes of their own, measured to their end by the kernel (`VmHWM`). The plates are
simulated ones of 5,040 cells, repeated under other ids.
"""

from __future__ import annotations

import statistics
from typing import Any

from drift_validation import service

from benches._scoring import own_place, texture_lr, write_plates

FEW = 20_000 / 132_209
"""What the smaller plate has of the larger one's cells."""


def run(cells: int = 132_209, rounds: int = 1) -> dict[str, Any]:
    """Score files of `cells` cells and of a good seventh of them."""
    with own_place() as folder:
        scorer = texture_lr()
        mib: dict[int, float] = {}
        for n in (max(round(cells * FEW), 1), cells):
            plate = write_plates(folder / f"{n}.h5", n)
            scorings = [service.score(scorer, plate, folder / f"{i}") for i in range(rounds)]
            mib[n] = statistics.median(scoring.mib for scoring in scorings)
            seconds = statistics.median(scoring.seconds for scoring in scorings)
            plate.unlink()
            print(f"{n:9,} cells   {mib[n]:8.0f} MiB   {n / seconds:8,.0f} cells/s")
    few, many = mib.values()
    print(f"ratio             {many / few:8.3f}")
    return {
        "ratio": round(many / few, 3),
        "cells": list(mib),
        "mib": [round(few), round(many)],
    }
