"""Find and correct paths in a SQLite store whose folder of artifacts was moved.

Open this to change `coos models relocate`, or the messages about missing files.
"""

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
"""Columns of MLflow 3.17's tables, one per table, that hold absolute paths of folders."""


def check_there(what: str, location: str, if_deleted: str) -> None:
    """Refuse files whose folder should be on this machine but is missing.

    Parameters
    ----------
    what : str
        Owner of the files, such as ``The run 1a2b``.
    location : str
        The folder or URI that the store names. A location on another machine is not checked.
    if_deleted : str
        Advice for the case that the files were deleted.

    Raises
    ------
    RegistryError
        Naming the expected folder, and the command that corrects the store.
    """
    folder = _folder(location)
    if folder is None or folder.exists():
        return
    if roots := moved_from(location):
        advice = f"they are in {roots[1]} now, {told(*roots)}"
    elif sqlite_file(mlflow.get_registry_uri()):
        advice = "move it back, or tell the database where it is: `coos models relocate OLD NEW`"
    else:
        advice = "move it back, or make it readable from this machine"
    raise RegistryError(
        f"{what}: its files should be in {folder}, which is not there; {advice}. If it was "
        f"deleted, {if_deleted}."
    )


def told(old: Path, new: Path) -> str:
    """Return the end of a sentence with the command that corrects the paths in the database."""
    command = shlex.join(["coos", "models", "relocate", str(old), str(new)])
    return f"and `{command}` tells the database"


def moved_from(location: str) -> tuple[Path, Path] | None:
    """Return the old and the new root of a folder that was moved together with the SQLite file.

    Return None if the folder was not moved, or is not beside the file either.
    """
    folder, file = _folder(location), sqlite_file(mlflow.get_registry_uri())
    if folder is None or file is None or folder.exists():
        return None
    here = file.absolute().parent
    # The last name of the path is the same for all models, so it alone proves nothing.
    for old in reversed(folder.parents[1:]):
        # `here` as the old root means that another process has just made the folder.
        if old != here and (here / folder.relative_to(old)).exists():
            return old, here
    return None


def relocate(old: Path, new: Path, *, dry_run: bool = False) -> int:
    """Correct the paths in the SQLite store in use after a folder of artifacts was moved.

    Parameters
    ----------
    old : Path
        The folder according to the store.
    new : Path
        The folder where it is now.
    dry_run : bool
        Check everything, change nothing.

    Returns
    -------
    int
        Number of paths that were corrected.

    Raises
    ------
    DataError
        When the store names no file in `old`, or its files are not in `new`.
    RegistryError
        When the store is no SQLite file, or cannot be changed.
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
    """Return the locations in a table that lie in the folder `old`."""
    column = _PLACES[table]
    query = f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL"
    return [place for (place,) in store.exec_driver_sql(query) if _is_in(place, old)]


def _is_in(place: str, folder: Path) -> bool:
    local = _folder(place)
    return local is not None and local.is_relative_to(folder)


def _check_moved(there: list[str], old: Path, new: Path, file: Path) -> None:
    """Refuse `old` if the store names no file in it, and `new` if it holds none of the files."""
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
    """Return the local folder of a location, or None for a location on another machine."""
    local = is_local_uri(location, is_tracking_or_registry_uri=False)
    return Path(local_file_uri_to_path(location)) if local else None
