"""The columns of a plate layout, joined to tables of cells and of wells."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from coos_mlflow.plates.layout import PREFIX, Layout, Value
from coos_mlflow.plates.reader import Plate

_BEHIND = f"{PREFIX}Column"


class LayoutColumns:
    """Columns of a layout for the wells of an open plate file; none without a layout.

    Parameters
    ----------
    layout : Layout or None
    plate : Plate

    Raises
    ------
    DataError
        When the layout does not fit the plate (`Layout.lines`).
    """

    def __init__(self, layout: Layout | None, plate: Plate) -> None:
        self._layout = layout
        self._lines = {} if layout is None else layout.lines(plate)
        columns = () if layout is None else layout.columns
        self._fields = [
            pa.field(f"{PREFIX}{column.name}", pa.type_for_alias(column.dtype))
            for column in columns
        ]

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """Return a table's schema with the columns behind ``Metadata_Column``."""
        fields = list(schema)
        at = schema.get_field_index(_BEHIND) + 1
        return pa.schema([*fields[:at], *self._fields, *fields[at:]], metadata=schema.metadata)

    def joined(self, rows: pa.RecordBatch, wells: Sequence[tuple[str, str]]) -> pa.RecordBatch:
        """Return rows with the columns; `wells` has plate and well of each row."""
        at = rows.schema.get_field_index(_BEHIND) + 1
        lines = [self._lines.get(well) for well in wells]
        own = [
            pa.array([None if n is None else column.values[n] for n in lines], field.type)
            for field, column in zip(
                self._fields, () if self._layout is None else self._layout.columns, strict=True
            )
        ]
        arrays = [*rows.columns[:at], *own, *rows.columns[at:]]
        return pa.record_batch(arrays, schema=self.schema(rows.schema))

    def values(self, well: tuple[str, str]) -> dict[str, Value] | None:
        """Return the values of a well by column; None without a layout or a line."""
        if self._layout is None:
            return None
        return self._layout.values(self._lines.get(well))
