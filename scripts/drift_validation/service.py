"""Time, memory and output size of `coos-score`, each run in its own process."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import h5py
import numpy as np

from coos_mlflow.drift import CANNOT_TELL
from coos_mlflow.plates.columns import ID_DATASETS
from coos_mlflow.plates.wells import Well
from coos_mlflow.plates.writer import PlateWriter
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.simulate import simulate_plate, simulate_plate_cells
from coos_mlflow.simulate.layout import COLUMNS, ROWS
from drift_validation import one_scoring

SEED = 990_000


class Size(TypedDict):
    """Number of cells of a simulated plate of seven classes."""

    wells_per_class: int
    cells_per_well: int


ONE_PLATE: Size = {"wells_per_class": 8, "cells_per_well": 180}
"""10,080 cells."""

SEVERAL_PLATES = 8
OF_SEVERAL: Size = {"wells_per_class": 6, "cells_per_well": 30}
"""10,080 cells together."""

FULL_PLATE: Size = {"wells_per_class": 8, "cells_per_well": 42}
CELLS_OF_FULL = 6
"""The simulated cells for a full plate of 384 wells, and the cells in each well."""

ODD_PLATE: Size = {"wells_per_class": 8, "cells_per_well": 20}
FEW_CELLS: Size = {"wells_per_class": 1, "cells_per_well": 3}

MISSING_IDS = (("plates",), ("wells",), ("plates", "wells"))


@dataclass(frozen=True)
class Scoring:
    """One run of `coos-score`.

    Parameters
    ----------
    folder : Path
        Its results.
    seconds : float
        From opening the file to its results.
    command_seconds : float
        From the start of the process to its end.
    mib : float
        Its peak memory.
    """

    folder: Path
    seconds: float
    command_seconds: float
    mib: float

    @property
    def digest(self) -> str:
        """SHA-256 of drift.json."""
        return hashlib.sha256((self.folder / "drift.json").read_bytes()).hexdigest()

    @property
    def report_bytes(self) -> int:
        """Size of report.html."""
        return (self.folder / "report.html").stat().st_size

    @property
    def is_unsure(self) -> bool:
        """Whether there is a report that says "cannot tell"."""
        drift = json.loads((self.folder / "drift.json").read_text("utf-8"))
        return drift["verdict"] == CANNOT_TELL and self.report_bytes > 0


def measure(scorer: Scorer) -> dict[str, Any]:
    """Score large files, one of them twice, and plates without ids or with very few cells."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = simulate_plate(folder / "large.h5", like="test3", seed=SEED, **ONE_PLATE)
        one = score(scorer, large, folder / "first")
        again = score(scorer, large, folder / "again")
        several = score(scorer, several_plates(folder / "several.h5"), folder / "first")
        full = score(scorer, full_plate(folder / "full.h5"), folder / "first")
        odd = [score(scorer, plate, folder / "odd") for plate in odd_plates(folder)]
        return {
            "seconds_10k": max(one.seconds, several.seconds),
            "command_seconds_10k": round(max(one.command_seconds, several.command_seconds), 1),
            "mib_10k": round(max(one.mib, several.mib)),
            "report_bytes": max(one.report_bytes, several.report_bytes, full.report_bytes),
            "identical": one.digest == again.digest,
            "unnamed": all(scoring.is_unsure for scoring in odd),
        }


def score(scorer: Scorer, plate: Path, out: Path) -> Scoring:
    """Score a file in its own process."""
    options = ["--model", f"{scorer.model.name}/{scorer.model.version}", "--out", str(out)]
    said, seconds, mib = run([str(plate), *options])
    rate = re.search(r"^([\d.]+) s, [\d,]+ cells/s", said, re.MULTILINE)
    assert rate, said
    return Scoring(scorer.folder_for(plate, out), float(rate[1]), seconds, mib)


def run(arguments: Sequence[str]) -> tuple[str, float, float]:
    """Run `coos-score` on two cores; return its output, its seconds and its peak MiB."""
    began = time.perf_counter()
    # -P: the modules beside that script bear names that libraries import.
    command = [sys.executable, "-P", one_scoring.__file__, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout, time.perf_counter() - began, float(done.stdout.splitlines()[-1])


def several_plates(path: Path) -> Path:
    """Write eight plates into one file."""
    plates = []
    for number in range(SEVERAL_PLATES):
        cells = simulate_plate_cells(like="test3", seed=SEED + number, **OF_SEVERAL)
        plates.append(cells | {"plates": np.full(len(cells["labels"]), f"simulated {number}")})
    return _write(path, plates)


def full_plate(path: Path) -> Path:
    """Write a plate with a few cells of one class in each of its 384 wells."""
    cells = simulate_plate_cells(like="test3", seed=SEED, **FULL_PLATE)
    ids = [Well(row + 1, column + 1).name for row in range(ROWS) for column in range(COLUMNS)]
    wells = np.repeat(ids, CELLS_OF_FULL)
    cells = {name: values[: len(wells)] for name, values in cells.items()}
    return _write(path, [cells | {"wells": wells}])


def _write(path: Path, plates: list[dict[str, np.ndarray]]) -> Path:
    n_cells = sum(len(cells["images"]) for cells in plates)
    with PlateWriter(path, n_cells, attrs={"simulated": True}) as writer:
        for cells in plates:
            writer.append(**cells)
    return path


def odd_plates(folder: Path) -> list[Path]:
    """Return plates without ids of plates, of wells and of both, and one of 21 cells."""
    plates = [simulate_plate(folder / "few.h5", seed=SEED, **FEW_CELLS)]
    for missing in MISSING_IDS:
        path = folder / f"no_{'_'.join(missing)}.h5"
        plates.append(simulate_plate(path, seed=SEED, **ODD_PLATE))
        with h5py.File(path, "a") as file:
            for name in missing:
                del file[ID_DATASETS[name]]
    return plates
