"""The plan of COOS-7's experiment: plates, wells, classes, and numbers of cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.simulate.classes import PROTEIN_CLASSES
from coos_mlflow.simulate.disturbances import Disturbance
from coos_mlflow.simulate.layout import (
    LAYOUT,
    PLATES_PER_DAY,
    WILD_PLATE,
    WellPlan,
    apportion,
    check_seed,
    stream,
    well_positions,
)
from coos_mlflow.simulate.population import Logs, mean_shift
from coos_mlflow.simulate.single_causes import SINGLE_CAUSES, single_shift
from coos_mlflow.simulate.wild import WILD, wild_disturbances, wild_shift

SHIFTS: dict[str, dict[str, float]] = {
    "training": {},
    "test1": {},
    "test2": {"edge": 1.0},
    "test3": {"drift": 1.0},
    "test4": {"transfer": 1.0},
}
"""Shifts of the wells of a split (`population.Effect`)."""

MICROSCOPES = {split: "opera-2" if split == "test4" else "opera-1" for split in SHIFTS}
"""Microscope ids by split: Test4 was imaged on another instrument of the same make."""

TABLE_2 = dict(zip(SHIFTS, (41456, 10364, 17021, 32596, 30772), strict=True))
"""Cells by split (Lu et al. 2019, Table 2)."""

WELLS_PER_UNIT = {"training": 8, "test2": 3, "test3": 8, "test4": 8}
"""Wells of one class on one plate (Lu et al. 2019, section 2.2). The paper gives no number for
Test2; three give wells as full as those of Training. Test1 is cells of the Training wells."""

MIN_WELLS, MIN_CELLS_PER_WELL, MIN_TEST1_PER_WELL = 2, 6, 2
"""Smaller scales do not go below these, so that wells remain statistically useful; chosen."""

WELL_CELLS_SD = 0.12
"""Standard deviation of the log of a well's number of cells; chosen."""

PLATES: dict[str, tuple[tuple[int, ...], ...]] = {
    "training": (
        *((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 0), (0, 3)),
        *((0,), (1,), (1,), (2,), (2,), (3,), (4,), (4,), (5,), (5,), (6,), (6,)),
    ),
    "test3": ((0, 1), (2, 3), (4, 5), (6, 0), (1,), (2,), (3,), (4,), (5,), (6,)),
    "test4": ((0, 4), (1, 2), (3, 5), (6,)),
}
"""Classes on each physical plate. Each class is on 4, 2 and 1 plates, with one or two classes to a
plate and four plates on the other microscope (Lu et al. 2019, section 2.2). The combinations are
chosen."""

PLATE_NUMBERS = {"training": (1, 70), "test3": (72, 92), "test4": (92, 96)}
"""Ranges of the plates' running numbers, out of 95. Test3 has the latest experiments of its
microscope; the ranges are chosen."""

POPULATIONS = (*SHIFTS, WILD, *SINGLE_CAUSES)
"""What a single new plate can be like."""

MAX_SEVERITY = 5.0
"""Largest multiple of a population's shift; beyond it cells are no longer visible; chosen."""


def wells_per_unit(split: str, scale: float) -> int:
    """Return the number of wells of one class on one plate at a scale."""
    full = WELLS_PER_UNIT["training" if split == "test1" else split]
    return min(full, max(MIN_WELLS, round(full * math.sqrt(scale))))


def planned_cells(scale: float) -> dict[str, int]:
    """Return the number of cells of each split.

    Parameters
    ----------
    scale : float
        1 gives the paper's Table 2, smaller values about that share of it.

    Raises
    ------
    DataError
        For a scale outside ]0, 1].
    """
    if not 0.0 < scale <= 1.0:
        raise DataError(f"scale {scale:g} found, expected a number above 0 and at most 1.")
    planned = {}
    for split, full in TABLE_2.items():
        plates = PLATES["training" if split in ("test1", "test2") else split]
        wells = wells_per_unit(split, scale) * sum(len(classes) for classes in plates)
        minimum = MIN_TEST1_PER_WELL if split == "test1" else MIN_CELLS_PER_WELL
        planned[split] = min(full, max(round(full * scale), minimum * wells))
    return planned


def plan_dataset(scale: float, seed: int) -> list[WellPlan]:
    """Plan all wells of the five splits, Training first.

    Raises
    ------
    DataError
        For a scale outside ]0, 1] or a negative seed.
    """
    check_seed(seed)
    planned = planned_cells(scale)
    return [
        well
        for population in SHIFTS
        if population != "test1"
        for well in _plan_population(population, scale, seed, planned)
    ]


