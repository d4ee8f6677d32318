"""Plain TIFFs, one for each channel of a field, that ImageJ and CellProfiler open.

``B03_f1_DAPI.tif`` holds the counts, ``masks/B03_f1.tif`` the label image. The pixel size stands in
the resolution tags. Images that are simulated say so in their description, by `SIMULATED`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Channel
from coos_mlflow.fields.sources._stacks import SIMULATED
from coos_mlflow.fields.writers.base import PlateFacts, Writer, WrittenField, position

MASKS = "masks"


def write(folder: Path, fields: Iterable[WrittenField], facts: PlateFacts) -> None:
    """Write the images and masks; see `Writer.write`."""
    names = channel_names(facts.channels)
    marks = dict([SIMULATED.split("=")]) if facts.simulated else {}
    for field in fields:
        stem = f"{position(field.well).name}_f{field.number}"
        for name, counts in zip(names, field.counts, strict=True):
            _write(folder / f"{stem}_{name}.tif", counts, facts, imagej=True, metadata=marks)
        if field.labels is not None:
            (folder / MASKS).mkdir(exist_ok=True)
            description = SIMULATED if facts.simulated else None
            labels = smallest_labels(field.labels)
            _write(folder / MASKS / f"{stem}.tif", labels, facts, description=description)


def channel_names(channels: Sequence[Channel]) -> list[str]:
    """Return names of channels for names of files, of letters and digits alone.

    Other characters would separate the parts of a name.

    Raises
    ------
    DataError
        When two become the same.
    """
    names = [re.sub(r"[^0-9A-Za-z]+", "", one.name) or "channel" for one in channels]
    if len({name.lower() for name in names}) < len(names):
        raise DataError(f"channels {', '.join(names)} found, expected names that differ.")
    return names


def smallest_labels(labels: np.ndarray) -> np.ndarray:
    """Return labels as uint16 where they fit, which more programs read, else as uint32."""
    return labels.astype(np.uint16 if labels.max(initial=0) < 2**16 else np.uint32)


def _write(path: Path, image: np.ndarray, facts: PlateFacts, **options: Any) -> None:
    per_unit = 1 / facts.pixel_size_um
    if options.get("imagej"):
        options["metadata"] = options["metadata"] | {"unit": "um"}
        unit = None
    else:
        options["metadata"] = None
        per_unit, unit = 1e4 * per_unit, "CENTIMETER"
    tifffile.imwrite(
        path,
        np.ascontiguousarray(image),
        photometric="minisblack",
        software="coos_mlflow",
        resolution=(per_unit, per_unit),
        resolutionunit=unit,
        **options,
    )


_NAMES = re.compile(rf"[A-Z]{{1,2}}\d\d_f\d+_[0-9A-Za-z]+\.tif|{MASKS}")

WRITER = Writer("plain TIFFs with masks", _NAMES, write)
