"""Read and write `dataset.yaml`, and find the description that belongs to a plate file.

Open this module to change where a description is looked for.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import shown
from coos_mlflow.plates.dataset import Dataset, coos7
from coos_mlflow.plates.hdf5.open_file import open_file, plain_attributes, reading

DATASET_FILE = "dataset.yaml"

ATTRIBUTE = "dataset"
"""Attribute of an HDF5 file that may hold the text of `dataset.yaml`."""

PLATE_ENDINGS = (".h5", ".hdf5", ".he5", ".hdf")

_MAX_BYTES = 1_000_000


def read_dataset(path: Path) -> Dataset:
    """Read a description from a YAML file.

    Raises
    ------
    DataError
        For a file that cannot be read, is no YAML, or describes no data set.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: more than {_MAX_BYTES:,} bytes found, expected a short text.")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}).") from error
    return _parsed(text, str(path))


def _parsed(text: str, where: str) -> Dataset:
    try:
        values = yaml.safe_load(text)
    # Besides its own errors, yaml raises ValueError for dates such as 2024-99-99.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{where}: no YAML that can be read ({shown(reason)}).") from error
    return Dataset.from_dict(values, where)


def write_dataset(dataset: Dataset, path: Path) -> None:
    """Write a description as YAML that `read_dataset` reads."""
    text = yaml.safe_dump(dataset.as_dict(), sort_keys=False, allow_unicode=True, width=100)
    path.write_text(text, encoding="utf-8")


def dataset_of_folder(folder: Path) -> Dataset:
    """Return the description of a folder of plate files.

    It is the folder's `dataset.yaml`, else the one inside a plate file, else COOS-7's where the
    names of the files are like those of COOS-7.

    Raises
    ------
    DataError
        Where there is none.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder, expected one with a {DATASET_FILE} and plate files; "
            "`coos download` fetches COOS-7, `coos simulate` makes such files."
        )
    if (folder / DATASET_FILE).exists():
        return read_dataset(folder / DATASET_FILE)
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in PLATE_ENDINGS and (inside := dataset_inside(file)):
            return inside
    if any(any(folder.glob(files)) for split in coos7().splits for files in split.files):
        return coos7()
    raise DataError(
        f"{folder}: no {DATASET_FILE} found, expected one that names classes, crop and splits; "
        f"`coos dataset init {folder}` writes it from what lies there."
    )


def dataset_of_plate(path: Path) -> Dataset | None:
    """Return the description of a plate file, or None where nothing describes it.

    It lies inside the file or beside it, or is COOS-7's for a file named like one of COOS-7's.
    """
    if inside := dataset_inside(path):
        return inside
    beside = path.parent / DATASET_FILE
    if beside.exists():
        return read_dataset(beside)
    named = any(path.match(files) for split in coos7().splits for files in split.files)
    return coos7() if named else None


def dataset_inside(path: Path) -> Dataset | None:
    """Return the description inside a plate file, or None."""
    with reading(path), open_file(path) as file:
        text = plain_attributes(file).get(ATTRIBUTE)
    # Other programs may use the name for something short, such as the name of the data set.
    if not isinstance(text, str) or "classes" not in text:
        return None
    return _parsed(text, f"{path}: the attribute {ATTRIBUTE}")
