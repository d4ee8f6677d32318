"""Pairs of cells that share a well, and so a protein, drawn without looking at labels."""

from __future__ import annotations

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.wells import well_names


class Pairs:
    """The cells of wells that hold enough of them, and partners for these cells.

    Parameters
    ----------
    plates, wells : ndarray of str, shape (n,)
        Ids of each cell; two fields of a well are one well, two plates never share one.
    least_cells : int
        Cells that a well needs to take part; at least 2, or a cell would have no partner.
    dates, microscopes : ndarray of str, shape (n,), or None
        Where they are known, cells of a well on two days or two microscopes do not share it.

    Attributes
    ----------
    cells : ndarray of int64, shape (m,)
        Which of the n cells take part, ascending.

    Raises
    ------
    DataError
        When no well holds enough cells.
    """

    def __init__(
        self,
        plates: np.ndarray,
        wells: np.ndarray,
        least_cells: int,
        dates: np.ndarray | None = None,
        microscopes: np.ndarray | None = None,
    ) -> None:
        known = [ids for ids in (plates, well_names(wells), dates, microscopes) if ids is not None]
        # The wells of all plates numbered from 0, the same for all cells of one.
        well = np.unique(np.column_stack(known), axis=0, return_inverse=True)[1]
        sizes = np.bincount(well)
        largest = int(sizes.max(initial=0))
        if largest < least_cells:
            raise DataError(
                f"least_cells={least_cells} found, but the largest of the {len(sizes):,} wells of "
                f"Training, each of one plate, date and microscope, holds {largest} cells; a lower "
                "least_cells, of 2 at the least, lets smaller wells take part."
            )
        self.cells = np.flatnonzero(sizes[well] >= least_cells)
        well = well[self.cells]
        sizes = np.bincount(well)
        starts = np.cumsum(sizes) - sizes
        self._by_well = np.argsort(well, kind="stable")
        self._sizes, self._starts = sizes[well], starts[well]
        self._ranks = np.empty_like(self._by_well)
        self._ranks[self._by_well] = np.arange(len(well)) - starts[well[self._by_well]]

    def __len__(self) -> int:
        """Return the number of cells that take part."""
        return len(self.cells)

    def partners(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw for each cell another one of its well, all others being equally likely.

        Parameters
        ----------
        rows : ndarray of int64, shape (k,)
            Places in `cells`.
        rng : Generator

        Returns
        -------
        ndarray of int64, shape (k,)
            Places in `cells`.
        """
        sizes = self._sizes[rows]
        # A step of 1 to size - 1 around the ring of a well's cells never comes back to its start.
        ranks = (self._ranks[rows] + rng.integers(1, sizes)) % sizes
        return self._by_well[self._starts[rows] + ranks]
