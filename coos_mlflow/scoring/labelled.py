"""Put the labels of a scored plate back onto its images, as a plate of OME-Zarr."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from coos_mlflow._utils.progress import progress
from coos_mlflow.cropping.job import MASKS, CropJob
from coos_mlflow.errors import DataError
from coos_mlflow.fields.labelled_plates import LabelledField, write_labels
from coos_mlflow.fields.masks import mask_path
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.tiff_pages import read_page
from coos_mlflow.registry.results import DRIFT, PREDICTIONS
from coos_mlflow.scoring.centres import read_places


def write_labelled(job: CropJob, results: Path, *, force: bool = False) -> Path:
    """Write a copy of a plate's images as OME-Zarr, with its nuclei as labels and their classes.

    Parameters
    ----------
    job : CropJob
        The cropping that the scored plate file came from.
    results : Path
        Folder of the results of scoring it.
    force : bool
        Replace a plate that is there already.

    Returns
    -------
    Path
        The plate, beside the plate file.

    Raises
    ------
    DataError, OutputError
        See `coos_mlflow.fields.labelled_plates.write_labels`.
    """
    if len(job.images.plates) > 1:
        raise DataError(
            f"{job.images.location}: {len(job.images.plates)} plates found, expected one for "
            "--write-labels; score each by itself."
        )
    out = job.out.with_suffix(".zarr")
    with progress(f"Writing {out.name}", len(job.images.fields), "fields") as advance:

        def fields() -> Iterator[LabelledField]:
            for one in _labelled(job, results):
                yield one
                advance(1)

        return write_labels(
            job.images,
            out,
            fields(),
            colours=_colours(results),
            pixel_size_um=job.settings.image_pixel_um,
            force=force,
        )


def _labelled(job: CropJob, results: Path) -> Iterator[LabelledField]:
    """Yield the fields that could be read, with the label image and the table of the cells."""
    with open_plate(job.out) as plate:
        places = read_places(plate)
        measured = plate.measurements
    table = pq.read_table(results / PREDICTIONS).to_pandas()
    probabilities = [name for name in table.columns if name.startswith("p_")]
    cells = table[["class_name", "confidence", *probabilities]].assign(
        object=places["object"].to_numpy(),
        centre_x=measured["centre_x"],
        centre_y=measured["centre_y"],
    )
    rows = places.groupby(["plate", "well", "field", "time"]).indices
    for field in job.images.fields:
        mask = mask_path(job.folder / MASKS, field, job.images.plates)
        if mask.is_file():
            ours = cells.iloc[rows.get(field.key, [])].set_index("object")
            yield LabelledField(field, read_page(mask).astype("int32"), ours)


def _colours(results: Path) -> dict[str, str]:
    """Return the colour of each class of the model by its name."""
    drift = json.loads((results / DRIFT).read_text(encoding="utf-8"))
    return {one["name"]: one["colour"] for one in drift["dataset"]["classes"]}
