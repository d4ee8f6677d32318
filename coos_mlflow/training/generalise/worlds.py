"""Simulated plates beyond the splits, and what the registered models make of them.

Results are kept in the cache by model and plate file, so that a comparison that was stopped goes on
with the row at which it was.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import mlflow

from coos_mlflow import __version__
from coos_mlflow._utils.cache import cache_home, make_cache_home
from coos_mlflow._utils.files import write_whole
from coos_mlflow._utils.progress import progress
from coos_mlflow.errors import RegistryError
from coos_mlflow.metrics import Evaluation
from coos_mlflow.model import bundle as bundles
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.plates.dataset import COOS7_NAME, TRAINING, Dataset, coos7
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.registry.versions import ModelRef
from coos_mlflow.simulate import SINGLE_CAUSES, WILD, simulate_plates
from coos_mlflow.training.row import TrainingInputs, evaluations_of, predict

SPEED_CELLS, WARM_UP_CELLS = 1000, 64
"""Cells that are scored to measure the speed, and before it, so that compiling does not count."""


@dataclass(frozen=True)
class World:
    """Simulated plates of one population, all classes on each plate.

    Parameters
    ----------
    like : str
        The population, see `coos_mlflow.simulate.simulate_plates`.
    title : str
        In tables, and its name beside the splits.
    plates : int
        Drawn with replacement for intervals, so that few give little.
    seed : int
        Of the first plate.
    wells_per_class, cells_per_well : int
    """

    like: str
    title: str
    plates: int
    seed: int = 70_000
    wells_per_class: int = 2
    cells_per_well: int = 12

    def file(self) -> Path:
        """Return the plate file, simulated once and kept in the cache."""
        parts = (self.like, self.plates, self.wells_per_class, self.cells_per_well, self.seed)
        name = "-".join(map(str, (__version__, *parts)))
        path = cache_home() / "simulated" / "worlds" / f"{name}.h5"
        if not path.exists():
            n_cells = self.plates * coos7().n_classes * self.wells_per_class * self.cells_per_well
            with progress(f"Simulating {self.title}", total=n_cells, unit="cells") as advance:
                simulate_plates(
                    path,
                    self.plates,
                    like=self.like,
                    seed=self.seed,
                    wells_per_class=self.wells_per_class,
                    cells_per_well=self.cells_per_well,
                    on_progress=advance,
                )
        return path

    def data(self, dataset: Dataset) -> TrainingData:
        """Return its plates as cells of a data set."""
        return TrainingData(dataset, {self.title: (self.file(),)}, simulated=True)


WORLDS = (
    World("training", "new plates", 12),
    World(WILD, WILD, 24),
    *(World(cause, cause, 6) for cause in SINGLE_CAUSES),
)
"""New plates like those of Training, wild ones, and one population for each single cause."""


def worlds_for(data: TrainingData) -> tuple[World, ...]:
    """Return the worlds on which models of a data set can be tested: those of its simulator."""
    return WORLDS if data.simulated and data.dataset.name == COOS7_NAME else ()


class Measured:
    """A registered version, loaded when one of its results is not in the cache."""

    def __init__(self, model: ModelRef):
        self.model = model
        self._loaded: CellModel | None = None

    def evaluation(self, data: TrainingData) -> Evaluation:
        """Return its evaluation on data of one split, by the code that evaluates in training."""
        ((split, digests),) = data.digests.items()
        file = self._file(digests[0][:24])
        if file.exists():
            return Evaluation.from_dict(json.loads(file.read_text()))
        model, inputs = self._cell_model(), TrainingInputs(self._cell_model().representation, data)
        probabilities = predict(model.classifier, model.layer, inputs)
        found = evaluations_of(probabilities, inputs)[split]
        write_whole(file, json.dumps(found.as_dict()).encode())
        return found

    def cells_per_second(self, data: TrainingData) -> float:
        """Return how many cells of Training it scores in a second on this machine, read already."""
        file = self._file("speed")
        if not file.exists():
            model = self._cell_model()
            with data.open(data.files[TRAINING][0]) as plate:
                images = next(plate.batches(SPEED_CELLS)).images
            model.score(images[:WARM_UP_CELLS])
            start = time.perf_counter()
            model.score(images)
            speed = len(images) / (time.perf_counter() - start)
            write_whole(file, json.dumps(speed).encode())
        return float(json.loads(file.read_text()))

    def _file(self, what: str) -> Path:
        return make_cache_home("generalise") / f"{self.model.digest[:24]}-{what}.json"

    def _cell_model(self) -> CellModel:
        if self._loaded is None:
            self._loaded = _load(self.model)
        return self._loaded


def _load(model: ModelRef) -> CellModel:
    with tempfile.TemporaryDirectory() as folder:
        mlflow.artifacts.download_artifacts(model.uri, dst_path=folder)
        bundle = bundles.find(Path(folder))
        if bundle is None:
            raise RegistryError(f"{model}: its files are not whole; {model.recovery_hint}.")
        return CellModel.load(bundle, model.digest)
