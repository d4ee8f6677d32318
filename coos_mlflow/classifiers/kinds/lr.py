"""L1 logistic regression, each class against the rest, as in Lu et al. 2019, section 3.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline

from coos_mlflow.classifiers.kinds._scaled import scaled
from coos_mlflow.classifiers.kinds.base import Kind

if TYPE_CHECKING:
    from coos_mlflow.classifiers.protocol import Protocol


def build(protocol: Protocol) -> Pipeline:
    """Return an unfitted pipeline; `logistic_l1` solves it."""
    # scikit-learn's default when the paper was written.
    regression = LogisticRegression(C=protocol.inverse_penalty, l1_ratio=1, solver="liblinear")
    return scaled(OneVsRestClassifier(regression))


KIND = Kind(
    title="L1 LR",
    meaning="a weighted sum of few features for each class",
    settings=("inverse_penalty",),
    build=build,
    in_paper=True,
)
