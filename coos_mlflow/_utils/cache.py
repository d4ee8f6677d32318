"""Find and create the cache folder, for downloads and results that need not be made again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from platformdirs import user_cache_path

from coos_mlflow.errors import OutputError


def cache_home() -> Path:
    """Return the folder of the cache: ``$COOS_CACHE``, else the platform's cache folder."""
    named = os.environ.get("COOS_CACHE")
    return Path(named) if named else user_cache_path("coos_mlflow")


def make_cache_home(*within: str) -> Path:
    """Create the folder of the cache, or a folder within it.

    Raises
    ------
    OutputError
        When it cannot be made or written.
    """
    folder = cache_home().joinpath(*within)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OutputError(
            f"{folder}: the cache folder cannot be made or written ({error.strerror}); "
            "set COOS_CACHE to a folder that can."
        ) from error
    return folder
