"""Simulated plates for the drift tests: numbers for cells in wells in plates, without images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from _coos7 import CELL_SHAPE

from coos_mlflow.drift import plate_test
from coos_mlflow.drift.assessment import Assessor
from coos_mlflow.drift.collect import Collected, Collector, concatenate_samples
from coos_mlflow.drift.error_estimate import calibrate
from coos_mlflow.drift.image_quality import RAW_FIGURES
from coos_mlflow.drift.reference import Projection, Reference, ReferenceCells
from coos_mlflow.metrics import confusion_matrix
from coos_mlflow.plates.dataset import Dataset, coos7

DIMS = 16
FIGURES = len(RAW_FIGURES)

TWO_CLASSES = [(0, 1), (2, 3), (4, 5), (6, 0), (1, 2), (3, 4), (5, 6), (0, 1)]
ONE_CLASS = [(0,), (1,), (2,), (2,), (3,), (3,), (4,), (4,), (5,), (5,), (6,), (6,)]
LAYOUT = TWO_CLASSES + ONE_CLASS
"""20 plates with one or two of seven classes, each class on four: 28 units, as in COOS-7."""


@pytest.fixture(scope="module", autouse=True)
def few_draws() -> Iterator[None]:
    """Draw fewer plates, in a fifth of the time: p at 5 % is then known to within 0.4 %."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plate_test, "DRAWS", 4000)
        yield


def no_cells() -> ReferenceCells:
    names = np.zeros(0, dtype=str)
    images = np.zeros((0, *CELL_SHAPE), dtype=np.uint16)
    return ReferenceCells(images, np.zeros(0, dtype=np.int64), names, names, names)


@dataclass(eq=False)
class World:
    """A population of plates with known shares of variance between plates and between wells."""

    seed: int = 0
    plate_share: float = 0.05
    well_share: float = 0.05
    dataset: Dataset = field(default_factory=coos7)
    centres: np.ndarray = field(init=False)
    factor: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([7, self.seed])
        spread = np.concatenate([np.linspace(1.8, 0.4, DIMS), np.full(FIGURES, 0.3)])
        self.centres = rng.normal(size=(self.dataset.n_classes, DIMS + FIGURES)) * spread
        loadings = rng.normal(size=(DIMS + FIGURES, 3))
        covariance = 0.27 * loadings @ loadings.T + 0.2 * np.eye(DIMS + FIGURES)
        deviation = np.sqrt(np.diag(covariance))
        self.factor = np.linalg.cholesky(covariance / np.outer(deviation, deviation))

    def _effect(self, rng: np.random.Generator, share: float) -> np.ndarray:
        return np.sqrt(share) * (self.factor @ rng.normal(size=DIMS + FIGURES))

    def add_plate(
        self,
        collector: Collector,
        name: str,
        classes: Sequence[int],
        rng: np.random.Generator,
        *,
        wells: int = 8,
        first_well: int = 0,
        cells: float = 15,
        shift: np.ndarray | None = None,
    ) -> np.ndarray:
        """Add a plate and return its true classes; classes share half of the plate's variance."""
        truths = []
        whole = self._effect(rng, self.plate_share / 2)
        rest = 1 - self.plate_share - self.well_share
        for label in classes:
            unit = whole + self._effect(rng, self.plate_share / 2) + self.centres[label]
            for well in range(first_well, first_well + wells):
                n = max(1, rng.poisson(cells))
                values = unit + self._effect(rng, self.well_share)
                values = values + np.sqrt(rest) * rng.normal(size=(n, DIMS + FIGURES))
                values = values if shift is None else values + shift
                softmax = self._softmax(values[:, :DIMS])
                truths.append(np.full(n, label))
                collector.add(
                    plates=np.full(n, name),
                    wells=np.full(n, f"{label}-{well}"),
                    softmax=softmax,
                    features=values[:, :DIMS],
                    raw=values[:, DIMS:],
                )
        return np.concatenate(truths)

    def _softmax(self, features: np.ndarray) -> np.ndarray:
        distance = ((features[:, None] - self.centres[:, :DIMS]) ** 2).sum(axis=2) / 2
        weight = np.exp(distance.min(axis=1, keepdims=True) - distance)
        return weight / weight.sum(axis=1, keepdims=True)

    def plate(
        self, classes: Sequence[int], seed: int, name: str = "new", **how: object
    ) -> Collected:
        collector = Collector()
        self.add_plate(collector, name, classes, np.random.default_rng([self.seed, seed]), **how)
        return collector.build()

    def plates(self, layouts: dict[str, Sequence[int]], seed: int, **how: object) -> Collected:
        collector = Collector()
        rng = np.random.default_rng([self.seed, seed])
        for name, classes in layouts.items():
            self.add_plate(collector, name, classes, rng, **how)
        return collector.build()

    def shift(self, size: float, seed: int) -> np.ndarray:
        """Return a shift in a random direction, `size` times the deviation of plates."""
        rng = np.random.default_rng([self.seed, seed, 3])
        return size * np.sqrt(self.plate_share) * rng.normal(size=DIMS + FIGURES)

    def reference(self, layout: Sequence[Sequence[int]] = LAYOUT, **how: object) -> Reference:
        collector = Collector()
        rng = np.random.default_rng([self.seed, 1])
        truths = {
            f"t{number}": self.add_plate(collector, f"t{number}", classes, rng, **how)
            for number, classes in enumerate(layout)
        }
        training = collector.build()
        names = list(training.probabilities)
        probabilities = np.concatenate([training.probabilities[name] for name in names])
        truth = np.concatenate([truths[name] for name in names])
        wells = np.concatenate([training.wells[name] for name in names]).astype(str)
        plates = np.repeat(names, [len(training.wells[name]) for name in names])
        calibration = calibrate(probabilities, truth, plates, wells)
        confusion = confusion_matrix(truth, probabilities.argmax(axis=1), self.dataset.n_classes)
        return Reference(
            dataset=self.dataset,
            profiles={"training": training.profile},
            projection=Projection(np.zeros(DIMS), np.ones(DIMS), np.eye(DIMS)),
            cells=no_cells(),
            confusions={"training": confusion, "test1": confusion},
            errors={"training": 3.0, "test1": 3.5},
            calibration=calibration,
            record={key: {"test1": 4.0} for key in calibration.fitted},
            sample=concatenate_samples(list(training.samples.values())),
            effects={},
            training_predictions="plates",
            kept_share=1.0,
            provenance={"dataset": "numbers", "digest": "0" * 64, "simulated": True},
        )


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    return World


@pytest.fixture(scope="session")
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def reference(world: World) -> Reference:
    return world.reference()


@pytest.fixture(scope="session")
def assessor(reference: Reference) -> Assessor:
    return Assessor(reference)
