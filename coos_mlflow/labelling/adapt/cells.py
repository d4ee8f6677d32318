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


def for_fit(cells: LabelledCells, controls: LabelledCells | None = None) -> LabelledCells:
    """Return cells with weights that a fit can bear, and those of control wells with them.

    The weights of labelled cells are clipped, and their mean is 1. Cells of control wells say
    nothing of how common classes are. So they weigh at most as much as the labelled cells of their
    class, and the sums of the classes keep the ratios of labelled cells alone.
    """
    clipped = np.minimum(cells.weights, MOST_WEIGHT * np.median(cells.weights))
    own = replace(cells, weights=clipped / clipped.mean())
    if controls is None:
        return own
    labelled = np.bincount(own.truths, own.weights, own.n_classes)
    there = np.bincount(controls.truths, minlength=own.n_classes)
    each = np.minimum(labelled / np.maximum(there, 1), 1.0)
    total = labelled + each * there
    kept = labelled / np.maximum(total, 1e-12) * total.sum() / labelled.sum()
    own = replace(own, weights=own.weights * kept[own.truths])
    known = replace(controls, weights=(each * kept)[controls.truths])
    known = known.select(known.weights > 0)
    pairs = zip(vars(own).values(), vars(known).values(), strict=True)
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
