"""Write the table of predictions: one row a cell, as Parquet, block by block."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coos_mlflow.plates.flags import COPY, FLAGS, USABLE
from coos_mlflow.plates.schema import Origins
from coos_mlflow.plates.wells import OPAQUE, well_positions
from coos_mlflow.scoring.layout_columns import LayoutColumns

BATCH = 512
"""Cells that a model scores together, 8 MB of counts at 64 pixels.

The last digits of a network's probabilities depend on this number.
"""


def schema_of(n_classes: int) -> pa.Schema:
    """Return the columns of the table for a number of classes.

    Names follow CellProfiler and pycytominer: Metadata_ marks non-features. Plate and well are null
    if the file has no ids. Row and column count from 1, and are null if the well's id does not give
    them. Confidence is the largest of the probabilities p_0, p_1, ... Flag is null for most cells,
    else one of `coos_mlflow.plates.flags.FLAGS`. Unusable cells have no label, no probabilities and
    no confidence; copies have them.
    """
    return pa.schema(
        [
            ("Metadata_Index", pa.int64()),
            ("Metadata_Plate", pa.string()),
            ("Metadata_Well", pa.string()),
            ("Metadata_Row", pa.int16()),
            ("Metadata_Column", pa.int16()),
            ("label", pa.int8()),
            ("class_name", pa.dictionary(pa.int8(), pa.string())),
            *((f"p_{label}", pa.float32()) for label in range(n_classes)),
            ("confidence", pa.float32()),
            ("flag", pa.dictionary(pa.int8(), pa.string())),
        ]
    )


class PredictionWriter:
    """Write predictions of consecutive cells; a context manager.

    Parameters
    ----------
    path : Path
        The Parquet file.
    class_names : sequence of str
    facts : dict of str to str
        Kept as the file's metadata: model, plate digest, whether anything is simulated.
    columns : LayoutColumns
        Further columns.
    """

    def __init__(
        self,
        path: Path,
        class_names: Sequence[str],
        facts: dict[str, str],
        columns: LayoutColumns,
    ):
        self._class_names, self._columns = class_names, columns
        self._schema = columns.schema(schema_of(len(class_names))).with_metadata(facts)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def add(self, origins: Origins, probabilities: np.ndarray, flags: np.ndarray) -> None:
        """Append a row group with the next cells; see `prediction_table`."""
        rows = prediction_table(origins, probabilities, flags, self._class_names)
        plates, wells = (ids.tolist() for ids in names_of(origins))
        rows = self._columns.joined(rows, list(zip(plates, wells, strict=True)))
        self._writer.write_batch(rows.replace_schema_metadata(self._schema.metadata))

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()


def read_predictions(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read what `PredictionWriter.add` was given, row group by row group.

    Yields
    ------
    probabilities : ndarray of float32, shape (n, classes)
        NaN for unusable cells.
    flags : ndarray of int8, shape (n,)
    """
    with pq.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if re.fullmatch(r"p_\d+", name)]
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, [*names, "flag"])
            probabilities = np.stack([rows[name].to_numpy() for name in names], axis=1)
            flags = rows["flag"].cast(pa.string()).to_pylist()
            numbers = [FLAGS.index(flag) if flag else USABLE for flag in flags]
            yield probabilities, np.array(numbers, np.int8)


def names_of(origins: Origins) -> tuple[np.ndarray, np.ndarray]:
    """Return the plates and wells of cells; empty names where the file has no ids."""
    nameless = np.full(len(origins), "")
    return (
        nameless if origins.plates is None else origins.plates,
        nameless if origins.wells is None else origins.wells,
    )


def prediction_table(
    origins: Origins, probabilities: np.ndarray, flags: np.ndarray, class_names: Sequence[str]
) -> pa.RecordBatch:
    """Return one row a cell, with the columns of `schema_of`.

    Parameters
    ----------
    origins : Origins
    probabilities : ndarray, shape (n, classes)
        Values of unusable cells are ignored.
    flags : ndarray of int8, shape (n,)
        Indices into `coos_mlflow.plates.flags.FLAGS`.
    class_names : sequence of str
    """
    labels = probabilities.argmax(axis=1).astype(np.int8)
    unusable = (flags != USABLE) & (flags != COPY)
    columns = [labels, *probabilities.astype(np.float32).T, probabilities.max(axis=1)]
    label, *numbers = (pa.array(column, mask=unusable) for column in columns)
    arrays = [
        pa.array(origins.indices, pa.int64()),
        _strings(origins.plates, len(origins)),
        *_places(origins.wells, len(origins)),
        label,
        pa.DictionaryArray.from_arrays(label, list(class_names)),
        *(column.cast(pa.float32()) for column in numbers),
        pa.DictionaryArray.from_arrays(
            pa.array(flags - 1, pa.int8(), mask=flags == USABLE), list(FLAGS[1:])
        ),
    ]
    return pa.record_batch(arrays, schema_of(len(class_names)))


def _strings(ids: np.ndarray | None, n: int) -> pa.Array:
    keys = [None] * n if ids is None else [key or None for key in ids.tolist()]
    return pa.array(keys, pa.string())


def _places(wells: np.ndarray | None, n: int) -> list[pa.Array]:
    """Return the columns of well names, plate rows and plate columns."""
    if wells is None:
        return [pa.nulls(n, pa.string()), pa.nulls(n, pa.int16()), pa.nulls(n, pa.int16())]
    positions = (
        pa.array(axis.astype(np.int16), pa.int16(), mask=axis == OPAQUE)
        for axis in well_positions(wells)
    )
    return [_strings(wells, n), *positions]
