"""Pin aliases: a pinned alias stays at the version that a user chose; training does not move it."""

from __future__ import annotations

from collections.abc import Iterable

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel

_PINNED = "coos_mlflow.pinned."
"""Prefix of the tag that a registered model has for each pinned alias; its value is the version.

Each alias has a tag of its own, so that two users who pin at once do not overwrite each other.
"""


def pins(model: RegisteredModel, there: Iterable[ModelVersion]) -> dict[str, str]:
    """Return the version of each pinned alias, without pins to deleted versions.

    A pin may outlive its version, since MLflow does not use the number of a deleted version again.

    Parameters
    ----------
    model : RegisteredModel
    there : iterable of ModelVersion
        All versions of the model.
    """
    numbers = {str(version.version) for version in there}
    tagged = {
        key.removeprefix(_PINNED): value
        for key, value in model.tags.items()
        if key.startswith(_PINNED)
    }
    return {alias: number for alias, number in tagged.items() if number in numbers}


def pin(name: str, alias: str, version: str) -> None:
    """Pin an alias to a version; `coos_mlflow.registry.versions.update_champion` moves it."""
    MlflowClient().set_registered_model_tag(name, f"{_PINNED}{alias}", version)


def unpin(name: str, alias: str) -> None:
    """Remove the pin of an alias, if it has one, so that training moves the alias again."""
    MlflowClient().delete_registered_model_tag(name, f"{_PINNED}{alias}")
