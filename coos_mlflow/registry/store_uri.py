"""Interpret a tracking URI as typed by a user, and find the file of a SQLite store."""

from __future__ import annotations

import os
import re
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from coos_mlflow.errors import DataError

DATABASE = "mlflow.db"
"""The file that MLflow creates if no store is named."""

_FORMS = "sqlite:///mlflow.db (in this folder), sqlite:////folder/mlflow.db or http://HOST:PORT"
_ENDINGS = {".db", ".sqlite", ".sqlite3"}
_SQLITE = re.compile(r"(?i)sqlite(\+\w+)?:(?P<slashes>/*)(?P<path>[^?]*)(?P<query>\?.*)?")


def understood(text: str) -> str:
    """Return the tracking URI meant by a URI, or by the path of a database, as typed by a user.

    Parameters
    ----------
    text : str
        Such as ``mlflow.db``, ``~/mlflow.db``, ``sqlite:mlflow.db`` or any URI of MLflow.

    Raises
    ------
    DataError
        For text that names no store or is ambiguous; the message shows the right form.
    """
    uri = text.strip()
    if not uri:
        raise DataError(
            f"The tracking store {text!r} is empty; expected {_FORMS}. Leave it out for "
            f"{DATABASE} in this folder."
        )
    if match := _SQLITE.fullmatch(uri):
        return _of_sqlite(uri, match)
    if uri.lower().startswith("file:"):
        return _of_path(uri, url2pathname(urlsplit(uri).path))
    if "://" in uri or uri.startswith(("databricks", "uc:")):
        return uri
    return _of_path(uri, uri)


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite store, or None for one in memory and for other stores."""
    if not uri.lower().startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    url = make_url(uri)
    database = url.database or ":memory:"
    if database.startswith(":memory:") or url.query.get("mode") == "memory":
        return None
    return Path(unquote(urlsplit(database).path) if database.startswith("file:") else database)


def uri_of(file: Path) -> str:
    """Return the tracking URI of a SQLite file, with its absolute path."""
    whole = os.path.abspath(file)  # noqa: PTH100 - without ..
    return f"sqlite:///{Path(whole).as_posix()}"


def _of_sqlite(uri: str, match: re.Match[str]) -> str:
    slashes, path, query = len(match["slashes"]), match["path"], match["query"] or ""
    if not path or path.startswith((":memory:", "file:")):
        return uri
    _check_not_of_windows(uri, path)
    if slashes == 1:
        path = f"/{path}"
    if slashes < 3 or path.startswith("~"):
        return uri_of(Path(path).expanduser()) + query
    if slashes == 3:
        _check_relative(uri, path)
    return uri


def _check_relative(uri: str, path: str) -> None:
    """Refuse three slashes where four were meant, as in ``sqlite://$PWD/mlflow.db``."""
    inside, outside = Path(path).parent, Path("/", path).parent
    if path.startswith(".") or inside.exists() or not outside.is_dir():
        return
    raise DataError(
        f"{uri} means {path} in this folder, which has no folder {inside}; expected "
        f"sqlite:////{path} for the one in {outside}, or sqlite:///./{path} for a new one here."
    )


def _of_path(text: str, path: str) -> str:
    _check_not_of_windows(text, path)
    file = Path(path).expanduser()
    if file.is_dir() and (file / DATABASE).is_file():
        return uri_of(file / DATABASE)
    if file.is_dir() or path.endswith("/"):
        raise DataError(
            f"The tracking store {text!r} is a folder, and MLflow keeps its runs in a database; "
            f"expected {uri_of(file / DATABASE)}, or another place of it."
        )
    if file.suffix.lower() in _ENDINGS or file.is_file():
        return uri_of(file)
    raise DataError(f"The tracking store {text!r} is not understood; expected {_FORMS}.")


def _check_not_of_windows(text: str, path: str) -> None:
    if os.name != "nt" and PureWindowsPath(path).drive:
        raise DataError(
            f"The tracking store {text!r} is a path of Windows, which this machine does not have; "
            f"expected {_FORMS}."
        )
