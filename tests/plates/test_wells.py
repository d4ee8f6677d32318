"""Spellings of wells."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coos_mlflow.plates.wells import (
    Well,
    parse_well,
    plate_size,
    read_wells,
    well_names,
    well_positions,
)


@pytest.mark.parametrize(
    ("well_id", "well"),
    [
        ("012003000", Well(12, 3, 0)),
        ("001001007", Well(1, 1, 7)),
        ("017025999", Well(17, 25, 999)),
        ("B03", Well(2, 3)),
        ("b3", Well(2, 3)),
        ("B003", Well(2, 3)),
        (" P24 ", Well(16, 24)),
        ("A25", Well(1, 25)),
        ("Q02", Well(17, 2)),
        ("AA1", Well(27, 1)),
        ("AF48", Well(32, 48)),
        ("r05c10", Well(5, 10)),
        ("r05c10f01", Well(5, 10, 1)),
        ("R5-C10", Well(5, 10)),
        ("Row 5 Column 10", Well(5, 10)),
        ("A01_s1", Well(1, 1, 1)),
        ("E - 10(fld 1)", Well(5, 10, 1)),
        ("E - 10", Well(5, 10)),
        ("E/10", Well(5, 10)),
        ("E/10/0", Well(5, 10, 0)),
        ("A-01", Well(1, 1)),
        ("WellE10", Well(5, 10)),
        ("Well_E10_Seq0001", Well(5, 10, 1)),
        ("well e10", Well(5, 10)),
        ("E10.0", Well(5, 10)),
        ("E10f3", Well(5, 10, 3)),
        ("E10 site 3", Well(5, 10, 3)),
        ("E10_03", Well(5, 10, 3)),
    ],
)
def test_understood(well_id: str, well: Well) -> None:
    assert parse_well(well_id) == well


@pytest.mark.parametrize(
    "well_id",
    ["", "033003000", "000003000", "012049000", "012000000", "0120030001", "AG01", "B49", "B0",
     "B0003", "BB3", "1", "101", "0510", "01234567", "٠١٢٠٠٣٠٠٠", "\\x00", "control 1",
     "A01_t1", "A01_", "2024-05-10", "05-10-01", "A01;B02", "r05c10p", "E10.5", "mitochondria"],
)  # fmt: skip
def test_opaque(well_id: str) -> None:
    assert well_names(np.array([well_id])).tolist() == [well_id]
    assert parse_well(well_id) is None


@pytest.mark.parametrize(
    ("folder", "spelling", "wells"),
    [
        ("harmony_phenix", r"r\d+c\d+f\d+p\d+", ["A01"]),
        ("imagexpress_faim/ImageXpress_exported", r"[A-P]\d\d_s\d_w\d", ["B02", "B03"]),
        ("metaxpress_md_embl", r"[A-P]\d\d_s\d", ["A01", "A02"]),
        ("imagexpress_faim/CV8000", r"[A-P]\d\d_T\d+F\d+L\w+", ["D08", "E03", "F08"]),
        ("bbbc014_tiff", r"[A-P]-\d\d-\d\d", ["A01", "A12"]),
    ],
)
def test_wells_and_fields_in_file_names_of_real_instruments(shared_file, folder, spelling, wells):
    """Each instrument's own spelling stands in the names of its images."""
    names = [file.name for file in shared_file(f"real/fields/{folder}").rglob("*.*")]
    ids = [found[0] for name in names if (found := re.search(spelling, name))]
    assert sorted(set(well_names(np.array(ids)))) == wells


@given(st.integers(1, 32), st.integers(1, 48), st.integers(0, 999))
def test_every_spelling_of_a_well_has_one_name(row: int, column: int, field: int) -> None:
    letters = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "AA", "AB", "AC", "AD", "AE", "AF"][row - 1]
    nine = f"{row:03d}{column:03d}{field:03d}"
    spellings = [
        nine,
        nine.lstrip("0"),
        f"{letters}{column}",
        f"{letters}{column:02d}",
        f"{letters.lower()}-{column}",
        f"{letters}{column:02d}_s{field}",
        f"r{row:02d}c{column:02d}f{field:02d}",
        f"{letters} - {column}(fld {field} wv Green - dsRed)",
        f"{letters}/{column}/{field}",
        f"Well{letters}{column:02d}_Seq{field:04d}",
    ]
    assert set(well_names(np.array(spellings))) == {f"{letters}{column:02d}"}


