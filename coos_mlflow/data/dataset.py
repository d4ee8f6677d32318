"""A data set: a folder with one plate file for each of the five splits."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from coos_mlflow.data.cells import SPLITS
from coos_mlflow.errors import DataError

HOME_VARIABLE = "COOS7_HOME"
"""Environment variable with the folder of COOS-7."""


def find_splits(folder: str | Path) -> dict[str, Path]:
    """Find the five split files of a data set by the ends of their names.

    Parameters
    ----------
    folder : path
        Holds ``COOS7_v1.1_training.hdf5`` ... ``COOS7_v1.1_test4.hdf5``, or the same ends after
        any other beginning, such as ``simulated_training.hdf5``.

    Returns
    -------
    dict of str to Path
        The file of each split, in the order of `SPLITS`.

    Raises
    ------
    DataError
        Where a split has no file, or more than one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder, expected one with the five split files "
            f"{_names(SPLITS)}; `coos download` fetches COOS-7, `coos simulate` makes such files."
        )
    found = {split: _files_of(folder, split) for split in SPLITS}
    missing = [split for split, files in found.items() if not files]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(SPLITS)} split files are missing: {_names(missing)}."
        )
    for split, files in found.items():
        if len(files) > 1:
            raise DataError(
                f"{folder}: {len(files)} files for the split {split} "
                f"({', '.join(file.name for file in files)}), expected one; "
                "keep each data set in a folder of its own."
            )
    return {split: files[0] for split, files in found.items()}


def coos7_home() -> Path:
    """Return the folder of COOS-7: ``$COOS7_HOME``, else ``coos7`` in the user's cache folder."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("coos7"))


def coos7_present() -> bool:
    """Say whether all five files of COOS-7 are in its folder."""
    try:
        find_splits(coos7_home())
    except DataError:
        return False
    return True


def _files_of(folder: Path, split: str) -> list[Path]:
    return sorted(file for file in folder.glob(f"*{split}.hdf5") if file.is_file())


def _names(splits: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"*{split}.hdf5" for split in splits)
