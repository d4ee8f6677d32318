"""Crop a plate: every field becomes a part, and all parts become a plate file and its page."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from coos_mlflow._utils.cluster import spread
from coos_mlflow._utils.progress import progress, say
from coos_mlflow.cropping.finish import finish
from coos_mlflow.cropping.job import FIELDS_HTML, LEAVE_OUT, CropJob, read_facts
from coos_mlflow.cropping.parts import FieldPart, PartFolder, open_parts
from coos_mlflow.errors import DataError
from coos_mlflow.fields.cells import cut_cells
from coos_mlflow.fields.illumination import Light, correct, estimate
from coos_mlflow.fields.plate_images import Field
from coos_mlflow.fields.quality import field_figures
from coos_mlflow.fields.reading import read_field
from coos_mlflow.fields.segmenters import segmenter
from coos_mlflow.fields.settings import CropSettings


@dataclass(frozen=True)
class Cropped:
    """A plate file of cells that was cut out of fields.

    Parameters
    ----------
    job : CropJob
    facts : dict
        Content of fields.json.
    """

    job: CropJob
    facts: dict[str, Any]

    @property
    def failed(self) -> list[str]:
        """Sentences on the fields that could not be read."""
        return [field["error"] for field in self.facts["fields"] if field["error"]]


class _Work(NamedTuple):
    """What every worker needs."""

    settings: CropSettings
    light: Light | None
    parts: PartFolder


def crop_plate(job: CropJob, *, resume: bool = True) -> Cropped:
    """Find the cells of a plate and write them, unless that was done already.

    Fields are worked on in threads, or by the workers of the cluster in use
    (`coos_mlflow._utils.cluster.spreading_over`). The results are the same bytes either way. A
    stopped cropping goes on where it was.

    Parameters
    ----------
    job : CropJob
    resume : bool
        Keep what a stopped cropping of the same images has left.

    Raises
    ------
    DataError
        For a field that cannot be read, unless the job keeps going, and where no cell is found.
    OutputError
        When other results are there already, or new ones cannot be written.
    """
    cropped = _found(job) or _cropped_now(job, resume)
    if cropped.failed and not job.keep_going:
        raise DataError(
            f"{cropped.failed[0]} This was so when the cells were cut out; --force tries again, "
            "--keep-going leaves such fields out."
        )
    if not cropped.facts["totals"]["cells"]:
        raise DataError(
            f"{job.images.location}: no cell found in {len(job.images.fields):,} fields, expected "
            f"nuclei; look at {job.folder / FIELDS_HTML}."
        )
    return cropped


def _found(job: CropJob) -> Cropped | None:
    """Return the results of the same job if they are there."""
    return Cropped(job, read_facts(job.folder)) if job.is_done() else None


def _cropped_now(job: CropJob, resume: bool) -> Cropped:
    job.check_replaceable()
    job.check_complete()
    try:
        with open_parts(job, resume) as parts:
            # Another process may have done it while this one waited for the folder.
            if found := _found(job):
                return found
            errors = _crop_missing(job, parts)
            return Cropped(job, finish(job, parts, errors))
    except (KeyboardInterrupt, SystemExit):
        say(f"{job.out}: stopped; the same command goes on where it was.")
        raise


def _crop_missing(job: CropJob, parts: PartFolder) -> dict[int, str]:
    """Write the parts of all fields that have none.

    Returns
    -------
    dict of int to str
        Why a field gave no part, by its place.
    """
    fields = job.images.fields
    missing = [index for index in range(len(fields)) if not parts.holds(index)]
    light = None
    if job.settings.illumination and missing:
        with progress("Estimating the illumination", unit="fields") as advance:
            light = estimate(job.images, job.settings, advance)
    work = _Work(job.settings, light, parts)
    errors: dict[int, str] = {}
    title = f"Cropping {job.out.name}"
    items = [(index, fields[index]) for index in missing]
    with (
        progress(title, total=len(fields), unit="fields") as advance,
        closing(spread(crop_field, work, items, ordered=False)) as cropped,
    ):
        if known := len(fields) - len(missing):
            say(f"{title}: {known:,} of {len(fields):,} fields were cropped before")
            advance(known)
        for index, error in cropped:
            if error is not None and not job.keep_going:
                raise DataError(f"{error} {LEAVE_OUT}")
            if error is not None:
                errors[index] = error
            advance(1)
    return errors


def crop_field(work: _Work, index: int, field: Field) -> tuple[int, str | None]:
    """Write the part of one field; return its place, and why it gave none."""
    try:
        part = _cropped(work, field)
    except DataError as error:
        return index, str(error)
    work.parts.write(index, part)
    return index, None


def _cropped(work: _Work, field: Field) -> FieldPart:
    settings = work.settings
    raw = read_field(field, settings)
    counts = raw if work.light is None else correct(raw, work.light)
    segment = segmenter(settings.segmenter).segment
    nucleus = counts[1].astype(np.float32)
    labels = segment(nucleus, settings.image_pixel_um, settings.size, field)
    cells = cut_cells(counts, labels, settings)
    figures = field_figures(raw, labels, cells, settings, corrected=counts)
    return FieldPart(cells, labels, figures)
