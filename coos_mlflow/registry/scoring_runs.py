"""Log the MLflow runs of scorings, and read them as the history of a model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput, Metric, Run, RunTag
from mlflow.exceptions import MlflowException

from coos_mlflow.drift.error_estimate import MEASURED
from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.registry import versions
from coos_mlflow.registry.artifacts import describe_dataset, log_input, metric_name
from coos_mlflow.registry.notes import NOTE, top_of, version_link
from coos_mlflow.registry.results import (
    AUDIT,
    DRIFT,
    PREDICTIONS,
    REPORT,
    REPORT_MD,
    RESULTS,
    Results,
)
from coos_mlflow.registry.runs import SCORING_EXPERIMENT, prepare_store, run

ESTIMATES = ("estimated_error", "estimated_error_low", "estimated_error_high")
"""Metrics of a scoring run: the estimated balanced error in % and its range."""

CONTROL_ERRORS = ("control_error", "control_error_low", "control_error_high")
"""Metrics of a scoring run with a plate map: the balanced error measured in wells of known class in
%, and its 95 % interval."""

MEASURED_ERRORS = ("measured_error", "measured_error_low", "measured_error_high")
"""Metrics of a scoring run with labelled cells: the balanced error that they measure in %, and its
95 % interval."""

LABELLED = "labelled_cells"
"""Metric of a scoring run: number of cells that a person labelled."""

COLUMNS = (
    "run_id",
    "date",
    "plate",
    "n_cells",
    "model",
    "version",
    "verdict",
    "reason",
    *(f"distance_{view}" for view in VIEWS),
    *(f"usual_{view}" for view in VIEWS),
    *ESTIMATES,
    *CONTROL_ERRORS,
    *MEASURED_ERRORS,
    LABELLED,
    "simulated_plate",
    "simulated_model",
    "results",
)
"""Columns of `read_history`; ``usual`` is the largest distance of an ordinary plate."""

_FIGURES = (*ESTIMATES, *CONTROL_ERRORS, *MEASURED_ERRORS, LABELLED)

_JOB_TAG = "coos_mlflow.job"

_PAGE = 1000
"""Largest number of runs in one request."""


def find_run(results: Results) -> str | None:
    """Return the id of the finished run of these results, or None."""
    runs = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.`{_JOB_TAG}` = '{results.key}' and attributes.status = 'FINISHED'",
        max_results=1,
        output_format="list",
    )
    return str(runs[0].info.run_id) if runs else None


def log_results(results: Results) -> str:
    """Log results as an MLflow run that is linked to the model, and return the run's id."""
    drift, folder = results.drift, results.folder
    model, sha256 = drift["model"], drift["plate_file"]["sha256"]
    tags = {
        "model": f"{model['name']}/{model['version']}",
        "verdict": drift["verdict"],
        "reason": drift["reason"],
        "simulated_plate": drift["simulated"]["plate"],
        "simulated_model": drift["simulated"]["model"],
        "results": str(folder.resolve()),
        _JOB_TAG: results.key,
        NOTE: _note(folder, model["name"], model["version"]),
    }
    with run(f"score {results.plate.stem}", SCORING_EXPERIMENT, tags) as active:
        dataset = describe_dataset(results.plate, results.plate.name, sha256)
        linked = LoggedModelInput(model["id"]) if model["id"] else None
        log_input(dataset, "scoring", {"sha256": sha256}, linked)
        # Without the model's id: MLflow's table of models would get columns for each plate.
        mlflow.log_metrics(_metrics(drift, results.seconds))
        for name in (*RESULTS, AUDIT):
            if name != PREDICTIONS and (folder / name).is_file():  # predictions grow with the cells
                mlflow.log_artifact(str(folder / name))
        return str(active.info.run_id)


def update_run(run_id: str, results: Results) -> None:
    """Give the run of results the error that labelled cells measure, and the pages with it."""
    drift, folder, client = results.drift, results.folder, MlflowClient()
    for name in (AUDIT, DRIFT, REPORT, REPORT_MD):
        if (folder / name).is_file():
            client.log_artifact(run_id, str(folder / name))
    metrics = {key: value for key, value in _measured(drift).items() if value is not None}
    moment = int(datetime.now(UTC).timestamp() * 1000)
    model = drift["model"]
    client.log_batch(
        run_id,
        metrics=[Metric(key, value, moment, 0) for key, value in metrics.items()],
        tags=[RunTag(NOTE, _note(folder, model["name"], model["version"]))],
    )


def _measured(drift: dict[str, Any]) -> dict[str, float | None]:
    """Return the metrics that come from labelled cells; none without any."""
    audit = drift.get("audit")
    if audit is None:
        return {}
    keys = ("balanced_error", "low", "high", "n_cells")
    names = (*MEASURED_ERRORS, LABELLED)
    return {name: audit[key] for name, key in zip(names, keys, strict=True)}


def _note(folder: Path, name: str, version: str) -> str:
    """Return the top of a report, and a link to the model.

    MLflow's page of a run lists its models only if they are of the same experiment.
    """
    top = top_of((folder / REPORT_MD).read_text(encoding="utf-8"), REPORT)
    return f"{top}\n\nModel: {version_link(name, version)}"


