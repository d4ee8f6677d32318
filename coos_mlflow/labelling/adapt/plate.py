"""Adapt the model of a scored plate to the plate: `coos adapt`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow._utils.progress import progress
from coos_mlflow.audit.lock import locked
from coos_mlflow.errors import DataError, RegistryError
from coos_mlflow.labelling.adapt.choice import Choice, choose, fit, in_one_well, judged
from coos_mlflow.labelling.adapt.collect import Labels, cells_of, controls_in, labels_in
from coos_mlflow.labelling.adapt.register import register
from coos_mlflow.labelling.publish import drift_of, plate_file
from coos_mlflow.registry import versions
from coos_mlflow.scoring.scorer import Scorer


@dataclass(frozen=True)
class Outcome:
    """What adapting a model to a plate has found.

    Parameters
    ----------
    parent : ModelRef
        The version that scored the plate.
    plate : Path
        The plate file.
    labels : Labels
    n_controls : int
        Cells of control wells that taught.
    choice : Choice
    not_judged, in_one_well : tuple of str
        Classes with a single labelled cell, and classes whose labelled cells are in one well.
    model : ModelRef or None
        The version that was registered.
    mixed_wells : bool
        Whether the plate was scored with wells that may hold several classes.
    """

    parent: versions.ModelRef
    plate: Path
    labels: Labels
    n_controls: int
    choice: Choice
    not_judged: tuple[str, ...]
    in_one_well: tuple[str, ...]
    model: versions.ModelRef | None
    mixed_wells: bool


def adapt(folder: Path, plate: Path | None = None, *, dry_run: bool = False) -> Outcome:
    """Adapt the model that scored a plate by the labels in the folder of its results.

    Parameters
    ----------
    folder : Path
        Of the results.
    plate : Path or None
        Where the plate file is now; None for where it was when it was scored.
    dry_run : bool
        Register nothing.

    Raises
    ------
    DataError
        For a folder without results or with too few labels, a plate file that is gone or another
        one, and results of a version that was itself adapted to a plate or fits itself to each.
    RegistryError
        When the version that scored the plate is gone.
    RunNotLoggedError
        When the store does not take the new version, which is kept for `coos sync`.
    """
    drift = drift_of(folder)
    _check_trained(folder, drift["model"])
    _check_effects(folder, drift)
    with locked(folder, make=False):
        labels = labels_in(folder, drift)
    path = plate_file(folder, drift, plate)
    with progress("Loading the model"):
        scorer = _scorer(folder, drift["model"], drift["precision"])
    model, frame = scorer.cell_model, labels.frame
    rows, truths = controls_in(folder, drift, labels, model.dataset)
    cells = cells_of(model, path, frame, labels.rows, labels.truths, labels.weights)
    controls = cells_of(model, path, frame, rows, truths, np.ones(len(rows))) if len(rows) else None
    with progress("Leaving wells out"):
        choice = choose(model, cells, controls)
    new = None
    if choice.chosen and choice.gain and not dry_run:
        correction = fit(model, choice.chosen, cells, controls)
        taught = frame.cells[np.concatenate([labels.rows, rows])].tolist()
        known = np.concatenate([labels.truths, truths]).tolist()
        with progress("Registering the version"):
            new = register(
                scorer,
                path,
                drift["plate_file"]["sha256"],
                sorted(zip(taught, known, strict=True)),
                len(cells),
                choice.chosen,
                choice.gain,
                correction,
            )
    names = np.array(model.dataset.class_names)
    return Outcome(
        parent=scorer.model,
        plate=path,
        labels=labels,
        n_controls=len(rows),
        choice=choice,
        not_judged=tuple(names[np.unique(cells.truths[~judged(cells)])].tolist()),
        in_one_well=tuple(names[in_one_well(cells)].tolist()),
        model=new,
        mixed_wells=drift["mixed_wells"],
    )


def _check_trained(folder: Path, entry: dict[str, Any]) -> None:
    if "adapted" in entry:
        name, parent = entry["name"], entry["adapted"]["version"]
        raise DataError(
            f"{folder}: was scored with {name} version {entry['version']}, which was adapted from "
            f"version {parent}, expected a version that was trained; score the plate with "
            f"{name}/{parent} and label cells there."
        )


def _check_effects(folder: Path, drift: dict[str, Any]) -> None:
    if drift.get("plate_effects"):
        raise DataError(
            f"{folder}: was scored with {drift['model']['name']}, which fits itself to "
            "each plate; expected a model that takes each cell alone, such as "
            "texture-lr: score the plate with one and label cells there."
        )


def _scorer(folder: Path, entry: dict[str, Any], precision: str) -> Scorer:
    """Load the version that scored a plate, prepared to score."""
    name, version = entry["name"], entry["version"]
    scorer = Scorer.load(f"{name}/{version}", precision)
    if scorer.model.model_id != entry["id"]:
        raise RegistryError(
            f"{folder}: was scored with another {name} version {version} than the one in "
            f"{versions.registry_uri()} (id {entry['id']}, found {scorer.model.model_id}); name "
            "the store where that is registered."
        )
    scorer.cell_model.prepare(precision)
    return scorer
