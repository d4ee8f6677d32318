"""Files of runs and models in a folder that was moved, while the database names the old place."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from coos_mlflow.errors import DataError, RegistryError, without_passwords
from coos_mlflow.registry.retry import is_read_only
from coos_mlflow.registry.store_uri import sqlite_file

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_PLACES = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}
"""Columns of MLflow 3.17's tables, one a table, that hold whole paths of folders."""


def check_there(what: str, location: str, if_deleted: str) -> None:
    """Refuse files whose folder should be on this machine and is not.

    Parameters
    ----------
    what : str
        Whose files they are.
    location : str
        The folder or URI that the store names; of other machines nothing is known.
    if_deleted : str
        What to do where they are nowhere any more.

    Raises
    ------
    RegistryError
        Saying where they should be, and how the store learns where they are.
    """
    folder = _folder(location)
    if folder is None or folder.exists():
        return
    if roots := moved_from(location):
        found = f"they are in {roots[1]} now, {told(*roots)}"
    elif sqlite_file(mlflow.get_registry_uri()):
        found = "move it back, or tell the database where it is: `coos models relocate OLD NEW`"
    else:
        found = "move it back, or make it readable from this machine"
    raise RegistryError(
        f"{what}: its files should be in {folder}, which is not there; {found}. If it was deleted, "
        f"{if_deleted}."
    )


def told(old: Path, new: Path) -> str:
    """Return how a database learns where files are."""
    command = shlex.join(["coos", "models", "relocate", str(old), str(new)])
    return f"and `{command}` tells the database"


def moved_from(location: str) -> tuple[Path, Path] | None:
    """Return the old and the new root of a folder that was moved together with the SQLite file.

    None where the folder is there, or is not found beside the file either.
    """
    folder, file = _folder(location), sqlite_file(mlflow.get_registry_uri())
    if folder is None or file is None or folder.exists():
        return None
    here = file.absolute().parent
    # The last name alone is the same for all models.
    for old in reversed(folder.parents[1:]):
        # From `here` itself nothing moved: another process has just made the folder.
        if old != here and (here / folder.relative_to(old)).exists():
            return old, here
    return None


def relocate(old: Path, new: Path, *, dry_run: bool = False) -> int:
    """Tell the SQLite store in use that a folder with files of runs and models was moved.

    Parameters
    ----------
    old : Path
        Where the store says that it is.
    new : Path
        Where it is.
    dry_run : bool
        Check everything, change nothing.

    Returns
    -------
    int
        How many places are named anew.

    Raises
    ------
    DataError
        When nothing lay in `old`, or it is not in `new`.
    RegistryError
        When the store is no SQLite file, or may not be changed.
    """
    import sqlalchemy

    uri = mlflow.get_registry_uri()
    file = sqlite_file(uri)
    if file is None:
        raise RegistryError(
            f"{without_passwords(uri)} is no SQLite file; a server knows its "
            "own places, which are changed where it runs."
        )
    old, new = (path.expanduser().absolute() for path in (old, new))
    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.begin() as store:
            there = [place for table in _PLACES for place in _places(store, table, old)]
            _check_moved(there, old, new, file)
            for table in _PLACES if not dry_run else ():
                _rename(store, table, old, new)
    except sqlalchemy.exc.DBAPIError as error:
        why = "it is read-only" if is_read_only(error) else error.orig
        raise RegistryError(f"The tracking store {file} was not changed ({why}).") from error
    finally:
        engine.dispose()
    return len(there)


def _places(store: Connection, table: str, old: Path) -> list[str]:
    """Return the places in a folder that a table names."""
    column = _PLACES[table]
    asked = f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL"
    return [place for (place,) in store.exec_driver_sql(asked) if _is_in(place, old)]


def _is_in(place: str, folder: Path) -> bool:
    found = _folder(place)
    return found is not None and found.is_relative_to(folder)


def _check_moved(there: list[str], old: Path, new: Path, file: Path) -> None:
    """Refuse folders that are not the old and the new one of some files."""
    if not there:
        raise DataError(f"{file} names no file in {old}; `coos models show` tells where they are.")
    moved = [new / Path(local_file_uri_to_path(place)).relative_to(old) for place in there]
    if not any(place.exists() for place in moved):
        raise DataError(
            f"{new} holds none of the {len(there)} folders that {file} names in {old}; expected, "
            f"for one, {moved[-1]}."
        )


def _rename(store: Connection, table: str, old: Path, new: Path) -> None:
    column = _PLACES[table]
    for place in set(_places(store, table, old)):
        path = local_file_uri_to_path(place)
        renamed = place.removesuffix(path) + str(new / Path(path).relative_to(old))
        change = f"UPDATE {table} SET {column} = ? WHERE {column} = ?"
        store.exec_driver_sql(change, (renamed, place))


def _folder(location: str) -> Path | None:
    """Return the local folder of a location, None for one of another machine."""
    local = is_local_uri(location, is_tracking_or_registry_uri=False)
    return Path(local_file_uri_to_path(location)) if local else None
