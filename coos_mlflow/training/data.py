"""Choice of the data to train on: COOS-7 where it is on disk, a folder, or simulated cells."""

from __future__ import annotations

from pathlib import Path

from coos_mlflow import __version__
from coos_mlflow._utils.cache import cache_home
from coos_mlflow._utils.progress import progress
from coos_mlflow.errors import DataError
from coos_mlflow.plates.cleaned import without_unusable
from coos_mlflow.plates.dataset import Dataset, coos7
from coos_mlflow.plates.dataset_file import dataset_of_folder
from coos_mlflow.plates.splits import TrainingData, coos7_home, coos7_present, find_data

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
        "auto" is COOS-7 where `coos7_home` holds it, else "simulated". Any other value is a folder
        with a `dataset.yaml`, or with files named like COOS-7's.
    scale, seed : float, int
        Size of the simulated data, where 1 is the size of COOS-7, and their seed. They are
        simulated once and kept in the cache.
    drop_bad : bool
        Leave out unusable cells (`coos_mlflow.plates.cleaned.without_unusable`). Otherwise reading
        them raises an error.

    Raises
    ------
    DataError
        Where the folder does not hold the files of a data set.
    """
    if data == AUTO:
        data = str(coos7_home()) if coos7_present() else SIMULATED
    found = _simulated(scale, seed) if data == SIMULATED else find_data(data)
    if not drop_bad:
        return found
    files = {
        split: tuple(without_unusable(path, found.dataset) for path in paths)
        for split, paths in found.files.items()
    }
    return TrainingData(found.dataset, files, found.simulated)


def described(data: str) -> Dataset:
    """Return the description of the data that `choose` would return, without making any."""
    return coos7() if data in (AUTO, SIMULATED) else dataset_of_folder(Path(data))


def _simulated(scale: float, seed: int) -> TrainingData:
    # Imported here: other data need no simulator.
    from coos_mlflow.simulate import planned_cells, simulate_dataset

    folder = cache_home() / "simulated" / f"{__version__}-scale-{scale!r}-seed-{seed}"
    try:
        return find_data(folder)
    except DataError:
        total = sum(planned_cells(scale).values())
        with progress("Simulating", total=total, unit="cells") as advance:
            simulate_dataset(folder, scale, seed, on_progress=advance, force=True)
        return find_data(folder)
