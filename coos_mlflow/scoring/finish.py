"""Turn a plate's parts into its results: predictions, drift and report.

The folder of results appears complete or not at all.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow._utils.files import put_in_place
from coos_mlflow.audit.lock import locked
from coos_mlflow.drift.assessment import assess
from coos_mlflow.drift.collect import Collected, Collector
from coos_mlflow.drift.example_cells import ExamplePicker
from coos_mlflow.drift.reference import Reference
from coos_mlflow.errors import CoosError, OutputError
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.plates.copies import CopyFinder
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.plates.flags import USABLE, FlagCounter
from coos_mlflow.plates.reader import Plate
from coos_mlflow.registry.results import AUDIT, CENTRES, PREDICTIONS
from coos_mlflow.scoring.adapted import without_estimate
from coos_mlflow.scoring.audited import audit_entry
from coos_mlflow.scoring.centres import write_centres
from coos_mlflow.scoring.job import (
    Job,
    check_labels,
    check_replaceable,
    found_assessment,
    found_results,
)
from coos_mlflow.scoring.layout_columns import LayoutColumns
from coos_mlflow.scoring.pages import example_cells, write_pages
from coos_mlflow.scoring.parts import WorkFolder
from coos_mlflow.scoring.plate_effects import PlateStep
from coos_mlflow.scoring.predictions import PredictionWriter, names_of, read_predictions
from coos_mlflow.scoring.wells_table import wells_table, write_wells

MIN_NAMED_SHARE = 0.95
"""Share of the cells that must have an id for the ids to be used.

