"""Crop a plate from Python: what `coos_mlflow.crop` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coos_mlflow.cropping.crop import Cropped, crop_plate
from coos_mlflow.cropping.plan import CellShape, CropOptions, open_plate_images, plan
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.plates.dataset_file import read_dataset


def cell_shape(dataset: str | Path | None = None, crop: int | None = None) -> CellShape:
    """Return what cells of a data set are like.

    Parameters
    ----------
    dataset : path, optional
        A ``dataset.yaml``; by default COOS-7.
    crop : int, optional
        Height and width in pixels, in place of the data set's.

    Raises
    ------
    DataError
        For a description that cannot be read.
    """
    described = coos7() if dataset is None else read_dataset(Path(dataset))
    return CellShape(described.name, crop or described.crop, described.pixel_size)


def crop(
    images: str | Path,
    out: str | Path,
    *,
    dataset: str | Path | None = None,
    crop: int | None = None,
    force: bool = False,
    keep_going: bool = False,
    **options: Any,
) -> Cropped:
    """Find the cells of a plate's images and write them as a plate file.

    Parameters
    ----------
    images : path or address
        Folder of images as an instrument wrote them.
    out : path
        The plate file (HDF5). ``fields.html`` in the folder ``OUT.fields`` beside it shows the
        cells that were found.
    dataset, crop
        See `cell_shape`.
    force : bool
        Replace results of other images or settings.
    keep_going : bool
        Leave out fields that cannot be read.
    **options
        See `coos_mlflow.cropping.plan.CropOptions`, such as ``protein="Alexa 488"``.

    Returns
    -------
    Cropped
        Its ``facts`` are the content of fields.json.

    Raises
    ------
    CoosError
        When the images cannot be used, or results cannot be written.

    Examples
    --------
    >>> cropped = coos_mlflow.crop("/data/plate42", "plate42.h5")  # doctest: +SKIP
    >>> cropped.facts["totals"]["cells"]  # doctest: +SKIP
    12034
    """
    chosen = CropOptions(**options)
    opened = open_plate_images(str(images), chosen)
    job = plan(
        opened,
        Path(out),
        cell_shape(dataset, crop),
        chosen,
        force=force,
        keep_going=keep_going,
    )
    return crop_plate(job)
