"""What two scorings of the same cells must both have written."""

from __future__ import annotations

import json
from pathlib import Path

from coos_mlflow.registry.results import DRIFT, RESULTS


def result_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder of results.

    Where the plate file was and the command, which differ between folders, are left out.
    """
    found = {name: (folder / name).read_bytes() for name in RESULTS}
    drift = json.loads(found[DRIFT])
    del drift["plate_path"], drift["command"]
    return found | {DRIFT: json.dumps(drift).encode()}
