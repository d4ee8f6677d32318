"""Cropping whole simulated fields against reading them alone, and against StarDist if it is there.

A cropping lasts from the plate's folder to the plate file and its page, on all cores. Fields are
1080 x 1080 pixels at 40x with the usual number of cells, packed by LZW as an Opera Phenix packs
them. The ratio is the share of the whole that reading alone would take.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import tifffile

from benches import in_turn
from coos_mlflow.cropping.crop import crop_plate
from coos_mlflow.cropping.plan import CellShape, CropOptions, OpenedImages, open_plate_images, plan
from coos_mlflow.fields.plate_images import Channel, PlateImages
from coos_mlflow.fields.reading import read_field
from coos_mlflow.fields.segmenters import segmenter
from coos_mlflow.fields.settings import CropSettings
from coos_mlflow.fields.writers import WrittenField, write_plate
from coos_mlflow.simulate.microscope import PIXEL_UM
from coos_mlflow.simulate.whole_fields import simulate_fields

CELLS = CellShape("COOS-7", 64, PIXEL_UM)
WHOLE_PLATE = 384 * 10
"""Fields of a plate of 384 wells, to which the measured speed is scaled."""


def run(cells: int = 12_000, rounds: int = 2) -> dict[str, Any]:
    """Crop about `cells` cells."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        opened = _opened(folder / "plate", max(1, cells // 450))
        images = opened.images
        job = plan(opened, folder / "cells.h5", CELLS, CropOptions(), force=True)
        found: list[int] = []

        def read() -> None:
            for field in images.fields:
                read_field(field, job.settings)

        def crop() -> None:
            found.append(crop_plate(job).facts["totals"]["cells"])

        crop()
        reading, cropping = in_turn([read, crop], rounds)
        stages = _stages(images, job.settings)
    n_fields = len(images.fields)
    print(
        f"{n_fields} fields, {found[0]:,} cells: reading {n_fields / reading:,.1f} fields/s, "
        f"cropping {n_fields / cropping:,.2f} fields/s and {found[0] / cropping:,.0f} cells/s, "
        f"ratio {reading / cropping:.3f}"
    )
    return {
        "ratio": round(reading / cropping, 3),
        "fields": n_fields,
        "cells": found[0],
        "fields_per_second": round(n_fields / cropping, 2),
        "cells_per_second": round(found[0] / cropping),
        "minutes_of_384_wells_of_10_fields": round(WHOLE_PLATE * cropping / n_fields / 60, 1),
        "milliseconds_of_a_field": stages,
    }


def _opened(folder: Path, n_fields: int) -> OpenedImages:
    fields = simulate_fields(
        classes=[0], wells_per_class=1, fields_per_well=n_fields, size=(1080, 1080), seed=11
    )
    write_plate(
        folder,
        (WrittenField(f.plate, f.well, f.number, f.counts) for f in fields),
        format="harmony",
        channels=(Channel("GFP"), Channel("DRAQ5")),
        pixel_size_um=PIXEL_UM,
        shape=(16, 24),
        simulated=True,
    )
    for path in folder.rglob("r*.tiff"):
        tifffile.imwrite(path, tifffile.imread(path), compression="lzw")
    return open_plate_images(str(folder), CropOptions())


def _stages(images: PlateImages, settings: CropSettings) -> dict[str, float]:
    """Return the milliseconds that each stage of a field takes, on one core."""
    from coos_mlflow.fields.cells import cut_cells
    from coos_mlflow.fields.quality import field_figures

    field = images.fields[0]
    marks = [time.perf_counter()]
    counts = read_field(field, settings)
    marks.append(time.perf_counter())
    nucleus = counts[1].astype("float32")
    segment = segmenter(settings.segmenter).segment
    labels = segment(nucleus, settings.image_pixel_um, settings.size, field)
    marks.append(time.perf_counter())
    cells = cut_cells(counts, labels, settings)
    marks.append(time.perf_counter())
    field_figures(counts, labels, cells, settings)
    marks.append(time.perf_counter())
    names = ("read", "segment", "cut", "quality")
    return {
        name: round(1000 * (end - start), 1)
        for name, start, end in zip(names, marks, marks[1:], strict=False)
    }
