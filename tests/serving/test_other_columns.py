"""Tables given to `predict` that hold more than cells: wells are ignored, doubts are named."""

import numpy as np
import pandas as pd
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.serving.decoding import as_images


@pytest.fixture
def rows(cells) -> list[np.ndarray]:
    return list(cells.reshape(len(cells), -1))


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
}


@pytest.mark.parametrize("case", FRAMES)
def test_an_index_or_a_well_column_beside_the_cells_is_ignored(cells, rows, case):
    np.testing.assert_array_equal(as_images(FRAMES[case](rows), 64), cells)


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
    with pytest.raises(DataError, match=named):
        as_images(pd.DataFrame(made(rows)), 64)


def test_a_column_name_cannot_write_the_sentence(rows):
    frame = pd.DataFrame({"a\n\x1b[2J" + "b" * 10_000: rows, "c": rows})
    with pytest.raises(DataError) as refused:
        as_images(frame, 64)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 300
