"""The plate files of a data set, by split.

Find the files, read labels, plates and wells of a split, and compute digests of the files.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import platformdirs

from coos_mlflow._utils.progress import progress
from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import COOS7_NAME, TRAINING, Dataset, coos7
from coos_mlflow.plates.dataset_file import dataset_of_folder
from coos_mlflow.plates.reader import Plate, file_digest, open_plate
from coos_mlflow.plates.schema import UNLABELLED

HOME_VARIABLE = "COOS7_HOME"
"""Environment variable with the folder of COOS-7."""


@dataclass(frozen=True)
class Annotations:
    """Labels and origin of every cell of a split; wells as names such as "L03".

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
        `UNLABELLED` for a cell without one.
    plates, wells : ndarray of str, shape (n,)
    """

    labels: np.ndarray
    plates: np.ndarray
    wells: np.ndarray


@dataclass(frozen=True)
class TrainingData:
    """A data set and its plate files.

    Parameters
    ----------
    dataset : Dataset
    files : dict of tuple of Path
        The files of each split, in the order of `Dataset.split_keys`.
    simulated : bool
        Whether any of the files says that its cells are simulated.
    """

    dataset: Dataset
    files: dict[str, tuple[Path, ...]]
    simulated: bool

    @property
    def folder(self) -> Path:
        """Folder that holds the first file that trains."""
        return self.files[TRAINING][0].parent

    @property
    def name(self) -> str:
        """Name in tables and tags. Simulated data is never called COOS-7."""
        if self.dataset.name != COOS7_NAME:
            return self.dataset.name
        if self.simulated:
            return "simulated"
        is_coos7 = self.files[TRAINING][0].name.startswith("COOS7")
        return COOS7_NAME if is_coos7 else self.folder.name

    @cached_property
    def digests(self) -> dict[str, tuple[str, ...]]:
        """SHA-256 of each file by split."""
        total = sum(path.stat().st_size for paths in self.files.values() for path in paths)
        with progress("Hashing", total=total, unit="bytes") as advance:
            return {
                split: tuple(file_digest(path, advance) for path in paths)
                for split, paths in self.files.items()
            }

    @classmethod
    def remembered(
        cls,
        dataset: Dataset,
        files: dict[str, tuple[Path, ...]],
        simulated: bool,
        digests: dict[str, tuple[str, ...]],
    ) -> TrainingData:
        """Return data with known digests, without reading the files.

        The files may have been deleted since they were hashed.
        """
        data = cls(dataset, files, simulated)
        vars(data)["digests"] = dict(
            digests
        )  # `cached_property` returns a value it finds in the instance dict
        return data

    @property
    def digest(self) -> str:
        """One SHA-256 for the description and all files."""
        described = json.dumps([self.dataset.as_dict(), self.digests], sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()

    def open(self, path: Path) -> Plate:
        """Open one of the files, as cells of this data set."""
        return open_plate(path, self.dataset)

    def annotations(self, split: str) -> Annotations:
        """Read labels, plates and wells of a split, file by file.

        Raises
        ------
        DataError
            When a file lacks one of these columns, or a cell lacks an id. Only cells of the split
            that trains may be without a label, but not all of them.
        """
        parts = [self._annotations(path, split) for path in self.files[split]]
        columns = zip(*((part.labels, part.plates, part.wells) for part in parts), strict=True)
        found = Annotations(*(np.concatenate(column) for column in columns))
        if (found.labels == UNLABELLED).all():
            files = ", ".join(map(str, self.files[split]))
            raise DataError(
                f"{files}:/labels: missing, or -1 for all {len(found.labels):,} cells; a model is "
                f"trained on cells of known classes: write labels into a file of {split}."
            )
        return found

    def _annotations(self, path: Path, split: str) -> Annotations:
        with self.open(path) as plate:
            labels = plate.labels
            if labels is None and split == TRAINING:
                labels = np.full(plate.n_cells, UNLABELLED)
            wells = None if plate.well_ids is None else plate.well_ids.names
            columns = {"labels": labels, "plateIDs": plate.plates, "wellIDs": wells}
        for key, column in columns.items():
            if column is None:
                raise DataError(
                    f"{path}:/{key}: missing; a split that trains or tests a model needs labels, "
                    "plateIDs and wellIDs."
                )
            none = UNLABELLED if key == "labels" else ""
            nameless = np.flatnonzero(column == none)
            if len(nameless) and not (key == "labels" and split == TRAINING):
                what = "label" if key == "labels" else "id"
                raise DataError(
                    f"{path}:/{key}: {len(nameless):,} of {len(column):,} cells have no {what}, "
                    f"the first is cell {nameless[0]}; a split that trains or tests a model needs "
                    "one of every cell: name them, or leave these cells out of the file."
                )
        return Annotations(
            np.asarray(columns["labels"]),
            np.asarray(columns["plateIDs"]),
            np.asarray(columns["wellIDs"]),
        )


def find_data(folder: str | Path) -> TrainingData:
    """Find the description of a folder, and the plate files of its splits.

    Parameters
    ----------
    folder : path
        Holds `dataset.yaml` and plate files, or COOS-7's files ``COOS7_v1.1_training.hdf5`` ...,
        whose names may begin otherwise, such as ``simulated_training.hdf5``.

    Raises
    ------
    DataError
        Where nothing describes the folder, a split has no file, or a file cannot be opened.
    """
    folder = Path(folder)
    dataset = dataset_of_folder(folder)
    files = find_files(folder, dataset)
    simulated = False
    for path in (path for paths in files.values() for path in paths):
        with open_plate(path, dataset) as plate:
            simulated |= plate.simulated
    return TrainingData(dataset, files, simulated)


def find_files(folder: Path, dataset: Dataset) -> dict[str, tuple[Path, ...]]:
    """Find the plate files of each split of a data set.

    Parameters
    ----------
    folder : Path
        `Split.files` are names and patterns below it.

    Returns
    -------
    dict of tuple of Path
        Sorted by name, in the order of `Dataset.split_keys`.

    Raises
    ------
    DataError
        When a name or pattern has no file, leads out of the folder, or gives a file to two splits.
    """
    found: dict[str, tuple[Path, ...]] = {}
    lacking: list[str] = []
    for split in dataset.by_split.values():
        paths: set[Path] = set()
        for pattern in split.files:
            matching = _matching(folder, pattern)
            if not matching:
                lacking.append(f"{pattern} of {split.name}")
            paths |= matching
        found[split.key] = tuple(sorted(paths))
    if lacking:
        raise DataError(
            f"{folder}: no file for {', '.join(lacking)}; expected plate files that fit what "
            f"{dataset.name} says of its splits."
        )
    _check_once(folder, dataset, found)
    return found


def _matching(folder: Path, pattern: str) -> set[Path]:
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise DataError(f"{folder}: files {pattern!r} found, expected a path below the folder.")
    if (folder / pattern).is_file():  # also a name with brackets
        return {folder / pattern}
    try:
        return {path for path in folder.glob(pattern) if path.is_file()}
    except ValueError as error:
        raise DataError(f"{folder}: files {pattern!r} found, no pattern ({error}).") from error


def _check_once(folder: Path, dataset: Dataset, found: dict[str, tuple[Path, ...]]) -> None:
    """Refuse a file that is in two splits, and COOS-7 splits with more than one file."""
    first: dict[Path, str] = {}
    for split, paths in found.items():
        if dataset.name == COOS7_NAME and len(paths) > 1:
            raise DataError(
                f"{folder}: {len(paths)} files for the split {split} "
                f"({', '.join(path.name for path in paths)}), expected one; "
                "keep each data set in a folder of its own."
            )
        for path in paths:
            if path in first:
                raise DataError(
                    f"{path}: is in the splits {dataset.title(first[path])} and "
                    f"{dataset.title(split)}, expected one."
                )
            first[path] = split


def coos7_home() -> Path:
    """Return the folder of COOS-7: ``$COOS7_HOME``, else ``coos7`` in the user's cache folder."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("coos7"))


def coos7_present() -> bool:
    """Return whether all files of COOS-7 are in its folder."""
    try:
        find_files(coos7_home(), coos7())
    except DataError:
        return False
    return True
