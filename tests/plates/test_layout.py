"""Layouts: which tables are read, how wells are matched, and what is refused in which words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.plates.layout import NONE, Layout, read_layout
from coos_mlflow.plates.reader import open_plate

IDS = np.array(["A01", "A02", "B10", "A01", "A02", "B10"])
PLATES = np.array(["P1", "P1", "P1", "P2", "P2", "P2"])


@pytest.fixture
def layout(tmp_path) -> Callable[..., Layout]:
    """Factory of layouts from the text of the table."""

    def read(text: str, encoding: str = "utf-8") -> Layout:
        path = tmp_path / "layout.csv"
        path.write_bytes(text.encode(encoding))
        return read_layout(path)

    return read


@pytest.fixture
def lines(make_plate, layout) -> Callable[..., dict[tuple[str, str], int]]:
    """Factory of the lines of the wells of a plate file with `IDS` and `PLATES`."""

    def found(text: str, **columns: np.ndarray | None) -> dict[tuple[str, str], int]:
        ids = {"wells": IDS, "plates": PLATES} | columns
        with open_plate(make_plate(n=6, **ids)) as plate:
            return layout(text).lines(plate)

    return found


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_any_spreadsheet_are_read(layout, separator, encoding):
    rows = (
        ["Well", "Metadata_Compound", "dose"],
        ["a1", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "1.5"],
    )
    read = layout("\r\n".join(map(separator.join, rows)) + "\r\n" + separator * 2, encoding)
    assert read.wells == ("a1",)
    assert read.plates is None
    assert [(one.name, one.dtype, one.values) for one in read.columns] == [
        ("Compound", "string", ("caf\N{LATIN SMALL LETTER E WITH ACUTE}",)),
        ("dose", "float64", (1.5,)),
    ]


@pytest.mark.parametrize(
    ("cells", "dtype", "values"),
    [
        (["1", "-2", ""], "int64", (1, -2, None)),
        (["1", "2.5e-3", "NA"], "float64", (1.0, 0.0025, None)),
        ([".5", "5.", "0"], "float64", (0.5, 5.0, 0.0)),
        (["007", "008", "9"], "string", ("007", "008", "9")),
        (["1", "2 uM", ""], "string", ("1", "2 uM", None)),
        (["none", "NA", "DMSO"], "string", ("none", "NA", "DMSO")),
        (["inf", "1", "2"], "string", ("inf", "1", "2")),
        (["1_000", "1", "2"], "string", ("1_000", "1", "2")),
        (["12345678901234567890"] * 3, "string", ("12345678901234567890",) * 3),
        (["", "", ""], "string", (None, None, None)),
    ],
)
def test_a_column_is_numbers_where_all_are(layout, cells, dtype, values):
    wells = ["A1", "A2", "A3"]
    read = layout("well\tx\n" + "\n".join(map("\t".join, zip(wells, cells, strict=True))))
    (column,) = read.columns
    assert (column.dtype, column.values) == (dtype, values)


def test_a_decimal_comma_is_read_behind_semicolons(layout):
    (column,) = layout("well;dose\nA1;0,5\nA2;10").columns
    assert (column.dtype, column.values) == ("float64", (0.5, 10.0))


@pytest.mark.parametrize("spelling", ["A1", "a01", "A-01", "001001000", "r1c1", "Well A1"])
def test_a_well_is_the_same_in_every_spelling(lines, spelling):
    assert lines(f"well,x\n{spelling},1") == {("P1", "A01"): 0, ("P2", "A01"): 0}


def test_ids_that_are_names_match_as_they_are(lines):
    found = lines("well,x\n101,1\n103,2", wells=np.array(["101", "102", "103"] * 2))
    assert found == {("P1", "101"): 0, ("P2", "101"): 0, ("P1", "103"): 1, ("P2", "103"): 1}


def test_a_plate_column_says_where_a_line_belongs(lines):
    found = lines("plate,well,x\nP1,A1,1\nP2,A1,2\nP9,H12,3")
    assert found == {("P1", "A01"): 0, ("P2", "A01"): 1}


def test_a_file_without_plate_ids_takes_a_layout_without_plates(lines):
    assert lines("well,x\nB10,1", plates=None) == {("", "B10"): 0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("compound,dose\nDMSO,1", "columns 'compound', 'dose' found, expected one named well"),
        ("", "columns none found, expected one named well"),
        ("well,x\n", "no line below the first"),
        ("well,Metadata_Well,x\nA1,A1,1", "'well', 'Metadata_Well' all give the well"),
        ("well,x,X\nA1,1,2", "2 columns have the name"),
        ("well,Metadata_row\nA1,1", "'Metadata_row' would become Metadata_Row"),
        ("well,Index\nA1,1", "'Index' would become Metadata_Index"),
        ("well,\nA1,1", "column 2 has no name"),
        ("well,x\nA1,1,2", "line 2 has 3 cells, expected 2"),
        ("well,x\n,2", "line 2 names no plate or no well"),
        ("well,x\nA1," + "y" * 300, "line 2 has a cell of 300 characters"),
        ('well,x\nA1,"y', "cannot be read as a CSV table"),
    ],
)
def test_a_table_that_is_no_layout_is_refused(layout, text, words):
    with pytest.raises(DataError, match=words) as refused:
        layout(text)
    assert "layout.csv" in str(refused.value)
    assert str(refused.value).endswith(".")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "layout.csv"
    path.write_bytes(b"well,x\nA1,\xff\xfe")
    with pytest.raises(DataError, match="save it as CSV in UTF-8"):
        read_layout(path)
    with pytest.raises(DataError, match="cannot be read as a CSV table"):
        read_layout(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("well,x\nA1,1\na01,2", {}, "lines 2 and 3 are both of well A01"),
        ("well,x\nA1,1\nC3,2", {}, r"well C3 found, which .*plate.h5 does not have; .* A01"),
        ("well\nC3\nC4\nC5\nC6\nC7", {}, "wells C3, C4, C5 and 2 more found"),
        ("plate,well\nP1,C3", {}, "well C3 found"),
        ("plate,well\nP9,A1", {}, "plates 'P9' found, expected those of .*: 'P1', 'P2'"),
        ("well\nA1", {"wells": None}, "no well ids found"),
        ("plate,well\nP1,A1", {"plates": None}, "no plate ids found"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(lines, text, columns, words):
    with pytest.raises(DataError, match=words):
        lines(text, **columns)


def test_the_digest_is_that_of_the_file(layout):
    one, other = layout("well,x\nA1,1").sha256, layout("well,x\nA1,2").sha256
    assert one != other


def test_a_column_of_classes_takes_names_abbreviations_numbers_and_none(layout, make_plate):
    read = layout(
        "plate,well,Metadata_Class\nP1,A01,golgi\nP1,A02,0\nP1,B10,None\nP2,A01,3.0\nP2,A02,\n"
        "P2,B10,N/A\n"
    )
    assert read.class_column == "Class"
    assert read.classes(coos7()) == (2, 0, NONE, 3, None, None)
    # "none" and an empty cell stay apart in the tables of the results too.
    assert read.columns[0].values == ("golgi", "0", "None", "3.0", None, "N/A")
    with open_plate(make_plate(n=6, wells=IDS, plates=PLATES)) as plate:
        assert read.known_classes(plate, coos7()) == {
            ("P1", "A01"): 2,
            ("P1", "A02"): 0,
            ("P1", "B10"): NONE,
            ("P2", "A01"): 3,
        }


def test_a_layout_without_classes_says_nothing_of_them(layout):
    read = layout("well,classes,class_of_drug\nA01,x,y\n")
    assert read.class_column is None
    assert read.classes(coos7()) == (None,)


@pytest.mark.parametrize("value", ["Golgii", "7", "-1", "2.5", "positive control"])
def test_another_class_is_refused_with_its_well_and_the_known_ones(layout, value):
    read = layout(f"well,class\nA01,Golgi\nA02,{value}\n")
    words = rf"'{value}' of well A02 found in line 3, expected a class of COOS-7 .*5 Cytosol"
    with pytest.raises(DataError, match=words):
        read.classes(coos7())
