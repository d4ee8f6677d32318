"""Tables that hold more than cells: indices and wells are ignored, doubts are named."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.serving.decoding import as_images, decode
from coos_mlflow.serving.limits import PARQUET


@pytest.fixture
def rows(cells) -> list[np.ndarray]:
    return list(cells.reshape(len(cells), -1))


def parquet(frame: pd.DataFrame) -> bytes:
    return frame.to_parquet()


FRAMES = {
    "an index of numbers": lambda rows: pd.DataFrame({"cell": rows}, index=range(12, 0, -1)),
    "an index of text": lambda rows: pd.DataFrame({"cell": rows}, index=list("abcdefghijkl")),
    "an index of wells": lambda rows: pd.DataFrame(
        {"Metadata_Well": "B02", "cell": rows}
    ).set_index("Metadata_Well"),
    "wells before": lambda rows: pd.DataFrame({"Metadata_Well": "B02", "cell": rows}),
    "wells as categories": lambda rows: pd.DataFrame(
        {"Metadata_Well": pd.Categorical(["B02"] * 12), "cell": rows}
    ),
    "all kinds": lambda rows: pd.DataFrame(
        {"label": 3, "none": None, "cell": rows, "day": pd.Timestamp(0), "sure": True, "p": 0.5}
    ),
    "intervals, two columns of Parquet": lambda rows: pd.DataFrame(
        {"between": pd.interval_range(0, len(rows)), "cell": rows}
    ),
    "a name with a dot": lambda rows: pd.DataFrame({"cell.counts": rows, "cell": "B02"}),
}


@pytest.mark.parametrize("case", FRAMES)
def test_an_index_or_a_well_column_beside_the_cells_is_ignored(cells, rows, case):
    frame = FRAMES[case](rows)
    np.testing.assert_array_equal(decode(parquet(frame), PARQUET), cells)
    np.testing.assert_array_equal(as_images(frame), cells)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (
            lambda rows: {"Metadata_Well": "B02", "protein": rows, "nucleus": rows},
            "columns 'protein', 'nucleus' of lists found, .*; drop the others",
        ),
        (lambda _: {"Metadata_Well": ["B02"], "label": [1]}, "columns 'Metadata_Well', 'label' f"),
        (
            lambda _: {f"pixel_{i}": [i] for i in range(64)},
            "'pixel_4' and 59 more found, expected one column of flat lists of 8,192",
        ),
        (lambda _: {}, "no column found, expected one column"),
    ],
)
def test_a_table_in_which_the_cells_cannot_be_told_has_its_columns_named(rows, made, named):
    frame = pd.DataFrame(made(rows))
    for read in (lambda: decode(parquet(frame), PARQUET), lambda: as_images(frame)):
        with pytest.raises(DataError, match=named):
            read()


def test_a_column_name_cannot_write_the_sentence(rows):
    frame = pd.DataFrame({"a\n\x1b[2J" + "b" * 10_000: rows, "c": rows})
    with pytest.raises(DataError) as refused:
        decode(parquet(frame), PARQUET)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 300


def table_with(name: str, column: pa.Array, rows: list[np.ndarray]) -> bytes:
    sink = io.BytesIO()
    both = pa.Table.from_arrays([column, pa.array(rows)], [name, "cell.counts"])
    pq.write_table(both, sink, compression="zstd")
    return sink.getvalue()


def long_texts(rows) -> pa.Array:
    """A text of 60 MB for each cell."""
    return pa.DictionaryArray.from_arrays(np.zeros(len(rows), "i4"), pa.array(["x" * 60_000_000]))


def test_a_column_that_would_take_much_memory_is_not_read(cells, rows, taken):
    body = table_with("well", long_texts(rows), rows)
    assert len(body) < 2**20
    before = taken()
    np.testing.assert_array_equal(decode(body, PARQUET), cells)
    assert taken() - before < 5 * 2**20
    pq.ParquetFile(pa.BufferReader(body)).read()
    assert taken() - before > 60_000_000


ALIKE = {
    "of the same name": lambda texts: ("cell.counts", texts),
    "part of a struct": lambda texts: ("cell", pa.StructArray.from_arrays([texts], ["counts"])),
}


@pytest.mark.parametrize("case", ALIKE)
def test_a_column_that_arrow_would_read_as_the_cells_is_refused(rows, case, taken):
    body = table_with(*ALIKE[case](long_texts(rows)), rows)
    before = taken()
    with pytest.raises(DataError, match=r"'cell\.counts' cannot be told from others"):
        decode(body, PARQUET)
    assert taken() - before < 5 * 2**20
    pq.ParquetFile(pa.BufferReader(body)).read(columns=["cell.counts"])
    assert taken() - before > 60_000_000
