"""The folder of a plate's results: names of its files, drift.json, and the key of its scoring."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coos_mlflow.drift.assessment import SCHEMA_VERSION

RESULTS = PREDICTIONS, DRIFT, REPORT, REPORT_MD = (
    "predictions.parquet",
    "drift.json",
    "report.html",
    "report.md",
)
"""Names of the files in that of a plate."""

_FACTS = ("schema_version", "simulated", "plate_file", "model", "precision", "versions")


@dataclass(frozen=True)
class Results:
    """The results of a plate on disk, as far as an MLflow run needs them.

    Parameters
    ----------
    folder : Path
    plate : Path
        The plate file. It may be gone meanwhile, and may be its name alone.
    drift : dict
        What `drift.json` holds.
    seconds : float
        Duration of the scoring; 0 where it is not known any more.
    """

    folder: Path
    plate: Path
    drift: dict[str, Any]
    seconds: float = 0.0

    @property
    def key(self) -> str:
        """The key of the job that made them."""
        return key_of(self.drift, self.folder)


def key_of(drift: dict[str, Any], folder: Path) -> str:
    """Return the key of the job whose facts drift.json holds, and whose results are in `folder`.

    Raises
    ------
    KeyError
        When it holds no job's facts.
    """
    facts = {name: drift[name] for name in _FACTS}
    text = json.dumps([facts, str(folder.resolve())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_drift(folder: Path) -> dict[str, Any] | None:
    """Return a folder's drift.json, None where it is none that this version can show."""
    try:
        drift = json.loads((folder / DRIFT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(drift, dict) and drift.get("schema_version") == SCHEMA_VERSION
    return drift if known and "plate_file" in drift else None


def results_in(folder: Path, plate: Path | None = None, seconds: float = 0.0) -> Results | None:
    """Return the results in a folder, None where it holds none of a scoring."""
    drift = read_drift(folder)
    if drift is None or not all((folder / name).is_file() for name in RESULTS):
        return None
    try:
        results = Results(folder, plate or Path(drift["plate_file"]["name"]), drift, seconds)
        return results if results.key else None
    except (KeyError, TypeError):
        return None
