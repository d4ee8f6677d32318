"""What changes the registry by hand: aliases moved and pinned, versions deleted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from coos_mlflow._utils.versions import PACKAGE, check_fits
from coos_mlflow.errors import RegistryError
from coos_mlflow.registry import versions
from coos_mlflow.registry.inspect import (
    Version,
    read_files,
    registered_model,
    version_of,
    versions_of,
)
from coos_mlflow.registry.pins import pin, unpin
from coos_mlflow.registry.runs import first_line

_ALIAS = re.compile(r"(?!(?i:latest|v\d+)$)[A-Za-z0-9_-]{1,200}")
"""What MLflow takes for an alias, short enough to be part of a tag's name."""


@dataclass(frozen=True)
class Move:
    """What became of an alias.

    Parameters
    ----------
    name, alias : str
        The model and its alias.
    before, after : str or None
        Versions that the alias pointed to; None where it was not there.
    pinned : bool
        Whether training leaves it there from now on.
    overruled : tuple of str
        Why it took ``force``.
    """

    name: str
    alias: str
    before: str | None
    after: str
    pinned: bool
    overruled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pruned:
    """What became of a version that was to be deleted.

    Parameters
    ----------
    version : Version
    deleted : bool
    notes : tuple of str
        Sentences on what was kept and why, and on aliases that were lost.
    """

    version: Version
    deleted: bool
    notes: tuple[str, ...] = ()


def promote(asked: str, alias: str, *, force: bool = False, dry_run: bool = False) -> Move:
    """Give an alias to a version; one that training moves is pinned to it.

    Parameters
    ----------
    asked : str
        See `coos_mlflow.registry.versions.resolve`.
    alias : str
    force : bool
        Take one trained on simulated cells or on fewer classes in place of a better one.
    dry_run : bool
        Check everything, change nothing.

    Raises
    ------
    RegistryError
        For a reserved alias, a version that cannot be used here, or one that takes `force`.
    """
    _check_alias(alias)
    chosen = version_of(asked)
    _check_usable(chosen)
    name, number = chosen.model.name, chosen.model.version
    holder = _holder(name, alias)
    doubts = _doubts(chosen, holder, alias)
    if doubts and not force:
        raise RegistryError(
            f"{name} version {number} does not become {alias}: {'; '.join(doubts)}; "
            "--force makes it so."
        )
    pinned = alias in versions.best(name)
    if not dry_run:
        if pinned:
            pin(name, alias, number)
            versions.update_champion(name)
        else:
            MlflowClient().set_registered_model_alias(name, alias, number)
        _check_holds(name, alias, number)
    before = holder.model.version if holder else None
    return Move(name, alias, before, number, pinned, tuple(doubts))


def release(name: str, alias: str, *, dry_run: bool = False) -> Move:
    """Leave an alias to training again, and give it to the version that training would choose.

    Raises
    ------
    RegistryError
        When there is no such model, or training does not move that alias.
    """
    name = versions.name_alone(name)
    registered_model(name)
    best = versions.best(name)
    if alias not in best:
        raise RegistryError(
            f"Training does not move the alias {alias!r} of {name}, only "
            f"{', '.join(sorted(best))}; `coos models promote {name}/VERSION --alias {alias}` does."
        )
    holder = _holder(name, alias)
    if not dry_run:
        unpin(name, alias)
        versions.update_champion(name)
    return Move(
        name,
        alias,
        before=holder.model.version if holder else None,
        after=str(best[alias].version),
        pinned=False,
    )


def prunable(name: str, keep: int, older_than: float | None = None) -> list[Version]:
    """Return the versions that nothing needs, oldest first.

    Those are of this package, without alias, and not among the newest.

    Parameters
    ----------
    name : str
    keep : int
        How many of the newest versions stay, whatever points to them.
    older_than : float, optional
        Days since a version was registered.

    Raises
    ------
    RegistryError
        When there is no such model.
    """
    there = versions_of(versions.name_alone(name))
    last = None if older_than is None else datetime.now(UTC) - timedelta(days=older_than)
    return [
        version
        for version in there[: max(len(there) - keep, 0)]
        if version.ours and not version.held_by and (last is None or version.made <= last)
    ]


def prunable_version(asked: str) -> Version:
    """Return one version that is to be deleted.

    Raises
    ------
    RegistryError
        When it is not there, not of this package, or aliases point to it.
    """
    version = version_of(asked)
    _check_ours(version)
    if version.held_by:
        raise RegistryError(_held_words(version))
    return version


