"""What the rows of the comparison measured: errors by test set, differences, costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException

from coos_mlflow.metrics import Evaluation, plate_difference
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.registry.versions import ModelRef
from coos_mlflow.training.generalise.rows import best, best_of_the_paper
from coos_mlflow.training.generalise.worlds import Measured, World, worlds_for
from coos_mlflow.training.table3.rows import Entry, Table

FEATURES, FIT = "seconds_features", "seconds_fit"
"""Metrics of a row's run."""


@dataclass(frozen=True)
class Costs:
    """What a row costs on the machine that measured it; NaN if unknown.

    Parameters
    ----------
    features, fit : float
        Seconds for the features of all splits and all layers, and for the classifier, the mean over
        seeds. Features that were in the cache cost nearly nothing.
    speed : float
        Cells that the version of the first seed scores in a second.
    """

    features: float
    fit: float
    speed: float


@dataclass(frozen=True)
class Comparison:
    """Filled rows, and what they make of each test set.

    Parameters
    ----------
    table : Table
        The rows, those of the paper first, with their evaluations on the splits.
    worlds : tuple of World
    elsewhere : dict of tuple of dict
        By row, for each seed, the evaluations by title of a world.
    costs : dict of Costs
        By row.
    """

    table: Table
    worlds: tuple[World, ...]
    elsewhere: dict[str, tuple[dict[str, Evaluation], ...]]
    costs: dict[str, Costs]

    @property
    def sets(self) -> tuple[str, ...]:
        """Test sets: the splits but Training, then the worlds."""
        splits = tuple(split for split in self.table.splits if split != TRAINING)
        return splits + tuple(world.title for world in self.worlds)

    @property
    def reference(self) -> Entry | None:
        """The paper's best row by left-out Training plates."""
        return best_of_the_paper(self.table.filled)

    @property
    def champion(self) -> Entry | None:
        """The best of all rows by left-out Training plates."""
        return best(self.table.filled)

    def evaluations(self, entry: Entry, name: str) -> list[Evaluation]:
        """Return the evaluation on a split or world with each seed."""
        if name in self.table.splits:
            return [row.evaluations[name] for row in entry.rows]
        return [by_world[name] for by_world in self.elsewhere[entry.line.key]]

    def errors(self, entry: Entry, name: str, *, wells: bool = False) -> list[float]:
        """Return the balanced error in % of cells, or of wells, with each seed; NaN if unknown."""
        found = self.evaluations(entry, name)
        return [one.well_error if wells else one.balanced_error for one in found]

    def difference(
        self, entry: Entry, name: str, *, wells: bool = False
    ) -> tuple[float, tuple[float, float] | None]:
        """Return the error minus that of `reference`, with the 95 % interval over plates.

        It is NaN without a reference.
        """
        if self.reference is None:
            return float("nan"), None
        pair = (entry, self.reference)
        own, other = (fmean(self.errors(one, name, wells=wells)) for one in pair)
        evaluations = (self.evaluations(one, name) for one in pair)
        return own - other, plate_difference(*evaluations, wells=wells)

    def plates(self, name: str) -> int:
        """Return how many plates a test set has; 0 if that is not known."""
        for entry in self.table.filled:
            wells = self.evaluations(entry, name)[0].by_well
            return 0 if wells is None else len(wells.by_plate)
        return 0


def measure(table: Table, data: TrainingData, say: Callable[[str], None]) -> Comparison:
    """Test the filled rows on the worlds and measure their speed; finished rows are not repeated.

    Parameters
    ----------
    table : Table
    data : TrainingData
        On which the rows were trained.
    say : callable
        Called with a line about the progress.
    """
    worlds = worlds_for(data)
    there = {world.title: world.data(data.dataset) for world in worlds}
    elsewhere, costs = {}, {}
    for number, entry in enumerate(table.filled, 1):
        measured = [Measured(row.model) for row in entry.rows]
        elsewhere[entry.line.key] = tuple(
            {title: model.evaluation(plates) for title, plates in there.items()}
            for model in measured
        )
        costs[entry.line.key] = Costs(
            features=_mean_metric(entry, FEATURES),
            fit=_mean_metric(entry, FIT),
            speed=measured[0].cells_per_second(data),
        )
        say(
            f"row {number} of {len(table.filled)}: {entry.line.key}, tested on {len(worlds)} worlds"
        )
    return Comparison(table, worlds, elsewhere, costs)


def _mean_metric(entry: Entry, name: str) -> float:
    return fmean(_metric(row.model, name) for row in entry.rows)


def _metric(model: ModelRef, name: str) -> float:
    """Return a metric of the run that trained a version; NaN if the run or the metric is gone."""
    try:
        return float(mlflow.get_run(str(model.run_id)).data.metrics.get(name, np.nan))
    except MlflowException:
        return float("nan")


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (denominator n - 1), which is NaN for a single value."""
    return fmean(values), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
