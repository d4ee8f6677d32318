"""Plate offset: a shift of the features that all classes of the plate share, taken back.

Focus, light or staining move the cells of a plate together. The shift is the mean difference
between labelled cells and what the model knows of their classes. It is shrunk on each axis by how
sure it is (empirical Bayes, Efron and Morris 1973, J. Am. Stat. Assoc. 68, 117-130): shifts as
large as those between Training plates, or as the one that is seen, are kept. Class weights follow
on the shifted features.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from coos_mlflow.labelling.adapt.cells import LabelledCells, corrected
from coos_mlflow.labelling.adapt.remedies import class_weights
from coos_mlflow.labelling.adapt.remedies._known import class_moments_of, plate_variance
from coos_mlflow.labelling.adapt.remedies.base import Remedy
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.model.correction import Correction


def _fit(model: CellModel, cells: LabelledCells, strength: float) -> Correction:
    projection = model.reference.projection
    offset = -(_shift(model, cells) @ projection.components) * projection.scale
    nothing = Correction.nothing(*projection.shape, cells.n_classes)
    shifted = replace(nothing, offset=offset.astype(np.float32))
    moved = replace(cells, probabilities=corrected(model, shifted, cells))
    weights = class_weights.REMEDY.fit(model, moved, strength)
    return replace(shifted, bias=weights.bias)


def _shift(model: CellModel, cells: LabelledCells) -> np.ndarray:
    """Return the shrunk shift of the plate on the main axes, shape (dims,)."""
    centres, _ = class_moments_of(model.reference)
    around = cells.projected - centres[cells.truths]
    known = np.isfinite(around).all(axis=1)
    if not known.any():
        return np.zeros(around.shape[1])
    around, weights = around[known], cells.weights[known]
    shift = np.average(around, axis=0, weights=weights)
    spread = np.average((around - shift) ** 2, axis=0, weights=weights)
    unsure = spread * (weights**2).sum() / weights.sum() ** 2
    usual = plate_variance(model.reference) + np.maximum(shift**2 - unsure, 0)
    shrunk: np.ndarray = shift * usual / (usual + unsure)
    return shrunk


REMEDY = Remedy(
    title="plate offset",
    meaning="a shift that the features of all classes share on this plate, and class weights",
    strengths=class_weights.REMEDY.strengths,
    needs_classifier=True,
    fit=_fit,
)
