"""Pins: aliases that a person has given to a version, and that training leaves there."""

from __future__ import annotations

from collections.abc import Iterable

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel

_PINNED = "coos_mlflow.pinned."
"""Beginning of a registered model's tag for each pinned alias; its value is the version.

One tag for each, so that two who pin at once do not overwrite each other.
"""


def pins(model: RegisteredModel, there: Iterable[ModelVersion]) -> dict[str, str]:
    """Return the version that each pinned alias belongs to; none for a version that is gone.

    Numbers of deleted versions do not come again, so that a pin may outlive its version.

    Parameters
    ----------
    model : RegisteredModel
    there : iterable of ModelVersion
        All versions of the model.
    """
    numbers = {str(version.version) for version in there}
    said = {
        key.removeprefix(_PINNED): value
        for key, value in model.tags.items()
        if key.startswith(_PINNED)
    }
    return {alias: number for alias, number in said.items() if number in numbers}


def pin(name: str, alias: str, version: str) -> None:
    """Pin an alias to a version; `coos_mlflow.registry.versions.update_champion` moves it."""
    MlflowClient().set_registered_model_tag(name, f"{_PINNED}{alias}", version)


def unpin(name: str, alias: str) -> None:
    """Leave an alias to training again; nothing happens to one that is not pinned."""
    MlflowClient().delete_registered_model_tag(name, f"{_PINNED}{alias}")
