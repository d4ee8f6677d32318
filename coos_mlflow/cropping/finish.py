"""Turn the parts of all fields into a plate file, label images, a table of centres and a page."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coos_mlflow._utils.cluster import spread
from coos_mlflow._utils.files import whole_folder
from coos_mlflow._utils.progress import Advance, progress
from coos_mlflow.cropping.job import (
    CENTRES_CSV,
    DIGEST,
    FIELDS_HTML,
    FIELDS_JSON,
    MASKS,
    RESULTS,
    CropJob,
)
from coos_mlflow.cropping.parts import PartFolder
from coos_mlflow.errors import DataError
from coos_mlflow.fields.cells import EDGE, LARGE, SMALL, FieldCells
from coos_mlflow.fields.masks import mask_path, write_mask
from coos_mlflow.fields.plate_images import Field
from coos_mlflow.fields.quality import FIELD_RULES, WELL_RULES, Rule, compared, flags, well_figures
from coos_mlflow.fields.reading import read_field
from coos_mlflow.fields.settings import ALL, CropSettings
from coos_mlflow.plates.reader import PIXEL_SIZE
from coos_mlflow.plates.wells import parse_well
from coos_mlflow.plates.writer import PlateWriter
from coos_mlflow.reports.fields.figures import overlay_picture
from coos_mlflow.reports.fields.html import render_fields

OF_FIELD = "field"
"""Why nuclei of a field with a warning give no cells, where only good fields are kept."""

TYPICAL = "typical"
MAX_TYPICAL, MAX_OF_RULE = 12, 3
"""Fields that the page shows: so many without a warning, and so many for each warning."""

_COUNTS = ("n_cells", "n_touching", "n_dividing")

Key = tuple[str, str, int, int]


def finish(job: CropJob, parts: PartFolder, errors: dict[int, str]) -> dict[str, Any]:
    """Write all results of a job, and return the content of fields.json.

    Parameters
    ----------
    job : CropJob
    parts : PartFolder
        Holds a part of each field that is not in `errors`.
    errors : dict of int to str
        Why a field could not be read, by its place.

    Raises
    ------
    OutputError
        When results cannot be written. The plate file is written last.
    """
    entries = _entries(job, parts, errors)
    facts = _facts(job, entries)
    with whole_folder(job.folder, True, RESULTS) as folder:
        page = render_fields(facts, _overlays(job, parts, facts["overlays"]))
        (folder / FIELDS_HTML).write_text(page, encoding="utf-8")
        text = json.dumps(facts, indent=1, sort_keys=True, allow_nan=False)
        (folder / FIELDS_JSON).write_text(f"{text}\n", encoding="utf-8")
        with progress(f"Writing {job.out.name}", len(entries), "fields") as advance:
            _write_cells(job, parts, entries, folder, advance)
        if not facts["totals"]["cells"]:
            job.out.unlink(missing_ok=True)  # of an earlier cropping, which this one replaces
    return facts


def _entries(job: CropJob, parts: PartFolder, errors: dict[int, str]) -> list[dict[str, Any]]:
    """Return the entries of all fields in fields.json, in their order."""
    fields = job.images.fields
    facts = [None if index in errors else parts.facts(index) for index in range(len(fields))]
    figures: dict[int, dict[str, float]] = {}
    for plate in job.images.plates:
        places = [index for index, field in enumerate(fields) if field.plate == plate]
        measured = [part["figures"] if (part := facts[index]) else {} for index in places]
        figures |= dict(zip(places, compared(measured), strict=True))
    return [
        _place(field) | _entry(facts[index], figures[index], errors.get(index), job.settings.keep)
        for index, field in enumerate(fields)
    ]


def _entry(
    part: dict[str, Any] | None, figures: dict[str, float], error: str | None, keep: str
) -> dict[str, Any]:
    """Return what fields.json says of a field, from the facts of its part, None if it failed."""
    finite = {name: _finite(value) for name, value in figures.items()}
    broken = flags(finite, FIELD_RULES)
    kept = part is not None and (keep == ALL or not broken)
    nothing: dict[str, Any] = dict.fromkeys(_COUNTS, 0)
    counts = part or nothing | {"left_out": dict.fromkeys((EDGE, SMALL, LARGE), 0)}
    shown = counts if kept else nothing
    return {
        **{name: shown[name] for name in _COUNTS},
        "left_out": counts["left_out"] | {OF_FIELD: 0 if kept else counts["n_cells"]},
        "figures": finite,
        "flags": broken,
        "kept": kept,
        "error": error,
    }


def _place(field: Field) -> dict[str, Any]:
    return dict(zip(("plate", "well", "field", "time"), field.key, strict=True))


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _facts(job: CropJob, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the content of fields.json."""
    images, settings = job.images, job.settings
    of_well: dict[tuple[str, str], list[dict[str, Any]]] = {place: [] for place in images.wells}
    for entry in entries:
        of_well[entry["plate"], entry["well"]].append(entry)
    wells = [_well(*place, fields) for place, fields in of_well.items()]
    left_out: Counter[str] = Counter()
    for entry in entries:
        left_out.update(entry["left_out"])
    n_cells = sum(entry["n_cells"] for entry in entries)
    return job.facts | {
        "digest": job.digest,
        "location": Path(images.location).name or images.location,
        "plates": list(images.plates),
        "shape": images.shape,
        "pixel_size_um": settings.image_pixel_um,
        "channels": [vars(channel) for channel in images.channels],
        "roles": {"protein": settings.protein, "nucleus": settings.nucleus},
        "dataset": job.dataset,
        "rules": {"field": _rules(FIELD_RULES), "well": _rules(WELL_RULES)},
        "totals": {
            "wells": len(wells),
            "fields": len(entries),
            "failed": sum(entry["error"] is not None for entry in entries),
            "nuclei": n_cells + left_out.total(),
            "cells": n_cells,
            "left_out": dict(left_out),
            "touching": sum(entry["n_touching"] for entry in entries),
            "dividing": sum(entry["n_dividing"] for entry in entries),
        },
        "wells": wells,
        "fields": entries,
        "notes": [*images.notes, *job.notes],
        "warnings": list(job.warnings),
        "overlays": _chosen(entries),
    }


