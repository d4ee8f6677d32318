"""Change the registry by hand: move and pin aliases, delete versions.

Open this to change `coos models promote` or `coos models prune`.
"""

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
from coos_mlflow.registry.adapted import ALIAS, Adapted
from coos_mlflow.registry.inspect import (
    Version,
    read_files,
    registered_model,
    version_of,
    versions_of,
)
from coos_mlflow.registry.pins import pin, unpin
from coos_mlflow.registry.ranking import ADAPTED_FROM
from coos_mlflow.registry.runs import first_line

_ALIAS = re.compile(r"(?!(?i:latest|v\d+)$)[A-Za-z0-9_-]{1,200}")
"""Aliases that MLflow accepts, limited to a length that fits into a tag's name."""


@dataclass(frozen=True)
class Move:
    """The result of moving an alias.

    Parameters
    ----------
    name, alias : str
        The model and its alias.
    before, after : str or None
        Versions that the alias pointed to; None if it did not exist.
    pinned : bool
        Whether training leaves the alias there from now on.
    overruled : tuple of str
        Reasons against the move, which ``force`` overruled.
    """

    name: str
    alias: str
    before: str | None
    after: str
    pinned: bool
    overruled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pruned:
    """The result of deleting a version.

    Parameters
    ----------
    version : Version
    deleted : bool
    notes : tuple of str
        Sentences on things that were kept, with the reason, and on aliases that were lost.
    """

    version: Version
    deleted: bool
    notes: tuple[str, ...] = ()


def promote(asked: str, alias: str, *, force: bool = False, dry_run: bool = False) -> Move:
    """Point an alias to a version, and pin it there if training would move it.

    Parameters
    ----------
    asked : str
        See `coos_mlflow.registry.versions.resolve`.
    alias : str
    force : bool
        Allow a version trained on simulated cells or on fewer classes to replace a better one.
    dry_run : bool
        Check everything, change nothing.

    Raises
    ------
    RegistryError
        For a reserved alias, a version that cannot be used here, or one that needs `force`.
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
    """Unpin an alias, and point it to the version that training would choose.

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
    """Return the versions that can be deleted, oldest first.

    Those are versions of this package that have no alias and are not among the newest.

    Parameters
    ----------
    name : str
    keep : int
        Number of the newest versions to keep, with or without an alias.
    older_than : float, optional
        Minimum age of a version, in days since its registration.

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
    """Return one version, after checking that it may be deleted.

    Raises
    ------
    RegistryError
        When it does not exist, is not of this package, or has an alias. The alias of the plate to
        which a version was adapted goes with it.
    """
    version = version_of(asked)
    _check_ours(version)
    if held := [alias for alias in version.held_by if not _is_own(version, alias)]:
        raise RegistryError(_held_words(version, held))
    return version


def _is_own(version: Version, alias: str) -> bool:
    """Whether an alias is that of the plate to which a version was adapted."""
    return ADAPTED_FROM in version.model.tags and alias.startswith(ALIAS)


def delete(version: Version, *, with_run: bool = False) -> Pruned:
    """Delete a version and its LoggedModel, unless they are needed by now.

    MLflow deletes the aliases of a version together with it, and no lock keeps another process
    from setting an alias just before. So the aliases are checked right before and right after.

    Parameters
    ----------
    version : Version
        Aliases that it has go with it; one that it got since then keeps it.
    with_run : bool
        Delete the run that trained it too.
    """
    client, model = MlflowClient(), version.model
    before = {v.number: v for v in versions_of(model.name)}
    now = before.get(version.number)
    if now is None:
        return Pruned(version, False, ("Another process or user has deleted it.",))
    if held := sorted({*now.held_by} - {*version.held_by}):
        return Pruned(now, False, (_held_words(now, held),))
    client.delete_model_version(model.name, model.version)
    others = [v for v in before.values() if v.number != version.number]
    notes = [_given_back(*lost) for lost in _lost(model.name, others)]
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
    """Append a note if a deletion fails; without it the leftover would go unnoticed."""
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
    """Return the reasons against pointing an alias to a version."""
    doubts = []
    layer = chosen.model.tags.get("layer")
    if alias in versions.best(chosen.model.name) and alias not in (versions.CHAMPION, layer):
        doubts.append(f"the alias stands for a layer, and its layer is {layer}")
    adapted = Adapted.of(chosen.model.tags)
    if adapted is not None and not _is_own(chosen, alias):
        doubts.append(f"it was adapted to {adapted.plate}, and is for that plate alone")
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
        actual = f"version {holder.number}" if holder else "no version"
        raise RegistryError(
            f"The alias {alias} was given to {name} version {number}, but points to {actual} now: "
            f"another process or user changes the model too; look at `coos models list {name}`."
        )


def _held_words(version: Version, aliases: list[str]) -> str:
    """Name the aliases that keep a version, and the commands that move them."""
    name = version.model.name
    commands = " and ".join(f"`coos models promote {name}/VERSION --alias {a}`" for a in aliases)
    one = len(aliases) == 1
    return (
        f"{name} version {version.number} is held by the alias{'' if one else 'es'} "
        f"{', '.join(aliases)} and stays; {commands} move{'s it' if one else ' them'} to another."
    )


def _lost(name: str, before: Iterable[Version]) -> list[tuple[Version, str]]:
    """Return the aliases that no longer exist, each with the version that it pointed to."""
    after = registered_model(name).aliases
    return [(v, alias) for v in before for alias in v.aliases if alias not in after]


def _given_back(held: Version, alias: str) -> str:
    """Point an alias that was lost with a deleted version to its former version, and say so."""
    MlflowClient().set_registered_model_alias(held.model.name, alias, held.model.version)
    return (
        f"Another process or user moved the alias {alias} to it during the deletion; it points to "
        f"version {held.number} again, as before."
    )


def _used(*filters: str) -> bool:
    """Tell whether any of the searches finds a version."""
    client = MlflowClient()
    return any(client.search_model_versions(wanted, max_results=1) for wanted in filters)
