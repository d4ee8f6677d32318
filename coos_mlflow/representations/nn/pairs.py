"""Random pairs of cells of one well, which share a protein; labels are not used."""

from __future__ import annotations

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.wells import well_names


class Pairs:
    """The cells of all wells with enough cells, and random partners for them.

    Parameters
    ----------
    plates, wells : ndarray of str, shape (n,)
        Ids of each cell. The fields of a well are one well; wells of two plates are different.
    least_cells : int
        Minimum cells of a well, at least 2, so that every cell has a partner.
    dates, microscopes : ndarray of str, shape (n,), or None
        Where known, a well imaged on two days or two microscopes counts as two.

    Attributes
    ----------
    cells : ndarray of int64, shape (m,)
        Rows of the cells in such wells, ascending.

    Raises
    ------
    DataError
        Where no well holds enough cells.
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
        # The number of each cell's well, counted from 0 over all plates.
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
        """Return the number of cells in `cells`."""
        return len(self.cells)

    def partners(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw another cell of its well for each cell, all others being equally likely.

        Parameters
        ----------
        rows : ndarray of int64, shape (k,)
            Indices into `cells`.
        rng : Generator

        Returns
        -------
        ndarray of int64, shape (k,)
            Indices into `cells`.
        """
        sizes = self._sizes[rows]
        # The cells of a well form a ring: 1 to size - 1 steps on it end at another cell.
        ranks = (self._ranks[rows] + rng.integers(1, sizes)) % sizes
        return self._by_well[self._starts[rows] + ranks]
