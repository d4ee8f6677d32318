"""Cells in Parquet: a column of flat lists, whose claims are checked before it is unpacked.

Other columns, such as the index of a pandas table or wells, are never read.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coos_mlflow.errors import DataError
from coos_mlflow.plates.schema import CELL_SHAPE
from coos_mlflow.serving.limits import (
    COUNTS,
    MAX_CELLS,
    WHERE,
    RefusedRequestError,
    check_count,
    column_of_cells,
    listed,
)
from coos_mlflow.serving.parquet_pages import pages

_THRIFT_BYTES, _THRIFT_ENTRIES = 2**18, 2 * MAX_CELLS
"""Of the header of a Parquet file; that of a table of one column takes a few kilobytes."""

_MOST_FOOTER = 2**18
"""Bytes: of a row group for each cell it is 0.2 MB; what is read of it takes 230 times as much."""

_MOST_PAGES = 8 * MAX_CELLS
"""A cell of 8-byte numbers in pages of 8 kB; looking at so many takes a third of a second."""

_MOST_UNPACKED = 2 * 8 * COUNTS * MAX_CELLS
"""Bytes of all pages: numbers of eight bytes, and as much again for a dictionary."""

_ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError)


def from_parquet(body: bytes) -> np.ndarray:
    """Return the numbers in a table's one column of flat lists, (n, 2, 64, 64) of their dtype.

    Raises
    ------
    DataError
        Naming the first cell that is none; `RefusedRequestError` for what is no such table.
    """
    try:
        _check_footer(body)
        file = pq.ParquetFile(
            pa.BufferReader(body),
            thrift_string_size_limit=_THRIFT_BYTES,
            thrift_container_size_limit=_THRIFT_ENTRIES,
            arrow_extensions_enabled=False,
        )
        schema = file.schema_arrow
        place = column_of_cells(schema.names, [_is_list(field.type) for field in schema])
        _check_type(schema.field(place).type)
        leaf = _leaf(file, schema.names[place])
        _check_claims(file.metadata, leaf)
        _check_pages(body, file.metadata, leaf)
        table = file.read(
            columns=[schema.names[place]], use_threads=False, use_pandas_metadata=False
        )
        return _unpack_lists(table.column(0).combine_chunks())
    except DataError:
        raise
    except _ARROW_ERRORS as error:
        raise RefusedRequestError(
            f"{WHERE}: no Parquet file that can be read, expected one of one column of flat lists "
            f"of {COUNTS:,} counts."
        ) from error


def _check_type(kind: pa.DataType) -> None:
    of_numbers = _is_list(kind) and (
        pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)
    )
    if not of_numbers:
        raise DataError(
            f"{WHERE}: a column of {str(kind)[:60]} found, expected flat lists of {COUNTS:,} "
            "counts."
        )


def _leaf(file: pq.ParquetFile, name: str) -> int:
    """Return the place of the column of cells among Parquet's own, of which a struct has several.

    Arrow reads every column that a name may stand for: a second column of that name, and for
    "cell.well" also the part "well" of a struct "cell". The pages of those were not checked. A path
    does not tell a part from a dot, so all names that begin alike are refused.
    """
    paths = [file.schema.column(i).path for i in range(file.metadata.num_columns)]
    leaves = [i for i, path in enumerate(paths) if f"{path}.".startswith(f"{name}.")]
    if len(leaves) != 1:
        raise DataError(
            f"{WHERE}: {listed('column', [name])} cannot be told from others whose names begin "
            "alike, expected one column of flat lists; drop the others."
        )
    return leaves[0]


def _check_claims(claims: pq.FileMetaData, leaf: int) -> None:
    """Refuse by the file's header, before a value is unpacked, other counts than those of cells."""
    if claims.num_rows < 1:
        raise DataError(f"{WHERE}: no cells found, expected at least one.")
    check_count(claims.num_rows)
    groups = [claims.row_group(i) for i in range(claims.num_row_groups)]
    if any(group.num_columns != claims.num_columns for group in groups):
        raise ValueError("row groups of other columns than the table")
    chunks = [group.column(leaf) for group in groups]
    values = sum(chunk.num_values for chunk in chunks)
    if values > COUNTS * claims.num_rows:
        raise DataError(
            f"{WHERE}: {values:,} values in {claims.num_rows:,} cells found, expected {COUNTS:,} "
            "(2 x 64 x 64) in each."
        )


def _check_footer(body: bytes) -> None:
    """Refuse a header that would take much more memory than its bytes, before it is read.

    Raises
    ------
    ValueError
    """
    if int.from_bytes(body[-8:-4], "little") > _MOST_FOOTER:
        raise ValueError("a header longer than that of a table of cells")


def _check_pages(body: bytes, claims: pq.FileMetaData, leaf: int) -> None:
    """Refuse pages that hold other than the header says, or more than memory should.

    Raises
    ------
    ValueError
    """
    unpacked = n_pages = reached = 0
    for group in range(claims.num_row_groups):
        chunk = claims.row_group(group).column(leaf)
        start = chunk.data_page_offset
        if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
            start = chunk.dictionary_page_offset
        if start < reached:
            raise ValueError("columns that share bytes")
        reached = start + chunk.total_compressed_size
        values = 0
        for page in pages(body, start, reached):
            n_pages += 1
            unpacked += page.unpacked
            values += page.values if page.is_data else 0
            if not 0 < page.values <= chunk.num_values:
                raise ValueError("a page larger than its column, or empty")
            if n_pages > _MOST_PAGES or unpacked > _MOST_UNPACKED:
                raise ValueError("pages that unpack to too much")
        if values != chunk.num_values:
            raise ValueError("pages that hold more or less than their column")


def _is_list(kind: pa.DataType) -> bool:
    return any(
        is_one(kind)
        for is_one in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    )


def _unpack_lists(column: pa.Array) -> np.ndarray:
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != COUNTS)
    if len(wrong):
        index = int(wrong[0])
        found = "missing" if lengths[index] < 0 else f"a list of {lengths[index]:,}"
        raise DataError(
            f"{WHERE}: cell {index} is {found}, expected a flat list of {COUNTS:,} counts "
            "(2 x 64 x 64)."
        )
    values = column.flatten()
    if values.null_count:
        index = int(pc.index(values.is_null(), True).as_py()) // COUNTS
        raise DataError(f"{WHERE}: cell {index} has a count that is missing (null or NaN).")
    return values.to_numpy(zero_copy_only=False).reshape(-1, *CELL_SHAPE)
