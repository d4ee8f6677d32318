"""A classifier of seven classes on five features, and plates whose cells are moved."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from coos_mlflow.classifiers.fit import class_probabilities
from coos_mlflow.drift.profile import ProfileBuilder
from coos_mlflow.drift.reference import fit_projection
from coos_mlflow.labelling.adapt.cells import LabelledCells
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.plates.dataset import coos7

D, CLASSES = 5, 7
CENTRES = 2.2 * np.random.default_rng(1).normal(size=(CLASSES, D))


@dataclass(frozen=True)
class World:
    """A model, and plates whose labelled cells it sees."""

    model: CellModel

    def plate(
        self,
        n: int,
        seed: int,
        *,
        shift: float = 0.0,
        classes: tuple[int, ...] = tuple(range(CLASSES)),
        wells_of_class: int = 4,
    ) -> LabelledCells:
        """Cells of a plate that is moved by `shift` standard deviations in every feature."""
        rng = np.random.default_rng(seed)
        truths = np.repeat(classes, -(-n // len(classes)))[:n]
        wells = truths * wells_of_class + rng.integers(wells_of_class, size=n)
        features = (CENTRES[truths] + shift + rng.normal(size=(n, D))).astype(np.float32)
        return self.seen(features, truths, wells)

    def seen(self, features: np.ndarray, truths: np.ndarray, wells: np.ndarray) -> LabelledCells:
        probabilities = class_probabilities(self.model.classifier, features, CLASSES)
        return LabelledCells(
            features=features,
            projected=self.model.reference.projection.project(features),
            probabilities=probabilities.astype(np.float32),
            truths=truths,
            weights=np.ones(len(truths)),
            wells=wells,
        )


@pytest.fixture(scope="package")
def world() -> World:
    rng = np.random.default_rng(0)
    labels = np.arange(2100) % CLASSES
    plates = np.arange(2100) % 3
    features = CENTRES[labels] + 0.2 * rng.normal(size=(3, D))[plates] + rng.normal(size=(2100, D))
    features = features.astype(np.float32)
    classifier = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression()))
    projection = fit_projection(features)
    builder = ProfileBuilder()
    builder.add(
        plates=plates.astype(str),
        wells=np.char.add("A", (labels + 1).astype(str)),
        predicted=labels,
        softmax=np.eye(CLASSES)[labels],
        features=projection.project(features),
        raw=np.zeros((2100, 9)),
    )
    reference = SimpleNamespace(
        dataset=coos7(), projection=projection, profiles={"training": builder.build()}
    )
    return World(CellModel(None, "layer", classifier.fit(features, labels), reference))
