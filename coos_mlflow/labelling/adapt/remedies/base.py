"""The interface of a remedy, and the lookup by key.

To add a remedy, add a file to this folder that declares ``REMEDY = Remedy(...)``. `coos adapt`
then tries it on every plate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from coos_mlflow._utils.plugins import load_plugins
from coos_mlflow.labelling.adapt.cells import LabelledCells
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.model.correction import Correction


@dataclass(frozen=True)
class Remedy:
    """A way to adapt a model to a plate.

    Parameters
    ----------
    title : str
        Its name in messages.
    meaning : str
        What it changes, for a biologist.
    strengths : tuple of float
        Penalties among which left-out wells choose; the weakest remedy has the largest.
    needs_classifier : bool
        Whether it shifts the features, which a network that classifies by itself does not read.
    fit : callable
        ``fit(model, cells, strength)`` takes a `CellModel` without a correction, and cells whose
        weights are about 1 (`coos_mlflow.labelling.adapt.cells.for_fit`). It returns a
        `Correction`. The same arguments must give the same correction.
    """

    title: str
    meaning: str
    strengths: tuple[float, ...]
    needs_classifier: bool
    fit: Callable[[CellModel, LabelledCells, float], Correction]


@cache
def remedies() -> dict[str, Remedy]:
    """Return all remedies by key, the stem of their file, in the order of the keys."""
    return load_plugins(__package__, "REMEDY")
