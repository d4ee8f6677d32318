"""Planned wells become cells, in memory and in plate files."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import coos_mlflow
from coos_mlflow.errors import OutputError
from coos_mlflow.plates.writer import PlateWriter
from coos_mlflow.simulate import layout
from coos_mlflow.simulate.layout import WellPlan
from coos_mlflow.simulate.population import WellState, draw_effects, merge_unit, well_state
from coos_mlflow.simulate.render import render_well

Cells = dict[str, np.ndarray]
"""`images` and the columns of `PlateWriter.append`, all of the same length."""

Progress = Callable[[int], None]
"""Called with the number of cells written since the last call."""


def state_of(plan: WellPlan, seed: int) -> WellState:
    """Return the state of a well from the effects of its day, plate and well."""
    key = (*plan.stream, plan.number)
    plate = draw_effects(layout.stream(seed, layout.PLATE, *key), "plate")
    unit = draw_effects(layout.stream(seed, layout.UNIT, *key, plan.label), "plate")
    day = draw_effects(layout.stream(seed, layout.DAY, *plan.stream, plan.day), "day")
    place = (plan.row, plan.column)
    well = draw_effects(layout.stream(seed, layout.WELL, *key, *place, 0), "well")
    return well_state(plan.protein, day, merge_unit(plate, unit), well, plan.shift)


def simulate_well(plan: WellPlan, seed: int) -> dict[str, Cells]:
    """Return the cells of a well by split; they depend only on the plan and the seed."""
    key = (*plan.stream, plan.number, plan.row, plan.column, plan.member)
    rng = layout.stream(seed, layout.WELL, *key)
    per_field = plan.cells_per_field()
    state = state_of(plan, seed)
    images = render_well(rng, plan.protein, state, per_field, plan.crop, plan.disturbances)
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


def write(
    plans: Sequence[WellPlan],
    seed: int,
    paths: Mapping[str, Path],
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
                paths[split],
                n_cells,
                crop=plans[0].crop,
                attrs={**attrs, "split": split},
                force=force,
            )
            writers[split] = stack.enter_context(writer)
        for well in simulate_wells(plans, seed, jobs):
            for split, cells in well.items():
                writers[split].append(**cells)
                if on_progress is not None:
                    on_progress(len(cells["images"]))


def attributes(seed: int, **more: Any) -> dict[str, Any]:
    """Return the attributes of a simulated file."""
    return {
        "simulated": True,
        "simulator": f"coos_mlflow {coos_mlflow.__version__}",
        "seed": seed,
        **more,
    }


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it.

    Raises
    ------
    OutputError
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the folder cannot be made ({error.strerror}).") from error


def refuse_existing(paths: Iterable[Path], force: bool) -> None:
    """Check for existing files before hours of work.

    Raises
    ------
    OutputError
    """
    for path in paths:
        if path.exists() and not force:
            raise OutputError(
                f"{path}: the file is there already; choose another folder or ask to replace it."
            )
