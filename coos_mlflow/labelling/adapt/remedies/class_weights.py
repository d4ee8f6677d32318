"""Class weights: how common each class is on this plate.

The classes of a plate are rarely as common as in Training, and often some are not there at all.
Correcting the probabilities by a factor for each class takes that into account (Saerens et al.
2002, Neural Computation 14, 21-41); here labels give the factors.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from coos_mlflow.labelling.adapt.cells import LabelledCells
from coos_mlflow.labelling.adapt.remedies._regression import BIAS_PENALTY, fit
from coos_mlflow.labelling.adapt.remedies.base import Remedy
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.model.correction import Correction


def _fit(model: CellModel, cells: LabelledCells, strength: float) -> Correction:
    _, bias = fit(cells, np.zeros((len(cells), 0)), 0.0, strength)
    nothing = Correction.nothing(*model.reference.projection.shape, cells.n_classes)
    return replace(nothing, bias=bias)


REMEDY = Remedy(
    title="class weights",
    meaning="how common each class is on this plate",
    strengths=(BIAS_PENALTY,),
    needs_classifier=False,
    fit=_fit,
)
