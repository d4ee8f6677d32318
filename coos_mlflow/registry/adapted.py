"""Versions that were adapted to one plate: what their tags say, and the alias of the plate.

Such a version is good for its plate alone. It never becomes champion by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mlflow import MlflowClient

from coos_mlflow.registry.ranking import ADAPTED_FROM, tag_number
from coos_mlflow.registry.retry import with_retry
from coos_mlflow.registry.versions import ModelRef

PLATE, SHA256, LABELS, REMEDY = (
    "adapted_plate",
    "adapted_plate_sha256",
    "adapted_labels",
    "remedy",
)
"""Tags: the plate's file name, its digest, the number of labelled cells, and what was changed."""

BEFORE, AFTER = "adapted_error_before", "adapted_error_after"
"""Tags and metrics: balanced error in % on labelled cells that were left out. Their intervals have
the same names with `ENDS`."""

ENDS = ("", "_low", "_high")

ALIAS = "plate-"
"""First part of the alias of a plate."""

_MOST = 100
"""Characters of a plate's name in an alias; MLflow takes 255."""

_DIGITS = 6
"""Of a plate's digest, in the alias of a second plate of the same name."""


@dataclass(frozen=True)
class Adapted:
    """What the tags of an adapted version say.

    Parameters
    ----------
    parent : str
        The version that it was made from.
    plate, sha256 : str
        The plate file's name and digest.
    labels : int
    remedy : str
    before, after : tuple of float
        Balanced error in % with its 95 % interval on left-out labelled cells; NaN if unknown.
    """

    parent: str
    plate: str
    sha256: str
    labels: int
    remedy: str
    before: tuple[float, float, float]
    after: tuple[float, float, float]

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> Adapted | None:
        """Return what tags say; None for those of a version that was trained."""
        if ADAPTED_FROM not in tags:
            return None
        before, after = (
            tuple(tag_number(tags, name + end) for end in ENDS) for name in (BEFORE, AFTER)
        )
        return cls(
            parent=tags[ADAPTED_FROM],
            plate=tags.get(PLATE, ""),
            sha256=tags.get(SHA256, ""),
            labels=int(tag_number(tags, LABELS, 0)),
            remedy=tags.get(REMEDY, ""),
            before=(before[0], before[1], before[2]),
            after=(after[0], after[1], after[2]),
        )


def give_alias(model: ModelRef) -> ModelRef:
    """Point the alias of its plate to an adapted version.

    The alias is ``plate-`` and the file's name without its ending. If that stands for another
    plate of the same name, the first digits of the plate's digest are added.
    """
    return with_retry(lambda: _give_once(model))


def _give_once(model: ModelRef) -> ModelRef:
    client, tags = MlflowClient(), model.tags
    stem = tags[PLATE].rpartition(".")[0] or tags[PLATE]
    alias = f"{ALIAS}{re.sub(r'[^A-Za-z0-9_-]+', '-', stem)[:_MOST]}"
    holder = client.get_registered_model(model.name).aliases.get(alias)
    if holder is not None:
        held = client.get_model_version(model.name, str(holder)).tags.get(SHA256)
        if held != tags[SHA256]:
            alias = f"{alias}-{tags[SHA256][:_DIGITS]}"
    client.set_registered_model_alias(model.name, alias, model.version)
    return replace(model, alias=alias)
