"""The paper's logistic regression, in which all plates of a class weigh the same.

A plate with many cells otherwise decides what a class looks like.
"""

from __future__ import annotations

from coos_mlflow.classifiers.kinds import lr
from coos_mlflow.classifiers.kinds.base import Kind

KIND = Kind(
    title="L1 LR, even plates",
    meaning="a weighted sum of few features for each class; all plates of a class weigh the same",
    settings=lr.KIND.settings,
    build=lr.build,
    even=True,
    instead_of="lr",
)
