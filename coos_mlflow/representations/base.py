"""The contract of a representation, and how one is found by its key."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from coos_mlflow._utils.plugins import plugin_names
from coos_mlflow.errors import DataError
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations._settings import Range, Seed, check_settings
from coos_mlflow.representations.nn.precision import FP32, check_precision

if TYPE_CHECKING:
    from coos_mlflow.representations.nn.training import Workshop

__all__ = [
    "PROBABILITIES",
    "VALIDATION_ERROR",
    "Range",
    "Representation",
    "Seed",
    "create",
    "names",
]

PROBABILITIES = "softmax"
"""The layer whose seven columns are class probabilities, of a network that classifies itself."""

VALIDATION_ERROR = "validation_error"
"""What `Representation.learnt` calls the balanced error in % on the held-out cells."""


class Representation(ABC):
    """Turns cells into features; each public file of this folder holds one, under its stem.

    The file declares ``REPRESENTATION = <its class>``. The class only stores parameters when it
    is made; what it has to learn from Training it learns in `fit`, or gets from `restore`.
    `create` checks the parameters against the annotations of ``__init__``, such as
    ``bins: Annotated[int, Range(1, 256)] = 16``; see `_settings.check_settings`.
    """

    key: ClassVar[str]
    """The file's stem, such as ``"texture"``."""

    version: ClassVar[str]
    """Changes whenever the same cells would give other features; part of the cache's key."""

    title: str
    """What tables and figures call it."""

    layers: tuple[str, ...]
    """The feature matrices on offer, in order."""

    layer_titles: ClassVar[dict[str, str]] = {}
    """What the paper's Table 3 calls a layer; empty for a representation of one nameless layer."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    """Parameters of the presets "paper" and "quick" that differ from the class's defaults."""

    learns: ClassVar[bool] = False
    """Whether `fit` has something to do."""

    answers: ClassVar[bool] = False
    """Whether it also gives the layer `PROBABILITIES`, so that it needs no classifier."""

    packages: ClassVar[tuple[str, ...]] = ()
    """What a served model of it needs beyond what every model needs."""

    @property
    def name(self) -> str:
        """What its registered models' names begin with; its key, unless it is not the real one."""
        return self.key

    @property
    def digest(self) -> str:
        """SHA-256 of what was learnt or loaded; empty where `params` say everything."""
        return ""

    @property
    def learnt(self) -> dict[str, float]:
        """What there is to say of how it learnt, such as the error on cells it did not see."""
        return {}

    @abstractmethod
    def params(self) -> dict[str, Any]:
        """Return everything besides `version` on which the features depend, JSON-ready.

        They are what `create` takes to make it again.
        """

    def lesson_params(self) -> dict[str, Any]:
        """Return those of `params` on which the result of `fit` depends; all by default."""
        return self.params()

    @abstractmethod
    def feature_names(self, layer: str) -> tuple[str, ...]:
        """Return the names of the columns of a layer."""

    def prepare(self, precision: str = FP32) -> str:
        """Make ready to compute features at speed, in single precision or in bfloat16.

        Without it, or after other weights came, features are computed in single precision.
        To prepare again, or to go back to the other precision, costs nothing.

        Parameters
        ----------
        precision : str
            One of `coos_mlflow.representations.nn.precision.PRECISIONS`; "auto" is "bf16" where
            the device has instructions for it.

        Returns
        -------
        str
            The precision that features will have: "fp32" or "bf16".

        Raises
        ------
        DataError
            For an unknown precision.
        """
        check_precision(precision)
        return FP32

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        """Turn raw counts into what `compute` takes: work on each cell by itself.

        Safe in any thread, also while another is in `compute`.

        Parameters
        ----------
        images : ndarray, shape (n, 2, 64, 64), uint16 or float32
            Raw counts that have passed `coos_mlflow.plates.schema.check_images`.

        Returns
        -------
        ndarray, shape (n, ...)
            The same counts by default.
        """
        return images

    @abstractmethod
    def compute(
        self, prepared: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute the features of cells that `preprocess` has prepared.

        Parameters
        ----------
        prepared : ndarray, shape (n, ...)
            From `preprocess`.
        layers : sequence of str, optional
            The layers to compute; all of `layers`, and `PROBABILITIES` where it answers, by
            default.

        Returns
        -------
        dict of str to ndarray, shape (n, d), float32
            One matrix for each layer asked for, at least.
        """

    def transform(
        self, images: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute the features of some cells: `preprocess`, then `compute`."""
        return self.compute(self.preprocess(images), layers)

    def asked_for(self, layers: Sequence[str] | None) -> tuple[str, ...]:
        """Return the layers to compute, all by default.

        Raises
        ------
        DataError
            For one that it was not made with.
        """
        asked = self.layers if layers is None else tuple(layers)
        for layer in asked:
            if layer not in self.layers:
                raise DataError(
                    f"{type(self).title} layer {layer!r} was not asked for when it was made; it "
                    f"has {', '.join(self.layers)}."
                )
        return asked

    def require(self) -> None:  # noqa: B027 - most need nothing
        """Refuse to go on where something is missing that cannot be computed, such as weights.

        Raises
        ------
        MissingWeightsError
            Saying how to get it.
        """

    def fit(self, training: CellBatch, workshop: Workshop) -> None:  # noqa: B027 - most learn nothing
        """Learn from the cells of Training; nothing by default.

        Parameters
        ----------
        training : CellBatch
            All cells of the split, with their plates and wells.
        workshop : Workshop
            Where checkpoints go, and who is told how it goes.
        """

    def held_out(self, n_cells: int) -> np.ndarray:
        """Return which of the `n_cells` cells of Training were kept out of `fit`.

        Returns
        -------
        ndarray of bool, shape (n_cells,)
            All, for what learns nothing or nothing from labels.
        """
        return np.ones(n_cells, bool)

    def save(self, folder: Path) -> None:  # noqa: B027 - most learn nothing
        """Write what was learnt into `folder`; nothing by default."""

    def restore(self, folder: Path) -> None:  # noqa: B027 - most learn nothing
        """Read what `save` wrote; nothing by default."""


def in_order(whose: str, layers: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Return some of a network's layers in the order of `known`, which has them all.

    Raises
    ------
    DataError
        For a name that is not known.
    """
    if any(layer not in known for layer in layers):
        raise DataError(
            f"{whose} layers={layers!r} found, expected a list of some of {', '.join(known)}."
        )
    return tuple(name for name in known if name in layers)


def names() -> tuple[str, ...]:
    """Return the keys of all representations, by listing this folder."""
    return plugin_names(__package__)


def create(key: str, preset: str = "paper", **params: Any) -> Representation:
    """Make the representation called `key`; its file is imported only now.

    Parameters
    ----------
    key : str
        One of `names`.
    preset : str
        Where parameters come from that are not given; see `Representation.presets`.
    **params
        What the class takes; a ``seed`` is dropped where nothing is random.

    Raises
    ------
    DataError
        For a key that no file in this folder has, or a parameter that is unknown or does not
        fit its annotation.
    """
    if key not in names():
        raise DataError(
            f"Representation {key!r} is not known; this version has {', '.join(names())}."
        )
    made: type[Representation] = import_module(f"{__package__}.{key}").REPRESENTATION
    if "seed" not in inspect.signature(made).parameters:
        params.pop("seed", None)
    settings = made.presets.get(preset, {}) | params
    check_settings(key, made, settings)
    return made(**settings)
