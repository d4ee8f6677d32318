"""Linear discriminants with an offset that is estimated for every plate; see `PlateOffsets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.pipeline import Pipeline

from coos_mlflow.classifiers.kinds._scaled import scaled
from coos_mlflow.classifiers.kinds.base import Kind
from coos_mlflow.classifiers.plate_offsets import PlateOffsets

if TYPE_CHECKING:
    from coos_mlflow.classifiers.protocol import Protocol


def _build(protocol: Protocol) -> Pipeline:
    return scaled(PlateOffsets())


KIND = Kind(
    title="Plate offsets",
    meaning="linear discriminants; what moves all cells of a plate alike is taken off first",
    settings=(),
    build=_build,
)
