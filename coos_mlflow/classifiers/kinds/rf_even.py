"""The paper's random forest, in which all plates of a class weigh the same.

A plate with many cells otherwise decides what a class looks like.
"""

from __future__ import annotations

from coos_mlflow.classifiers.kinds import rf
from coos_mlflow.classifiers.kinds.base import Kind

KIND = Kind(
    title="RF, even plates",
    meaning="many decision trees vote; all plates of a class weigh the same",
    settings=rf.KIND.settings,
    build=rf.build,
    even=True,
    searched=True,
    instead_of="rf",
)
