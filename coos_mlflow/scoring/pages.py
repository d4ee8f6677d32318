"""Write drift.json and the pages that are made of it: report.html and report.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow._utils.files import write_whole
from coos_mlflow.drift.reference import ReferenceCells
from coos_mlflow.plates.reader import Plate
from coos_mlflow.registry.results import DRIFT, REPORT, REPORT_MD
from coos_mlflow.reports.plate.cells import Pictures, ReferencePicture
from coos_mlflow.reports.plate.figures.cells import cell_picture
from coos_mlflow.reports.plate.html import render
from coos_mlflow.reports.plate.markdown import render_markdown
from coos_mlflow.reports.plate.summary import summarise


def write_pages(
    folder: Path,
    drift: dict[str, Any],
    examples: dict[int, np.ndarray],
    reference: ReferenceCells,
) -> dict[str, Any]:
    """Write drift.json and its pages into a folder, each whole.

    Parameters
    ----------
    folder : Path
    drift : dict
        Content of drift.json.
    examples : dict of ndarray, shape (2, crop, crop)
        Raw counts of its example cells, by their index in the file.
    reference : ReferenceCells
        Of the model.

    Returns
    -------
    dict
        The content in the order of the file, as if it had been read from there.

    Raises
    ------
    OSError
        When a file cannot be written.
    """
    text = json.dumps(drift, indent=1, sort_keys=True) + "\n"
    drift = json.loads(text)
    page = summarise(drift, _pictures(examples, reference))
    write_whole(folder / REPORT, render(page).encode())
    write_whole(folder / REPORT_MD, render_markdown(page).encode())
    write_whole(folder / DRIFT, text.encode())
    return drift


def example_cells(plate: Plate, drift: dict[str, Any]) -> dict[int, np.ndarray]:
    """Read the example cells of drift.json from their plate: raw counts by index in the file."""
    indices = sorted({cell["index"] for cell in drift["cells"]})
    batches = (next(plate.batches(1, index, index + 1)) for index in indices)
    return {cells.start: cells.images[0] for cells in batches}


def _pictures(examples: dict[int, np.ndarray], reference: ReferenceCells) -> Pictures:
    """Return the pictures of the chosen cells and of the reference cells."""
    columns = (reference.images, reference.labels, reference.splits, reference.plates)
    known = [
        ReferencePicture(cell_picture(image), int(label), str(split), str(plate))
        for image, label, split, plate in zip(*columns, strict=True)
    ]
    own = {index: cell_picture(thumbnail) for index, thumbnail in examples.items()}
    return Pictures(own, known)
