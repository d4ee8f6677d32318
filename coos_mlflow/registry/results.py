"""Read the folder of a plate's results: file names, drift.json, and the key of its scoring."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coos_mlflow.drift.assessment import SCHEMA_VERSION

RESULTS = PREDICTIONS, WELLS, WELLS_CSV, DRIFT, REPORT, REPORT_MD = (
    "predictions.parquet",
    "wells.parquet",
    "wells.csv",
    "drift.json",
    "report.html",
    "report.md",
)
"""Names of the files in the folder of a plate's results."""

CENTRES = "centres.csv"
"""Name of the table that results of a plate have whose cells were cut out of images."""

AUDIT = "audit.csv"
"""Name of the labels that people gave to cells of the plate (`coos_mlflow.audit.labels_file`)."""

ALL_NAMES = (*RESULTS, CENTRES, AUDIT)
"""Names of all files that the folder of a plate's results may hold."""

_FACTS = (
    "schema_version",
    "simulated",
    "plate_file",
    "layout",
    "known_classes",
    "mixed_wells",
    "model",
    "precision",
    "versions",
)


@dataclass(frozen=True)
class Results:
    """The results of a plate on disk, as far as an MLflow run needs them.

    Parameters
    ----------
    folder : Path
    plate : Path
        The plate file, or its name alone. It may have been deleted since.
    drift : dict
        Content of `drift.json`.
    seconds : float
        Duration of the scoring; 0 if unknown.
    """

    folder: Path
    plate: Path
    drift: dict[str, Any]
    seconds: float = 0.0

    @property
    def key(self) -> str:
        """The key of the scoring job that wrote them."""
        return key_of(self.drift, self.folder)


def key_of(drift: dict[str, Any], folder: Path) -> str:
    """Return the key of a scoring job, from the facts in drift.json and the folder of results.

    Raises
    ------
    KeyError
        When drift.json lacks the facts of a job.
    """
    facts = {name: drift[name] for name in _FACTS}
    text = json.dumps([facts, str(folder.resolve())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_drift(folder: Path) -> dict[str, Any] | None:
    """Return a folder's drift.json, or None if it is missing or of another schema version."""
    try:
        drift = json.loads((folder / DRIFT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(drift, dict) and drift.get("schema_version") == SCHEMA_VERSION
    return drift if known and "plate_file" in drift else None


def results_in(folder: Path, plate: Path | None = None, seconds: float = 0.0) -> Results | None:
    """Return the results in a folder, or None if it holds no complete results of a scoring."""
    drift = read_drift(folder)
    if drift is None or not all((folder / name).is_file() for name in RESULTS):
        return None
    try:
        results = Results(folder, plate or Path(drift["plate_file"]["name"]), drift, seconds)
        return results if results.key else None
    except (KeyError, TypeError):
        return None
