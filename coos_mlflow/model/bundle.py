"""Save and load a trained model as a folder of files without pickle, with their digests.

bundle/
  model.json          representation, parameters, layer, data set, version of the package
  classifier.skops    the fitted pipeline; missing if the representation classifies by itself
  reference/          the cells and figures that drift reports compare with
  correction.npz      only of a version that was adapted to a plate
  digests.json        SHA-256 of every other file
  ...                 files of the representation, such as learned weights
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from coos_mlflow import __version__
from coos_mlflow.classifiers.fit import step_types
from coos_mlflow.classifiers.plate_effects import PlateEffects
from coos_mlflow.drift.reference import Reference
from coos_mlflow.errors import DataError, RegistryError
from coos_mlflow.model import _skops
from coos_mlflow.model.correction import Correction
from coos_mlflow.model.digests import check_digests, write_digests
from coos_mlflow.plates.dataset import Dataset, coos7
from coos_mlflow.representations import Representation

ARTIFACT = "bundle"
"""Name of the folder, among the artifacts of a logged model."""

DESCRIPTION = "model.json"

_CLASSIFIER = "classifier.skops"
_REFERENCE = "reference"

_FOREST_NODES = "sklearn.tree._tree.Tree"
"""A type that skops loads only if the caller trusts it. `_is_sound` checks its node indices."""

_EFFECTS = f"{PlateEffects.__module__}.{PlateEffects.__qualname__}"
"""A type of this package, which skops loads only if the caller trusts it; it holds arrays."""


def save(
    folder: Path,
    representation: Representation,
    layer: str,
    classifier: Pipeline | None,
    reference: Reference,
) -> str:
    """Write a model into `folder`, and return the digest of the whole folder."""
    description = {
        "representation": representation.key,
        "representation_version": representation.version,
        "params": representation.params(),
        "layer": layer,
        "dataset": reference.dataset.as_dict(),
        "classifier": classifier is not None,
        "package_version": __version__,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1, sort_keys=True))
    representation.save(folder)
    if classifier is not None:
        _skops.dump(classifier, folder / _CLASSIFIER)
    reference.save(folder / _REFERENCE)
    return write_digests(folder)


def save_adapted(folder: Path, parent: Path, correction: Correction) -> str:
    """Write the model in `parent` with a correction into `folder`, and return its digest.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    shutil.copytree(parent, folder)
    correction.save(folder)
    return write_digests(folder)


def find(files: Path) -> Path | None:
    """Return the bundle among the files of a logged model, or None."""
    bundle = files / "artifacts" / ARTIFACT
    return bundle if (bundle / DESCRIPTION).is_file() else None


def read_description(folder: Path, digest: str | None = None) -> dict[str, Any]:
    """Check the digests of a bundle's files, then read its description.

    Parameters
    ----------
    digest : str, optional
        The return value of `save`, as kept in the registry.

    Raises
    ------
    RegistryError
        When a file is not the one that was saved.
    """
    check_digests(folder, digest)
    description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
    return description


def dataset_of(description: dict[str, Any]) -> Dataset:
    """Return the data set of a model from its description.

    Versions before 0.2 took COOS-7's cells alone and do not name it.
    """
    if "dataset" not in description:
        return coos7()
    try:
        return Dataset.from_dict(description["dataset"], DESCRIPTION)
    except DataError as error:
        raise RegistryError(f"{error}; train the model again.") from error


def load_reference(folder: Path, dataset: Dataset) -> Reference:
    """Load the reference that drift reports compare with."""
    return Reference.load(folder / _REFERENCE, dataset)


def example_cell(folder: Path) -> np.ndarray:
    """Return one cell of Training in the form of a request, uint16 (1, 2, crop, crop)."""
    return load_reference(folder, dataset_of(read_description(folder))).cells.images[:1]


def load_classifier(folder: Path) -> Pipeline:
    """Load the classifier of a bundle; refuse types that this package never fits.

    Raises
    ------
    RegistryError
    """
    path = folder / _CLASSIFIER
    try:
        loaded = _skops.load(path, trusted=[_FOREST_NODES, _EFFECTS])
    except _skops.UntrustedTypesFoundException as error:
        raise RegistryError(
            f"{path.name} holds types that this package does not fit ({error}); train the model "
            "again."
        ) from error
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
            raise RegistryError(f"{path.name} holds a tree whose nodes point outside it.")
    elif _FOREST_NODES in _skops.get_untrusted_types(file=path):
        raise RegistryError(
            f"{path.name} holds trees outside a random forest, which are not checked."
        )
    return loaded


def _is_sound(forest: RandomForestClassifier) -> bool:
    """Tell whether all node indices of a forest are in range and without cycles.

    scikit-learn follows node indices without a check, so a manipulated file could make it read
    outside the arrays. It builds trees depth first, so children always come after their parent.
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
