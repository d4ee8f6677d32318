"""The folder in which this package keeps what it need not fetch or compute again."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from coos_mlflow.errors import OutputError


def cache_home() -> Path:
    """Return the folder of the cache: ``$COOS_CACHE``, else the platform's cache folder."""
    named = os.environ.get("COOS_CACHE")
    return Path(named) if named else user_cache_path("coos_mlflow")


def make_cache_home() -> Path:
    """Make the folder of the cache.

    Raises
    ------
    OutputError
        When it cannot be made.
    """
    try:
        cache_home().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{cache_home()}: the cache folder cannot be made ({error.strerror}); "
            "set COOS_CACHE to a folder that can be written."
        ) from error
    return cache_home()
