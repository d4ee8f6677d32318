"""What a scoring leaves: results of a plate, and their MLflow run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModelInput
from mlflow.exceptions import MlflowException

from coos_mlflow.drift_history import ESTIMATES
from coos_mlflow.errors import RunNotLoggedError
from coos_mlflow.jobs import Job
from coos_mlflow.results import DRIFT, REPORT, REPORT_MD, RESULTS
from coos_mlflow.timings import Timings
from coos_mlflow.tracking import registry
from coos_mlflow.tracking.artifacts import describe_dataset
from coos_mlflow.tracking.runs import SCORING_EXPERIMENT, run

_JOB_TAG = "coos_mlflow.job"


@dataclass(frozen=True)
class Scored:
    """Results of one plate.

    Parameters
    ----------
    job : Job
    drift : dict
        What `drift.json` holds.
    timings : Timings
        From opening the plate to the last file; empty where the results were there before.
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
        """Where the results are."""
        return self.job.folder

    @property
    def model(self) -> registry.ModelRef:
        """What it was scored with."""
        return self.job.model

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.job.n_cells

    @property
    def class_counts(self) -> dict[str, int]:
        """Cells by the name of their predicted class."""
        shares = self.drift["class_shares"]
        return dict(zip(shares["classes"], shares["cells"], strict=True))

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are there."""
        return tuple(self.folder / name for name in RESULTS)

    @property
    def simulated(self) -> dict[str, bool]:
        """Whether the plate, and what the model was trained on, is simulated."""
        return dict(self.drift["simulated"])


def recorded(scored: Scored) -> Scored:
    """Return a scoring with its MLflow run, which is made unless it was.

    Raises
    ------
    RunNotLoggedError
        When the store takes no run.
    """
    try:
        found = None if scored.timings.phases else _find_run(scored.job)
        return replace(scored, run_id=found or _log(scored))
    except (MlflowException, OSError) as error:
        raise RunNotLoggedError(
            f"{scored.folder}: the results are there, but their run could not be logged in "
            f"{mlflow.get_tracking_uri()} ({str(error).splitlines()[0]}); the same command logs it."
        ) from error


def _find_run(job: Job) -> str | None:
    """Return the run of a job that was logged before, to its end."""
    runs = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.`{_JOB_TAG}` = '{job.key}' and attributes.status = 'FINISHED'",
        max_results=1,
        output_format="list",
    )
    return str(runs[0].info.run_id) if runs else None


def _log(scored: Scored) -> str:
    """Make the scoring an MLflow run linked to the model; its results are on disk already."""
    drift = scored.drift
    tags = {
        "model": f"{scored.model.name}/{scored.model.version}",
        "verdict": drift["verdict"],
        "reason": drift["reason"],
        "simulated_plate": drift["simulated"]["plate"],
        "simulated_model": drift["simulated"]["model"],
        "results": str(scored.folder.resolve()),
        _JOB_TAG: scored.job.key,
    }
    with run(f"score {scored.plate.stem}", SCORING_EXPERIMENT, tags) as active:
        dataset = describe_dataset(scored.plate, scored.plate.name, drift["plate_file"]["sha256"])
        linked = LoggedModelInput(scored.model.model_id) if scored.model.model_id else None
        sha256 = {"sha256": drift["plate_file"]["sha256"]}
        mlflow.log_input(dataset, context="scoring", tags=sha256, model=linked)
        mlflow.log_metrics(_metrics(scored))
        for name in (DRIFT, REPORT, REPORT_MD):
            mlflow.log_artifact(str(scored.folder / name))
        return str(active.info.run_id)


def _metrics(scored: Scored) -> dict[str, float]:
    """Return what can be compared from run to run; of several plates, the farthest's distances."""
    metrics: dict[str, float | None] = {
        "n_cells": scored.n_cells,
        "seconds": scored.timings.seconds or None,
    }
    for name, cells in scored.class_counts.items():
        metrics[f"share {name}"] = cells / scored.n_cells
    placed = [p for p in scored.drift["plates"] if p["score"] is not None]
    if placed:
        worst = max(placed, key=lambda p: p["score"])
        metrics |= {"plate_p": worst["p"], "plate_score": worst["score"]}
        metrics |= {f"distance {view}": d for view, d in worst["distances"].items()}
        metrics |= {f"usual {view}": d for view, d in worst["usual"].items()}
    estimate = scored.drift.get("error") or {}
    for metric, key in zip(ESTIMATES, ("balanced_error", "low", "high"), strict=True):
        metrics[metric] = estimate.get(key)
    return {name: value for name, value in metrics.items() if value is not None}
