"""Random forest with searched parameters, as in Lu et al. 2019, section 3.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from coos_mlflow.classifiers.kinds._scaled import scaled
from coos_mlflow.classifiers.kinds.base import Kind

if TYPE_CHECKING:
    from coos_mlflow.classifiers.protocol import Protocol


def build(protocol: Protocol) -> Pipeline:
    """Return an unfitted pipeline; `forest_search` chooses its parameters."""
    return scaled(RandomForestClassifier(random_state=protocol.seed))


KIND = Kind(
    title="RF",
    meaning="many decision trees vote",
    settings=("search", "search_samples"),
    build=build,
    in_paper=True,
    searched=True,
)
