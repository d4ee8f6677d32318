"""Effect sizes of a plate: how much its cells differ from reference cells of the same classes."""

from __future__ import annotations

import math

import numpy as np
from threadpoolctl import threadpool_limits

from coos_mlflow.drift.plate_distance import LEAST_CELLS as LEAST_CELLS_OF_CLASS
from coos_mlflow.drift.plate_distance import judged_units
from coos_mlflow.drift.statistics import CellSample, statistics
from coos_mlflow.plates.schema import CLASSES

MOST_CELLS = 2000
"""Cells a side that are compared."""

LEAST_CELLS = 50
"""Cells a side below which nothing is compared."""


def effect_sizes(
    plate: CellSample, reference: CellSample, seed: int = 0
) -> dict[str, float | None]:
    """Measure how much the cells of a plate differ from reference cells of the same classes.

    Both sides are drawn with the plate's shares of the predicted classes, so that the mix of
    classes does not count. Left out are classes that the plate does not really carry
    (`judged_units`), and those that the reference lacks.

    Parameters
    ----------
    plate, reference : CellSample
        Any number of cells, in any order.
    seed : int
        For the draws. The same cells and seed give the same figures.

    Returns
    -------
    dict of float or None
        By key of `statistics`; None where there are fewer than `LEAST_CELLS` cells a side, or
        where the statistic cannot be had. 0, or about 0, is no difference.
    """
    sides = _matched(plate, reference, np.random.default_rng(seed))
    if sides is None:
        return dict.fromkeys(statistics())
    # Fits of a few thousand cells lose more time to threads than they gain.
    with threadpool_limits(1):
        values = {key: one.measure(*sides, seed) for key, one in statistics().items()}
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def describe() -> list[dict[str, str]]:
    """Return key, title and meaning of each statistic, in the order of `effect_sizes`."""
    return [
        {"key": key, "title": one.title, "meaning": one.meaning}
        for key, one in statistics().items()
    ]


def _matched(
    plate: CellSample, reference: CellSample, rng: np.random.Generator
) -> tuple[CellSample, CellSample] | None:
    """Draw both sides, as large as can be, with the plate's shares of the classes."""
    classes = _judged_classes(plate, reference)
    if len(classes) == 0:
        return None
    here, there = (_class_counts(sample)[classes] for sample in (plate, reference))
    shares = here / here.sum()
    sizes = [min(MOST_CELLS, int(here.sum())), min(MOST_CELLS, int(np.min(there / shares)))]
    if min(sizes) < LEAST_CELLS:
        return None
    drawn_plate, drawn_reference = (
        _draw(sample, classes, _apportioned(shares, size), rng)
        for sample, size in zip((plate, reference), sizes, strict=True)
    )
    return drawn_plate, drawn_reference


def _judged_classes(plate: CellSample, reference: CellSample) -> np.ndarray:
    alike = np.zeros(len(plate), dtype=np.int64)
    _, carried, _, _ = judged_units(alike, plate.classes, np.ones_like(alike))
    return carried[_class_counts(reference)[carried] >= LEAST_CELLS_OF_CLASS]


def _class_counts(sample: CellSample) -> np.ndarray:
    return np.bincount(sample.classes, minlength=len(CLASSES))


def _apportioned(shares: np.ndarray, size: int) -> np.ndarray:
    """Divide `size` cells by shares; the largest remainders get the cells that are left."""
    exact = shares * size
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: size - counts.sum()]] += 1
    return counts


def _draw(
    sample: CellSample, classes: np.ndarray, counts: np.ndarray, rng: np.random.Generator
) -> CellSample:
    """Draw cells of each class without replacement, whatever the order they came in."""
    ordered = sample.select(np.lexsort((*sample.features.T, sample.wells)))
    rows = [
        rng.choice(np.flatnonzero(ordered.classes == label), count, replace=False)
        for label, count in zip(classes, counts, strict=True)
    ]
    return ordered.select(np.concatenate(rows))
