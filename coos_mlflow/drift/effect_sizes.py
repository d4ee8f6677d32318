"""Effect sizes of a plate: differences between its cells and reference cells of the same classes.

The statistics themselves are in `statistics/`; this file draws the two samples that they compare.
"""

from __future__ import annotations

import math

import numpy as np
from threadpoolctl import threadpool_limits

from coos_mlflow.drift import MIN_CELLS_PER_CLASS, MIN_CELLS_PER_PLATE
from coos_mlflow.drift.plate_distance import comparable_units
from coos_mlflow.drift.statistics import MAX_CELLS, CellSample, statistics


def effect_sizes(
    plate: CellSample, reference: CellSample, seed: int = 0
) -> dict[str, float | None]:
    """Measure how much the cells of a plate differ from reference cells of the same classes.

    Both samples are drawn with the plate's shares of the predicted classes, so that the mix of
    classes has no influence. Classes with too few cells on the plate (`comparable_units`) or in
    the reference are left out.

    Parameters
    ----------
    plate, reference : CellSample
        Any number of cells, in any order.
    seed : int
        For the draws. The same cells and seed give the same values.

    Returns
    -------
    dict of float or None
        By key of `statistics`. None if either sample has fewer than `MIN_CELLS_PER_PLATE` cells or
        the statistic is not finite. 0, or about 0, is no difference.
    """
    sides = _matched(plate, reference, np.random.default_rng(seed))
    if sides is None:
        return dict.fromkeys(statistics())
    # On a few thousand cells, starting threads costs more time than they save.
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
    """Draw both samples, as large as possible, with the plate's shares of the classes."""
    classes = _common_classes(plate, reference)
    if len(classes) == 0:
        return None
    on_plate, in_reference = (_class_counts(sample)[classes] for sample in (plate, reference))
    shares = on_plate / on_plate.sum()
    possible = (int(on_plate.sum()), int(np.min(in_reference / shares)))
    sizes = [min(MAX_CELLS, size) for size in possible]
    if min(sizes) < MIN_CELLS_PER_PLATE:
        return None
    drawn_plate, drawn_reference = (
        _draw(sample, classes, _apportioned(shares, size), rng)
        for sample, size in zip((plate, reference), sizes, strict=True)
    )
    return drawn_plate, drawn_reference


def _common_classes(plate: CellSample, reference: CellSample) -> np.ndarray:
    same_plate = np.zeros(len(plate), dtype=np.int64)
    _, classes, _, _ = comparable_units(same_plate, plate.classes, np.ones_like(same_plate))
    return classes[_class_counts(reference)[classes] >= MIN_CELLS_PER_CLASS]


def _class_counts(sample: CellSample) -> np.ndarray:
    return np.bincount(sample.classes, minlength=sample.softmax.shape[1])


def _apportioned(shares: np.ndarray, size: int) -> np.ndarray:
    """Divide `size` cells by shares; the classes with the largest remainders get the rest."""
    exact = shares * size
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: size - counts.sum()]] += 1
    return counts


def _draw(
    sample: CellSample, classes: np.ndarray, counts: np.ndarray, rng: np.random.Generator
) -> CellSample:
    """Draw cells of each class without replacement; the order of the sample has no influence."""
    ordered = sample.select(np.lexsort((*sample.features.T, sample.wells)))
    rows = [
        rng.choice(np.flatnonzero(ordered.classes == label), count, replace=False)
        for label, count in zip(classes, counts, strict=True)
    ]
    return ordered.select(np.concatenate(rows))
