"""What segmenters of other packages share: the package, its weights, and what to do without."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from coos_mlflow.errors import DataError, MissingWeightsError


def package(key: str, module: str) -> Any:
    """Import a module of a segmenter's package.

    Raises
    ------
    DataError
        When it is not installed, or cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise DataError(
            f"--segmenter {key} needs {module}, which cannot be imported ({error}); run `pip "
            f"install 'coos-mlflow[{key}]'`, or choose another segmenter."
        ) from error


def first_file(key: str, candidates: Iterable[Path], url: str) -> Path:
    """Return the first of several places where a file of weights lies.

    Raises
    ------
    MissingWeightsError
        When it lies in none. Nothing is downloaded.
    """
    places = list(candidates)
    for place in places:
        if place.is_file():
            return place
    raise MissingWeightsError(
        f"{places[0]}: no such file, expected the weights of --segmenter {key}; download {url} and "
        "put them there, or choose another segmenter."
    )


def facts_of(distribution: str, weights: Path) -> dict[str, str]:
    """Return the version of a package and the digest of a file of weights."""
    try:
        installed = version(distribution)
    except PackageNotFoundError:
        installed = "unknown"
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {distribution: installed, "weights": digest}
