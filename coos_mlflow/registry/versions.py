"""Find and register model versions, update the champion, and resolve model names.

Open this to change how a name such as ``texture-lr@champion`` is understood, or which version
training gives an alias to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from coos_mlflow.errors import RegistryError, without_passwords
from coos_mlflow.registry.pins import pins
from coos_mlflow.registry.ranking import ADAPTED_FROM, best_of, rank_key
from coos_mlflow.registry.retry import with_retry
from coos_mlflow.registry.runs import first_line

CHAMPION = "champion"

DIGEST = "bundle_sha256"
"""Tag of a version with the digest of its bundle."""

BEST = "best"
"""Name of the best model of COOS-7; those of other data sets have the prefix of their models."""

_LOOKS = 50
"""Attempts at setting aliases before an error says that another process moves them back."""

LOGGED = "models:/"
"""Prefix of a LoggedModel's id in a version's source."""

_LOGGED_ID = re.compile(r"m-[0-9a-f]{32}")
_NOT_THERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
"""MLflow's error codes for a model or version that does not exist, and for such an alias."""

_BEST = re.compile(rf"(?P<prefix>([^@/:]+\.)?){BEST}")
_SHORT = re.compile(r"(?P<name>[^@/:]+)(@(?P<alias>[^@/:]+)|/(?P<version>\d+))?")


@dataclass(frozen=True)
class ModelRef:
    """A model version that exists.

    Parameters
    ----------
    uri : str
        ``models:/name/version``, which stays the same when an alias moves.
    name, version : str
    alias : str or None
        The alias by which it was resolved.
    tags : dict of str to str
        Tags of the version.
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

    @property
    def ours(self) -> bool:
        """Whether this package registered it."""
        return "fingerprint" in self.tags

    @property
    def digest(self) -> str:
        """Digest of its bundle (`coos_mlflow.model.digests`); empty without a tag."""
        return self.tags.get(DIGEST, "")

    @property
    def recovery_hint(self) -> str:
        """Advice for the case that its files are lost."""
        made = "adapted" if ADAPTED_FROM in self.tags else "trained"
        return (
            f"`coos models prune {self.name}/{self.version}` deletes what is left, and the command "
            f"that {made} it makes it again"
        )

    def __str__(self) -> str:
        """Return ``name version 3 (champion)``."""
        return f"{self.name} version {self.version}" + (f" ({self.alias})" if self.alias else "")


def artifact_location(model: ModelRef) -> str:
    """Return the folder or URI in which the store keeps a version's files."""
    uri = MlflowClient().get_model_version_download_uri(model.name, model.version)
    if is_logged(uri):
        return str(MlflowClient().get_logged_model(uri.removeprefix(LOGGED)).artifact_location)
    return str(uri)


def registry_uri() -> str:
    """Return the registry's URI without user and password, to be shown."""
    return without_passwords(mlflow.get_registry_uri())


@contextmanager
def registry_errors() -> Iterator[None]:
    """Turn MLflow's exceptions into a RegistryError with one sentence.

    Raises
    ------
    RegistryError
    """
    try:
        yield
    except MlflowException as error:
        raise RegistryError(
            f"The registry {registry_uri()} does not do it ({first_line(error)}); check that it is "
            "there and may be changed."
        ) from error


def name_alone(asked: str) -> str:
    """Return a model's name; refuse one with a version or alias.

    Raises
    ------
    RegistryError
    """
    name = asked.removeprefix(LOGGED)
    if set(name) & set("/@:"):
        raise RegistryError(
            f"{asked!r} found, expected the model's name alone, such as texture-lr."
        )
    return name


def is_logged(uri: str) -> bool:
    """Tell whether a URI names a LoggedModel, ``models:/m-...``."""
    return uri.startswith(LOGGED) and bool(_LOGGED_ID.fullmatch(uri.removeprefix(LOGGED)))


