"""Linear discriminants with plates as random effects; see `PlateEffects`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.pipeline import Pipeline

from coos_mlflow.classifiers.kinds._scaled import scaled
from coos_mlflow.classifiers.kinds.base import Kind
from coos_mlflow.classifiers.plate_effects import PlateEffects

if TYPE_CHECKING:
    from coos_mlflow.classifiers.protocol import Protocol


def _build(protocol: Protocol) -> Pipeline:
    return scaled(PlateEffects())


KIND = Kind(
    title="Plate effects",
    meaning="linear discriminants, fitted to each plate by its own cells without labels",
    settings=(),
    build=_build,
    instead_of="lr",
)
