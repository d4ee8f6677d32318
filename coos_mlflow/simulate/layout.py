"""The plan of an experiment: plates, wells, classes, and numbers of cells.

A `WellPlan` holds everything about a well except its cells, which `experiment` simulates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.schema import CLASSES, SPLITS
from coos_mlflow.simulate.classes import PROTEIN_CLASSES
from coos_mlflow.simulate.population import MICROSCOPES, SHIFTS

TABLE_2 = dict(zip(SPLITS, (41456, 10364, 17021, 32596, 30772), strict=True))
"""Cells by split (Lu et al. 2019, Table 2)."""

ROWS, COLUMNS = 16, 24
"""A 384-well plate."""

WELLS_PER_UNIT = {"training": 8, "test2": 3, "test3": 8, "test4": 8}
"""Wells of one class on one plate (Lu et al. 2019, section 2.2). The paper gives no number for
Test2; three give wells as full as those of Training. Test1 is cells of the Training wells."""

MIN_WELLS, MIN_CELLS_PER_WELL, MIN_TEST1_PER_WELL = 2, 6, 2
"""Smaller scales do not go below these, so that wells remain statistically useful; chosen."""

CELLS_PER_FIELD, MAX_FIELDS = 18.5, 20
"""The microscope takes 10 to 20 images of a well (Lu et al. 2019, section 2.2)."""

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

PLATES_PER_DAY = 2
"""Plates imaged on one day, which share the day's effects; chosen."""

MAX_SEVERITY = 5.0
"""Largest multiple of a split's shift; beyond it cells are no longer visible; chosen."""

LAYOUT, DAY, PLATE, UNIT, WELL = range(5)
"""First entries of the spawn keys of the random streams, one for each purpose."""


@dataclass(frozen=True)
class WellPlan:
    """One well: its position, its ids, and the number of its cells in each split.

    Parameters
    ----------
    population : str
        Key of `population.SHIFTS`.
    label, row, column : int
        Class 0..6; row and column counted from 1.
    plate, date, microscope : str
        Ids.
    number, day : int
        Numbers of the plate and the day, for the random streams.
    cells : dict of str to int
        Number of cells by split; Training wells have cells of "training" and "test1".
    stream : tuple of int
        Additional spawn key, by which single plates differ from the plates of data sets.
    severity : float
        Factor on the population's mean shift.
    """

    population: str
    label: int
    row: int
    column: int
    plate: str
    date: str
    microscope: str
    number: int
    day: int
    cells: dict[str, int] = field(hash=False)
    stream: tuple[int, ...] = ()
    severity: float = 1.0

    @property
    def n_cells(self) -> int:
        """Cells of all splits together."""
        return sum(self.cells.values())

    def well_id(self, field_number: int) -> str:
        """Return the id as in COOS-7: row, column and field with three digits each."""
        return f"{self.row:03d}{self.column:03d}{field_number:03d}"

    def cells_per_field(self) -> list[int]:
        """Return the number of cells of each field."""
        fields = min(max(round(self.n_cells / CELLS_PER_FIELD), 1), MAX_FIELDS)
        return [len(part) for part in np.array_split(np.arange(self.n_cells), fields)]


def apportion(total: int, weights: np.ndarray) -> np.ndarray:
    """Divide `total` in proportion to `weights` into whole numbers, by largest remainders.

    Of equal remainders the earlier one is rounded up first.
    """
    exact = total * np.asarray(weights, float) / np.sum(weights)
    shares = np.floor(exact).astype(int)
    order = np.argsort(shares - exact, kind="stable")
    shares[order[: total - shares.sum()]] += 1
    return shares


def stream(seed: int, *key: int) -> np.random.Generator:
    """Return the random generator of one purpose, independent of all others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise DataError(f"seed {seed} found, expected a whole number of at least 0.")


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


def well_positions(rng: np.random.Generator, border: bool, count: int) -> list[tuple[int, int]]:
    """Return `count` random positions (row, column) at the plate's border or inside it.

    Raises
    ------
    DataError
        Where the plate has fewer such wells.
    """
    positions = [
        (row, column)
        for row in range(1, ROWS + 1)
        for column in range(1, COLUMNS + 1)
        if (row in (1, ROWS) or column in (1, COLUMNS)) == border
    ]
    if count > len(positions):
        kind = "border" if border else "inner"
        raise DataError(
            f"{count} {kind} wells asked for, a 384-well plate has {len(positions)}; "
            "ask for fewer wells or classes."
        )
    return [positions[i] for i in rng.permutation(len(positions))[:count]]


def plan_dataset(scale: float, seed: int) -> list[WellPlan]:
    """Plan all wells of the five splits, Training first.

    Raises
    ------
    DataError
        For a scale outside ]0, 1] or a negative seed.
    """
    _check_seed(seed)
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
            plate=str(number),
            date=f"day{7 * PLATES_PER_DAY * day:03d}",
            microscope=MICROSCOPES[population],
            number=number,
            day=day,
            cells={},
        )
        for k, label in enumerate(classes)
        for row, column in positions[k :: len(classes)][:wells]
    ]


def plan_plate(
    like: str,
    classes: Sequence[int],
    seed: int,
    wells_per_class: int,
    cells_per_well: int,
    severity: float,
) -> list[WellPlan]:
    """Plan one new plate of a split's population, independent of any data set.

    Raises
    ------
    DataError
        For an unknown split, classes outside 0..6 or twice, sizes below 1, too many wells, a
        negative seed, a severity beyond `MAX_SEVERITY`.
    """
    _check_seed(seed)
    if not abs(severity) <= MAX_SEVERITY:
        raise DataError(
            f"shift {severity:g} found, expected a number from {-MAX_SEVERITY:g} to "
            f"{MAX_SEVERITY:g}; 1 is the split's own."
        )
    if like not in MICROSCOPES:
        raise DataError(f"plate like {like!r} asked for, expected one of {', '.join(SHIFTS)}.")
    classes = tuple(int(label) for label in classes)
    known = set(range(len(CLASSES)))
    if not classes or len(set(classes)) < len(classes) or not set(classes) <= known:
        raise DataError(f"classes {classes} found, expected different numbers among 0..6.")
    if wells_per_class < 1 or cells_per_well < 1:
        raise DataError(
            f"{wells_per_class} wells a class of {cells_per_well} cells asked for, "
            "expected at least 1 of each."
        )
    key = (1 + list(SHIFTS).index(like),)
    rng = stream(seed, LAYOUT, *key)
    positions = well_positions(rng, "edge" in SHIFTS[like], wells_per_class * len(classes))
    return [
        WellPlan(
            population=like,
            label=label,
            row=row,
            column=column,
            plate=f"new{seed}",
            date=f"new{seed}",
            microscope=MICROSCOPES[like],
            number=0,
            day=0,
            cells={like: cells_per_well},
            stream=key,
            severity=severity,
        )
        for k, label in enumerate(classes)
        for row, column in positions[k :: len(classes)]
    ]
