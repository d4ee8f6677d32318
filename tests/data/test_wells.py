"""Spellings of wells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coos_mlflow.data.wells import (
    Well,
    opaque_ids,
    parse_well,
    well_names,
    well_positions,
)


@pytest.mark.parametrize(
    ("well_id", "well"),
    [
        ("012003000", Well(12, 3, 0)),
        ("001001007", Well(1, 1, 7)),
        ("016024999", Well(16, 24, 999)),
        ("B03", Well(2, 3)),
        ("b3", Well(2, 3)),
        ("B003", Well(2, 3)),
        (" P24 ", Well(16, 24)),
    ],
)
def test_understood(well_id: str, well: Well) -> None:
    assert parse_well(well_id) == well


@pytest.mark.parametrize(
    "well_id",
    ["", "017003000", "000003000", "012025000", "012000000", "12003000", "0120030001", "Q03",
     "B25", "B0", "B0003", "BB3", "1", "٠١٢٠٠٣٠٠٠", "B03f1", "\\x00"],
)  # fmt: skip
def test_opaque(well_id: str) -> None:
    assert parse_well(well_id) is None


@given(st.integers(1, 16), st.integers(1, 24), st.integers(0, 999))
def test_every_spelling_of_a_well_has_one_name(row: int, column: int, field: int) -> None:
    letter = "ABCDEFGHIJKLMNOP"[row - 1]
    spellings = [f"{row:03d}{column:03d}{field:03d}", f"{letter}{column}", f"{letter}{column:02d}"]
    assert set(well_names(np.array(spellings))) == {f"{letter}{column:02d}"}


@given(st.text())
def test_any_text_is_a_well_or_a_name(text: str) -> None:
    well = parse_well(text)
    assert well is None or parse_well(well.name) == Well(well.row, well.column)


def test_columns_of_ids() -> None:
    ids = np.array(["012003000", "mitochondria", "012003001", "b3", "mitochondria"])
    assert well_names(ids).tolist() == ["L03", "mitochondria", "L03", "B03", "mitochondria"]
    rows, columns = well_positions(ids)
    assert rows.tolist() == [12, 0, 12, 2, 0]
    assert columns.tolist() == [3, 0, 3, 3, 0]
    assert opaque_ids(ids) == ["mitochondria"]


def test_no_ids() -> None:
    rows, columns = well_positions(np.array([], dtype=str))
    assert well_names(np.array([], dtype=str)).size == rows.size == columns.size == 0
