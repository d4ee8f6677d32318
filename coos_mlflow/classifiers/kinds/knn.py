"""k nearest neighbours, as in Lu et al. 2019, section 3.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from coos_mlflow.classifiers.kinds._scaled import scaled
from coos_mlflow.classifiers.kinds.base import Kind

if TYPE_CHECKING:
    from coos_mlflow.classifiers.protocol import Protocol


def _build(protocol: Protocol) -> Pipeline:
    # With 69 dimensions and more, trees of neighbours are slower than matrix products.
    return scaled(KNeighborsClassifier(protocol.neighbours, algorithm="brute"))


KIND = Kind(
    title="kNN",
    meaning="the classes of the nearest Training cells vote",
    settings=("neighbours",),
    build=_build,
    in_paper=True,
)