def _metrics(drift: dict[str, Any], seconds: float) -> dict[str, float]:
    """Return the metrics of a scoring run; with several plates, the distances of the farthest."""
    n_cells = drift["plate_file"]["n_cells"]
    metrics: dict[str, float | None] = {
        "n_cells": n_cells,
        "n_unusable": sum(drift["left_out"]["unusable"].values()),
        "n_copies": drift["left_out"]["copies"],
        "seconds": seconds or None,
    }
    counts = class_counts(drift)
    for name, cells in counts.items():
        metrics[metric_name(f"share {name}")] = cells / sum(counts.values())
    placed = [p for p in drift["plates"] if p["score"] is not None]
    if placed:
        worst = max(placed, key=lambda p: p["score"])
        metrics |= {"plate_p": worst["p"], "plate_score": worst["score"]}
        metrics |= {f"distance {view}": d for view, d in worst["distances"].items()}
        metrics |= {f"usual {view}": d for view, d in worst["usual"].items()}
    keys = ("balanced_error", "low", "high")
    found = drift.get("error") or {}
    if found.get("answer") != MEASURED:
        metrics |= {name: found.get(key) for name, key in zip(ESTIMATES, keys, strict=True)}
    controls = drift.get("controls") or {}
    metrics |= {name: controls.get(key) for name, key in zip(CONTROL_ERRORS, keys, strict=True)}
    metrics |= _measured(drift)
    return {name: value for name, value in metrics.items() if value is not None}


def class_counts(drift: dict[str, Any]) -> dict[str, int]:
    """Return the cells of each predicted class, by its name."""
    shares = drift["class_shares"]
    return dict(zip(shares["classes"], shares["cells"], strict=True))


def read_history(
    asked: str, since: datetime | None = None, limit: int | None = None
) -> pd.DataFrame:
    """Read the finished scoring runs of a registered model, the newest last.

    All experiments are searched, because ``mlflow run`` chooses its own experiment.

    Parameters
    ----------
    asked : str
        As in `coos_mlflow.registry.versions.resolve`, but a bare name means every version.
    since : datetime, optional
        Leave out runs before this time, which is in UTC if it has no time zone.
    limit : int, optional
        Number of the newest runs to keep.

    Returns
    -------
    DataFrame
        One row for each run, with `COLUMNS`. ``date`` is in UTC. Distances are those of the file's
        farthest plate, in units of an ordinary plate's distance. Errors are in %. A figure that a
        run does not have is NaN.

    Raises
    ------
    RegistryError
        If the model is not registered or the tracking store cannot be reached.
    """
    prepare_store(make=False)
    name, version = _asked_for(asked)
    page = min(limit or _PAGE, _PAGE)
    runs = (run for run in _scoring_runs(name, since, page) if _is_of(run, name, version))
    newest = [_row(run) for run in islice(runs, limit)]
    return pd.DataFrame(newest[::-1], columns=list(COLUMNS))


def farthest(history: pd.DataFrame) -> pd.Series:
    """Return the largest distance over the views, as a multiple of its limit.

    Parameters
    ----------
    history : DataFrame
        From `read_history`.

    Returns
    -------
    Series of float
        Above 1 for a shifted plate; NaN for a plate without distances.
    """
    ratios = {view: history[f"distance_{view}"] / history[f"usual_{view}"] for view in VIEWS}
    return pd.DataFrame(ratios).astype(float).max(axis=1)


def _asked_for(asked: str) -> tuple[str, str | None]:
    """Return name and version; the version is None for all versions."""
    bare = asked.removeprefix("models:/")
    if not set("@/:") & set(bare):
        with suppress(MlflowException):
            return str(MlflowClient().get_registered_model(bare).name), None
    reference = versions.resolve(asked)
    return reference.name, reference.version


def _scoring_runs(name: str, since: datetime | None, page_size: int) -> Iterator[Run]:
    """Yield runs with a verdict of models with a similar name, the newest first."""
    # A quote would end the pattern, so it becomes _, which matches any letter in LIKE. `_is_of`
    # compares the exact name.
    pattern = name.replace("'", "_")
    conditions = [
        "attributes.status = 'FINISHED'",
        f"tags.model LIKE '{pattern}/%'",
        "tags.verdict LIKE '_%'",
    ]
    if since is not None:
        moment = since if since.tzinfo else since.replace(tzinfo=UTC)
        conditions.append(f"attributes.start_time >= {round(1000 * moment.timestamp())}")
    experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
    token = None
    while True:
        page = MlflowClient().search_runs(
            experiments,
            " AND ".join(conditions),
            max_results=page_size,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _is_of(run: Run, name: str, version: str | None) -> bool:
    its_name, _, its_version = run.data.tags["model"].rpartition("/")
    return its_name == name and version in (None, its_version)


def _row(run: Run) -> dict[str, Any]:
    tags, metrics = run.data.tags, run.data.metrics
    model, _, version = tags["model"].rpartition("/")
    files = [used.dataset.name for used in run.inputs.dataset_inputs]
    return {
        "run_id": run.info.run_id,
        "date": pd.to_datetime(run.info.start_time, unit="ms", utc=True),
        "plate": files[0] if files else run.info.run_name,
        "n_cells": int(metrics.get("n_cells", 0)),
        "model": model,
        "version": version,
        "verdict": tags["verdict"],
        "reason": tags.get("reason", ""),
        **{
            f"{figure}_{view}": metrics.get(f"{figure} {view}", math.nan)
            for figure in ("distance", "usual")
            for view in VIEWS
        },
        **{key: metrics.get(key, math.nan) for key in _FIGURES},
        **{key: tags.get(key) == "True" for key in ("simulated_plate", "simulated_model")},
        "results": tags.get("results", ""),
    }
