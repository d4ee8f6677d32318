"""The model as MLflow serves it: cells in, a table of class probabilities out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from coos_mlflow import __version__
from coos_mlflow._utils.versions import check_fits
from coos_mlflow.classifiers.fit import class_probabilities, step_types
from coos_mlflow.drift.reference import Reference
from coos_mlflow.errors import DataError, RegistryError
from coos_mlflow.model import _skops
from coos_mlflow.model.digests import check_seal, seal
from coos_mlflow.plates.schema import CLASSES
from coos_mlflow.representations import PROBABILITIES, Representation, create
from coos_mlflow.representations.nn.precision import AUTO, FP32
from coos_mlflow.serving.decoding import as_images
from coos_mlflow.serving.route import take_over

ARTIFACT = "bundle"
"""Name of the one artifact, a folder."""

PROBABILITY_COLUMNS = tuple(f"p_{label}" for label in range(len(CLASSES)))

DESCRIPTION = "model.json"
"""What a bundle says of itself."""

_CLASSIFIER = "classifier.skops"
_REFERENCE = "reference"

_FOREST_NODES = "sklearn.tree._tree.Tree"
"""The one type that skops leaves to its caller; `_is_sound` checks the node indices."""


@dataclass(frozen=True)
class CellScores:
    """What a model says of some cells.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (n, 7)
    features : ndarray of float32, shape (n, d)
        Principal components of the representation, for the drift assessment.
    """

    probabilities: np.ndarray
    features: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Most probable class 0..6 of each cell, int64, shape (n,)."""
        return self.probabilities.argmax(axis=1)

    def table(self) -> pd.DataFrame:
        """Return label, class_name and p_0..p_6, one row a cell."""
        labels = self.labels
        table = pd.DataFrame({"label": labels, "class_name": np.array(CLASSES)[labels]})
        said = pd.DataFrame(self.probabilities, columns=list(PROBABILITY_COLUMNS), dtype=float)
        return table.join(said)


class CellClassifier(PythonModel):
    """A representation, one of its layers, a classifier on it, and the drift reference.

    Without a classifier the representation's own probabilities are the answer, and the layer
    serves the drift assessment alone.
    """

    representation: Representation
    layer: str
    classifier: Pipeline | None
    reference: Reference

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle that `save_bundle` wrote, as MLflow does; it scores as `coos-score` does.

        A scoring server that is starting asks it by a route that guards it.
        """
        self.load(Path(context.artifacts[ARTIFACT])).prepare(AUTO)
        if take_over(lambda images: self.score(images).table()):
            self.score(self.reference.cells.images[:1])  # compiled before the first request waits

    def load(self, folder: Path, digest: str | None = None) -> CellClassifier:
        """Load the bundle in `folder`.

        Parameters
        ----------
        folder : Path
        digest : str, optional
            What `save_bundle` returned, as the registry has it.

        Raises
        ------
        RegistryError
            When its files are not those that were saved, or the installed package is not one that
            computes what it was trained on.
        """
        check_seal(folder, digest)
        said = json.loads((folder / DESCRIPTION).read_text())
        check_fits(said["package_version"], f"The model {said['representation']}")
        self.representation = create(said["representation"], **said["params"])
        if self.representation.version != said["representation_version"]:
            raise RegistryError(
                f"The model was trained on {said['representation']} features of version "
                f"{said['representation_version']} (coos-mlflow {said['package_version']}); "
                f"coos-mlflow {__version__} computes version {self.representation.version}: "
                f"install coos-mlflow=={said['package_version']} or train again."
            )
        self.representation.restore(folder)
        self.layer = said["layer"]
        self.classifier = _load_classifier(folder / _CLASSIFIER) if said["classifier"] else None
        self.reference = Reference.load(folder / _REFERENCE)
        return self

    def prepare(self, precision: str) -> str:
        """Make ready to score in a precision, and return the one that is used.

        "auto" is bfloat16 where the device has it and the network's own probabilities are the
        answer. A classifier on features answers in single precision: bfloat16 changes one label
        in a hundred of a logistic regression (docs/benchmarks.md), none of DeepLoc's own.

        Raises
        ------
        DataError
            For an unknown precision.
        """
        if precision == AUTO and self.classifier is not None:
            precision = FP32
        return self.representation.prepare(precision)

    @property
    def layers(self) -> tuple[str, ...]:
        """What the representation is to compute."""
        return (self.layer, PROBABILITIES) if self.classifier is None else (self.layer,)

    def answers(self, found: dict[str, np.ndarray]) -> CellScores:
        """Turn what the representation has computed for `layers` into scores."""
        if self.classifier is None:
            probabilities = found[PROBABILITIES]
        else:
            probabilities = class_probabilities(self.classifier, found[self.layer])
        features = self.reference.projection.project(found[self.layer])
        return CellScores(probabilities.astype(np.float32), features)

    def score(self, images: np.ndarray) -> CellScores:
        """Score cells that have passed `check_images`; uint16 or float32 (n, 2, 64, 64)."""
        return self.answers(self.representation.transform(images, self.layers))

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Score what a request brought.

        MLflow casts a request to the type hint of `model_input`, except for NumPy's and pandas'
        types: it passes those as they are, a DataFrame too.

        Parameters
        ----------
        model_input : ndarray (n, 2, 64, 64), or DataFrame with one column of flat lists of 8,192
            Raw camera counts.

        Returns
        -------
        DataFrame
            label, class_name, p_0..p_6.

        Raises
        ------
        MlflowException
            INVALID_PARAMETER_VALUE, a clean 400 when served, for what `check_images` refuses.
        """
        try:
            return self.score(as_images(model_input)).table()
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None


