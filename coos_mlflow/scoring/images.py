"""Score a plate from its images: cells are cut out first, and kept beside the results."""

from __future__ import annotations

from pathlib import Path

from coos_mlflow.cropping.job import CropJob
from coos_mlflow.cropping.plan import CellShape, CropOptions, OpenedImages, plan
from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import COOS7_NAME
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.simulate.microscope import PIXEL_UM

CROPS = "crops"
"""Folder of the plate files that were cut out of images, in the folder of all results."""


def is_images(plate: str) -> bool:
    """Return whether a plate is named by a folder or an address, not by a plate file."""
    return "://" in plate or Path(plate).is_dir()


def plate_file(location: str, out: Path) -> Path:
    """Return the plate file that the cells of a plate's images are written to."""
    name = Path(location.rstrip("/")).stem
    if not name.strip("."):
        raise DataError(f"{location}: is no name for a folder of results, expected the plate's.")
    return out / CROPS / f"{name}.h5"


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