@given(st.lists(st.text() | st.from_regex(r"[(]?\d{1,2}[-,]\d{1,2}[)]?", fullmatch=True)))
def test_any_text_is_a_well_or_a_name_and_names_stay(ids: list[str]) -> None:
    names = well_names(np.array(ids, dtype=str))
    assert well_names(names).tolist() == names.tolist()
    for name, row, column in zip(names.tolist(), *well_positions(names), strict=True):
        assert (row == 0) == (column == 0)
        assert row == 0 or Well(int(row), int(column)).name == name


def test_the_fields_of_a_well_are_one_well() -> None:
    """56 wells of four fields each, as Harmony writes them."""
    ids = [f"r{r:02d}c{c:02d}f{f:02d}" for r in range(2, 9) for c in range(3, 11) for f in range(4)]
    found = read_wells(np.array(ids))
    assert len(found.read) == 224 and len(set(found.names)) == 56
    assert found.words == "read from 224 ids, such as 'r02c03f00' for well B03, field 0"
    assert found.kept == [] and found.note is None


def test_what_is_not_understood_stays_a_name_and_is_said() -> None:
    found = read_wells(np.array(["012003000", "mitochondria", "", "b3", "mitochondria"]))
    assert found.names.tolist() == ["L03", "mitochondria", "", "B03", "mitochondria"]
    rows, columns = well_positions(found.names)
    assert rows.tolist() == [12, 0, 0, 2, 0]
    assert columns.tolist() == [3, 0, 0, 3, 0]
    assert (
        found.words
        == "read from 3 ids, such as '012003000' for well L03, field 0, 'b3' for well B03"
    )
    assert found.note == (
        "1 of 3 well ids are not understood as row/column and are kept as names, e.g. "
        "'mitochondria'"
    )
    assert (found.facts["n_kept"], found.facts["n_cells_without"]) == (1, 1)


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["01-01", "08-12"], ["A01", "H12"]),
        (["(5, 10)", "(1, 1)"], ["E10", "A01"]),
        (["5_10", "16_24"], ["E10", "P24"]),
        (["05-10_s1", "05-10_s2"], ["E10", "E10"]),
        (["40-3", "5-10"], ["C40", "J05"]),
        (["02-02", "07-07"], ["B02", "G07"]),
    ],
)
def test_two_numbers_are_row_and_column_where_all_ids_together_tell_so(ids, names) -> None:
    assert well_names(np.array(ids)).tolist() == names


@pytest.mark.parametrize(
    "ids", [["01-02", "02-01"], ["05-10", "10-05"], ["12-08", "01-01"], ["0-5"], ["40-40", "1-2"]]
)
def test_two_numbers_that_do_not_tell_which_is_the_row_stay_names(ids) -> None:
    found = read_wells(np.array(ids))
    assert found.names.tolist() == ids
    assert f"which number of '{sorted(ids)[0]}' is the row, the ids do not tell" in found.note


def test_nine_digits_that_lost_their_zeros_as_integers_are_wells() -> None:
    assert well_names(np.array(["12003000", "1001007", "012003001"])).tolist() == [
        "L03", "A01", "L03"
    ]  # fmt: skip


def test_other_numbers_of_eight_digits_are_no_wells() -> None:
    """20240510 is a date; row 20, column 240 is on no plate."""
    ids = ["12003000", "20240510"]
    assert well_names(np.array(ids)).tolist() == ids


@pytest.mark.parametrize(
    ("corner", "size"),
    [((8, 12), (8, 12)), ((9, 1), (16, 24)), ((16, 24), (16, 24)), ((1, 25), (32, 48)),
     ((33, 1), None)],
)  # fmt: skip
def test_the_smallest_plate_that_has_a_well(corner, size) -> None:
    assert plate_size(*corner) == size


def test_no_ids() -> None:
    rows, columns = well_positions(np.array([], dtype=str))
    assert well_names(np.array([], dtype=str)).size == rows.size == columns.size == 0
