"""Describe a scored plate, and log its MLflow run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from coos_mlflow._utils.timings import Timings
from coos_mlflow.errors import RunNotLoggedError
from coos_mlflow.registry import versions
from coos_mlflow.registry.artifacts import resolved_path
from coos_mlflow.registry.outbox import log_or_keep
from coos_mlflow.registry.results import RESULTS, Results
from coos_mlflow.registry.scoring_runs import class_counts
from coos_mlflow.scoring.job import Job


@dataclass(frozen=True)
class Scored:
    """Results of one plate.

    Parameters
    ----------
    job : Job
    drift : dict
        Content of `drift.json`.
    timings : Timings
        From opening the plate to the last file; empty if the results existed before.
    run_id : str or None
        The MLflow run, once it is logged.
    """

    job: Job
    drift: dict[str, Any]
    timings: Timings = field(default_factory=Timings)
    run_id: str | None = None

    @property
    def plate(self) -> Path:
        """The file that was scored."""
        return self.job.plate

    @property
    def folder(self) -> Path:
        """The folder of the results."""
        return self.job.folder

    @property
    def model(self) -> versions.ModelRef:
        """The model that scored it."""
        return self.job.model

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.job.n_cells

    @property
    def class_counts(self) -> dict[str, int]:
        """Cells by the name of their predicted class."""
        return class_counts(self.drift)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the results."""
        return tuple(self.folder / name for name in RESULTS)

    @property
    def simulated(self) -> dict[str, bool]:
        """Whether the plate, and the data that the model was trained on, are simulated."""
        return dict(self.drift["simulated"])


def with_run(scored: Scored) -> Scored:
    """Return a scoring with the id of its MLflow run; log the run first if there is none.

    Raises
    ------
    RunNotLoggedError
        When the store does not accept the run; the scoring is in its `done`.
    """
    plate = resolved_path(scored.plate)
    results = Results(scored.folder, plate, scored.drift, scored.timings.seconds)
    try:
        return replace(scored, run_id=log_or_keep(results, new=bool(scored.timings.phases)))
    except RunNotLoggedError as error:
        error.done = scored
        raise
