"""Apply a trained model to cells: compute class probabilities, and features for drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from coos_mlflow import __version__
from coos_mlflow._utils.versions import check_fits
from coos_mlflow.classifiers.fit import class_probabilities, fits_to_plates, plate_axes
from coos_mlflow.classifiers.plate_effects import PlateEffects
from coos_mlflow.drift.reference import Reference
from coos_mlflow.errors import RegistryError
from coos_mlflow.model import bundle
from coos_mlflow.model.correction import Correction
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.representations import PROBABILITIES, Representation, create
from coos_mlflow.representations.nn.precision import AUTO, FP32


@dataclass(frozen=True)
class CellScores:
    """Probabilities and features that a model computed for some cells.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (n, classes)
    features : ndarray of float32, shape (n, d)
        Principal components of the representation, for the drift assessment.
    plate_axes : ndarray of float32, shape (n, axes)
        From which the effect of a plate is estimated (`PlateEffects`); no axes with other
        classifiers.
    """

    probabilities: np.ndarray
    features: np.ndarray
    plate_axes: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Most probable class of each cell, int64, shape (n,)."""
        return self.probabilities.argmax(axis=1)

    def table(self, class_names: Sequence[str]) -> pd.DataFrame:
        """Return label, class_name and p_0, p_1, ..., one row a cell."""
        labels = self.labels
        table = pd.DataFrame({"label": labels, "class_name": np.array(class_names)[labels]})
        columns = [f"p_{label}" for label in range(len(class_names))]
        return table.join(pd.DataFrame(self.probabilities, columns=columns, dtype=float))


@dataclass
class CellModel:
    """A representation, one of its layers, a classifier on it, and the drift reference.

    Without a classifier the representation classifies by itself, and the layer is used for the
    drift report only. A model that was adapted to a plate has a correction.
    """

    representation: Representation
    layer: str
    classifier: Pipeline | None
    reference: Reference
    correction: Correction | None = None

    @classmethod
    def load(cls, folder: Path, digest: str | None = None) -> CellModel:
        """Load the bundle in `folder`.

        Parameters
        ----------
        folder : Path
        digest : str, optional
            The return value of `coos_mlflow.model.bundle.save`, as kept in the registry.

        Raises
        ------
        RegistryError
            When its files are not those that were saved, or the installed package does not compute
            the features that it was trained on.
        """
        description = bundle.read_description(folder, digest)
        check_fits(description["package_version"], f"The model {description['representation']}")
        dataset = bundle.dataset_of(description)
        representation = create(
            description["representation"], dataset=dataset, **description["params"]
        )
        _check_version(representation, description)
        representation.restore(folder)
        reference = bundle.load_reference(folder, dataset)
        return cls(
            representation,
            description["layer"],
            bundle.load_classifier(folder) if description["classifier"] else None,
            reference,
            Correction.load(folder, *reference.projection.shape, dataset.n_classes),
        )

    @property
    def dataset(self) -> Dataset:
        """What the cells must be."""
        return self.reference.dataset

    def prepare(self, precision: str) -> str:
        """Prepare to score in a precision, and return the precision that is used.

        "auto" is bfloat16 if the device has it and the network classifies by itself. With a
        classifier on features it is single precision: bfloat16 changes one label in a hundred of a
        logistic regression (docs/benchmarks.md), and none of DeepLoc's own.

        Raises
        ------
        DataError
            For an unknown precision.
        """
        if precision == AUTO and self.classifier is not None:
            precision = FP32
        return self.representation.prepare(precision)

    @property
    def plate_effects(self) -> PlateEffects | None:
        """The last step of the classifier where it fits itself to each plate."""
        if self.classifier is None or not fits_to_plates(self.classifier):
            return None
        return self.classifier[-1]

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that the representation must compute."""
        return (self.layer, PROBABILITIES) if self.classifier is None else (self.layer,)

    def classify(self, features: dict[str, np.ndarray]) -> CellScores:
        """Turn the features that the representation computed for `layers` into scores."""
        own, correction = features[self.layer], self.correction
        projected = self.reference.projection.project(own)
        if correction is not None and correction.shifts:
            own = own + correction.offset
        if self.classifier is None:
            probabilities = features[PROBABILITIES]
        else:
            probabilities = class_probabilities(self.classifier, own, self.dataset.n_classes)
        if correction is not None:
            probabilities = correction.apply(probabilities, projected)
        axes = np.empty((len(own), 0), np.float32)
        if self.plate_effects is not None:
            axes = plate_axes(self.classifier, own)
        return CellScores(probabilities.astype(np.float32), projected, axes)

    def score(self, images: np.ndarray) -> CellScores:
        """Score cells that have passed `check_images`, uint16 or float32 (n, 2, crop, crop)."""
        return self.classify(self.representation.transform(images, self.layers))


def _check_version(representation: Representation, description: dict[str, Any]) -> None:
    trained = description["representation_version"]
    if representation.version != trained:
        package = description["package_version"]
        raise RegistryError(
            f"The model was trained on {representation.key} features of version {trained} "
            f"(coos-mlflow {package}); coos-mlflow {__version__} computes version "
            f"{representation.version}: install coos-mlflow=={package} or train again."
        )
