"""The files of a folder of results."""

from __future__ import annotations

import json
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

OVERVIEW = "overview.html"
"""Name of the page beside the folders of several plates."""


def read_drift(folder: Path) -> dict[str, Any] | None:
    """Return a folder's drift.json, None where it is none that this version can show."""
    try:
        drift = json.loads((folder / DRIFT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(drift, dict) and drift.get("schema_version") == SCHEMA_VERSION
    return drift if known and "plate_file" in drift else None
