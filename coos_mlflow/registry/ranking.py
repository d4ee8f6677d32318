"""Which of several versions is the best, by their tags alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mlflow.entities.model_registry import ModelVersion

from coos_mlflow._utils.versions import series


def figure(tags: Mapping[str, str], name: str, missing: float = math.nan) -> float:
    """Return a tag that is a number; `missing` where it is not there or no number."""
    try:
        found = float(tags.get(name, missing))
    except ValueError:
        return missing
    return missing if math.isnan(found) else found


def merit(version: ModelVersion) -> tuple[bool, bool, float, float, tuple[float, ...], float, int]:
    """Return what sorts the best version first; `coos_mlflow.registry.versions.crown` says how."""
    tags = version.tags
    return (
        tags.get("dataset") != "COOS-7",
        tags.get("simulated") != "False",
        -figure(tags, "training_classes", 0),
        -figure(tags, "training_cells", 0),
        _age(tags.get("package_version", "")),
        figure(tags, "left_out_error", math.inf),
        int(version.version),
    )


def _age(package_version: str) -> tuple[float, ...]:
    """Return what sorts newer release series first, and what tells no version last."""
    return tuple(-number for number in series(package_version)) or (math.inf,)
