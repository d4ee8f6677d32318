"""Last layer: new weights of the main axes on top of the model's own answer.

The probabilities of the model are the starting point, and labelled cells move them as far as they
outweigh the penalty. So a plate that looks like Training keeps the model's answers, and 16 axes
need no more labels than a person gives in a few minutes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from coos_mlflow.labelling.adapt.cells import LabelledCells
from coos_mlflow.labelling.adapt.remedies._known import class_moments_of
from coos_mlflow.labelling.adapt.remedies._regression import fit
from coos_mlflow.labelling.adapt.remedies.base import Remedy
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.model.correction import Correction


def _fit(model: CellModel, cells: LabelledCells, strength: float) -> Correction:
    centre = np.average(cells.projected, axis=0, weights=cells.weights)
    spread = np.sqrt(np.nanmean(class_moments_of(model.reference)[1] ** 2, axis=0))
    weights, bias = fit(cells, (cells.projected - centre) / spread, strength)
    weights = weights / spread
    nothing = Correction.nothing(*model.reference.projection.shape, cells.n_classes)
    return replace(nothing, weights=weights, bias=bias - weights @ centre)


REMEDY = Remedy(
    title="last layer",
    meaning="new weights of the model's main axes for each class",
    strengths=(3.0, 10.0),
    needs_classifier=False,
    fit=_fit,
)