def delete(version: Version, *, with_run: bool = False) -> Pruned:
    """Delete a version and its LoggedModel, unless something needs them by now.

    MLflow deletes the aliases of a version together with it, and no lock keeps others from setting
    one in between; so they are looked at right before and right after.

    Parameters
    ----------
    version : Version
    with_run : bool
        Delete the run that trained it too.
    """
    client, model = MlflowClient(), version.model
    before = {v.number: v for v in versions_of(model.name)}
    now = before.get(version.number)
    if now is None:
        return Pruned(version, False, ("Somebody else has deleted it.",))
    if now.held_by:
        return Pruned(now, False, (_held_words(now),))
    client.delete_model_version(model.name, model.version)
    notes = [_given_back(*lost) for lost in _lost(model.name, before.values())]
    if model.model_id:
        with _or_note(notes, f"Its files, those of model {model.model_id}, stay"):
            if _used(f"source_path='models:/{model.model_id}'", f"source_path='{model.uri}'"):
                notes.append("Another version uses its files, which stay.")
            else:
                client.delete_logged_model(model.model_id)
    if with_run and model.run_id:
        with _or_note(notes, f"Its training run {model.run_id} stays"):
            if _used(f"run_id='{model.run_id}'"):
                notes.append("Its training run made another version too, and stays.")
            else:
                client.delete_run(model.run_id)
    return Pruned(version, True, tuple(notes))


@contextmanager
def _or_note(notes: list[str], what: str) -> Iterator[None]:
    """Note what could not be deleted once the version is: nobody would find it otherwise."""
    try:
        yield
    except MlflowException as error:
        notes.append(f"{what}: {versions.registry_uri()} does not delete it ({first_line(error)}).")


def _check_alias(alias: str) -> None:
    if not _ALIAS.fullmatch(alias):
        raise RegistryError(
            f"Alias {alias!r} found, expected letters, digits, - and _; latest and v3 are reserved "
            "by MLflow."
        )


def _check_usable(chosen: Version) -> None:
    model = chosen.model
    _check_ours(chosen)
    check_fits(chosen.package_version, f"{model.name} version {model.version}")
    read_files(model)


def _check_ours(version: Version) -> None:
    if not version.ours:
        raise RegistryError(
            f"{version.model.name} version {version.number} is no cell classifier of {PACKAGE}; "
            "`coos models list` shows those."
        )


def _doubts(chosen: Version, holder: Version | None, alias: str) -> list[str]:
    """Return why a version had better not take an alias."""
    doubts = []
    layer = chosen.model.tags.get("layer")
    if alias in versions.best(chosen.model.name) and alias not in (versions.CHAMPION, layer):
        doubts.append(f"the alias stands for a layer, and its layer is {layer}")
    if holder is None:
        return doubts
    present = f"version {holder.number}, which holds the alias,"
    if chosen.model.simulated and not holder.model.simulated:
        doubts.append(f"it was trained on simulated cells, {present} on real ones")
    if chosen.classes < holder.classes:
        doubts.append(f"it knows {chosen.classes} classes, {present} {holder.classes}")
    return doubts


def _holder(name: str, alias: str) -> Version | None:
    """Return the version that an alias points to."""
    return next((version for version in versions_of(name) if alias in version.aliases), None)


def _check_holds(name: str, alias: str, number: str) -> None:
    holder = _holder(name, alias)
    if holder is None or holder.model.version != number:
        found = f"version {holder.number}" if holder else "no version"
        raise RegistryError(
            f"The alias {alias} was given to {name} version {number}, but points to {found} now: "
            f"somebody else changes the model too; look at `coos models list {name}`."
        )


def _held_words(version: Version) -> str:
    """Say what keeps a version, and how to move it."""
    name, aliases = version.model.name, version.held_by
    commands = " and ".join(f"`coos models promote {name}/VERSION --alias {a}`" for a in aliases)
    one = len(aliases) == 1
    return (
        f"{name} version {version.number} is held by the alias{'' if one else 'es'} "
        f"{', '.join(aliases)} and stays; {commands} move{'s it' if one else ' them'} to another."
    )


def _lost(name: str, before: Iterable[Version]) -> list[tuple[Version, str]]:
    """Return the aliases that are gone by now, each with the version that it pointed to."""
    after = registered_model(name).aliases
    return [(v, alias) for v in before for alias in v.aliases if alias not in after]


def _given_back(held: Version, alias: str) -> str:
    """Point an alias, lost with a deleted version, to where it was before, and say so."""
    MlflowClient().set_registered_model_alias(held.model.name, alias, held.model.version)
    return (
        f"Somebody else moved the alias {alias} to it at that moment; it points to version "
        f"{held.number} again, as before."
    )


def _used(*filters: str) -> bool:
    """Tell whether a version is there that one of the searches finds."""
    client = MlflowClient()
    return any(client.search_model_versions(wanted, max_results=1) for wanted in filters)
