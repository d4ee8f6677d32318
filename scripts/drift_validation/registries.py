"""The models that judge: those of simulated registries, and registered ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coos_mlflow._utils.files import new_folder
from coos_mlflow.classifiers.protocol import PRESETS, Protocol
from coos_mlflow.model import bundle
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.plates.splits import find_data
from coos_mlflow.representations import create
from coos_mlflow.simulate import simulate_dataset
from coos_mlflow.training.row import (
    TrainingInputs,
    build_reference,
    evaluations_of,
    fit_row,
    leave_out,
)
from drift_validation import digests
from drift_validation.seeds import Seeds
from drift_validation.sizes import Size

REPRESENTATION = "texture"
"""Of the simulated registries: fast, and the same for all, so that plates are described once."""

THIN, FULL, FOREST, ASKED = "scale 0.05", "scale 0.3", "forests, scale 0.05", "asked for"
"""Groups of models, as in the tables."""


@dataclass(frozen=True)
class Data:
    """A simulated data set, and the classifiers that are trained on it.

    Parameters
    ----------
    group : str
        Of its logistic regression.
    scale : float
    seed : int
    classifiers : tuple of str
        Kinds of rows: "lr" or "rf".
    """

    group: str
    scale: float
    seed: int
    classifiers: tuple[str, ...]


@dataclass(frozen=True)
class Judging:
    """A model that judges plates.

    Parameters
    ----------
    name : str
        Unique, and another when its data or the package change.
    group : str
    seed : int
        Of its data set, by which plates are put into files.
    bundle : Path
        Its files.
    """

    name: str
    group: str
    seed: int
    bundle: Path

    def load(self) -> CellModel:
        """Return the model."""
        return CellModel.load(self.bundle)


def planned(seeds: Seeds, size: Size) -> list[Data]:
    """Return the data sets of the registries; the first ones have forests too."""
    return [
        *(
            Data(THIN, 0.05, seeds.thin + i, ("lr", "rf") if i < size.forests else ("lr",))
            for i in range(size.thin)
        ),
        *(Data(FULL, 0.3, seeds.full + i, ("lr",)) for i in range(size.full)),
    ]


def judges(planned: Sequence[Data], work: Path, digest: str) -> list[Judging]:
    """Return the models of data sets, made or not; `digest` is that of their sources."""
    return [
        Judging(
            name=_name(data, classifier, digest),
            group=FOREST if classifier == "rf" else data.group,
            seed=data.seed,
            bundle=_bundle(work, data, classifier, digest),
        )
        for data in planned
        for classifier in data.classifiers
    ]


def _name(data: Data, classifier: str, digest: str) -> str:
    return f"{classifier}-{data.scale:g}-{data.seed}-{digest}"


def make(data: Data, work: Path, digest: str) -> None:
    """Simulate a data set if it is missing, and train the models on it that are missing."""
    bundles = {kind: _bundle(work, data, kind, digest) for kind in data.classifiers}
    missing = {kind: target for kind, target in bundles.items() if not target.exists()}
    if not missing:
        return
    inputs = TrainingInputs(create(REPRESENTATION), find_data(_simulated(data, work)))
    for kind, target in missing.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        model = trained(inputs, kind, target.name)
        with new_folder(target) as partial:
            bundle.save(
                partial, model.representation, model.layer, model.classifier, model.reference
            )


def trained(inputs: TrainingInputs, kind: str, name: str) -> CellModel:
    """Train a classifier on the last layer, with the quick protocol, and build its reference.

    Parameters
    ----------
    inputs : TrainingInputs
    kind : str
        Of the row: "lr" or "rf".
    name : str
        Under which finished fits are kept in the cache.
    """
    layer = inputs.representation.layers[-1]
    fitted, probabilities, _ = fit_row(layer, kind, inputs, Protocol(**PRESETS["quick"]), name)
    evaluations = evaluations_of(probabilities, inputs)
    left_out = leave_out(layer, kind, fitted, probabilities[TRAINING], inputs)
    reference = build_reference(layer, kind, fitted, left_out, probabilities, evaluations, inputs)
    return CellModel(inputs.representation, layer, fitted.pipeline, reference)


def _bundle(work: Path, data: Data, classifier: str, digest: str) -> Path:
    return work / "registries" / _name(data, classifier, digest)


def _simulated(data: Data, work: Path) -> Path:
    """Return the folder of a data set, simulated if it is missing."""
    folder = work / "data" / f"{data.scale:g}-{data.seed}-{digests.of_data()}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(folder) as partial:
            simulate_dataset(partial, data.scale, data.seed, jobs=1)
    return folder
