"""Make results anew after cells were labelled: drift.json, the report, the MLflow run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from coos_mlflow._utils.progress import progress
from coos_mlflow.drift.reference import Reference
from coos_mlflow.errors import DataError, OutputError, RegistryError, RunNotLoggedError
from coos_mlflow.plates.reader import file_digest, open_plate
from coos_mlflow.registry.outbox import log_or_keep
from coos_mlflow.registry.results import AUDIT, DRIFT, Results, results_in
from coos_mlflow.scoring.audited import audit_entry
from coos_mlflow.scoring.pages import example_cells, write_pages
from coos_mlflow.scoring.scorer import load_reference


def drift_of(folder: Path) -> dict[str, Any]:
    """Return the drift.json of a folder of results.

    Raises
    ------
    DataError
        When it holds no complete results of this package.
    """
    results = results_in(folder)
    if results is None:
        raise DataError(
            f"{folder}: no results of coos-score found in this form, expected {DRIFT} and what "
            "comes with it; score the plate first, or again."
        )
    return results.drift


def plate_file(folder: Path, drift: dict[str, Any], plate: Path | None = None) -> Path:
    """Return the path of the plate file that was scored, after a look at its digest.

    Parameters
    ----------
    folder : Path
        Of the results.
    drift : dict
        Content of drift.json.
    plate : Path or None
        Where the file is now; None for where it was when it was scored.

    Raises
    ------
    DataError
        When it is not there, or is another file.
    """
    path = plate or Path(drift.get("plate_path") or "")
    if path == Path():
        raise DataError(
            f"{folder}: {DRIFT} does not say where {drift['plate_file']['name']} is, from which "
            "the pictures come; name the file with --plate."
        )
    if not os.path.isfile(path):  # noqa: PTH113 - `Path.is_file` raises below a closed folder
        raise DataError(
            f"{path}: the plate file is not there, from which the pictures of {folder} come; "
            "bring it back, or name its new place with --plate."
        )
    with progress(f"Hashing {path.name}", total=path.stat().st_size, unit="bytes") as advance:
        found = file_digest(path, advance)
    wanted = drift["plate_file"]["sha256"]
    if found != wanted:
        raise DataError(
            f"{path}: is not the file that was scored into {folder} (SHA-256 {found[:12]}..., "
            f"expected {wanted[:12]}...); name that file with --plate."
        )
    return path


def reference_of(folder: Path, drift: dict[str, Any]) -> Reference:
    """Return what the model of a folder of results remembers of Training.

    Raises
    ------
    RunNotLoggedError
        When the tracking store is away or does not have the model.
    """
    model = drift["model"]
    with progress(f"Loading {model['name']} version {model['version']}"):
        try:
            return load_reference(model["name"], model["version"], model["id"])
        except RegistryError as error:
            raise RunNotLoggedError(
                f"{folder}: all labels are kept in {AUDIT}, but the report needs reference cells "
                f"of the model, and {str(error).rstrip('.')}; then `coos audit {folder}` goes on."
            ) from error


def publish(folder: Path, plate: Path | None = None) -> dict[str, Any]:
    """Measure the error from the labels in a folder of results, and show it everywhere.

    Writes drift.json, report.html and report.md, and updates the MLflow run of the scoring. Whoever
    calls it holds the lock on the labels (`coos_mlflow.audit.lock.locked`).

    Parameters
    ----------
    folder : Path
        Of the results, with or without labels.
    plate : Path or None
        Where the plate file is now; None for where it was when it was scored.

    Returns
    -------
    dict
        The new content of drift.json.

    Raises
    ------
    DataError
        For a folder without results, labels of others, and a plate file that is gone or another
        one. Nothing is changed then.
    OutputError
        When a file cannot be written.
    RunNotLoggedError
        When the tracking store is away. The labels are kept; where only the run could not be
        updated, so are the new results.
    """
    drift = drift_of(folder)
    entry = audit_entry(folder, drift)
    path = plate_file(folder, drift, plate)
    reference = reference_of(folder, drift)
    with open_plate(path, reference.dataset, check_labels=False) as opened:
        examples = example_cells(opened, drift)
    drift |= {"plate_path": str(path.absolute()), "audit": entry}
    with progress("Writing the report"):
        try:
            drift = write_pages(folder, drift, examples, reference.cells)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({error}).") from error
    with progress("Logging the run"):
        log_or_keep(Results(folder, path, drift))
    return drift
