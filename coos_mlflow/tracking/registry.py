"""Registered models: find, register, crown the champion, resolve a name that a user typed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from coos_mlflow.cache import cache_home
from coos_mlflow.errors import RegistryError

CHAMPION = "champion"

_LOGGED = "models:/"
"""What stands before the id of a LoggedModel in a version's source."""

_LOGGED_ID = re.compile(r"m-[0-9a-f]{32}")
_SHORT = re.compile(r"(?P<name>[^@/:]+)(@(?P<alias>[^@/:]+)|/(?P<version>\d+))?")


@dataclass(frozen=True)
class ModelRef:
    """A model version that exists.

    Parameters
    ----------
    uri : str
        ``models:/name/version``, which does not move when an alias does.
    name, version : str
    alias : str or None
        The alias by which it was asked for.
    tags : dict of str to str
        Of the version.
    run_id : str or None
        The run that trained it.
    model_id : str or None
        Its LoggedModel.
    """

    uri: str
    name: str
    version: str
    alias: str | None
    tags: dict[str, str]
    run_id: str | None
    model_id: str | None

    @property
    def simulated(self) -> bool:
        """Whether it was trained on simulated cells."""
        return self.tags.get("simulated") == "True"

    def __str__(self) -> str:
        """Return ``name version 3 (champion)``."""
        return f"{self.name} version {self.version}" + (f" ({self.alias})" if self.alias else "")


def resolve(asked: str) -> ModelRef:
    """Find the version meant by ``name``, ``name@alias``, ``name/3`` or ``models:/...``.

    A bare name means its champion.

    Raises
    ------
    RegistryError
        Listing the models, aliases or versions that are there, and the store that was asked.
    """
    match = _SHORT.fullmatch(asked.removeprefix("models:/"))
    if match is None:
        raise RegistryError(
            f"Model {asked!r} is not understood; expected name, name@alias, name/3 or models:/..."
        )
    if _LOGGED_ID.fullmatch(match["name"]):
        return resolve(_registered_as(match["name"]))
    name, wanted = match["name"], match["version"]
    alias = match["alias"] or (None if wanted else CHAMPION)
    client = MlflowClient()
    try:
        if alias:
            found = client.get_model_version_by_alias(name, alias)
        else:
            found = client.get_model_version(name, wanted)
    except MlflowException as error:
        raise RegistryError(_what_is_there(client, name, asked)) from error
    return _reference(found, alias)


def find_version(name: str, fingerprint: str) -> ModelRef | None:
    """Return the version that the same data and settings have made before, if any."""
    for found in versions(name):
        if found.tags.get("fingerprint") == fingerprint:
            return _reference(found, None)
    return None


def versions(name: str) -> list[ModelVersion]:
    """Return all versions of a registered model, oldest first; none when it does not exist."""
    found = MlflowClient().search_model_versions(f"name='{name}'")
    return sorted(found, key=lambda v: int(v.version))


def register(name: str, model_uri: str, tags: dict[str, Any]) -> ModelRef:
    """Make a logged model a new version of `name`, unless another process was faster.

    Parameters
    ----------
    tags : dict
        Of the version; ``fingerprint`` says which versions are the same.
    """
    plain = {k: str(v) for k, v in tags.items()}
    with FileLock(cache_home() / f"register-{name}.lock"):
        known = find_version(name, plain["fingerprint"])
        if known:
            return known
        made = mlflow.register_model(model_uri, name, tags=plain)
    return _reference(MlflowClient().get_model_version(name, made.version), None)


def crown(name: str) -> ModelRef:
    """Give the alias ``champion`` to the best version, and each layer's to the best on it.

    Judged on Training alone.

    Versions trained on COOS-7 come before those on other data, and these before simulated ones;
    then more classes before fewer, more Training cells before fewer, and the lower error of
    cross-validation on Training that leaves out whole plates, which is the same for every protocol
    of folds. No test split is looked at.
    """
    client = MlflowClient()
    ranked = sorted(versions(name), key=_merit)
    best = {version.tags.get("layer"): version for version in reversed(ranked)}
    for alias, version in (best | {CHAMPION: ranked[0]}).items():
        if alias:
            client.set_registered_model_alias(name, alias, version.version)
    return _reference(ranked[0], CHAMPION)


def champions() -> list[ModelRef]:
    """Return the champion of every model registered by this package, by name."""
    found = sorted(MlflowClient().search_registered_models(), key=lambda model: model.name)
    crowned = (resolve(model.name) for model in found if CHAMPION in model.aliases)
    return [model for model in crowned if "fingerprint" in model.tags]


def _merit(version: ModelVersion) -> tuple[bool, bool, int, int, float, int]:
    """Return what sorts the best version first."""
    tags = version.tags
    return (
        tags.get("dataset") != "COOS-7",
        tags.get("simulated") != "False",
        -int(tags.get("training_classes", 0)),
        -int(tags.get("training_cells", 0)),
        float(tags.get("left_out_error", "inf")),
        int(version.version),
    )


def _registered_as(model_id: str) -> str:
    """Return ``name/version`` of a LoggedModel."""
    try:
        tags = MlflowClient().get_logged_model(model_id).tags
        first = json.loads(tags[MLFLOW_MODEL_VERSIONS])[0]
    except (MlflowException, KeyError) as error:
        raise RegistryError(
            f"Model {model_id!r} is not registered in {mlflow.get_registry_uri()}; name one of "
            "those that `coos models` lists."
        ) from error
    return f"{first['name']}/{first['version']}"


def _reference(found: ModelVersion, alias: str | None) -> ModelRef:
    return ModelRef(
        uri=f"models:/{found.name}/{found.version}",
        name=found.name,
        version=str(found.version),
        alias=alias,
        tags=dict(found.tags),
        run_id=found.run_id,
        model_id=found.source.removeprefix(_LOGGED) if found.source.startswith(_LOGGED) else None,
    )


def _what_is_there(client: MlflowClient, name: str, asked: str) -> str:
    store = mlflow.get_registry_uri()
    models = {model.name: model for model in client.search_registered_models()}
    if name in models:
        aliases = ", ".join(f"@{a}" for a in sorted(models[name].aliases)) or "no alias"
        numbers = ", ".join(f"/{v.version}" for v in versions(name)) or "no version"
        return f"Model {asked!r} is not in {store}; {name} has {aliases} and {numbers}."
    there = ", ".join(sorted(models)) or "no model yet; `coos train texture` makes some"
    return f"Model {name!r} is not in {store}, which holds: {there}."
