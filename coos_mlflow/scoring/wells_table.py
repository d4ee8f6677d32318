"""Write the table of wells: one row a well, as Parquet and as CSV.

Every number of it is in drift.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from coos_mlflow.drift.wells import TOO_FEW
from coos_mlflow.plates.wells import OPAQUE, parse_well
from coos_mlflow.registry.results import WELLS, WELLS_CSV
from coos_mlflow.scoring.layout_columns import LayoutColumns

SEPARATOR = "; "
"""Between the warnings of a well."""


def schema_of(n_classes: int) -> pa.Schema:
    """Return the columns of the table for a number of classes.

    Names are those of the predictions where both have them. Cells are those that count: neither
    unusable nor copies. Label, class_name, probability and disagree are null where wells are
    mixtures. The 95 % interval of share_0 runs from share_0_low to share_0_high.
    """
    shares = [f"share_{label}{end}" for label in range(n_classes) for end in ("", "_low", "_high")]
    return pa.schema(
        [
            ("Metadata_Plate", pa.string()),
            ("Metadata_Well", pa.string()),
            ("Metadata_Row", pa.int16()),
            ("Metadata_Column", pa.int16()),
            ("cells", pa.int64()),
            ("label", pa.int8()),
            ("class_name", pa.dictionary(pa.int8(), pa.string())),
            ("probability", pa.float64()),
            ("disagree", pa.float64()),
            *((name, pa.float64()) for name in shares),
            ("confidence", pa.float64()),
            ("distance", pa.float64()),
            ("warning", pa.string()),
        ]
    )


def wells_table(
    drift: dict[str, Any], empty: list[tuple[str, str]], columns: LayoutColumns
) -> pa.Table:
    """Return one row a well, in the order of plates and wells.

    Parameters
    ----------
    drift : dict
        Content of drift.json.
    empty : list of (str, str)
        Plates and names of wells none of whose cells count; they are not in drift.json.
    columns : LayoutColumns
    """
    names = [one["name"] for one in drift["dataset"]["classes"]]
    schema = schema_of(len(names))
    rows = {(well["plate"], well["well"]): _row(well) for well in drift["wells"]}
    rows |= {pair: _empty_row(*pair) for pair in empty}
    wells = sorted(rows)
    table = {name: [rows[well].get(name) for well in wells] for name in schema.names}
    label = pa.array(table.pop("label"), pa.int8())
    table.pop("class_name")
    made = {name: pa.array(values, schema.field(name).type) for name, values in table.items()}
    made |= {"label": label, "class_name": pa.DictionaryArray.from_arrays(label, names)}
    batch = pa.record_batch([made[name] for name in schema.names], schema=schema)
    return pa.Table.from_batches([columns.joined(batch, wells)])


def write_wells(table: pa.Table, folder: Path, facts: dict[str, str]) -> None:
    """Write the table into a folder.

    Parameters
    ----------
    table : pyarrow.Table
    folder : Path
    facts : dict of str to str
        Kept as the Parquet file's metadata, as in the predictions.
    """
    pq.write_table(table.replace_schema_metadata(facts), folder / WELLS, compression="zstd")
    at = table.schema.get_field_index("class_name")
    text = table.set_column(at, "class_name", table.column(at).cast(pa.string()))
    csv.write_csv(text, folder / WELLS_CSV)


def _row(well: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a well of drift.json by column."""
    shares = zip(well["shares"], well["share_lows"], well["share_highs"], strict=True)
    return {
        **_place(well["plate"], well["well"], well["row"], well["column"]),
        "cells": well["n_cells"],
        **{
            f"share_{label}{end}": value
            for label, three in enumerate(shares)
            for end, value in zip(("", "_low", "_high"), three, strict=True)
        },
        **{name: well[name] for name in ("label", "probability", "disagree")},
        **{name: well[name] for name in ("confidence", "distance")},
        "warning": SEPARATOR.join(well["warnings"]) or None,
    }


def _empty_row(plate: str, well: str) -> dict[str, Any]:
    place = parse_well(well)
    position = (place.row, place.column) if place else (OPAQUE, OPAQUE)
    return _place(plate, well, *position) | {"cells": 0, "warning": TOO_FEW}


def _place(plate: str, well: str, row: int, column: int) -> dict[str, Any]:
    return {
        "Metadata_Plate": plate or None,
        "Metadata_Well": well,
        "Metadata_Row": None if row == OPAQUE else row,
        "Metadata_Column": None if column == OPAQUE else column,
    }
