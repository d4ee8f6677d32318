"""All results in a folder on one page."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from coos_mlflow.errors import OutputError
from coos_mlflow.reports.overview import render_overview
from coos_mlflow.scoring.results import DRIFT, OVERVIEW, read_drift

LEFT_SECONDS = 60
"""After which a half-written overview is taken for that of a command that was killed."""


def write_overview(out: Path) -> Path | None:
    """Rank all results in a folder on one page; None where there are not two to compare.

    Raises
    ------
    OutputError
        Where the page cannot be written.
    """
    folders = sorted(path.parent for path in out.glob(f"[!.]*/{DRIFT}"))
    scored = [(folder.name, drift) for folder in folders if (drift := read_drift(folder))]
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