def example_of(bundle: Path) -> np.ndarray:
    """Return one cell of Training as a request brings it, uint16 (1, 2, 64, 64)."""
    return Reference.load(bundle / _REFERENCE).cells.images[:1]


def find_bundle(files: Path) -> Path | None:
    """Return the bundle among the files of a logged model, None where it has none."""
    bundle = files / "artifacts" / ARTIFACT
    return bundle if (bundle / DESCRIPTION).is_file() else None


def save_bundle(
    folder: Path,
    representation: Representation,
    layer: str,
    classifier: Pipeline | None,
    reference: Reference,
) -> str:
    """Write all that a model needs into `folder`, without pickle, and return its digest."""
    said = {
        "representation": representation.key,
        "representation_version": representation.version,
        "params": representation.params(),
        "layer": layer,
        "classifier": classifier is not None,
        "package_version": __version__,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).write_text(json.dumps(said, indent=1, sort_keys=True))
    representation.save(folder)
    if classifier is not None:
        _skops.dump(classifier, folder / _CLASSIFIER)
    reference.save(folder / _REFERENCE)
    return seal(folder)


def _load_classifier(path: Path) -> Pipeline:
    loaded = _skops.load(path, trusted=[_FOREST_NODES])
    if not isinstance(loaded, Pipeline):
        raise RegistryError(f"{path.name} holds a {type(loaded).__name__}, expected a Pipeline.")
    known = step_types()
    if unknown := [step for _, step in loaded.steps if type(step) not in known]:
        raise RegistryError(
            f"{path.name} holds a {type(unknown[0]).__name__}, which this package does not fit; "
            f"expected {', '.join(sorted(step.__name__ for step in known))}."
        )
    if isinstance(loaded[-1], RandomForestClassifier):
        if not _is_sound(loaded[-1]):
            raise RegistryError(f"{path.name} holds a tree whose nodes point astray.")
    elif _skops.get_untrusted_types(file=path):
        raise RegistryError(f"{path.name} holds trees outside a forest, which nobody looks at.")
    return loaded


def _is_sound(forest: RandomForestClassifier) -> bool:
    """Tell whether no prediction of a forest can walk out of bounds or in circles.

    scikit-learn builds depth first, so that children stand behind their parent; it follows node
    indices without a check.
    """
    for tree in (member.tree_ for member in forest.estimators_):
        node = np.arange(tree.node_count)
        leaf = tree.children_left == -1
        if any(len(column) != len(node) for column in (tree.children_right, leaf, tree.value)):
            return False
        for child in (tree.children_left, tree.children_right):
            if (((child <= node) | (child >= len(node))) & ~leaf).any():
                return False
        if not (((tree.feature >= 0) & (tree.feature < forest.n_features_in_)) | leaf).all():
            return False
    return True
