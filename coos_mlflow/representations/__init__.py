"""Representations turn images into named feature matrices; each is one file, found by its name.

`base` holds the contract and `create`; `nn` holds the networks and their training.
"""

import sys
from types import ModuleType

from coos_mlflow.representations.base import (
    PROBABILITIES,
    VALIDATION_ERROR,
    Range,
    Representation,
    class_of,
    create,
    names,
)

__all__ = [
    "PROBABILITIES",
    "VALIDATION_ERROR",
    "Range",
    "Representation",
    "class_of",
    "create",
    "names",
]


class _Room(ModuleType):
    """Lets `coos_mlflow.representations()` list the representations.

    The public function has the name of this package, and Python sets the package as that attribute
    of `coos_mlflow` as soon as it is imported. So the package itself can be called.
    """

    def __call__(self) -> tuple[str, ...]:
        """Return the keys of all representations, such as ``"texture"``."""
        return names()


sys.modules[__name__].__class__ = _Room
