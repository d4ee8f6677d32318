"""The table of predictions: one row a cell, written as Parquet block by block."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coos_mlflow.data.cells import CLASSES, Origins
from coos_mlflow.data.wells import OPAQUE, well_positions

BATCH = 512
"""Cells that a model answers together, 8 MB of counts; a network's last digits depend on it."""

SCHEMA = pa.schema(
    [
        ("Metadata_Index", pa.int64()),
        ("Metadata_Plate", pa.string()),
        ("Metadata_Well", pa.string()),
        ("Metadata_Row", pa.int16()),
        ("Metadata_Column", pa.int16()),
        ("label", pa.int8()),
        ("class_name", pa.dictionary(pa.int8(), pa.string())),
        *((f"p_{label}", pa.float32()) for label in range(len(CLASSES))),
        ("confidence", pa.float32()),
    ]
)
"""Names as in profiles of CellProfiler and pycytominer, where Metadata_ marks what is no feature.

Plate and well are null where the file has no id of them; row and column, counted from 1, are null
where a well's id does not say them; confidence is the largest of p_0..p_6.
"""


class PredictionWriter:
    """Writes predictions of consecutive cells; a context manager.

    Parameters
    ----------
    path : Path
        The Parquet file.
    facts : dict of str to str
        Kept as the file's metadata: model, plate digest, whether anything is simulated.
    """

    def __init__(self, path: Path, facts: dict[str, str]):
        self._schema = SCHEMA.with_metadata(facts)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def add(self, origins: Origins, probabilities: np.ndarray) -> None:
        """Append a row group with the next cells; probabilities are (n, 7)."""
        rows = prediction_table(origins, probabilities)
        self._writer.write_batch(rows.replace_schema_metadata(self._schema.metadata))

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()


def prediction_table(origins: Origins, probabilities: np.ndarray) -> pa.RecordBatch:
    """Return one row a cell, as `SCHEMA` says; probabilities are (n, 7)."""
    labels = probabilities.argmax(axis=1).astype(np.int8)
    columns = [
        np.arange(origins.start, origins.start + len(origins)),
        _strings(origins.plates, len(origins)),
        *_places(origins.wells, len(origins)),
        labels,
        pa.DictionaryArray.from_arrays(labels, list(CLASSES)),
        *probabilities.astype(np.float32).T,
        probabilities.max(axis=1).astype(np.float32),
    ]
    arrays = [
        pa.array(column, field.type) if isinstance(column, np.ndarray) else column
        for column, field in zip(columns, SCHEMA, strict=True)
    ]
    return pa.record_batch(arrays, SCHEMA)


def _strings(ids: np.ndarray | None, n: int) -> pa.Array:
    keys = [None] * n if ids is None else [key or None for key in ids.tolist()]
    return pa.array(keys, pa.string())


def _places(wells: np.ndarray | None, n: int) -> list[pa.Array]:
    """Return names, rows and columns of wells."""
    if wells is None:
        return [pa.nulls(n, pa.string()), pa.nulls(n, pa.int16()), pa.nulls(n, pa.int16())]
    positions = (
        pa.array(axis.astype(np.int16), pa.int16(), mask=axis == OPAQUE)
        for axis in well_positions(wells)
    )
    return [_strings(wells, n), *positions]
