"""Sizes of a validation: how many registries and plates there are, and of how many cells."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Numbers of registries and plates.

    Parameters
    ----------
    name : str
    share : float
        Of the plates of each kind at the standard size; at least one is made.
    thin, full, forests : int
        Registries of logistic regression at scale 0.05 and 0.3, and of forests at scale 0.05.
    wells, cells : int
        Wells of each class on an ordinary plate, and cells in a well.
    base_wells, base_cells : int
        The same of the plates that single causes are laid on.
    all_strengths : bool
        Whether each cause has all its strengths, or the first alone.
    """

    name: str
    share: float
    thin: int
    full: int
    forests: int
    wells: int = 6
    cells: int = 20
    base_wells: int = 4
    base_cells: int = 25
    all_strengths: bool = True

    def count(self, standard: int) -> int:
        """Return the number of plates of a kind that has `standard` at the standard size."""
        return max(1, round(standard * self.share))


SIZES = {
    size.name: size
    for size in (
        Size("standard", 1.0, thin=20, full=5, forests=3),
        Size("small", 0.1, thin=2, full=1, forests=1),
        Size("tiny", 0.0, 1, 0, 0, 3, 6, 2, 8, all_strengths=False),
    )
}
"""The standard size takes about 40 minutes on two cores, "small" five; "tiny" is for tests."""
