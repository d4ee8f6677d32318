"""Write the overview page, which ranks all results in a folder."""

from __future__ import annotations

import time
from pathlib import Path

from coos_mlflow._utils.files import write_whole
from coos_mlflow.errors import OutputError
from coos_mlflow.registry.results import DRIFT, read_drift
from coos_mlflow.reports.overview import render_overview

OVERVIEW = "overview.html"
"""Name of the page beside the folders of several plates."""

LEFT_SECONDS = 60
"""Age after which a half-written overview is taken as left by a killed command, and removed."""


def write_overview(out: Path) -> Path | None:
    """Rank all results in a folder on one page; return None if there are fewer than two.

    Raises
    ------
    OutputError
        When the page cannot be written.
    """
    folders = sorted(path.parent for path in out.glob(f"[!.]*/{DRIFT}"))
    scored = [(folder.name, drift) for folder in folders if (drift := read_drift(folder))]
    if len(scored) < 2:
        return None
    page = out / OVERVIEW
    text = render_overview(scored)
    try:
        write_whole(page, text.encode())
        for left in out.glob(f".{OVERVIEW}-*"):
            if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                left.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{page}: cannot be written ({error.strerror}).") from error
    return page
