"""Simulated data sets of made-up classes, as a description names them.

Open this file to change the plates of such a data set, the shifts of its reference splits, or the
names of its files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import CHANNELS, COOS7_NAME, MIXTURE, Dataset, Split
from coos_mlflow.plates.dataset_file import DATASET_FILE, read_dataset, write_dataset
from coos_mlflow.simulate import microscope
from coos_mlflow.simulate.experiment import (
    Progress,
    attributes,
    make_folder,
    refuse_existing,
    write,
)
from coos_mlflow.simulate.layout import (
    INNER_WELLS,
    LAYOUT,
    PLATES_PER_DAY,
    WellPlan,
    check_seed,
    stream,
    well_positions,
)
from coos_mlflow.simulate.made_up import made_up_class
from coos_mlflow.simulate.population import Logs, mean_shift

SHIFT_PATH = ("edge", "drift", "transfer")
"""Shifts (`population.Effect`) that a population passes on its way from Training, in this order."""

PIXEL_UM_RANGE = (0.1, 0.8)
"""Pixel sizes, in micrometres, of which the simulator draws cells. With larger pixels the haze is
narrower than the grid on which it is computed. With smaller ones a field holds too few cells."""

_STREAM = (10,)
"""Spawn key by which these plates differ from those of simulated COOS-7."""


class Size(NamedTuple):
    """Numbers of a simulated data set.

    Parameters
    ----------
    plates : int
        Plates of each split that hold a class.
    wells : int
        Wells of a class on each of these plates.
    cells : int
        Cells in a well.
    """

    plates: int = 4
    wells: int = 4
    cells: int = 40

    def total(self, dataset: Dataset) -> int:
        """Return the number of cells of all splits together."""
        return len(dataset.splits) * dataset.n_classes * math.prod(self)


def simulate_described(
    folder: str | Path,
    dataset: Dataset,
    size: Size | None = None,
    seed: int = 0,
    *,
    jobs: int | None = None,
    on_progress: Progress | None = None,
    force: bool = False,
) -> dict[str, tuple[Path, ...]]:
    """Simulate made-up classes as the plate files of a description, with `dataset.yaml`.

    The class at a place in the description looks like the made-up class at this place
    (`made_up.MADE_UP_CLASSES`), whatever its name. Reference splits have plates of their own, whose
    shift grows from the first to the last. Every plate holds all classes for which it has wells.
    In a mixture every well holds all classes of its plate. `dataset.yaml` is written last.

    Parameters
    ----------
    folder : path
        Created if missing.
    dataset : Dataset
        A name in `Split.files` becomes one file. A pattern with ``*`` becomes a file for each
        plate.
    size : Size or None
        Numbers of plates, wells and cells.
    seed : int
        The same description, size and seed give the same cells.
    jobs : int or None
        Number of threads; None for one per core.
    on_progress : callable or None
        Called with the number of cells written since the last call.
    force : bool
        Replace existing files.

    Returns
    -------
    dict of tuple of Path
        The files of each split.

    Raises
    ------
    DataError
        For COOS-7's description, names of files that cannot be made, a pixel size outside
        `PIXEL_UM_RANGE`, and sizes or seeds that are too small or too large.
    OutputError
        Where a file exists already, or cannot be written.
    """
    plans = plan_described(dataset, size or Size(), seed)
    folder = Path(folder)
    shared = {
        split: share_plates(dataset.by_split[split], sorted({plan.number for plan in of_split}))
        for split, of_split in plans.items()
    }
    _check_once(dataset, shared)
    described = folder / DATASET_FILE
    is_there = described.exists() and read_dataset(described) == dataset
    make_folder(folder)
    names = [name for files in shared.values() for name in files]
    refuse_existing([folder / name for name in names], force)
    refuse_existing([] if is_there else [described], force)
    attrs = attributes(seed, dataset=dataset.name, channels=",".join(CHANNELS))
    if dataset.pixel_size is not None:
        attrs["pixel_size_um"] = dataset.pixel_size
    for split, files in shared.items():
        for name, numbers in files.items():
            chosen = [plan for plan in plans[split] if plan.number in numbers]
            make_folder((folder / name).parent)
            write(chosen, seed, {split: folder / name}, attrs, jobs, on_progress, force)
    if not is_there:
        write_dataset(dataset, described)
    return {split: tuple(folder / name for name in files) for split, files in shared.items()}


def plan_described(dataset: Dataset, size: Size, seed: int) -> dict[str, list[WellPlan]]:
    """Plan all wells of each split of a description.

    Raises
    ------
    DataError
        As in `simulate_described`.
    """
    check_seed(seed)
    if min(size) < 1:
        raise DataError(
            f"{size.plates} plates and {size.wells} wells for each class, and {size.cells} cells "
            "in a well asked for, expected at least 1 of each."
        )
    if dataset.name == COOS7_NAME:
        raise DataError(
            f"the name {COOS7_NAME} found, expected another one for made-up classes; `coos "
            f"simulate` without a description simulates {COOS7_NAME}."
        )
    at_once = max(INNER_WELLS // size.wells, 1)
    places = range(dataset.n_classes)
    groups = [places[first : first + at_once] for first in places[::at_once]] * size.plates
    plans: dict[str, list[WellPlan]] = {}
    for order, split in enumerate(dataset.split_keys):
        distance = order / max(len(dataset.references), 1)
        weights = shift_weights(distance)
        shift = _with_pixel_size(mean_shift(weights), dataset.pixel_size)
        microscope_id = "simulated-2" if "transfer" in weights else "simulated-1"
        plans[split] = [
            plan
            for place, classes in enumerate(groups)
            for plan in _plan_plate(
                dataset, split, classes, 1 + order * len(groups) + place, size, seed, shift,
                microscope_id,
            )
        ]  # fmt: skip
    return plans


def shift_weights(distance: float) -> dict[str, float]:
    """Return the weights of the shifts of a population.

    Parameters
    ----------
    distance : float
        0 for Training, 1 for the last reference split.

    Returns
    -------
    dict of str to float
        The shifts of `SHIFT_PATH` are passed at equal distances, the last one at 1. Between two
        neighbours, both have a part.
    """
    steps = len(SHIFT_PATH) * distance
    weights = {kind: 1.0 - abs(steps - place) for place, kind in enumerate(SHIFT_PATH, 1)}
    return {kind: weight for kind, weight in weights.items() if weight > 0}


def _with_pixel_size(shift: Logs, pixel_size: float | None) -> Logs:
    """Return a shift with which all pixels have the size that the description gives."""
    if pixel_size is None:
        return shift
    low, high = PIXEL_UM_RANGE
    if not low <= pixel_size <= high:
        raise DataError(
            f"pixel_size {pixel_size:g} found, expected {low:g} to {high:g} micrometres for "
            "simulated cells; leave pixel_size out of the description, or change it."
        )
    return shift | {"pixel_um": math.log(pixel_size / microscope.PIXEL_UM)}


def _plan_plate(
    dataset: Dataset,
    split: str,
    classes: Sequence[int],
    number: int,
    size: Size,
    seed: int,
    shift: Logs,
    microscope_id: str,
) -> list[WellPlan]:
    """Plan the wells of a plate that holds the classes at some places."""
    rng = stream(seed, LAYOUT, *_STREAM, number)
    positions = well_positions(rng, False, size.wells * len(classes))
    return [
        WellPlan(
            population=split,
            label=dataset.classes[classes[k]].label,
            row=row,
            column=column,
            protein=made_up_class(classes[k]),
            plate=f"plate{number}",
            date=f"day{number // PLATES_PER_DAY}",
            microscope=microscope_id,
            number=number,
            day=number // PLATES_PER_DAY,
            cells={split: n_cells},
            shift=shift,
            stream=_STREAM,
            crop=dataset.crop,
            member=member,
        )
        for well, (row, column) in enumerate(positions)
        for member, (k, n_cells) in enumerate(_held(dataset, well, len(classes), size.cells), 1)
    ]


def _held(dataset: Dataset, well: int, n_classes: int, cells: int) -> list[tuple[int, int]]:
    """Return the classes, by place on the plate, and their numbers of cells in a well."""
    if dataset.wells != MIXTURE:
        return [(well % n_classes, cells)]
    # Wells begin with different classes, so that all classes have the same number of cells.
    members = (well * cells + np.arange(cells)) % n_classes
    counts = np.bincount(members, minlength=n_classes)
    return [(place, int(count)) for place, count in enumerate(counts) if count]


def share_plates(split: Split, numbers: Sequence[int]) -> dict[str, list[int]]:
    """Return names of files that fit a split, and the numbers of the plates in each.

    Raises
    ------
    DataError
        For a pattern other than ``*``, a path out of the folder, and more files than plates.
    """
    if len(split.files) > len(numbers):
        raise DataError(
            f"{len(split.files)} files of the split {split.name} found, expected at most "
            f"{len(numbers)}, one for each of its plates; ask for more plates."
        )
    files: dict[str, list[int]] = {}
    for pattern, share in zip(split.files, np.array_split(numbers, len(split.files)), strict=True):
        path = PurePath(pattern)
        if path.is_absolute() or ".." in path.parts or re.search(r"[?\[]|\*\*", pattern):
            raise DataError(
                f"files {pattern!r} of the split {split.name} found, expected names below the "
                "folder, or patterns with *, for simulated files."
            )
        plates = share.tolist()
        if "*" in pattern:
            files |= {_filled(pattern, f"plate{number}"): [number] for number in plates}
        else:
            files[pattern] = plates
    return files


def _filled(pattern: str, plate: str) -> str:
    """Return a pattern with the plate for each ``*``, set off from letters beside it."""
    after = re.sub(r"\*(?=[A-Za-z0-9])", f"{plate}_", pattern)
    return re.sub(r"(?<=[A-Za-z0-9])\*", f"_{plate}", after).replace("*", plate)


def _check_once(dataset: Dataset, shared: dict[str, dict[str, list[int]]]) -> None:
    """Refuse a description whose patterns give a file to two splits."""
    for split, files in shared.items():
        for other in dataset.by_split.values():
            for pattern in other.files if other.key != split else ():
                for name in files:
                    if _fits(name, pattern):
                        raise DataError(
                            f"files {pattern!r} of the split {other.name} found, which fits "
                            f"{name} of {dataset.title(split)} too; expected patterns that give "
                            "each file to one split."
                        )


def _fits(name: str, pattern: str) -> bool:
    parts, patterns = PurePath(name).parts, PurePath(pattern).parts
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
