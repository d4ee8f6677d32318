"""A plate through a registered model: predictions, drift and report, whole or not at all."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import LoggedModelInput
from mlflow.exceptions import MlflowException

from coos_mlflow.data.cells import CLASSES, CellBatch
from coos_mlflow.data.plate import Plate, file_digest, open_plate
from coos_mlflow.data.wells import well_names
from coos_mlflow.drift.assessment import SCHEMA_VERSION, assess
from coos_mlflow.drift.collector import Collected, Collector
from coos_mlflow.drift.views import raw_figures
from coos_mlflow.drift_history import ESTIMATES
from coos_mlflow.errors import DataError, OutputError, RegistryError
from coos_mlflow.examples import ExamplePicker
from coos_mlflow.predictions import PredictionWriter
from coos_mlflow.progress import progress
from coos_mlflow.report.html import render
from coos_mlflow.report.markdown import render_markdown
from coos_mlflow.report.overview import render_overview
from coos_mlflow.report.summary import summarise
from coos_mlflow.reporting import pictures
from coos_mlflow.results import (
    DRIFT,
    OVERVIEW,
    PREDICTIONS,
    REPORT,
    REPORT_MD,
    RESULTS,
    check_folder,
    whole_folder,
)
from coos_mlflow.tracking import registry
from coos_mlflow.tracking.artifacts import describe_dataset
from coos_mlflow.tracking.pyfunc import CellClassifier
from coos_mlflow.tracking.runs import SCORING_EXPERIMENT, package_versions, prepare_store, run

BATCH = 1024

MOST_COMMAND = 1000
"""Characters of the command that the report repeats."""

LEAST_NAMED = 0.95
"""Share of the cells that ids must name to count as ids: the share that a verdict may leave out
(`verdict.UNJUDGED_CELLS`)."""


@dataclass(frozen=True)
class Scored:
    """Results of one plate.

    Parameters
    ----------
    plate : Path
        The file that was scored.
    folder : Path
        Where the results are.
    model : ModelRef
    drift : dict
        What `drift.json` holds.
    seconds : float
        From opening the plate to the last file.
    class_counts : dict of str to int
        Cells by the name of their predicted class.
    run_id : str or None
        The MLflow run, once it is logged.
    """

    plate: Path
    folder: Path
    model: registry.ModelRef
    drift: dict[str, Any]
    class_counts: dict[str, int]
    seconds: float
    run_id: str | None = None

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return sum(self.class_counts.values())

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that were written."""
        return tuple(self.folder / name for name in RESULTS)

    @property
    def simulated(self) -> dict[str, bool]:
        """Whether the plate, and what the model was trained on, is simulated."""
        return dict(self.drift["simulated"])


@dataclass(frozen=True)
class _Streamed:
    """What one pass over the cells leaves."""

    collected: Collected
    examples: ExamplePicker


