"""The pipeline that all kinds share."""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler


def scaled(classifier: Any) -> Pipeline:
    """Return a pipeline that centres and scales by Training, then classifies."""
    return Pipeline([("scale", StandardScaler()), ("classify", classifier)])
