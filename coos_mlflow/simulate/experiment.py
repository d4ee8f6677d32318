"""Simulated experiments on disk and in memory: the five splits, and single new plates."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import coos_mlflow
from coos_mlflow.errors import OutputError
from coos_mlflow.plates.schema import CLASSES, SPLITS
from coos_mlflow.plates.writer import PlateWriter
from coos_mlflow.simulate import layout
from coos_mlflow.simulate.layout import WellPlan
from coos_mlflow.simulate.population import (
    SHIFTS,
    WellState,
    draw_effects,
    mean_shift,
    merge_unit,
    well_state,
)
from coos_mlflow.simulate.render import render_well

ALL_CLASSES = tuple(range(len(CLASSES)))

Cells = dict[str, np.ndarray]
"""`images` and the columns of `PlateWriter.append`, all of the same length."""

Progress = Callable[[int], None]


def state_of(plan: WellPlan, seed: int) -> WellState:
    """Return the state of a well from the effects of its day, plate and well."""
    key = (*plan.stream, plan.number)
    plate = draw_effects(layout.stream(seed, layout.PLATE, *key), "plate")
    unit = draw_effects(layout.stream(seed, layout.UNIT, *key, plan.label), "plate")
    day = draw_effects(layout.stream(seed, layout.DAY, *plan.stream, plan.day), "day")
    place = (plan.row, plan.column)
    well = draw_effects(layout.stream(seed, layout.WELL, *key, *place, 0), "well")
    shift = mean_shift(plan.population, plan.severity)
    return well_state(plan.label, day, merge_unit(plate, unit), well, shift)


def simulate_well(plan: WellPlan, seed: int) -> dict[str, Cells]:
    """Return the cells of a well by split; they depend only on the plan and the seed."""
    key = (*plan.stream, plan.number, plan.row, plan.column, 1)
    rng = layout.stream(seed, layout.WELL, *key)
    per_field = plan.cells_per_field()
    images = render_well(rng, plan.label, state_of(plan, seed), per_field)
    fields = np.repeat(np.arange(len(per_field)), per_field)
    order = rng.permutation(len(images))
    cells, start = {}, 0
    for split, count in plan.cells.items():
        chosen = np.sort(order[start : start + count])
        cells[split] = _columns(plan, images[chosen], fields[chosen])
        start += count
    return cells


def _columns(plan: WellPlan, images: np.ndarray, fields: np.ndarray) -> Cells:
    n = len(images)
    return {
        "images": images,
        "labels": np.full(n, plan.label, np.int64),
        "plates": np.full(n, plan.plate),
        "wells": np.array([plan.well_id(number) for number in fields.tolist()]),
        "dates": np.full(n, plan.date),
        "microscopes": np.full(n, plan.microscope),
    }


def simulate_wells(
    plans: Sequence[WellPlan], seed: int, jobs: int | None = None
) -> Iterator[dict[str, Cells]]:
    """Yield the wells in the plans' order, several computed in parallel.

    Threads suffice, since drawing, filters and noise release Python's global lock.

    Parameters
    ----------
    plans : sequence of WellPlan
    seed : int
    jobs : int or None
        Number of threads; None for one per core. The cells do not depend on it.
    """
    jobs = jobs or os.cpu_count() or 1
    pending: deque[Future] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        for plan in plans:
            pending.append(pool.submit(simulate_well, plan, seed))
            if len(pending) > 2 * jobs:  # bounds the memory
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


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
    plans = layout.plan_dataset(scale, seed)
    folder = Path(folder)
    paths = {split: folder / f"simulated_{split}.hdf5" for split in SPLITS}
    _make_folder(folder)
    _refuse_existing(paths.values(), force)
    for population in SHIFTS:
        chosen = [plan for plan in plans if plan.population == population]
        if chosen:
            attrs = _attributes(seed, scale=scale)
            _write(chosen, seed, paths, attrs, jobs, on_progress, force)
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
    """Simulate one new plate from the population of a split's plates into a file.

    Parameters
    ----------
    path : path
        The file to write.
    like : str
        "training", "test1" (the same population), "test2" (border wells), "test3" or "test4".
    classes : sequence of int
        Classes on the plate.
    seed : int
        Different seeds give independent plates, none of which is in a simulated data set.
    shift : float
        Factor on the split's shift from the mean of Training: 0 is no shift, 1 the split's own, 2
        twice as far.
    wells_per_class, cells_per_well : int
    jobs, on_progress, force
        As in `simulate_dataset`.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        For an unknown split or classes, or more wells than a plate has.
    OutputError
        Where the file exists already, or cannot be written.
    """
    plans = layout.plan_plate(like, classes, seed, wells_per_class, cells_per_well, shift)
    path = Path(path)
    _make_folder(path.parent)
    attrs = _attributes(seed, like=like, shift=shift)
    _write(plans, seed, {like: path}, attrs, jobs, on_progress, force)
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
    plans = layout.plan_plate(like, classes, seed, wells_per_class, cells_per_well, shift)
    wells = [well[like] for well in simulate_wells(plans, seed, jobs)]
    return {name: np.concatenate([well[name] for well in wells]) for name in wells[0]}


def _write(
    plans: list[WellPlan],
    seed: int,
    paths: dict[str, Path],
    attrs: dict[str, Any],
    jobs: int | None,
    on_progress: Progress | None,
    force: bool,
) -> None:
    """Simulate wells of the same splits and write each split to its file."""
    with ExitStack() as stack:
        writers = {}
        for split in plans[0].cells:
            n_cells = sum(plan.cells[split] for plan in plans)
            writer = PlateWriter(
                paths[split], n_cells, attrs={**attrs, "split": split}, force=force
            )
            writers[split] = stack.enter_context(writer)
        for well in simulate_wells(plans, seed, jobs):
            for split, cells in well.items():
                writers[split].append(**cells)
                if on_progress is not None:
                    on_progress(len(cells["images"]))


def _attributes(seed: int, **more: Any) -> dict[str, Any]:
    """Return the attributes of a simulated file."""
    return {
        "simulated": True,
        "simulator": f"coos_mlflow {coos_mlflow.__version__}",
        "seed": seed,
        **more,
    }


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the folder cannot be made ({error.strerror}).") from error


def _refuse_existing(paths: Any, force: bool) -> None:
    """Check for existing files before hours of work."""
    for path in paths:
        if path.exists() and not force:
            raise OutputError(
                f"{path}: the file is there already; choose another folder or ask to replace it."
            )
