"""The contract of a kind of classifier, and the lookup by key.

To add a kind, add a file to this folder that declares ``KIND = Kind(...)``. `coos train
--classifiers`, `coos generalise` and the registry have it then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from sklearn.pipeline import Pipeline

from coos_mlflow._utils.plugins import load_plugins
from coos_mlflow.errors import DataError

if TYPE_CHECKING:
    from coos_mlflow.classifiers.protocol import Protocol


@dataclass(frozen=True)
class Kind:
    """A kind of classifier on a feature matrix.

    Parameters
    ----------
    title : str
        Its name in tables.
    meaning : str
        What it does, in one clause, for the model card.
    settings : tuple of str
        Fields of `Protocol` on which its fit depends.
    build : callable
        ``build(protocol)`` returns an unfitted pipeline: scaling by Training, then the classifier,
        of types that `coos_mlflow.model.bundle` loads.
    in_paper : bool
        Whether it is one of the three classifiers of Lu et al. 2019.
    even : bool
        Whether all plates of a class weigh the same in its fit (`even_weights`).
    searched : bool
        Whether it is a forest whose parameters are searched.
    instead_of : str
        The kind of the paper that it is to improve on; empty where it is one of them.
    """

    title: str
    meaning: str
    settings: tuple[str, ...]
    build: Callable[[Protocol], Pipeline]
    in_paper: bool = False
    even: bool = False
    searched: bool = False
    instead_of: str = ""


@cache
def kinds() -> dict[str, Kind]:
    """Return all kinds by key, the stem of their file; those of the paper come first."""
    found = load_plugins(__package__, "KIND")
    return dict(sorted(found.items(), key=lambda item: not item[1].in_paper))


def kind_of(key: str) -> Kind:
    """Return the kind with a key.

    Raises
    ------
    DataError
        For an unknown key.
    """
    if key not in kinds():
        raise DataError(f"Classifier {key!r} is not known; there are {', '.join(kinds())}.")
    return kinds()[key]
