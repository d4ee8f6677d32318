"""A data set: a folder with one plate file for each of the five splits.

Find the five files, read labels, plates and wells of a split, and compute digests of the files.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import platformdirs

from coos_mlflow._utils.progress import progress
from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.plates.reader import file_digest, open_plate
from coos_mlflow.plates.schema import SPLITS

HOME_VARIABLE = "COOS7_HOME"
"""Environment variable with the folder of COOS-7."""


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
        """Folder that holds the files."""
        return self.paths["training"].parent

    @property
    def name(self) -> str:
        """Name in tables and tags. Simulated data is never called COOS-7."""
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
        """Return data with known digests, without reading the files.

        The files may have been deleted since they were hashed.
        """
        data = cls(paths, simulated)
        vars(data)["digests"] = dict(
            digests
        )  # `cached_property` returns a value it finds in the instance dict
        return data

    @property
    def digest(self) -> str:
        """One SHA-256 for all five files."""
        joined = "".join(self.digests[split] for split in SPLITS)
        return hashlib.sha256(joined.encode()).hexdigest()

    def annotations(self, split: str) -> Annotations:
        """Read labels, plates and wells of a split.

        Raises
        ------
        DataError
            When the file lacks one of these columns, or a cell lacks an id.
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
            nameless = np.flatnonzero(column == "")  # labels are numbers, so never ""
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


def find_splits(folder: str | Path) -> dict[str, Path]:
    """Find the five split files of a data set by the ends of their names.

    Parameters
    ----------
    folder : path
        Holds ``COOS7_v1.1_training.hdf5`` ... ``COOS7_v1.1_test4.hdf5``. Any other beginning of
        the names is accepted too, such as ``simulated_training.hdf5``.

    Returns
    -------
    dict of str to Path
        The file of each split, in the order of `SPLITS`.

    Raises
    ------
    DataError
        When a split has no file, or more than one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder, expected one with the five split files "
            f"{_names(SPLITS)}; `coos download` fetches COOS-7, `coos simulate` makes such files."
        )
    candidates = {split: _files_of(folder, split) for split in SPLITS}
    missing = [split for split, files in candidates.items() if not files]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(SPLITS)} split files are missing: {_names(missing)}."
        )
    for split, files in candidates.items():
        if len(files) > 1:
            raise DataError(
                f"{folder}: {len(files)} files for the split {split} "
                f"({', '.join(file.name for file in files)}), expected one; "
                "keep each data set in a folder of its own."
            )
    return {split: files[0] for split, files in candidates.items()}


def coos7_home() -> Path:
    """Return the folder of COOS-7: ``$COOS7_HOME``, else ``coos7`` in the user's cache folder."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("coos7"))


def coos7_present() -> bool:
    """Return whether all five files of COOS-7 are in its folder."""
    try:
        find_splits(coos7_home())
    except DataError:
        return False
    return True


def _files_of(folder: Path, split: str) -> list[Path]:
    return sorted(file for file in folder.glob(f"*{split}.hdf5") if file.is_file())


def _names(splits: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"*{split}.hdf5" for split in splits)


def find_files(folder: Path, dataset: Dataset) -> dict[str, tuple[Path, ...]]:
    """Find the plate files of each split of a data set."""
    found = {
        key: tuple(sorted(path for files in split.files for path in folder.glob(files)))
        for key, split in dataset.by_split.items()
    }
    for key, paths in found.items():
        if not paths:
            raise DataError(f"{folder}: no file for {dataset.title(key)}.")
    return found
