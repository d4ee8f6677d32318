"""Choice of the data to train on: COOS-7 where it is on disk, a folder, or simulated cells."""

from __future__ import annotations

from pathlib import Path

from coos_mlflow import __version__
from coos_mlflow._utils.cache import cache_home
from coos_mlflow._utils.progress import progress
from coos_mlflow.errors import DataError
from coos_mlflow.plates.cleaned import without_unusable
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.splits import TrainingData, coos7_home, coos7_present, find_splits

AUTO = "auto"
SIMULATED = "simulated"

DEFAULT_SCALE = 0.1


def choose(
    data: str = AUTO, scale: float = DEFAULT_SCALE, seed: int = 0, *, drop_bad: bool = False
) -> TrainingData:
    """Find or simulate the data of a run; nothing is downloaded.

    Parameters
    ----------
    data : str
        "auto" is COOS-7 where `coos7_home` holds it, else "simulated". Any other value is a folder.
    scale, seed : float, int
        Size of the simulated data, where 1 is the size of COOS-7, and their seed. They are
        simulated once and kept in the cache.
    drop_bad : bool
        Leave out unusable cells (`coos_mlflow.plates.cleaned.without_unusable`). Otherwise reading
        them raises an error.

    Raises
    ------
    DataError
        Where the folder does not hold the five splits.
    """
    if data == AUTO:
        data = str(coos7_home()) if coos7_present() else SIMULATED
    paths = _simulated_splits(scale, seed) if data == SIMULATED else find_splits(data)
    if drop_bad:
        paths = {split: without_unusable(path) for split, path in paths.items()}
    return TrainingData(paths, any(_is_simulated(path) for path in paths.values()))


def _is_simulated(path: Path) -> bool:
    with open_plate(path) as plate:
        return plate.simulated


def _simulated_splits(scale: float, seed: int) -> dict[str, Path]:
    # Imported here: other data need no simulator.
    from coos_mlflow.simulate import planned_cells, simulate_dataset

    folder = cache_home() / "simulated" / f"{__version__}-scale-{scale!r}-seed-{seed}"
    try:
        return find_splits(folder)
    except DataError:
        total = sum(planned_cells(scale).values())
        with progress("Simulating", total=total, unit="cells") as advance:
            return simulate_dataset(folder, scale, seed, on_progress=advance, force=True)
