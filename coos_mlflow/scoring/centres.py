"""The table of cells by their place in the images: centres.csv, for CellProfiler and FIJI."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from coos_mlflow.plates.reader import Plate

COLUMNS = {
    "field": "Metadata_Field",
    "time": "Metadata_Time",
    "object": "ObjectNumber",
    "centre_x": "Location_Center_X",
    "centre_y": "Location_Center_Y",
}
"""Column of centres.csv for each measurement of a plate file, under CellProfiler's names."""


def write_centres(plate: Plate, predictions: Path, path: Path) -> None:
    """Write where each cell lies in its field, with its class, if the plate file says so.

    Parameters
    ----------
    plate : Plate
        With the measurements of `coos crop`; nothing is written for another.
    predictions : Path
        The table of predictions of all cells of the plate.
    path : Path
        The CSV to write. Centres are in pixels of the field, 0 in the middle of the first.
    """
    if not set(COLUMNS) <= set(plate.measurements):
        return
    names = ("Metadata_Index", "Metadata_Plate", "Metadata_Well", "class_name", "confidence")
    table = pq.read_table(predictions, columns=list(names)).to_pandas()
    places = {title: plate.measurements[name] for name, title in COLUMNS.items()}
    columns = [*names[:3], *places, *names[3:]]
    joined = table.assign(**places)[columns]
    joined.round({"Location_Center_X": 4, "Location_Center_Y": 4, "confidence": 4}).to_csv(
        path, index=False, lineterminator="\n"
    )


def read_places(plate: Plate) -> pd.DataFrame:
    """Return plate, well, field, time and object number of each cell, one row a cell."""
    assert plate.plates is not None and plate.wells is not None
    measured = {name: plate.measurements[name] for name in ("field", "time", "object")}
    return pd.DataFrame({"plate": plate.plates, "well": plate.wells, **measured})
