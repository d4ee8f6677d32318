"""Labelled cells of a plate as a model sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from coos_mlflow.classifiers.fit import class_probabilities
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.model.correction import Correction

MOST_WEIGHT = 5.0
"""A cell weighs at most so many times the median; a single one would decide else. Chosen on
development plates."""


@dataclass(frozen=True)
class LabelledCells:
    """Cells of known classes on one plate file.

    Parameters
    ----------
    features : ndarray of float32, shape (n, d)
        The layer that the classifier reads.
    projected : ndarray of float32, shape (n, dims)
        The features on the axes of the model's reference.
    probabilities : ndarray of float32, shape (n, classes)
        The model's.
    truths : ndarray of int64, shape (n,)
        What the cells are.
    weights : ndarray of float64, shape (n,)
        How many cells of the plate each stands for, up to a factor.
    wells : ndarray of int64, shape (n,)
        Number of each cell's well.
    """

    features: np.ndarray
    projected: np.ndarray
    probabilities: np.ndarray
    truths: np.ndarray
    weights: np.ndarray
    wells: np.ndarray

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.truths)

    @property
    def n_classes(self) -> int:
        """Number of classes of the model."""
        return self.probabilities.shape[1]

    def select(self, rows: np.ndarray) -> LabelledCells:
        """Return the cells at `rows` (numbers or a mask)."""
        return LabelledCells(*(values[rows] for values in vars(self).values()))

    def for_fit(self) -> LabelledCells:
        """Return the cells with weights that a fit can bear: none is huge, their mean is 1."""
        clipped = np.minimum(self.weights, MOST_WEIGHT * np.median(self.weights))
        return replace(self, weights=clipped / clipped.mean())


def joined(first: LabelledCells, second: LabelledCells) -> LabelledCells:
    """Return the cells of both."""
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return LabelledCells(*(np.concatenate(pair) for pair in pairs))


def corrected(model: CellModel, correction: Correction, cells: LabelledCells) -> np.ndarray:
    """Return the probabilities of an adapted model, shape (n, classes).

    Parameters
    ----------
    model : CellModel
        Without a correction.
    correction : Correction
    cells : LabelledCells
    """
    own = cells.probabilities
    if correction.shifts and model.classifier is not None:
        shifted = cells.features + correction.offset
        own = class_probabilities(model.classifier, shifted, cells.n_classes)
    return correction.apply(own, cells.projected)