def _rules(rules: tuple[Rule, ...]) -> list[dict[str, Any]]:
    return [rule._asdict() for rule in rules]


def _well(plate: str, name: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    position = parse_well(name)
    figures = {key: _finite(value) for key, value in well_figures(fields).items()}
    return {
        "plate": plate,
        "well": name,
        "row": position.row if position else None,
        "column": position.column if position else None,
        "n_fields": len(fields),
        "n_failed": sum(field["error"] is not None for field in fields),
        "n_cells": sum(field["n_cells"] for field in fields),
        "figures": figures,
        "flags": flags(figures, WELL_RULES),
    }


def _chosen(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choose the fields that the page shows: the worst of each warning, and typical ones.

    Typical fields are spread evenly over the plate, so that all of its regions are seen.
    """
    chosen: dict[Key, str] = {}
    for rule in FIELD_RULES:
        broken = [entry for entry in entries if rule.key in entry["flags"]]
        broken.sort(key=lambda entry: entry["figures"][rule.figure], reverse=rule.above)
        for entry in broken[:MAX_OF_RULE]:
            chosen.setdefault(_key(entry), rule.key)
    good = [entry for entry in entries if entry["error"] is None and not entry["flags"]]
    steps = np.linspace(0, len(good) - 1, min(MAX_TYPICAL, len(good))).round().astype(int)
    for step in np.unique(steps):
        chosen.setdefault(_key(good[step]), TYPICAL)
    names = ("plate", "well", "field", "time")
    return [dict(zip(names, key, strict=True)) | {"why": why} for key, why in chosen.items()]


def _key(entry: dict[str, Any]) -> Key:
    return entry["plate"], entry["well"], entry["field"], entry["time"]


def _overlays(job: CropJob, parts: PartFolder, chosen: list[dict[str, Any]]) -> dict[Key, bytes]:
    """Draw the fields that the page shows."""
    places = {field.key: index for index, field in enumerate(job.images.fields)}
    items = [(places[_key(overlay)],) for overlay in chosen]
    shared = _Drawing(job.images.fields, job.settings, parts)
    with progress("Drawing fields", total=len(items), unit="fields") as advance:
        pictures = {}
        for key, picture in spread(_draw, shared, items, ordered=False):
            pictures[key] = picture
            advance(1)
    return pictures


class _Drawing(NamedTuple):
    """What every worker needs to draw a field."""

    fields: tuple[Field, ...]
    settings: CropSettings
    parts: PartFolder


def _draw(drawing: _Drawing, index: int) -> tuple[Key, bytes]:
    field, part = drawing.fields[index], drawing.parts.read(index)
    counts = read_field(field, drawing.settings)
    cells = set(part.cells.columns["object"].tolist())
    pixel_size = drawing.settings.image_pixel_um
    return field.key, overlay_picture(counts, part.labels, cells, pixel_size)


def _write_cells(
    job: CropJob,
    parts: PartFolder,
    entries: list[dict[str, Any]],
    folder: Path,
    advance: Advance,
) -> None:
    """Write the label images, the table of centres and, where there are cells, the plate file."""
    with ExitStack() as stack:
        path = folder / CENTRES_CSV
        file = stack.enter_context(path.open("w", newline="", encoding="utf-8"))
        table = csv.writer(file, lineterminator="\n")
        table.writerow(CENTRE_COLUMNS)
        n_cells = sum(entry["n_cells"] for entry in entries)
        writer = stack.enter_context(_plate_writer(job, parts, entries)) if n_cells else None
        for index, (field, entry) in enumerate(zip(job.images.fields, entries, strict=True)):
            advance(1)
            if entry["error"] is not None:
                continue
            part = parts.read(index)
            write_mask(mask_path(folder / MASKS, field, job.images.plates), part.labels)
            if writer is not None and entry["n_cells"]:
                _append(writer, field, part.cells)
                table.writerows(_centres(field, part.cells))


def _plate_writer(job: CropJob, parts: PartFolder, entries: list[dict[str, Any]]) -> PlateWriter:
    """Return the writer of the plate file.

    Raises
    ------
    DataError
        Where some fields hold whole numbers and others fractions.
    """
    settings = job.settings
    dtypes = {
        parts.facts(index)["dtype"]: index
        for index, entry in enumerate(entries)
        if entry["n_cells"]
    }
    if len(dtypes) > 1:
        first, second = (job.images.fields[index] for index in sorted(dtypes.values())[:2])
        raise DataError(
            f"{first} and {second}: {' and '.join(sorted(dtypes))} found, expected one kind of "
            "numbers; convert all images to 16 bit."
        )
    attrs: dict[str, Any] = {
        PIXEL_SIZE: settings.crop_pixel_um or settings.image_pixel_um,
        DIGEST: job.digest,
    }
    return PlateWriter(
        job.out,
        sum(entry["n_cells"] for entry in entries),
        crop=settings.crop,
        dtype=next(iter(dtypes)),
        attrs=attrs | ({"simulated": True} if job.images.simulated else {}),
        force=True,
    )


def _append(writer: PlateWriter, field: Field, cells: FieldCells) -> None:
    n = len(cells)
    writer.append(
        cells.images,
        plates=np.full(n, field.plate),
        wells=np.full(n, field.well),
        field=np.full(n, field.number),
        time=np.full(n, field.time),
        **cells.columns,
    )


CENTRE_COLUMNS = (
    *("Metadata_Plate", "Metadata_Well", "Metadata_Field", "Metadata_Time", "ObjectNumber"),
    *("Location_Center_X", "Location_Center_Y", "Area_um2"),
)
"""Columns of centres.csv. Centres are in pixels of the field, 0 in the middle of the first."""


def _centres(field: Field, cells: FieldCells) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a field's cells in the table of centres."""
    names = ("object", "centre_x", "centre_y", "area_um2")
    for number, x, y, area in zip(*(cells.columns[name].tolist() for name in names), strict=True):
        yield (*field.key, number, f"{x:.4f}", f"{y:.4f}", f"{area:.2f}")
