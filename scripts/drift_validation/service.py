"""Time, memory and bytes of a scoring by `coos-score`, in processes of its own."""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py

from coos_mlflow.drift.verdict import CANNOT_TELL
from coos_mlflow.scoring import Scorer
from coos_mlflow.simulate import simulate_plate

SEED = 990_000
IDS = ("plates", "wells")


def measure(scorer: Scorer) -> dict[str, Any]:
    """Score a plate of 10,080 cells twice, and plates without ids or with hardly any cells."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plate = simulate_plate(
            folder / "large.h5", like="test3", seed=SEED, wells_per_class=8, cells_per_well=180
        )
        began = time.perf_counter()
        first = _score(scorer, plate, folder / "first")
        seconds = time.perf_counter() - began
        # The largest of all children so far, of which this was the first of its size.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        again = _score(scorer, plate, folder / "again")
        return {
            "seconds_10k": round(seconds, 2),
            "mib_10k": round(peak),
            "report_bytes": (first / "report.html").stat().st_size,
            "identical": _digest(first) == _digest(again),
            "unnamed": all(_is_unsure(scorer, file) for file in _odd_plates(folder)),
        }


def _score(scorer: Scorer, plate: Path, out: Path) -> Path:
    command = [sys.executable, "-c", "from coos_mlflow.cli import coos_score; coos_score()"]
    options = [str(plate), "--model", f"{scorer.model.name}/{scorer.model.version}"]
    subprocess.run([*command, *options, "--out", str(out)], check=True, capture_output=True)
    return out / plate.stem


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / "drift.json").read_bytes()).hexdigest()


def _odd_plates(folder: Path) -> list[Path]:
    """Return a plate without ids of plates and wells, and one of 21 cells."""
    few = simulate_plate(folder / "few.h5", seed=SEED, wells_per_class=1, cells_per_well=3)
    bare = simulate_plate(folder / "bare.h5", seed=SEED, wells_per_class=2, cells_per_well=40)
    with h5py.File(bare, "a") as file:
        for name in IDS:
            del file[next(key for key in file if key.lower().startswith(name[:-1]))]
    return [few, bare]


def _is_unsure(scorer: Scorer, plate: Path) -> bool:
    results = _score(scorer, plate, plate.parent / "odd")
    drift = json.loads((results / "drift.json").read_text())
    return bool(drift["verdict"] == CANNOT_TELL and (results / "report.html").exists())
