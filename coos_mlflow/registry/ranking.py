"""Rank model versions by their tags. Open this to change how the champion is chosen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from coos_mlflow._utils.versions import series
from coos_mlflow.plates.dataset import COOS7_NAME

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from coos_mlflow.registry.versions import ModelRef

ADAPTED_FROM = "adapted_from"
"""Tag of a version that was adapted to one plate: the number of the version that it came from."""

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
    version: ModelVersion | ModelRef,
) -> tuple[bool, bool, float, float, tuple[float, ...], bool, float, int]:
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
        not is_comparable(tags),
        tag_number(tags, "left_out_error", math.inf),
        int(version.version),
    )


def _age(package_version: str) -> tuple[float, ...]:
    """Return a key that sorts newer release series first, and text that is no version last."""
    return tuple(-number for number in series(package_version)) or (math.inf,)


def best_of(champions: Iterable[ModelRef]) -> dict[str, ModelRef]:
    """Return the best model across models, by the prefix of its data set's models.

    Champions of one prefix are ordered as the versions of a model are (`rank_key`). Those whose
    left-out errors cannot be compared do not count, nor do versions that were adapted to a plate,
    nor models of other packages.

    Parameters
    ----------
    champions : iterable of ModelRef
        At most one of each model.

    Returns
    -------
    dict
        By `coos_mlflow.plates.dataset.Dataset.model_prefix`, which is empty for COOS-7.
    """
    best: dict[str, ModelRef] = {}
    for model in champions:
        if "fingerprint" not in model.tags or ADAPTED_FROM in model.tags:
            continue
        prefix = _prefix(model)
        if is_comparable(model.tags) and (
            prefix not in best or _key_across(model) < _key_across(best[prefix])
        ):
            best[prefix] = model
    return best


def _key_across(model: ModelRef) -> tuple[object, ...]:
    """Return the key of `rank_key` across models: numbers of versions say nothing there."""
    return (*rank_key(model)[:-1], model.name)


def _prefix(model: ModelRef) -> str:
    """Return the part of a model's name that comes of its data set."""
    representation, kind = (model.tags.get(tag, "") for tag in ("representation", "classifier"))
    return model.name.removesuffix(f"-{kind}").removesuffix(representation)