class Scorer:
    """A registered model, ready for plates.

    Parameters
    ----------
    model : ModelRef
    classifier : CellClassifier
    """

    def __init__(self, model: registry.ModelRef, classifier: CellClassifier):
        self.model = model
        self.classifier = classifier

    @classmethod
    def load(cls, asked: str) -> Scorer:
        """Load the model that `asked` names; see `coos_mlflow.tracking.registry.resolve`.

        Raises
        ------
        RegistryError
            When it is not there, cannot be read, or is no model of this package.
        """
        prepare_store()
        model = registry.resolve(asked)
        try:
            loaded = mlflow.pyfunc.load_model(model.uri).unwrap_python_model()
        except (MlflowException, OSError) as error:
            raise RegistryError(
                f"{model} cannot be loaded from {mlflow.get_registry_uri()} "
                f"({str(error).splitlines()[0]}); its files may have been moved."
            ) from error
        if not isinstance(loaded, CellClassifier):
            raise RegistryError(
                f"{model} is a {type(loaded).__name__}, expected a cell classifier of coos-mlflow; "
                "`coos models` lists those."
            )
        return cls(model, loaded)

    def check(self, plates: Sequence[Path], out: Path, *, force: bool = False) -> None:
        """Refuse, before the first cell is scored, what could not be scored or written in the end.

        Raises
        ------
        DataError
            For a plate whose file is unfit, or two whose results would share a folder.
        OutputError
            For results that are there already.
        """
        seen: dict[str, Path] = {}
        for plate in plates:
            first = seen.setdefault(plate.stem, plate)
            if first is not plate:
                raise DataError(
                    f"{first} and {plate} would both be scored into {plate.stem}; "
                    "rename one, or score them into different --out folders."
                )
            check_folder(self.folder_for(plate, out), force)
            with open_plate(plate):
                pass

    @staticmethod
    def folder_for(plate: Path, out: Path) -> Path:
        """Return the folder of a plate's results: `out` / the file's name without its ending."""
        return out / plate.stem

    def score(self, plate: Path, out: Path, *, force: bool = False) -> Scored:
        """Score a plate and write its results.

        Parameters
        ----------
        plate : Path
            See `coos_mlflow.data.plate.open_plate`.
        out : Path
            The results come into a folder of the plate's name in it.
        force : bool
            Replace results that are there.

        Raises
        ------
        DataError
            When the plate is not fit to be scored; nothing is written then.
        OutputError
            When the results are there already, or cannot be written.
        RegistryError
            When the results were written but the tracking store took no run.
        """
        began = time.perf_counter()
        with open_plate(plate) as opened, whole_folder(self.folder_for(plate, out), force) as new:
            digest = _digest(plate)
            streamed = self._stream(opened, new / PREDICTIONS, digest)
            drift = self._assess(opened, streamed, digest)
            (new / DRIFT).write_text(json.dumps(drift, indent=1, sort_keys=True) + "\n")
            page = self._page(streamed, drift)
            (new / REPORT).write_text(render(page), encoding="utf-8")
            (new / REPORT_MD).write_text(render_markdown(page), encoding="utf-8")
        counts = streamed.collected.profile.class_counts().tolist()
        scored = Scored(
            plate=plate,
            folder=self.folder_for(plate, out),
            model=self.model,
            drift=drift,
            class_counts=dict(zip(CLASSES, counts, strict=True)),
            seconds=time.perf_counter() - began,
        )
        try:
            return replace(scored, run_id=_log(scored))
        except (MlflowException, OSError) as error:
            raise RegistryError(
                f"{scored.folder}: the results are there, but their run could not be logged in "
                f"{mlflow.get_tracking_uri()} ({str(error).splitlines()[0]})."
            ) from error

    def _stream(self, plate: Plate, predictions: Path, digest: str) -> _Streamed:
        collector, examples = Collector(), ExamplePicker()
        facts = {"model": str(self.model), "plate_sha256": digest} | self._simulated_facts(plate)
        with (
            PredictionWriter(predictions, facts) as writer,
            progress(f"Scoring {plate.path.name}", total=plate.n_cells, unit="cells") as advance,
        ):
            for batch in plate.batches(BATCH):
                scores = self.classifier.score(batch.images)
                plates, wells = _origin(batch)
                writer.add(batch, scores.probabilities)
                collector.add(
                    plates=plates,
                    wells=wells,
                    softmax=scores.probabilities,
                    features=scores.features,
                    raw=raw_figures(batch.images),
                )
                novelty = self.classifier.reference.novelty(scores.features, scores.labels)
                examples.add(batch, scores.probabilities, novelty)
                advance(len(batch))
        return _Streamed(collector.build(), examples)

    def _assess(self, plate: Plate, streamed: _Streamed, digest: str) -> dict[str, Any]:
        """Return the content of drift.json: the same for the same plate and model, always."""
        assessment = assess(
            self.classifier.reference,
            streamed.collected,
            has_plate_ids=_are_named(plate.plates),
            has_well_ids=_are_named(plate.wells),
        )
        return assessment | {
            "cells": streamed.examples.cells(),
            "simulated": {"plate": plate.simulated, "model": self.model.simulated},
            "plate_file": {"name": plate.path.name, "sha256": digest, "n_cells": plate.n_cells},
            "model": {
                "name": self.model.name,
                "version": self.model.version,
                "trained_on": self.model.tags.get("dataset"),
                "dataset_sha256": self.model.tags.get("dataset_digest"),
            },
            "versions": package_versions(),
        }

    def _page(self, streamed: _Streamed, drift: dict[str, Any]) -> dict[str, Any]:
        """Return what the reports show; of it, the command alone is not in drift.json."""
        shown = pictures(streamed.examples, self.classifier.reference.cells)
        return summarise(drift, shown, command=_command())

    def _simulated_facts(self, plate: Plate) -> dict[str, str]:
        return {
            "plate_simulated": str(plate.simulated),
            "model_simulated": str(self.model.simulated),
        }


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
    page, partial = out / OVERVIEW, out / f".{OVERVIEW}.partial"
    try:
        partial.write_text(render_overview(scored), encoding="utf-8")
        partial.replace(page)
    except OSError as error:
        partial.unlink(missing_ok=True)
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


def _are_named(ids: np.ndarray | None) -> bool:
    """Tell whether a column of ids names nearly all cells; the nameless are a plate or well too."""
    return ids is not None and float(np.mean(ids != "")) >= LEAST_NAMED


def _digest(plate: Path) -> str:
    total = plate.stat().st_size
    with progress(f"Hashing {plate.name}", total=total, unit="bytes") as advance:
        return file_digest(plate, advance)


def _origin(batch: CellBatch) -> tuple[np.ndarray, np.ndarray]:
    """Return plates and wells; one empty name for all cells where the file has no ids."""
    nameless = np.full(len(batch), "")
    return (
        nameless if batch.plates is None else batch.plates,
        nameless if batch.wells is None else well_names(batch.wells),
    )


def _log(scored: Scored) -> str | None:
    """Make the scoring an MLflow run linked to the model; its results are on disk already."""
    drift = scored.drift
    tags = {
        "model": f"{scored.model.name}/{scored.model.version}",
        "verdict": drift["verdict"],
        "reason": drift["reason"],
        "simulated_plate": drift["simulated"]["plate"],
        "simulated_model": drift["simulated"]["model"],
        "results": str(scored.folder.resolve()),
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
    metrics: dict[str, float | None] = {"n_cells": scored.n_cells, "seconds": scored.seconds}
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
