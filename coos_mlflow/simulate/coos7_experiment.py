"""Simulated COOS-7, on disk and in memory: its five splits, and single new plates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.plates.writer import PlateWriter
from coos_mlflow.simulate import coos7_layout
from coos_mlflow.simulate.coos7_layout import SHIFTS
from coos_mlflow.simulate.experiment import (
    Cells,
    Progress,
    attributes,
    make_folder,
    refuse_existing,
    simulate_wells,
    write,
)

ALL_CLASSES = tuple(range(coos7().n_classes))


def simulate_dataset(
    folder: str | Path,
    scale: float = 0.1,
    seed: int = 0,
    *,
    jobs: int | None = None,
    on_progress: Progress | None = None,
    force: bool = False,
) -> dict[str, Path]:
    """Simulate COOS-7's five splits into a folder, well by well.

    Parameters
    ----------
    folder : path
        Created if missing.
    scale : float
        1 gives the cells of the paper's Table 2. Smaller scales have fewer wells and fewer cells in
        each.
    seed : int
        The same seed and scale give the same cells.
    jobs : int or None
        Number of threads; None for one per core.
    on_progress : callable or None
        Called with the number of cells written since the last call.
    force : bool
        Replace existing files.

    Returns
    -------
    dict of str to Path
        ``simulated_{split}.hdf5`` by split.

    Raises
    ------
    DataError
        For a scale outside ]0, 1].
    OutputError
        Where a file exists already, or cannot be written.
    """
    plans = coos7_layout.plan_dataset(scale, seed)
    folder = Path(folder)
    paths = {split: folder / f"simulated_{split}.hdf5" for split in SHIFTS}
    make_folder(folder)
    refuse_existing(paths.values(), force)
    for population in SHIFTS:
        chosen = [plan for plan in plans if plan.population == population]
        if chosen:
            attrs = attributes(seed, scale=scale)
            write(chosen, seed, paths, attrs, jobs, on_progress, force)
    return paths


def simulate_plate(
    path: str | Path,
    *,
    like: str = "training",
    classes: Sequence[int] = ALL_CLASSES,
    seed: int = 0,
    shift: float = 1.0,
    wells_per_class: int = 8,
    cells_per_well: int = 100,
    jobs: int | None = None,
    on_progress: Progress | None = None,
    force: bool = False,
) -> Path:
    """Simulate one new plate of a population into a file.

    Parameters
    ----------
    path : path
        The file to write.
    like : str
        A split whose plates it is like: "training", "test1" (the same population), "test2" (border
        wells), "test3" or "test4". Or "wild" (`wild`). Or a name in `SINGLE_CAUSES`: the plate like
        training with the same seed, with one factor shifted.
    classes : sequence of int
        Classes on the plate.
    seed : int
        Different seeds give independent plates, none of which is in a simulated data set.
    shift : float
        Factor on the population's shift from the mean of Training: 0 is no shift, 1 the
        population's own, 2 twice as far. The disturbances of a wild plate are always there.
    wells_per_class, cells_per_well : int
    jobs, on_progress, force
        As in `simulate_dataset`.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        For an unknown population or classes, or more wells than a plate has.
    OutputError
        Where the file exists already, or cannot be written.
    """
    plans = coos7_layout.plan_plate(like, classes, seed, wells_per_class, cells_per_well, shift)
    path = Path(path)
    make_folder(path.parent)
    attrs = attributes(seed, like=like, shift=shift)
    if plans[0].disturbances:
        attrs["disturbances"] = "; ".join(map(repr, plans[0].disturbances))
    write(plans, seed, {like: path}, attrs, jobs, on_progress, force)
    return path


def simulate_plate_cells(
    *,
    like: str = "training",
    classes: Sequence[int] = ALL_CLASSES,
    seed: int = 0,
    shift: float = 1.0,
    wells_per_class: int = 8,
    cells_per_well: int = 100,
    jobs: int | None = None,
) -> Cells:
    """Return the cells that `simulate_plate` would write.

    Returns
    -------
    dict of str to ndarray
        ``images`` (n, 2, 64, 64) uint16, ``labels`` int64, and ``plates``, ``wells``, ``dates``,
        ``microscopes`` of str.
    """
    plans = coos7_layout.plan_plate(like, classes, seed, wells_per_class, cells_per_well, shift)
    wells = [well[like] for well in simulate_wells(plans, seed, jobs)]
    return {name: np.concatenate([well[name] for well in wells]) for name in wells[0]}


def simulate_plates(
    path: str | Path,
    count: int,
    *,
    like: str = "training",
    classes: Sequence[int] = ALL_CLASSES,
    seed: int = 0,
    shift: float = 1.0,
    wells_per_class: int = 4,
    cells_per_well: int = 25,
    jobs: int | None = None,
    on_progress: Progress | None = None,
    force: bool = False,
) -> Path:
    """Simulate several new plates of a population into one file.

    Parameters
    ----------
    path : path
        The file to write.
    count : int
        Number of plates. They are those of `simulate_plate` with `seed`, ``seed + 1`` and so on.
    like, classes, seed, shift, wells_per_class, cells_per_well
        As in `simulate_plate`.
    jobs, on_progress, force
        As in `simulate_dataset`.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        As in `simulate_plate`, and for fewer plates than one.
    OutputError
        Where the file exists already, or cannot be written.
    """
    if count < 1:
        raise DataError(f"{count} plates asked for, expected at least 1.")
    size = (wells_per_class, cells_per_well)
    plans = [
        (number, coos7_layout.plan_plate(like, classes, number, *size, shift))
        for number in range(seed, seed + count)
    ]
    path = Path(path)
    make_folder(path.parent)
    n_cells = count * len(classes) * wells_per_class * cells_per_well
    attrs = attributes(seed, like=like, shift=shift)
    with PlateWriter(path, n_cells, attrs=attrs, force=force) as writer:
        for number, of_plate in plans:
            for well in simulate_wells(of_plate, number, jobs):
                writer.append(**well[like])
                if on_progress is not None:
                    on_progress(len(well[like]["images"]))
    return path
