"""From a scored plate to the report's pictures: the cells picked and the reference's."""

from __future__ import annotations

from coos_mlflow.drift.example_cells import ExamplePicker
from coos_mlflow.drift.reference import ReferenceCells
from coos_mlflow.reports.plate.cells import Pictures, ReferencePicture
from coos_mlflow.reports.plate.figures.cells import cell_picture


def pictures(examples: ExamplePicker, reference: ReferenceCells) -> Pictures:
    """Return the pictures of the cells picked and of the reference's."""
    columns = (reference.images, reference.labels, reference.splits, reference.plates)
    known = [
        ReferencePicture(cell_picture(image), int(label), str(split), str(plate))
        for image, label, split, plate in zip(*columns, strict=True)
    ]
    own = {index: cell_picture(thumbnail) for index, thumbnail in examples.thumbnails().items()}
    return Pictures(own, known)