def _plan_population(
    population: str, scale: float, seed: int, planned: dict[str, int]
) -> list[WellPlan]:
    # Test2 wells lie on the plates of Training; the same stream gives them the same numbers.
    plates = "training" if population == "test2" else population
    rng = stream(seed, LAYOUT, list(PLATES).index(plates))
    low, high = PLATE_NUMBERS[plates]
    numbers = np.sort(rng.permutation(np.arange(low, high))[: len(PLATES[plates])])
    order = rng.permutation(len(PLATES[plates]))
    wells = []
    for number, i in zip(numbers.tolist(), order, strict=True):
        wells += _plan_plate(rng, population, PLATES[plates][i], number, scale)
    weights = np.array([PROTEIN_CLASSES[well.label].growth for well in wells])
    counts_rng = stream(seed, LAYOUT, 10 + list(SHIFTS).index(population))
    weights *= np.exp(WELL_CELLS_SD * counts_rng.standard_normal(len(wells)))
    splits = ("training", "test1") if population == "training" else (population,)
    for split in splits:
        for well, cells in zip(wells, apportion(planned[split], weights), strict=True):
            well.cells[split] = int(cells)
    return wells


def _plan_plate(
    rng: np.random.Generator, population: str, classes: Sequence[int], number: int, scale: float
) -> list[WellPlan]:
    """Plan the wells of a plate; smaller scales use a subset of the positions at scale 1."""
    inner = well_positions(rng, False, len(classes) * WELLS_PER_UNIT["training"])
    border = well_positions(rng, True, len(classes) * WELLS_PER_UNIT["test2"])
    positions = border if population == "test2" else inner
    wells = wells_per_unit(population, scale)
    day = number // PLATES_PER_DAY
    return [
        WellPlan(
            population=population,
            label=label,
            row=row,
            column=column,
            protein=PROTEIN_CLASSES[label],
            plate=str(number),
            date=f"day{7 * PLATES_PER_DAY * day:03d}",
            microscope=MICROSCOPES[population],
            number=number,
            day=day,
            cells={},
            shift=mean_shift(SHIFTS[population]),
        )
        for k, label in enumerate(classes)
        for row, column in positions[k :: len(classes)][:wells]
    ]


class _Population(NamedTuple):
    """What all wells of a new plate share; `key` is the spawn key of its streams."""

    key: tuple[int, ...]
    shift: Logs
    disturbances: tuple[Disturbance, ...] = ()
    microscope: str = MICROSCOPES["training"]
    border: bool = False


def _population(like: str, seed: int) -> _Population:
    if like == WILD:
        key = (len(SHIFTS) + 1,)
        rng = stream(seed, WILD_PLATE, *key)
        return _Population(key, wild_shift(rng), wild_disturbances(rng), microscope=WILD)
    if like in SINGLE_CAUSES:  # the plate of Training with the same seed is its base
        return _population("training", seed)._replace(shift=single_shift(like))
    return _Population(
        key=(1 + list(SHIFTS).index(like),),
        shift=mean_shift(SHIFTS[like]),
        microscope=MICROSCOPES[like],
        border="edge" in SHIFTS[like],
    )


def plan_plate(
    like: str,
    classes: Sequence[int],
    seed: int,
    wells_per_class: int,
    cells_per_well: int,
    severity: float,
) -> list[WellPlan]:
    """Plan one new plate of a population, independent of any data set.

    Raises
    ------
    DataError
        For an unknown population, classes outside 0..6 or twice, sizes below 1, too many wells, a
        negative seed, a severity beyond `MAX_SEVERITY`.
    """
    check_seed(seed)
    if not abs(severity) <= MAX_SEVERITY:
        raise DataError(
            f"shift {severity:g} found, expected a number from {-MAX_SEVERITY:g} to "
            f"{MAX_SEVERITY:g}; 1 is the population's own."
        )
    if like not in POPULATIONS:
        raise DataError(f"plate like {like!r} asked for, expected one of {', '.join(POPULATIONS)}.")
    classes = tuple(int(label) for label in classes)
    known = set(range(coos7().n_classes))
    if not classes or len(set(classes)) < len(classes) or not set(classes) <= known:
        raise DataError(
            f"classes {classes} found, expected different numbers among 0..{max(known)}."
        )
    if wells_per_class < 1 or cells_per_well < 1:
        raise DataError(
            f"{wells_per_class} wells a class of {cells_per_well} cells asked for, "
            "expected at least 1 of each."
        )
    of = _population(like, seed)
    rng = stream(seed, LAYOUT, *of.key)
    positions = well_positions(rng, of.border, wells_per_class * len(classes))
    shift = {name: severity * amount for name, amount in of.shift.items()}
    return [
        WellPlan(
            population=like,
            label=label,
            row=row,
            column=column,
            protein=PROTEIN_CLASSES[label],
            plate=f"new{seed}",
            date=f"new{seed}",
            microscope=of.microscope,
            number=0,
            day=0,
            cells={like: cells_per_well},
            shift=shift,
            stream=of.key,
            disturbances=of.disturbances,
        )
        for k, label in enumerate(classes)
        for row, column in positions[k :: len(classes)]
    ]