def resolve(asked: str) -> ModelRef:
    """Find the version meant by ``name``, ``name@alias``, ``name/3`` or ``models:/...``.

    A bare name means its champion. ``best`` means the best champion of all models
    (`coos_mlflow.registry.ranking.best_of`), and ``lab.best`` that of another data set. A model
    that is registered under such a name comes first.

    Raises
    ------
    RegistryError
        When there is none; the message names the store, and its models, aliases or versions.
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
            version = client.get_model_version_by_alias(name, alias)
        else:
            version = client.get_model_version(name, wanted)
    except MlflowException as error:
        with registry_errors():
            if error.error_code not in _NOT_THERE:
                raise
            if best := _BEST.fullmatch(asked.removeprefix(LOGGED)):
                return _best_across(best["prefix"])
            raise RegistryError(_what_is_there(name, asked, alias)) from error
    return model_ref(version, alias)


def _best_across(prefix: str) -> ModelRef:
    """Return the best champion of the data set whose models have a prefix.

    Raises
    ------
    RegistryError
        When none of them can be compared; the message lists the best of other data sets.
    """
    best = best_of(_champions())
    if prefix in best:
        return best[prefix]
    there = ", ".join(f"{name}{BEST} ({model.name})" for name, model in sorted(best.items()))
    raise RegistryError(
        f"{prefix}{BEST} found, but {registry_uri()} has no champion of that data set with an "
        "error on left-out plates that can be compared; there is "
        f"{there or 'none of other data sets'}."
    )


def _champions() -> Iterator[ModelRef]:
    """Yield the champion of each model."""
    for model in registered_models():
        if CHAMPION in model.aliases:
            found = MlflowClient().get_model_version_by_alias(model.name, CHAMPION)
            yield model_ref(found, CHAMPION)


def find_version(name: str, fingerprint: str) -> ModelRef | None:
    """Return the version trained with the same data and settings, or None."""
    for version in versions(name):
        if version.tags.get("fingerprint") == fingerprint:
            return model_ref(version, None)
    return None


def versions(name: str) -> list[ModelVersion]:
    """Return all versions of a registered model, oldest first; an empty list if it is missing."""
    quote = '"' if "'" in name else "'"
    unsorted = MlflowClient().search_model_versions(f"name={quote}{name}{quote}")
    return sorted(unsorted, key=lambda v: int(v.version))


def registered_models() -> list[RegisteredModel]:
    """Return all registered models, by name."""
    client, models, token = MlflowClient(), [], None
    while True:
        page = client.search_registered_models(page_token=token)
        models += page
        token = page.token
        if not token:
            return sorted(models, key=lambda model: model.name)


def register(name: str, model_uri: str, tags: dict[str, Any]) -> ModelRef:
    """Register a logged model as a new version of `name`, unless another process was faster.

    No lock works across machines. So if several processes register the same fingerprint, the
    lowest version is kept, and each process deletes its own later version.

    Parameters
    ----------
    tags : dict
        Tags of the version. Versions with the same ``fingerprint`` are duplicates.
    """
    plain = {k: str(v) for k, v in tags.items()}
    return with_retry(lambda: _register_once(name, model_uri, plain))


def _register_once(name: str, model_uri: str, tags: dict[str, str]) -> ModelRef:
    known = find_version(name, tags["fingerprint"])
    if known:
        return known
    own = mlflow.register_model(model_uri, name, tags=tags)
    first = find_version(name, tags["fingerprint"])
    if first and int(first.version) < int(own.version):
        _delete_duplicate(name, own.version)
        return first
    return model_ref(MlflowClient().get_model_version(name, own.version), None)


def _delete_duplicate(name: str, version: str) -> None:
    """Delete a duplicate version that this process registered.

    Without the permission to delete, it stays; `best` ignores duplicates, so no alias points to it.
    """
    try:
        MlflowClient().delete_model_version(name, version)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(PERMISSION_DENIED):
            raise


def describe(model: ModelRef, description: str) -> None:
    """Give a version a description in Markdown, unless it has one."""
    with_retry(lambda: _describe_once(model, description))


def _describe_once(model: ModelRef, description: str) -> None:
    client = MlflowClient()
    if description and not client.get_model_version(model.name, model.version).description:
        client.update_model_version(model.name, model.version, description)


def update_champion(name: str) -> ModelRef:
    """Point ``champion`` to the best version, and each layer's alias to the best on that layer.

    Versions are ordered by these criteria, the first that differs decides:

    1. trained on COOS-7, then on other data, then on simulated data;
    2. more classes;
    3. more Training cells;
    4. a newer release series of this package, since it refuses models of older ones;
    5. an error on plates whose labels nothing has seen (`ranking.is_comparable`), then others;
    6. a lower cross-validation error on Training that leaves out whole plates, which does not
       depend on the protocol's folds.

    No test split is used. A pinned alias goes to the version that it is pinned to. The model gets
    the description of its champion, unless a user has written another.
    """
    champion = with_retry(lambda: _update_until_stable(name))
    with_retry(lambda: _describe_as(name, champion))
    return champion


def _describe_as(name: str, champion: ModelRef) -> None:
    """Give a model the description of its champion; leave one that no version has."""
    client = MlflowClient()
    written = client.get_registered_model(name).description or ""
    by_number = {str(v.version): v.description or "" for v in versions(name)}
    wanted = by_number.get(champion.version, "")
    if wanted and wanted != written and written in {"", *by_number.values()}:
        client.update_registered_model(name, wanted)


def _update_until_stable(name: str) -> ModelRef:
    """Set aliases until reading them back shows the wanted versions.

    Several processes may do this at once. Each checks after its last change, so the last one leaves
    the aliases at the best versions.
    """
    client = MlflowClient()
    for _ in range(_LOOKS):
        wanted = _wanted(name)
        held = client.get_registered_model(name).aliases
        stale = {alias: v for alias, v in wanted.items() if str(held.get(alias)) != str(v.version)}
        if not stale:
            return model_ref(wanted[CHAMPION], CHAMPION)
        for alias, version in stale.items():
            client.set_registered_model_alias(name, alias, version.version)
    raise RegistryError(
        f"The aliases {', '.join(sorted(stale))} of {name} were moved by other processes "
        f"{_LOOKS} times in a row; look whether another version of this package trains into "
        f"{registry_uri()}, and run the same command again."
    )


def _wanted(name: str) -> dict[str, ModelVersion]:
    """Return the version that each alias should point to: the pinned one, else the best."""
    chosen, by_number = best(name), {str(v.version): v for v in versions(name)}
    pinned = pins(MlflowClient().get_registered_model(name), by_number.values())
    return chosen | {a: by_number[number] for a, number in pinned.items() if a in chosen}


def best(name: str) -> dict[str, ModelVersion]:
    """Return, for each alias that training moves, the version that it would choose.

    Of several versions with one fingerprint only the first counts. Versions that were adapted to
    one plate do not count.

    Raises
    ------
    RegistryError
        When there is no version that was trained.
    """
    trained = [v for v in reversed(versions(name)) if ADAPTED_FROM not in v.tags]
    counted = {v.tags.get("fingerprint", v.version): v for v in trained}
    ranked = sorted(counted.values(), key=rank_key)
    if not ranked:
        raise RegistryError(f"Model {name!r} has no trained version left in {registry_uri()}.")
    layers = {v.tags["layer"]: v for v in reversed(ranked) if v.tags.get("layer")}
    return layers | {CHAMPION: ranked[0]}


def _registered_as(model_id: str) -> str:
    """Return ``name/version`` of a LoggedModel."""
    tags: dict[str, str] = {}
    with registry_errors():
        try:
            tags = MlflowClient().get_logged_model(model_id).tags
        except MlflowException as error:
            if error.error_code not in _NOT_THERE:
                raise
    if MLFLOW_MODEL_VERSIONS not in tags:
        raise RegistryError(
            f"Model {model_id!r} is not registered in {registry_uri()}; name one of "
            "those that `coos models list` shows."
        )
    first = json.loads(tags[MLFLOW_MODEL_VERSIONS])[0]
    return f"{first['name']}/{first['version']}"


def model_ref(found: ModelVersion, alias: str | None = None) -> ModelRef:
    """Return the `ModelRef` of a version of the registry."""
    source_id = found.source.removeprefix(LOGGED)
    return ModelRef(
        uri=f"models:/{found.name}/{found.version}",
        name=found.name,
        version=str(found.version),
        alias=alias,
        tags=dict(found.tags),
        run_id=found.run_id,
        model_id=source_id if _LOGGED_ID.fullmatch(source_id) else None,
    )


def _what_is_there(name: str, asked: str, alias: str | None) -> str:
    store = registry_uri()
    models = {model.name: model for model in registered_models()}
    if name in models:
        aliases = ", ".join(f"@{a}" for a in sorted(models[name].aliases)) or "no alias"
        numbers = ", ".join(f"/{v.version}" for v in versions(name)) or "no version"
        gives = f"; `coos models promote {name}/VERSION --alias {alias}` gives one" if alias else ""
        return f"Model {asked!r} is not in {store}; {name} has {aliases} and {numbers}{gives}."
    there = ", ".join(sorted(models)) or "no model yet; `coos train texture` makes some"
    return f"Model {name!r} is not in {store}, which holds: {there}."