A verdict may leave out the other cells (`verdict.MAX_UNJUDGED_SHARE`).
"""


@dataclass(frozen=True)
class _Gathered:
    """Data collected in one pass over the parts."""

    collected: Collected
    examples: ExamplePicker
    flags: FlagCounter


def finish(plate: Plate, work: WorkFolder, model: CellModel) -> dict[str, Any]:
    """Turn all parts of a job into its results, and return the content of drift.json.

    Parameters
    ----------
    plate : Plate
        The open plate of the job.
    work : WorkFolder
    model : CellModel
        The job's.

    Raises
    ------
    DataError
        When the plate file has changed since its digest was taken.
    OutputError
        When results cannot be written. Earlier results are kept.
    """
    job = work.job
    job.check_unchanged()
    # Another worker, which the scheduler took for dead, may have finished the plate.
    if not job.force and (drift := found_results(job)):
        return drift
    new = None
    try:
        new = work.results()
        with locked(job.folder, make=False):
            check_labels(job)
            drift = _write(plate, work, model, new)
            job.check_unchanged()
            check_replaceable(job)
            _check_same_labels(job.folder, new)
            put_in_place(new, job.folder)
    except CoosError:
        raise
    except OSError as error:
        raise OutputError(f"{job.folder}: cannot be written ({error}).") from error
    finally:
        if new:
            shutil.rmtree(new, ignore_errors=True)
    return drift


def _check_same_labels(folder: Path, new: Path) -> None:
    """Refuse to replace labels that were given while the new results were written."""
    there, copied = (
        path.read_bytes() if path.is_file() else b"" for path in (folder / AUDIT, new / AUDIT)
    )
    if there != copied:
        raise OutputError(
            f"{folder}: cells were labelled while the plate was scored; the labels are kept, and "
            "the same command scores the plate again."
        )


def _write(plate: Plate, work: WorkFolder, model: CellModel, new: Path) -> dict[str, Any]:
    """Write all results into the folder `new`, and return the content of drift.json."""
    job, reference = work.job, model.reference
    columns, facts = LayoutColumns(job.layout, plate), _file_facts(job)
    class_names = reference.dataset.class_names
    with PredictionWriter(new / PREDICTIONS, class_names, facts, columns) as writer:
        if before := found_assessment(job):
            drift, examples = _taken_over(plate, job, before, writer)
        else:
            pure_wells = reference.calibration.pure_wells and not job.mixed_wells
            step = PlateStep(model, plate, pure_wells)
            step.estimate(work.parts())
            gathered = _gather(plate, work, step, reference.dataset, writer)
            drift = _assess(plate, gathered, reference, job) | {"plate_effects": step.facts()}
            examples = gathered.examples.thumbnails()
    write_centres(plate, new / PREDICTIONS, new / CENTRES)
    drift |= job.facts | {"plate_path": str(job.plate.absolute()), "command": job.command}
    for controls in (drift["controls"], *(entry["controls"] for entry in drift["plates"])):
        if controls and job.layout:
            controls["column"] = job.layout.class_column
    for well in drift["wells"]:
        well["layout"] = columns.values((well["plate"], well["well"]))
    if (job.folder / AUDIT).is_file():
        shutil.copyfile(job.folder / AUDIT, new / AUDIT)
    drift = without_estimate(drift)
    drift["audit"] = audit_entry(new, drift)
    drift = write_pages(new, drift, examples, reference.cells)
    write_wells(wells_table(drift, _empty_wells(plate, drift), columns), new, facts)
    new.chmod(0o755)
    return drift


def _file_facts(job: Job) -> dict[str, str]:
    """Return the metadata of the Parquet files."""
    return {
        "model": str(job.model),
        "plate_sha256": job.sha256,
        "plate_simulated": str(job.simulated),
        "model_simulated": str(job.model.simulated),
    }


def _taken_over(
    plate: Plate, job: Job, before: dict[str, Any], writer: PredictionWriter
) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
    """Write the predictions of earlier results again, for another layout.

    Returns
    -------
    drift : dict
        Content of the earlier drift.json.
    examples : dict of ndarray, shape (2, crop, crop)
        Raw counts of its example cells, by their index in the file.
    """
    start = 0
    for probabilities, flags in read_predictions(job.folder / PREDICTIONS):
        stop = start + len(flags)
        writer.add(plate.origins(start, stop), probabilities, flags)
        start = stop
    return before, example_cells(plate, before)


def _empty_wells(plate: Plate, drift: dict[str, Any]) -> list[tuple[str, str]]:
    """Return plates and names of the wells of a file none of whose cells count."""
    plates, wells = names_of(plate.origins(0, plate.n_cells))
    placed = _are_placed(plate)
    there = set(zip(plates[placed].tolist(), wells[placed].tolist(), strict=True))
    counted = {(well["plate"], well["well"]) for well in drift["wells"]}
    return [pair for pair in there - counted if pair[1]]


def _gather(
    plate: Plate, work: WorkFolder, step: PlateStep, dataset: Dataset, writer: PredictionWriter
) -> _Gathered:
    """Write the predictions of all parts, and collect the input of the drift report.

    Predictions include unusable cells, copies and cells without ids; the drift report does not.
    """
    collector, examples = Collector(), ExamplePicker(dataset.n_classes)
    copies = CopyFinder()
    counter = FlagCounter(plate.n_cells, f"{plate.path}:/data")
    placed = _are_placed(plate)
    for part in work.parts():
        origins = plate.origins(*part.block)
        flags = copies.flagged(part.flags, part.digests)
        counter.add(flags)
        probabilities, novelty = step.apply(part, names_of(origins)[0])
        writer.add(origins, probabilities, flags)
        rows = np.flatnonzero((flags == USABLE) & placed[slice(*part.block)])
        origins, probabilities = origins.select(rows), probabilities[rows]
        plates, wells = names_of(origins)
        collector.add(
            plates=plates,
            wells=wells,
            softmax=part.probabilities[rows].astype(np.float64),
            answers=probabilities,
            features=part.features[rows],
            raw=part.raw[rows],
        )
        thumbnails = {place: part.thumbnails.get(row) for place, row in enumerate(rows.tolist())}
        examples.add(origins, probabilities, novelty[rows], thumbnails.get)
    return _Gathered(collector.build(), examples, counter)


def _assess(plate: Plate, gathered: _Gathered, reference: Reference, job: Job) -> dict[str, Any]:
    """Return the content of drift.json that does not come with the job's facts."""
    assessment = assess(
        reference,
        gathered.collected,
        has_plate_ids=are_named(plate.plates),
        has_well_ids=are_named(plate.wells),
        known_classes=job.known_classes,
        mixed_wells=job.mixed_wells,
    )
    left_out = {
        "unusable": gathered.flags.unusable,
        "copies": gathered.flags.copies,
        "nameless": int(np.count_nonzero(~_are_placed(plate))),
    }
    return assessment | {
        "cells": gathered.examples.cells(),
        "left_out": left_out,
        "well_ids": plate.well_ids.facts if plate.well_ids else None,
    }


def are_named(ids: np.ndarray | None) -> bool:
    """Tell whether a column of ids names nearly all cells."""
    return ids is not None and float(np.mean(ids != "")) >= MIN_NAMED_SHARE


def _are_placed(plate: Plate) -> np.ndarray:
    """Return which cells have all ids that are in use, bool, shape (plate.n_cells,)."""
    placed = np.ones(plate.n_cells, dtype=bool)
    for ids in (plate.plates, plate.wells):
        if ids is not None and are_named(ids):
            placed &= ids != ""
    return placed
