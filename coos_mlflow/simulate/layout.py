"""A planned well, positions on a plate, and random streams.

A `WellPlan` holds everything about a well except its cells, which `experiment` simulates.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.simulate.classes import ProteinClass
from coos_mlflow.simulate.disturbances import Disturbance
from coos_mlflow.simulate.population import Logs

ROWS, COLUMNS = 16, 24
"""A 384-well plate."""

INNER_WELLS = (ROWS - 2) * (COLUMNS - 2)
"""Wells that do not lie at the plate's border."""

CELLS_PER_FIELD, MAX_FIELDS = 18.5, 20
"""The microscope takes 10 to 20 images of a well (Lu et al. 2019, section 2.2)."""

PLATES_PER_DAY = 2
"""Plates imaged on one day, which share the day's effects; chosen."""

LAYOUT, DAY, PLATE, UNIT, WELL, FIELD, WILD_PLATE = range(7)
"""First entries of the spawn keys of the random streams, one for each purpose."""


@dataclass(frozen=True)
class WellPlan:
    """One well: its position, its ids, and the number of its cells in each split.

    Parameters
    ----------
    population : str
        Key of the split whose plates it belongs to.
    label, row, column : int
        The class as plate files have it; row and column counted from 1.
    protein : ProteinClass
    plate, date, microscope : str
        Ids.
    number, day : int
        Numbers of the plate and the day, for the random streams.
    cells : dict of str to int
        Number of cells by split.
    shift : dict of str to float
        The population's shift (`population.mean_shift`).
    stream : tuple of int
        Additional spawn key, by which single plates differ from the plates of data sets.
    crop : int
        Height and width of a cell's image in pixels.
    member : int
        Number of the class in a well that holds several, counted from 1.
    disturbances : tuple of Disturbance
        What goes wrong on the plate beside its shift, in the order in which it happens.
    """

    population: str
    label: int
    row: int
    column: int
    protein: ProteinClass
    plate: str
    date: str
    microscope: str
    number: int
    day: int
    cells: dict[str, int] = field(hash=False)
    shift: Logs = field(hash=False)
    stream: tuple[int, ...] = ()
    crop: int = 64
    member: int = 1
    disturbances: tuple[Disturbance, ...] = ()

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


def check_seed(seed: int) -> None:
    """Refuse a negative seed.

    Raises
    ------
    DataError
    """
    if seed < 0:
        raise DataError(f"seed {seed} found, expected a whole number of at least 0.")


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
