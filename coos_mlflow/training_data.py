"""Which data a run trains on: COOS-7 where it is on disk, a named folder, or simulated cells."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from coos_mlflow import __version__
from coos_mlflow.cache import cache_home
from coos_mlflow.data.cells import SPLITS
from coos_mlflow.data.cleaned import without_unusable
from coos_mlflow.data.dataset import coos7_home, coos7_present, find_splits
from coos_mlflow.data.plate import file_digest, open_plate
from coos_mlflow.errors import DataError
from coos_mlflow.progress import progress

AUTO = "auto"
SIMULATED = "simulated"

DEFAULT_SCALE = 0.1


@dataclass(frozen=True)
class Annotations:
    """Labels and origin of every cell of a split; wells as names such as "L03".

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
    plates, wells : ndarray of str, shape (n,)
    """

    labels: np.ndarray
    plates: np.ndarray
    wells: np.ndarray


@dataclass(frozen=True)
class TrainingData:
    """The five splits of a data set.

    Parameters
    ----------
    paths : dict of str to Path
        The file of each split.
    simulated : bool
        Whether any of the files says that its cells are simulated.
    """

    paths: dict[str, Path]
    simulated: bool

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self.paths["training"].parent

    @property
    def name(self) -> str:
        """What tables and tags call it; simulated data is never called COOS-7."""
        if self.simulated:
            return "simulated"
        return "COOS-7" if self.paths["training"].name.startswith("COOS7") else self.folder.name

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each file."""
        total = sum(path.stat().st_size for path in self.paths.values())
        with progress("Hashing", total=total, unit="bytes") as advance:
            return {split: file_digest(path, advance) for split, path in self.paths.items()}

    @classmethod
    def remembered(
        cls, paths: dict[str, Path], simulated: bool, digests: dict[str, str]
    ) -> TrainingData:
        """Return data whose files were hashed before, and need not be there any more."""
        found = cls(paths, simulated)
        vars(found)["digests"] = dict(digests)  # where `cached_property` looks first
        return found

    @property
    def digest(self) -> str:
        """One SHA-256 for all five."""
        joined = "".join(self.digests[split] for split in SPLITS)
        return hashlib.sha256(joined.encode()).hexdigest()

    def annotations(self, split: str) -> Annotations:
        """Read labels, plates and wells of a split.

        Raises
        ------
        DataError
            When the file lacks one of them, or cells lack an id.
        """
        with open_plate(self.paths[split]) as plate:
            wells = None if plate.well_ids is None else plate.well_ids.names
            columns = {"labels": plate.labels, "plateIDs": plate.plates, "wellIDs": wells}
        for key, column in columns.items():
            if column is None:
                raise DataError(
                    f"{self.paths[split]}:/{key}: missing; a split that trains or tests a model "
                    "needs labels, plateIDs and wellIDs."
                )
            nameless = np.flatnonzero(column == "")  # none among labels, which are numbers
            if len(nameless):
                raise DataError(
                    f"{self.paths[split]}:/{key}: {len(nameless):,} of {len(column):,} cells have "
                    f"no id, the first is cell {nameless[0]}; a split that trains or tests a model "
                    "needs one of every cell: name them, or leave these cells out of the file."
                )
        return Annotations(
            np.asarray(columns["labels"]),
            np.asarray(columns["plateIDs"]),
            np.asarray(columns["wellIDs"]),
        )


def choose(
    data: str = AUTO, scale: float = DEFAULT_SCALE, seed: int = 0, *, drop_bad: bool = False
) -> TrainingData:
    """Find or simulate the data that a run asks for; nothing is ever downloaded.

    Parameters
    ----------
    data : str
        "auto": COOS-7 where `coos7_home` holds it, else simulated; "simulated"; or a folder.
    scale, seed : float, int
        Of the simulated data, 1 being the size of COOS-7. Made once, then kept in the cache.
    drop_bad : bool
        Leave out unusable cells (`coos_mlflow.data.cleaned.without_unusable`), which are otherwise
        refused when they are read.
    """
    if data == AUTO:
        data = str(coos7_home()) if coos7_present() else SIMULATED
    paths = _simulate_once(scale, seed) if data == SIMULATED else find_splits(data)
    if drop_bad:
        paths = {split: without_unusable(path) for split, path in paths.items()}
    return TrainingData(paths, any(_is_simulated(path) for path in paths.values()))


def _is_simulated(path: Path) -> bool:
    with open_plate(path) as plate:
        return plate.simulated


def _simulate_once(scale: float, seed: int) -> dict[str, Path]:
    from coos_mlflow.simulate import planned_cells, simulate_dataset

    folder = cache_home() / "simulated" / f"{__version__}-scale-{scale!r}-seed-{seed}"
    try:
        return find_splits(folder)
    except DataError:
        total = sum(planned_cells(scale).values())
        with progress("Simulating", total=total, unit="cells") as advance:
            return simulate_dataset(folder, scale, seed, on_progress=advance, force=True)
