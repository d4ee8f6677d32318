"""Make the description of a data set from the plate files and images of a folder.

Open this module to change what `coos dataset init` guesses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.cells_csv import TIFF_ENDING
from coos_mlflow.plates.columns import shown
from coos_mlflow.plates.dataset import (
    MIN_CLASSES,
    MIXTURE,
    ONE_CLASS,
    REFERENCE,
    RESERVED,
    TRAIN,
    TRAINING,
    UNKNOWN,
    Dataset,
    fold,
)
from coos_mlflow.plates.dataset_file import PLATE_ENDINGS, Remarks
from coos_mlflow.plates.reader import Plate
from coos_mlflow.plates.schema import CHANNELS, UNLABELLED
from coos_mlflow.plates.tiff import read_image
from coos_mlflow.plates.tiff_pairs import natural

_TRAINING_NAME = re.compile(r"(?<![a-z])train", re.IGNORECASE)
_REFERENCE_NAME = re.compile(r"test|valid|reference|holdout|held.?out|\bref", re.IGNORECASE)
PACKED = "training.h5"


@dataclass(frozen=True)
class _PlateFile:
    """What a plate file says of its cells."""

    name: str
    channels: tuple[str, ...]
    crop: int
    n_cells: int
    labels: np.ndarray | None
    label_names: tuple[str, ...] | None
    well_labels: set[tuple[str, str, str]]
    pixel_size: float | None


def describe_folder(folder: Path) -> tuple[Dataset, Remarks]:
    """Return a description of what lies in a folder, and remarks on how it was found.

    Parameters
    ----------
    folder : Path
        Holds plate files, directly or in folders, or folders of TIFF images by class.

    Returns
    -------
    dataset : Dataset
    remarks : dict of str to list of str
        By key of the YAML file.

    Raises
    ------
    DataError
        Where there is nothing that can be described, or the files do not fit each other.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, expected one with plate files.")
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PLATE_ENDINGS and path.is_file() and not _hidden(path, folder)
    )
    if not paths:
        return _of_images(folder)
    files = [_read(path, folder) for path in paths]
    remarks: Remarks = {}
    values = {
        "name": _name(folder),
        "classes": _classes(files, folder, remarks),
        "channels": _channels(files, folder, remarks),
        "crop": _same("crops of {} pixels", {file.name: file.crop for file in files}, folder),
        "pixel_size": _pixel_size(files, remarks),
        "wells": _wells(files, remarks),
        "splits": _splits(files, folder, remarks),
    }
    return Dataset.from_dict(values, str(folder)), remarks


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _name(folder: Path) -> str:
    """Return the folder's name in the letters that a data set's name may have."""
    name = re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.casefold()).strip("-_")[:60]
    return f"{name}-data" if name in RESERVED else name or "dataset"


def _read(path: Path, folder: Path) -> _PlateFile:
    """Read everything but the pixels of a file, whatever its channels are."""
    with Plate(path, channels=None) as plate:
        unlabelled = plate.labels is None or (plate.labels == UNLABELLED).all()
        return _PlateFile(
            name=path.relative_to(folder).as_posix(),
            channels=plate.channel_names,
            crop=plate.crop,
            n_cells=plate.n_cells,
            labels=None if unlabelled else plate.labels,
            label_names=plate.class_names,
            well_labels=_well_labels(plate),
            pixel_size=plate.pixel_size,
        )


def _channel_names(n_channels: int) -> list[str]:
    return [*CHANNELS, *(f"other {number}" for number in range(1, n_channels - 1))]


def _well_labels(plate: Plate) -> set[tuple[str, str, str]]:
    """Return which labels, as the file spells them, occur in which wells: (plate, well, label)."""
    if plate.labels is None or plate.well_ids is None:
        return set()
    plates = np.full(plate.n_cells, "") if plate.plates is None else plate.plates
    known = (plate.labels != UNLABELLED) & (plate.well_ids.names != "")
    spelled = plate.labels.astype(str)
    if plate.class_names is not None:
        spelled = np.array([*plate.class_names, ""])[plate.labels]
    columns = (plates, plate.well_ids.names, spelled)
    return set(zip(*(column[known].tolist() for column in columns), strict=True))


def _classes(files: Sequence[_PlateFile], folder: Path, remarks: Remarks) -> list[dict[str, Any]]:
    labelled = [file for file in files if file.labels is not None]
    if not labelled:
        raise DataError(
            f"{folder}: none of {len(files)} plate files has labels, expected some that say which "
            "class a cell is; without any no classifier can be trained."
        )
    named = [file for file in labelled if file.label_names is not None]
    if named and len(named) < len(labelled):
        other = next(file for file in labelled if file.label_names is None)
        raise DataError(
            f"{folder}: labels are text in {named[0].name} and numbers in {other.name}, expected "
            "one of the two in all files."
        )
    if named:
        names = sorted({name for file in named for name in file.label_names or ()})
        remarks["classes"] = ["The names are those in the files, in the order of the alphabet."]
        if all(name.isascii() and name.isdecimal() for name in names):
            return [{"name": name, "label": int(name)} for name in names]
        return [{"name": name} for name in names]
    found = {int(n) for file in labelled for n in np.unique(np.asarray(file.labels))}
    numbers = sorted(found - {UNLABELLED})
    remarks["classes"] = ["The files have numbers only: write the names of the proteins here."]
    return [
        {"name": f"class {number}", "short": str(number), "label": number} for number in numbers
    ]


