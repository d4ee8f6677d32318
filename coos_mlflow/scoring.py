"""Plates through a registered model: answered in parts, finished into results, logged."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModelInput
from mlflow.exceptions import MlflowException

from coos_mlflow.answering import answer
from coos_mlflow.data.plate import Plate, open_plate
from coos_mlflow.drift.assessment import SCHEMA_VERSION
from coos_mlflow.drift_history import ESTIMATES
from coos_mlflow.errors import DataError, OutputError, RegistryError, RunNotLoggedError
from coos_mlflow.finishing import finish
from coos_mlflow.jobs import Job, Survey, found_results, survey
from coos_mlflow.parts import WorkFolder, discard_work, open_work
from coos_mlflow.precision import check_precision
from coos_mlflow.progress import progress, say
from coos_mlflow.report.overview import render_overview
from coos_mlflow.results import DRIFT, OVERVIEW, REPORT, REPORT_MD, RESULTS, check_folder
from coos_mlflow.timings import StageTime, Timings
from coos_mlflow.tracking import registry
from coos_mlflow.tracking.artifacts import describe_dataset
from coos_mlflow.tracking.pyfunc import CellClassifier, find_bundle
from coos_mlflow.tracking.runs import SCORING_EXPERIMENT, prepare_store, run

MOST_COMMAND = 1000
"""Characters of the command that the report repeats."""

LEFT_SECONDS = 60
"""After which a half-written overview is taken for that of a command that was killed."""

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


class Scorer:
    """A registered model, ready for plates.

    Parameters
    ----------
    model : ModelRef
    classifier : CellClassifier
    bundle : Path
        The folder that the classifier was loaded from.
    precision : str
        Of networks: "auto", "fp32" or "bf16" (`Representation.prepare`).
    """

    def __init__(
        self,
        model: registry.ModelRef,
        classifier: CellClassifier,
        bundle: Path,
        precision: str = "auto",
    ):
        self.model = model
        self.classifier = classifier
        self.bundle = bundle
        self.precision = precision

    @classmethod
    def load(cls, asked: str, precision: str = "auto") -> Scorer:
        """Load the model that `asked` names; see `coos_mlflow.tracking.registry.resolve`.

        Raises
        ------
        RegistryError
            When it is not there, cannot be read, or is no model of this package.
        DataError
            For an unknown precision.
        """
        check_precision(precision)
        prepare_store()
        model = registry.resolve(asked)
        try:
            # Not by `mlflow.pyfunc.load_model`, which runs what code the model brings.
            files = Path(mlflow.artifacts.download_artifacts(model.uri))
        except (MlflowException, OSError) as error:
            raise RegistryError(
                f"{model} cannot be loaded from {mlflow.get_registry_uri()} "
                f"({str(error).splitlines()[0]}); its files may have been moved."
            ) from error
        bundle = find_bundle(files)
        if bundle is None:
            raise RegistryError(
                f"{model} is no cell classifier of coos-mlflow; `coos models` lists those."
            )
        return cls(model, CellClassifier().load(bundle), bundle, precision)

    def check(self, plate: Path, out: Path, *, force: bool = False) -> None:
        """Refuse, before its first cell is scored, what could not be scored or written in the end.

        Raises
        ------
        DataError
            For a plate whose file is unfit.
        OutputError
            For results that are there already, and not by this model; whether they are of this
            plate, only its digest can tell.
        """
        with open_plate(plate):
            pass
        folder = self.folder_for(plate, out)
        check_folder(folder, force or _holds_results_of(folder, self.model))

    @staticmethod
    def folder_for(plate: Path, out: Path) -> Path:
        """Return the folder of a plate's results: `out` / the file's name without its ending."""
        return out / plate.stem

    @property
    def prepared_precision(self) -> str:
        """The precision in which the model, made ready for it, scores here."""
        return self.classifier.prepare(self.precision)

    def job(self, plate: Path, out: Path, found: Survey, *, force: bool = False) -> Job:
        """Return what is to be done for a plate."""
        return Job(
            plate=plate,
            **found._asdict(),
            folder=self.folder_for(plate, out),
            model=self.model,
            precision=self.prepared_precision,
            command=_command(),
            force=force,
        )

    def score(self, plate: Path, out: Path, *, force: bool = False, resume: bool = True) -> Scored:
        """Score a plate and write its results, unless they are there.

        A scoring that was stopped goes on where it was.

        Parameters
        ----------
        plate : Path
            See `coos_mlflow.data.plate.open_plate`.
        out : Path
            The results come into a folder of the plate's name in it.
        force : bool
            Replace results that are there, be they the same.
        resume : bool
            Keep what a stopped scoring of the same plate has left.

        Raises
        ------
        DataError
            When the plate is not fit to be scored; nothing is written then.
        OutputError
            When other results are there already, or new ones cannot be written.
        RunNotLoggedError
            When the results were written but the tracking store took no run.
        """
        timings = Timings()
        with timings.phase("digest"):
            found = _surveyed(plate)
        job = self.job(plate, out, found, force=force)
        if not force and (drift := found_results(job)):
            discard_work(job)
            return recorded(Scored(job, drift))
        check_folder(job.folder, force)
        try:
            with open_work(job, resume) as work, open_plate(plate) as opened:
                with timings.phase("cells"):
                    self._answer(opened, work, timings)
                with timings.phase("drift and report"):
                    drift = finish(opened, work, self.classifier.reference)
        except (KeyboardInterrupt, SystemExit):
            say(f"{job.folder}: stopped; the same command goes on where it was.")
            raise
        return recorded(Scored(job, drift, timings))

    def _answer(self, plate: Plate, work: WorkFolder, timings: Timings) -> None:
        """Write the parts that are missing."""
        missing = work.missing()
        known = plate.n_cells - sum(block.stop - block.start for block in missing)
        title = f"Scoring {plate.path.name}"
        with progress(title, total=plate.n_cells, unit="cells") as advance:
            if known:
                say(f"{title}: {known:,} of {plate.n_cells:,} cells were scored before")
                advance(known)
            writing = StageTime("write")
            for part in answer(self.classifier, plate, missing, advance, timings):
                with writing.at_work():
                    work.write(part)
            timings.stages.append(writing)


def check_names(plates: Sequence[Path]) -> None:
    """Refuse plates whose results would share a folder.

    Raises
    ------
    DataError
    """
    seen: dict[str, Path] = {}
    for plate in plates:
        first = seen.setdefault(plate.stem, plate)
        if first is not plate:
            raise DataError(
                f"{first} and {plate} would both be scored into {plate.stem}; "
                "rename one, or score them into different --out folders."
            )


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


def _holds_results_of(folder: Path, model: registry.ModelRef) -> bool:
    """Tell whether a folder may hold what a scoring with this model has left or ended with."""
    said = (_read_drift(folder) or {}).get("model")
    return isinstance(said, dict) and said.get("id") == model.model_id


def write_overview(out: Path) -> Path | None:
    """Rank all results in a folder on one page; None where there are not two to compare.

    Raises
    ------
    OutputError
        Where the page cannot be written.
    """
    folders = sorted(path.parent for path in out.glob(f"[!.]*/{DRIFT}"))
    scored = [(folder.name, drift) for folder in folders if (drift := _read_drift(folder))]
    if len(scored) < 2:
        return None
    page = out / OVERVIEW
    text = render_overview(scored)
    try:
        # Of its own, since several commands may score into one folder.
        handle, partial = tempfile.mkstemp(prefix=f".{OVERVIEW}-", dir=out)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(partial).chmod(0o644)
            Path(partial).replace(page)
        finally:
            Path(partial).unlink(missing_ok=True)
        for left in out.glob(f".{OVERVIEW}-*"):
            if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                left.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{page}: cannot be written ({error.strerror}).") from error
    return page


def _read_drift(folder: Path) -> dict[str, Any] | None:
    """Return a folder's drift.json, None where it is none that this version can show."""
    try:
        drift = json.loads((folder / DRIFT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(drift, dict) and drift.get("schema_version") == SCHEMA_VERSION
    return drift if known and "plate_file" in drift else None


def _command() -> str:
    """Return the command of this process, as much of it as a page can hold, without passwords."""
    whole = re.sub(r"://[^/\s]*@", "://***@", " ".join(sys.argv))
    return whole if len(whole) <= MOST_COMMAND else f"{whole[:MOST_COMMAND]} ..."


def _surveyed(plate: Path) -> Survey:
    n_bytes = plate.stat().st_size if plate.exists() else None
    with progress(f"Hashing {plate.name}", total=n_bytes, unit="bytes") as advance:
        return survey(plate, advance)


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
