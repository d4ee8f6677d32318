"""Score a plate from its images: cells are cut out first, and kept beside the results."""

from __future__ import annotations

from pathlib import Path

from coos_mlflow.cropping.job import CropJob
from coos_mlflow.cropping.plan import CellShape, CropOptions, OpenedImages, plan
from coos_mlflow.plates.dataset import COOS7_NAME
from coos_mlflow.scoring.image_names import plate_file
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.simulate.microscope import PIXEL_UM


def crop_job(
    scorer: Scorer,
    opened: OpenedImages,
    out: Path,
    options: CropOptions,
    *,
    force: bool = False,
    keep_going: bool = False,
) -> CropJob:
    """Return the job that cuts out cells like those of a model's data set.

    Parameters
    ----------
    scorer : Scorer
    opened : OpenedImages
    out : Path
        Folder of all results.
    options : CropOptions
    force, keep_going
        See `CropJob`.

    Raises
    ------
    DataError
    """
    path = plate_file(opened.images.location, out)
    return plan(opened, path, _cell_shape(scorer), options, force=force, keep_going=keep_going)


def _cell_shape(scorer: Scorer) -> CellShape:
    """Return what cells of the model's data set are like.

    COOS-7 does not give the size of its pixels. Simulated COOS-7 has that of the simulator.
    """
    dataset = scorer.dataset
    pixel_size = dataset.pixel_size
    if pixel_size is None and dataset.name == COOS7_NAME and scorer.model.simulated:
        pixel_size = PIXEL_UM
    return CellShape(dataset.name, dataset.crop, pixel_size)
