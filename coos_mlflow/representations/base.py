"""The contract of a representation (`Representation`), and how one is created by its key.

Read this file before adding a representation.
"""

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
from coos_mlflow.plates.dataset import Dataset, coos7
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations._settings import Range, Seed, check_settings
from coos_mlflow.representations.nn.precision import FP32, check_precision

if TYPE_CHECKING:
    from coos_mlflow.representations.nn.training import TrainingContext

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
"""The layer of class probabilities, one column for each class, of a network that classifies by
itself."""

VALIDATION_ERROR = "validation_error"
"""Key in `Representation.training_summary`: balanced error in % on the held-out cells."""


class Representation(ABC):
    """Turns cells into features.

    Each public file of this folder holds one representation, whose key is the file's stem, and
    declares it as ``REPRESENTATION = <its class>``. The constructor only stores parameters.
    `create` checks them against the annotations of ``__init__``, such as
    ``bins: Annotated[int, Range(1, 256)] = 16``; see `_settings.check_settings`. Weights come from
    `fit`, which trains on Training, or from `restore`.
    """

    dataset: Dataset
    """What the cells are: the features depend on its crop, and class probabilities on its classes.
    `create` sets it. It is missing after a call of the class itself; DeepLoc then can neither be
    trained nor restored."""

    key: ClassVar[str]
    """The file's stem, such as ``"texture"``."""

    version: str
    """To be changed whenever the same cells would give other features; part of the cache's key."""

    title: str
    """Name in tables and figures."""

    layers: tuple[str, ...]
    """Names of the feature matrices, in order."""

    layer_titles: ClassVar[dict[str, str]] = {}
    """Layer names in the paper's Table 3; empty for a representation with one unnamed layer."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    """Parameters of the presets "paper" and "quick" that differ from the class's defaults."""

    variants: ClassVar[tuple[dict[str, Any], ...]] = ()
    """Settings of further rows of `coos generalise`; each gives another `name` and `title`."""

    instead_of: ClassVar[str] = ""
    """Key of the paper's representation that it is to improve on; empty for one of the paper."""

    trainable: bool = False
    """Whether `fit` trains anything."""

    classifies: ClassVar[bool] = False
    """Whether it also has the layer `PROBABILITIES`, so that it needs no classifier."""

    packages: tuple[str, ...] = ()
    """Packages that a served model needs in addition to those of every model."""

    @property
    def parts(self) -> tuple[Representation, ...]:
        """Representations that this one is made of, each trained by itself; none by default."""
        return ()

    @property
    def name(self) -> str:
        """First part of its registered models' names: the key, except for control variants."""
        return self.key

    @property
    def digest(self) -> str:
        """SHA-256 of the trained or loaded weights; empty where `params` determine the features."""
        return ""

    @property
    def origin(self) -> str:
        """Source, licence and citation of weights that others have trained; empty by default."""
        return ""

    @property
    def training_summary(self) -> dict[str, float]:
        """Figures of the training, such as the error on held-out cells; empty by default."""
        return {}

    @abstractmethod
    def params(self) -> dict[str, Any]:
        """Return all settings on which the features depend, JSON-ready.

        `create` takes them to build the same representation again.
        """

    def training_params(self) -> dict[str, Any]:
        """Return the part of `params` on which the result of `fit` depends; all by default."""
        return self.params()

    @abstractmethod
    def feature_names(self, layer: str) -> tuple[str, ...]:
        """Return the names of the columns of a layer."""

    def prepare(self, precision: str = FP32) -> str:
        """Build the fast form for inference, in single precision or in bfloat16.

        Until this is called, and again after new weights are loaded, features are computed in
        single precision. Repeated calls and changes of precision cost nothing.

        Parameters
        ----------
        precision : str
            One of `coos_mlflow.representations.nn.precision.PRECISIONS`; "auto" is "bf16" where
            the device has instructions for it.

        Returns
        -------
        str
            The precision now in use: "fp32" or "bf16".

        Raises
        ------
        DataError
            For an unknown precision.
        """
        check_precision(precision)
        return FP32

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        """Turn raw counts into the input of `compute`, each cell independently of the others.

        Thread-safe, also while another thread is in `compute`.

        Parameters
        ----------
        images : ndarray, shape (n, 2, crop, crop), uint16 or float32
            Raw counts that have passed `coos_mlflow.plates.schema.check_images`.

        Returns
        -------
        ndarray, shape (n, ...)
            By default the counts unchanged.
        """
        return images

    @abstractmethod
    def compute(
        self, prepared: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute the features of preprocessed cells.

        Parameters
        ----------
        prepared : ndarray, shape (n, ...)
            Output of `preprocess`.
        layers : sequence of str, optional
            The layers to compute. By default all of `layers`, and `PROBABILITIES` where the
            representation classifies.

        Returns
        -------
        dict of str to ndarray, shape (n, d), float32
            One matrix for at least each requested layer.
        """

    def transform(
        self, images: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute the features of raw images: `preprocess`, then `compute`."""
        return self.compute(self.preprocess(images), layers)

    def requested_layers(self, layers: Sequence[str] | None) -> tuple[str, ...]:
        """Return the layers to compute, all by default.

        Raises
        ------
        DataError
            For a layer that was not given to the constructor.
        """
        requested = self.layers if layers is None else tuple(layers)
        for layer in requested:
            if layer not in self.layers:
                raise DataError(
                    f"{type(self).title} layer {layer!r} found, expected one of the layers that it "
                    f"was created with: {', '.join(self.layers)}."
                )
        return requested

    def check_cells(self) -> None:  # noqa: B027 - most take all crops
        """Refuse a data set whose crop this representation cannot take.

        Raises
        ------
        DataError
            Naming the crop and the sizes that can be taken.
        """

    def require(self) -> None:  # noqa: B027 - most need nothing
        """Check that everything that must be downloaded, such as published weights, is there.

        Raises
        ------
        MissingWeightsError
            Naming the command that gets them.
        """

    def fit(self, training: CellBatch, context: TrainingContext) -> None:  # noqa: B027 - most are not trained
        """Train on the cells of Training; does nothing by default.

        Parameters
        ----------
        training : CellBatch
            All cells of the split, with their plates and wells. Labels may be
            `coos_mlflow.plates.dataset.UNLABELLED`.
        context : TrainingContext
            Folder of the checkpoints, and callbacks for metrics and figures.
        """

    def held_out(self, n_cells: int) -> np.ndarray:
        """Return which of the `n_cells` cells of Training were held out of `fit`.

        Returns
        -------
        ndarray of bool, shape (n_cells,)
            All True for a representation that is not trained, or trained without labels. Cells
            without a label are True, since networks that need labels are not trained on them.
        """
        return np.ones(n_cells, bool)

    def save(self, folder: Path) -> None:  # noqa: B027 - most have no weights
        """Write the weights into `folder`; does nothing by default."""

    def restore(self, folder: Path) -> None:  # noqa: B027 - most have no weights
        """Read what `save` wrote; does nothing by default."""


def ordered_layers(title: str, layers: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Return the given layers of a network in the order of `known`, which lists all of them.

    Raises
    ------
    DataError
        For a name that is not known.
    """
    if any(layer not in known for layer in layers):
        raise DataError(
            f"{title} layers={layers!r} found, expected a list of some of {', '.join(known)}."
        )
    return tuple(name for name in known if name in layers)


def names() -> tuple[str, ...]:
    """Return the keys of all representations, by listing this folder."""
    return plugin_names(__package__)


def class_of(key: str) -> type[Representation]:
    """Return the class of a representation; only its file is imported.

    Raises
    ------
    DataError
        For an unknown key.
    """
    if key not in names():
        raise DataError(
            f"Representation {key!r} is not known; this version has {', '.join(names())}."
        )
    cls: type[Representation] = import_module(f"{__package__}.{key}").REPRESENTATION
    return cls


def create(
    key: str, preset: str = "paper", dataset: Dataset | None = None, **params: Any
) -> Representation:
    """Create the representation called `key`; only its file is imported.

    Parameters
    ----------
    key : str
        One of `names`.
    preset : str
        Source of parameters that are not given; see `Representation.presets`.
    dataset : Dataset, optional
        What the cells are; COOS-7's by default.
    **params
        Parameters of the class. A ``seed`` is dropped where nothing is random.

    Raises
    ------
    DataError
        For an unknown key, or a parameter that is unknown or does not fit its annotation.
    """
    cls = class_of(key)
    if "seed" not in inspect.signature(cls).parameters:
        params.pop("seed", None)
    settings = cls.presets.get(preset, {}) | params
    check_settings(key, cls, settings)
    representation = cls(**settings)
    representation.dataset = dataset or coos7()
    representation.check_cells()
    return representation
