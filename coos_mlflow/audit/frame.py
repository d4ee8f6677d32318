"""The cells of a plate from which a sample is drawn, divided into strata.

A guess at the true class of each cell is the commonest label of its well, or its own label where a
well may hold several classes. A stratum holds cells with the same guess that is about as likely to
be right: the cell's own label differs from it, or the model is unsure, or neither. Inside a stratum
every cell is as likely to be drawn, so what people say of the drawn cells tells of all, whatever
went wrong with the plate. Only the width of the interval depends on how good the guesses are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

CONFIDENT, UNSURE, ODD, CONFIDENTLY_ODD = 0, 1, 2, 3
"""Groups of cells: whether the model is confident, and whether the label is not the guess."""

GROUPS = 4

SURE = 0.9
"""Confidence from which a label counts as confident; chosen on development plates."""

MIN_STRATUM = 0.01
"""A stratum with a smaller share of the cells is joined with the other ones of its group."""


@dataclass(frozen=True)
class Frame:
    """The usable cells of a plate file as one model labels them.

    Parameters
    ----------
    cells : ndarray of int64, shape (n,)
        Indices in the file.
    plates, wells : ndarray of str, shape (n,)
        Ids; empty where the file has none.
    probabilities : ndarray of float32, shape (n, classes)
    one_class_wells : bool
        Whether a well holds one class, so that its commonest label tells of each of its cells.
    """

    cells: np.ndarray
    plates: np.ndarray
    wells: np.ndarray
    probabilities: np.ndarray
    one_class_wells: bool

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.cells)

    @property
    def n_classes(self) -> int:
        """Number of classes of the model."""
        return self.probabilities.shape[1]

    @cached_property
    def labels(self) -> np.ndarray:
        """Predicted class of each cell, int64, shape (n,)."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def guesses(self) -> np.ndarray:
        """The guess at the true class of each cell, int64, shape (n,)."""
        if not self.one_class_wells or not (self.wells != "").any():
            return self.labels
        names = np.stack([self.plates, self.wells])
        well = np.unique(names, axis=1, return_inverse=True)[1].ravel()
        votes = np.zeros((int(well.max()) + 1, self.n_classes))
        np.add.at(votes, (well, self.labels), 1)
        commonest: np.ndarray = votes.argmax(axis=1)[well]
        return np.where(self.wells == "", self.labels, commonest)

    @cached_property
    def groups(self) -> np.ndarray:
        """`CONFIDENT`, `UNSURE`, `ODD` or `CONFIDENTLY_ODD` for each cell, int64, shape (n,)."""
        is_sure = self.probabilities.max(axis=1) >= SURE
        odd = np.where(is_sure, CONFIDENTLY_ODD, ODD)
        return np.where(self.labels != self.guesses, odd, np.where(is_sure, CONFIDENT, UNSURE))

    @cached_property
    def strata(self) -> np.ndarray:
        """Number of each cell's stratum, from 0 without gaps, int64, shape (n,).

        Strata that are too small are joined by group.
        """
        number = self.groups * (self.n_classes + 1) + self.guesses
        sizes = np.bincount(number)
        joined = self.groups * (self.n_classes + 1) + self.n_classes
        number = np.where(sizes[number] < MIN_STRATUM * len(self), joined, number)
        return np.unique(number, return_inverse=True)[1]
