"""Which well of which plate holds how many cells of which class: the plan of an experiment.

Nothing is drawn here; a plan says everything about a well but its cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.schema import CLASSES, SPLITS
from coos_mlflow.simulate.population import MICROSCOPES, SHIFTS

TABLE_2 = dict(zip(SPLITS, (41456, 10364, 17021, 32596, 30772), strict=True))
"""Cells by split (Lu et al. 2019, Table 2)."""

ROWS, COLUMNS = 16, 24
"""A 384-well plate."""

WELLS_PER_UNIT = {"training": 8, "test2": 3, "test3": 8, "test4": 8}
"""Wells of one class on one plate (Lu et al. 2019, section 2.2; for Test2, where the paper says
none, three give wells as full as those of Training). Test1 is cells of the Training wells."""

MIN_WELLS, MIN_CELLS_PER_WELL, MIN_TEST1_PER_WELL = 2, 6, 2
"""Below these a smaller scale does not thin, so that wells stay wells; chosen."""

CELLS_PER_FIELD, MAX_FIELDS = 18.5, 20
"""The microscope takes 10 to 20 images of a well (Lu et al. 2019, section 2.2)."""

PROLIFERATION = (1.00, 1.06, 0.95, 1.03, 0.92, 1.08, 0.97)
"""Relative number of cells by class: lines grow at different rates; chosen."""

WELL_CELLS_SD = 0.12
"""Deviation of the log of a well's number of cells; chosen."""

PLATES: dict[str, tuple[tuple[int, ...], ...]] = {
    "training": (
        *((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 0), (0, 3)),
        *((0,), (1,), (1,), (2,), (2,), (3,), (4,), (4,), (5,), (5,), (6,), (6,)),
    ),
    "test3": ((0, 1), (2, 3), (4, 5), (6, 0), (1,), (2,), (3,), (4,), (5,), (6,)),
    "test4": ((0, 4), (1, 2), (3, 5), (6,)),
}
"""Classes on each physical plate: each class on 4, 2 and 1 plates, one or two to a plate, four
plates on the other microscope (Lu et al. 2019, section 2.2); which go together is chosen."""

PLATE_NUMBERS = {"training": (1, 70), "test3": (72, 92), "test4": (92, 96)}
"""Ranges of the running numbers of the 95 plates: Test3 holds the latest experiments of its
microscope; the ranges are chosen."""

PLATES_PER_DAY = 2
"""Plates imaged on one day share its effects; chosen."""

MAX_SEVERITY = 5.0
"""Shifts beyond this many times a split's own would leave no cells to see; chosen."""

LAYOUT, DAY, PLATE, UNIT, WELL = range(5)
"""First entries of the spawn keys of the random streams, one for each purpose."""


@dataclass(frozen=True)
class WellPlan:
    """One well: its place, its ids, and how many cells each split takes of it.

    Parameters
    ----------
    population : str
        Key of `population.SHIFTS`.
    label, row, column : int
        Class 0..6; position counted from 1.
    plate, date, microscope : str
        Ids.
    number, day : int
        The plate and day as numbers, for the random streams.
    cells : dict of str to int
        Split to number of cells; Training wells give to "training" and "test1".
    stream : tuple of int
        Further spawn key that keeps data sets and single plates apart.
    severity : float
        Multiplies the population's mean shift.
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
        """Return the id as COOS-7 spells it: row, column, field, three digits each."""
        return f"{self.row:03d}{self.column:03d}{field_number:03d}"

    def cells_per_field(self) -> list[int]:
        """Return how many cells each field gives."""
        fields = min(max(round(self.n_cells / CELLS_PER_FIELD), 1), MAX_FIELDS)
        return [len(part) for part in np.array_split(np.arange(self.n_cells), fields)]


def apportion(total: int, weights: np.ndarray) -> np.ndarray:
    """Share out `total` in proportion to `weights`, in whole numbers that sum to it.

    Largest remainders win; at ties the earlier one.
    """
    exact = total * np.asarray(weights, float) / np.sum(weights)
    shares = np.floor(exact).astype(int)
    order = np.argsort(shares - exact, kind="stable")
    shares[order[: total - shares.sum()]] += 1
    return shares


def stream(seed: int, *key: int) -> np.random.Generator:
    """Return the random stream of one purpose, independent of all others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise DataError(f"seed {seed} found, expected a whole number of at least 0.")


def wells_per_unit(split: str, scale: float) -> int:
    """Return how many wells one class has on one plate at a scale."""
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
        least = MIN_TEST1_PER_WELL if split == "test1" else MIN_CELLS_PER_WELL
        planned[split] = min(full, max(round(full * scale), least * wells))
    return planned


def well_positions(rng: np.random.Generator, border: bool, count: int) -> list[tuple[int, int]]:
    """Return `count` random positions (row, column) at the plate's border or inside it.

    Raises
    ------
    DataError
        Where the plate has fewer such wells.
    """
    places = [
        (row, column)
        for row in range(1, ROWS + 1)
        for column in range(1, COLUMNS + 1)
        if (row in (1, ROWS) or column in (1, COLUMNS)) == border
    ]
    if count > len(places):
        kind = "border" if border else "inner"
        raise DataError(
            f"{count} {kind} wells asked for, a 384-well plate has {len(places)}; "
            "ask for fewer wells or classes."
        )
    return [places[i] for i in rng.permutation(len(places))[:count]]


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
    home = "training" if population == "test2" else population
    rng = stream(seed, LAYOUT, list(PLATES).index(home))
    low, high = PLATE_NUMBERS[home]
    numbers = np.sort(rng.permutation(np.arange(low, high))[: len(PLATES[home])])
    order = rng.permutation(len(PLATES[home]))
    wells = []
    for number, i in zip(numbers.tolist(), order, strict=True):
        wells += _plan_plate(rng, population, PLATES[home][i], number, scale)
    weights = np.array([PROLIFERATION[well.label] for well in wells])
    crowd = stream(seed, LAYOUT, 10 + list(SHIFTS).index(population))
    weights *= np.exp(WELL_CELLS_SD * crowd.standard_normal(len(wells)))
    splits = ("training", "test1") if population == "training" else (population,)
    for split in splits:
        for well, cells in zip(wells, apportion(planned[split], weights), strict=True):
            well.cells[split] = int(cells)
    return wells


def _plan_plate(
    rng: np.random.Generator, population: str, classes: Sequence[int], number: int, scale: float
) -> list[WellPlan]:
    """Place the wells of a plate; the positions at scale 1 hold those of every smaller scale."""
    inner = well_positions(rng, False, len(classes) * WELLS_PER_UNIT["training"])
    border = well_positions(rng, True, len(classes) * WELLS_PER_UNIT["test2"])
    places = border if population == "test2" else inner
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
        for row, column in places[k :: len(classes)][:wells]
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
    places = well_positions(rng, "edge" in SHIFTS[like], wells_per_class * len(classes))
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
        for row, column in places[k :: len(classes)]
    ]
