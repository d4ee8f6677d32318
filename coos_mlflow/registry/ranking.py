"""Rank model versions by their tags. Open this to change how the champion is chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mlflow.entities.model_registry import ModelVersion

from coos_mlflow._utils.versions import series
from coos_mlflow.plates.dataset import COOS7_NAME

LEFT_OUT_BY = "left_out_by"
"""Tag of a version that says what its left-out error leaves out: a value of
`coos_mlflow.drift.reference.Reference.training_predictions`."""

_NEVER_SEEN = frozenset({"plates", "network"})


def is_comparable(tags: Mapping[str, str]) -> bool:
    """Return whether a version's left-out error may be held against those of other models.

    The rule: nothing that learnt from labels may have seen the plates on which the error was
    measured. A classifier was fitted without them ("plates"). A network below it may have been
    trained on their images, but without labels ("network"), as paired cell inpainting is. A network
    that was trained on labels of the same plates has an error that is too low ("cells"), and
    so has a fit on cells of one plate alone ("folds"). Older versions do not say it, so they
    cannot be compared.
    """
    return tags.get(LEFT_OUT_BY) in _NEVER_SEEN


def tag_number(tags: Mapping[str, str], name: str, missing: float = math.nan) -> float:
    """Return the number in a tag, or `missing` if the tag is absent or no number."""
    try:
        number = float(tags.get(name, missing))
    except ValueError:
        return missing
    return missing if math.isnan(number) else number


def rank_key(
    version: ModelVersion,
) -> tuple[bool, bool, float, float, tuple[float, ...], float, int]:
    """Return a key by which the best version sorts first.

    `coos_mlflow.registry.versions.update_champion` documents the order.
    """
    tags = version.tags
    return (
        tags.get("dataset") != COOS7_NAME,
        tags.get("simulated") != "False",
        -tag_number(tags, "training_classes", 0),
        -tag_number(tags, "training_cells", 0),
        _age(tags.get("package_version", "")),
        tag_number(tags, "left_out_error", math.inf),
        int(version.version),
    )


def _age(package_version: str) -> tuple[float, ...]:
    """Return a key that sorts newer release series first, and text that is no version last."""
    return tuple(-number for number in series(package_version)) or (math.inf,)