def _channels(files: Sequence[_PlateFile], folder: Path, remarks: Remarks) -> list[str]:
    count = _same("{} channels", {file.name: len(file.channels) for file in files}, folder)
    named = {file.channels for file in files}
    if len(named) == 1 and named != {tuple(_channel_names(count))}:
        return [*named.pop()]
    order = "The files do not name them: check that the protein comes first, then the nucleus."
    more = f" Move the names where another of the {count} channels is meant." if count > 2 else ""
    remarks["channels"] = [order + more]
    return _channel_names(count)


def _same(words: str, values: dict[str, int], folder: Path) -> int:
    """Return the value that all files share."""
    (first, value), *others = values.items()
    for name, other in others:
        if other != value:
            raise DataError(
                f"{folder}: {words.format(value)} in {first} and {words.format(other)} in {name} "
                "found, expected the same in all files of a data set; cut the cells anew, or keep "
                "the files in folders of their own."
            )
    return value


def _pixel_size(files: Sequence[_PlateFile], remarks: Remarks) -> float | None:
    sizes = {file.pixel_size for file in files}
    if len(sizes) == 1 and (size := sizes.pop()) is not None:
        return size
    known = len({size for size in sizes if size is not None})
    remarks["pixel_size"] = [
        f"The files say {known} different sizes." if known > 1 else "The files do not say it."
    ]
    return None


def _wells(files: Sequence[_PlateFile], remarks: Remarks) -> str:
    found = set().union(*(file.well_labels for file in files))
    if not found:
        remarks["wells"] = ["The files name no wells."]
        return UNKNOWN
    wells = {(plate, well) for plate, well, _ in found}
    remarks["wells"] = [f"Found so in the {len(wells):,} wells of labelled cells."]
    return ONE_CLASS if len(wells) == len(found) else MIXTURE


def _splits(files: Sequence[_PlateFile], folder: Path, remarks: Remarks) -> list[dict[str, Any]]:
    labelled = [file for file in files if file.labels is not None]
    train = [file for file in files if _TRAINING_NAME.search(file.name)]
    if train:
        notes = ["Files with 'train' in their name train; the others are references."]
    else:
        named = [file for file in labelled if not _REFERENCE_NAME.search(file.name)] or labelled
        train = [max(named, key=lambda file: (file.n_cells, file.name))]
        notes = [
            "No file has 'train' in its name, so the one with the most labelled cells trains. Move "
            "files between the splits as they were meant."
        ]
    references = [file for file in labelled if file not in train]
    references.sort(key=lambda file: natural(file.name))
    if references:
        notes.append("Put the references in order: the one most like the training files first.")
    left = [file.name for file in files if file not in train and file.labels is None]
    if left:
        notes.append(f"Not used, since their cells have no labels: {shown(', '.join(left))}.")
    remarks["splits"] = notes
    return [
        {"name": "Training", "role": TRAIN, "files": [file.name for file in train]},
        *(
            {"name": title, "role": REFERENCE, "files": [file.name]}
            for file, title in zip(references, _titles(references), strict=True)
        ),
    ]


def _titles(files: Sequence[_PlateFile]) -> list[str]:
    """Return a title for each file: its stem, with a number where two would have the same key."""
    titles: list[str] = []
    taken = {TRAINING, ""}
    for file in files:
        stem = Path(file.name).stem
        choices = (stem, *(f"{stem} {number}" for number in range(2, len(files) + 3)))
        title = next(one for one in choices if fold(one) not in taken)
        taken.add(fold(title))
        titles.append(title)
    return titles


def _of_images(folder: Path) -> tuple[Dataset, Remarks]:
    """Describe folders of TIFF images, one for each class, that are still to be packed."""
    by_class: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if TIFF_ENDING.search(path.name) and path.parent != folder and not _hidden(path, folder):
            by_class.setdefault(path.parent.name, path)
    if len(by_class) < MIN_CLASSES:
        raise DataError(
            f"{folder}: no plate files and {len(by_class)} folders with TIFF images found, "
            "expected HDF5 files, or a folder of images for each class."
        )
    crop = len(read_image(next(iter(by_class.values()))))
    remarks: Remarks = {
        "classes": ["The names are those of the folders with images."],
        "splits": [
            f"The images are still to be packed: `coos pack {folder} {folder / PACKED} --levels "
            "label` writes the file that is named here. Plates and wells come from the names of "
            "the images (--name-regex) or a table (--metadata)."
        ],
    }
    values = {
        "name": _name(folder),
        "classes": [{"name": name} for name in by_class],
        "crop": crop,
        "splits": [{"name": "Training", "role": TRAIN, "files": [PACKED]}],
    }
    return Dataset.from_dict(values, str(folder)), remarks
