"""Read and write `dataset.yaml`, and find the description that belongs to a plate file.

Open this module to change where a description is looked for.
"""

from __future__ import annotations

import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from coos_mlflow._utils.files import write_whole
from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.plates.columns import shown
from coos_mlflow.plates.dataset import Dataset, coos7
from coos_mlflow.plates.hdf5.open_file import open_file, plain_attributes, reading

DATASET_FILE = "dataset.yaml"

ATTRIBUTE = "dataset"
"""Attribute of an HDF5 file that may hold the text of `dataset.yaml`."""

PLATE_ENDINGS = (".h5", ".hdf5", ".he5", ".hdf")

_MAX_BYTES = 1_000_000

Remarks = dict[str, list[str]]

_COMMENTS = {
    "name": "Letters, digits, - and _. Registered models are called NAME.texture-lr and so on.",
    "licence": "Terms of use of the cells, and what to cite; both are kept with every model.",
    "citation": "",
    "classes": "The proteins. label is the number, and name or short the text, that stands for a "
    "class in the files. A cell whose class is not known has the label -1 or none.",
    "channels": "The channels of the files in their order. One must be called protein and one "
    "nucleus; others are not read.",
    "crop": "Height and width of the images of the cells in pixels.",
    "pixel_size": "Height and width of a pixel in micrometres, or null where it is not known. A "
    "plate with the attribute pixel_size_um must agree within 5 %.",
    "wells": "one_class_per_well, mixture, or unknown. With one class in each well the cells of a "
    "well decide its class, and the error on new plates can be estimated.",
    "splits": "One split with the role train, on which models are fitted, and any number with the "
    "role reference, from near to far, on which their error is measured. files are names or "
    "patterns below this folder.",
}
"""What each key of the file means, in the order of the file."""


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


def write_dataset(dataset: Dataset, path: Path, remarks: Remarks | None = None) -> None:
    """Write a description as YAML that explains each of its lines.

    Parameters
    ----------
    dataset : Dataset
    path : Path
        Replaced where it exists.
    remarks : dict of str to list of str, optional
        Further sentences for the comments, by the key above which they stand.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    try:
        write_whole(path, dataset_text(dataset, remarks or {}).encode())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error


def dataset_text(dataset: Dataset, remarks: Remarks) -> str:
    """Return a description as YAML with comments; see `write_dataset`."""
    values = dataset.as_dict()
    classes = [
        {key: one[key] for key in ("name", "short", "colour", "label")} for one in values["classes"]
    ]
    lines = []
    for key, comment in _COMMENTS.items():
        for sentence in filter(None, (comment, *remarks.get(key, ()))):
            lines += textwrap.wrap(sentence, 96, initial_indent="# ", subsequent_indent="# ")
        if key == "classes":
            lines += ["classes:", *(f"  - {_flow(one)}" for one in classes)]
        elif key == "splits":
            lines += ["splits:", *(line for one in values["splits"] for line in _split_lines(one))]
        else:
            lines.append(f"{key}: {_flow(values[key])}")
        if key != "licence":
            lines.append("")
    return "\n".join(lines)


def _split_lines(split: dict[str, Any]) -> list[str]:
    """Return a split as YAML, one key a line; empty ones are left out."""
    kept = [f"{key}: {_flow(value)}" for key, value in split.items() if value]
    return [f"  - {kept[0]}", *(f"    {line}" for line in kept[1:])]


def _flow(value: Any) -> str:
    """Return a value in one line, which YAML reads as it is."""
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=float("inf")
    )
    return text.removesuffix("\n").removesuffix("\n...")


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
        if file.suffix.lower() in PLATE_ENDINGS:
            with suppress(DataError):  # of a file that no split may name
                if inside := dataset_inside(file):
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
