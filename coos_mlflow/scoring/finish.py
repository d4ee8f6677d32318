"""Turn a plate's parts into its results: predictions, drift and report.

The folder of results appears complete or not at all.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow._utils.files import check_folder, put_in_place
from coos_mlflow.drift.assessment import assess
from coos_mlflow.drift.collect import Collected, Collector
from coos_mlflow.drift.example_cells import ExamplePicker
from coos_mlflow.drift.reference import Reference, ReferenceCells
from coos_mlflow.errors import CoosError, OutputError
from coos_mlflow.plates.copies import CopyFinder
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.plates.flags import USABLE, FlagCounter
from coos_mlflow.plates.reader import Plate
from coos_mlflow.plates.schema import Origins
from coos_mlflow.registry.results import DRIFT, PREDICTIONS, REPORT, REPORT_MD, RESULTS
from coos_mlflow.reports.plate.cells import Pictures, ReferencePicture
from coos_mlflow.reports.plate.figures.cells import cell_picture
from coos_mlflow.reports.plate.html import render
from coos_mlflow.reports.plate.markdown import render_markdown
from coos_mlflow.reports.plate.summary import summarise
from coos_mlflow.scoring.job import found_results
from coos_mlflow.scoring.parts import WorkFolder
from coos_mlflow.scoring.predictions import PredictionWriter

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


def finish(plate: Plate, work: WorkFolder, reference: Reference) -> dict[str, Any]:
    """Turn all parts of a job into its results, and return the content of drift.json.

    Parameters
    ----------
    plate : Plate
        The open plate of the job.
    work : WorkFolder
    reference : Reference
        Reference of the job's model.

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
        drift = _write(plate, work, reference, new)
        job.check_unchanged()
        check_folder(job.folder, job.force, RESULTS)
        put_in_place(new, job.folder)
    except CoosError:
        raise
    except OSError as error:
        raise OutputError(f"{job.folder}: cannot be written ({error}).") from error
    finally:
        if new:
            shutil.rmtree(new, ignore_errors=True)
    return drift


def _write(plate: Plate, work: WorkFolder, reference: Reference, new: Path) -> dict[str, Any]:
    """Write all results into the folder `new`, and return the content of drift.json."""
    gathered = _gather(plate, work, reference.dataset, new / PREDICTIONS)
    drift = _assess(plate, gathered, reference) | work.job.facts
    (new / DRIFT).write_text(json.dumps(drift, indent=1, sort_keys=True) + "\n")
    shown = _pictures(gathered.examples, reference.cells)
    page = summarise(drift, shown, command=work.job.command)
    (new / REPORT).write_text(render(page), encoding="utf-8")
    (new / REPORT_MD).write_text(render_markdown(page), encoding="utf-8")
    new.chmod(0o755)
    return drift


def _pictures(examples: ExamplePicker, reference: ReferenceCells) -> Pictures:
    """Return the pictures of the chosen cells and of the reference cells."""
    columns = (reference.images, reference.labels, reference.splits, reference.plates)
    known = [
        ReferencePicture(cell_picture(image), int(label), str(split), str(plate))
        for image, label, split, plate in zip(*columns, strict=True)
    ]
    own = {index: cell_picture(thumbnail) for index, thumbnail in examples.thumbnails().items()}
    return Pictures(own, known)


def _gather(plate: Plate, work: WorkFolder, dataset: Dataset, predictions: Path) -> _Gathered:
    """Write the predictions of all parts, and collect the input of the drift report.

    Predictions include unusable cells, copies and cells without ids; the drift report does not.
    """
    collector, examples = Collector(), ExamplePicker(dataset.n_classes)
    copies = CopyFinder()
    counter = FlagCounter(plate.n_cells, f"{plate.path}:/data")
    placed = _are_placed(plate)
    facts = {
        "model": str(work.job.model),
        "plate_sha256": work.job.sha256,
        "plate_simulated": str(plate.simulated),
        "model_simulated": str(work.job.model.simulated),
    }
    with PredictionWriter(predictions, dataset.class_names, facts) as writer:
        for part in work.parts():
            origins = plate.origins(*part.block)
            flags = copies.flagged(part.flags, part.digests)
            counter.add(flags)
            writer.add(origins, part.probabilities, flags)
            rows = np.flatnonzero((flags == USABLE) & placed[slice(*part.block)])
            origins, probabilities = origins.select(rows), part.probabilities[rows]
            plates, wells = _names(origins)
            collector.add(
                plates=plates,
                wells=wells,
                softmax=probabilities.astype(np.float64),
                features=part.features[rows],
                raw=part.raw[rows],
            )
            thumbnails = {
                place: part.thumbnails.get(row) for place, row in enumerate(rows.tolist())
            }
            examples.add(origins, probabilities, part.novelty[rows], thumbnails.get)
    return _Gathered(collector.build(), examples, counter)


def _assess(plate: Plate, gathered: _Gathered, reference: Reference) -> dict[str, Any]:
    """Return the content of drift.json, which depends only on the plate and the model."""
    assessment = assess(
        reference,
        gathered.collected,
        has_plate_ids=are_named(plate.plates),
        has_well_ids=are_named(plate.wells),
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


def _names(origins: Origins) -> tuple[np.ndarray, np.ndarray]:
    """Return the plates and wells of cells; empty names if the file has no ids."""
    nameless = np.full(len(origins), "")
    return (
        nameless if origins.plates is None else origins.plates,
        nameless if origins.wells is None else origins.wells,
    )
