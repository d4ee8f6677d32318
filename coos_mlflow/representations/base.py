"""The contract of a representation, and how one is found by its key."""

from __future__ import annotations

import inspect
import pkgutil
from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from coos_mlflow.errors import DataError


class Representation(ABC):
    """Turns cells into features; each public file of this folder holds one, under its stem.

    The file declares ``REPRESENTATION = <its class>``. The class only stores parameters when it
    is made.
    """

    key: ClassVar[str]
    """The file's stem, such as ``"texture"``."""

    version: ClassVar[str]
    """Changes whenever the same cells would give other features; part of the cache's key."""

    title: ClassVar[str]
    """What tables and figures call it."""

    layers: tuple[str, ...]
    """The feature matrices on offer, in order."""

    @abstractmethod
    def params(self) -> dict[str, Any]:
        """Return everything besides `version` on which the features depend, JSON-ready."""

    @abstractmethod
    def feature_names(self, layer: str) -> tuple[str, ...]:
        """Return the names of the columns of a layer."""

    @abstractmethod
    def transform(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the features of some cells.

        Parameters
        ----------
        images : ndarray, shape (n, 2, 64, 64), uint16 or float32
            Raw counts that have passed `coos_mlflow.data.cells.check_images`.

        Returns
        -------
        dict of str to ndarray, shape (n, d), float32
            One matrix for each of `layers`.
        """

    def save(self, folder: Path) -> None:  # noqa: B027 - most learn nothing
        """Write what was learnt into `folder`; nothing by default."""

    def restore(self, folder: Path) -> None:  # noqa: B027 - most learn nothing
        """Read what `save` wrote; nothing by default."""


def names() -> tuple[str, ...]:
    """Return the keys of all representations, by listing this folder."""
    folder = str(Path(__file__).parent)
    stems = (module.name for module in pkgutil.iter_modules([folder]))
    return tuple(sorted(s for s in stems if not s.startswith("_") and s != "base"))


def create(key: str, **params: Any) -> Representation:
    """Make the representation called `key`; its file is imported only now.

    Raises
    ------
    DataError
        For a key that no file in this folder has, or parameters that it does not take.
    """
    if key not in names():
        raise DataError(
            f"Representation {key!r} is not known; this version has {', '.join(names())}."
        )
    made: type[Representation] = import_module(f"{__package__}.{key}").REPRESENTATION
    known = inspect.signature(made).parameters
    unknown = [name for name in params if name not in known]
    if unknown:
        raise DataError(f"{key} has no parameter {unknown[0]!r}; it takes {', '.join(known)}.")
    return made(**params)
