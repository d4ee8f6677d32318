"""Small simulated plates of images for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coos_mlflow.fields.plate_images import Channel
from coos_mlflow.fields.writers import WrittenField, write_plate
from coos_mlflow.simulate.whole_fields import WholeField, simulate_fields

CHANNELS = (Channel("GFP", 488.0, 510.0), Channel("DRAQ5", 640.0, 680.0))


def simulated_fields(**asked: Any) -> list[WholeField]:
    """Return simulated fields: by default 2 classes, a well of each, 2 fields of 320 pixels."""
    defaults = {
        "classes": [0, 6],
        "wells_per_class": 1,
        "fields_per_well": 2,
        "size": (320, 320),
        "seed": 3,
        "jobs": 1,
    }
    return list(simulate_fields(**defaults | asked))


def written(folder: Path, fields: list[WholeField], kind: str = "tiff") -> Path:
    """Write simulated fields as a plate, and return its folder."""
    return write_plate(
        folder,
        [WrittenField(f.plate, f.well, f.number, f.counts, f.labels) for f in fields],
        format=kind,
        channels=CHANNELS,
        pixel_size_um=fields[0].pixel_size_um,
        shape=(16, 24),
        simulated=True,
    )
