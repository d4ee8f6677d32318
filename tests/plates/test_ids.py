"""Ids of plates and wells become text: missing ones, padding, accents, numbers, columns (N, 1)."""

from __future__ import annotations

import io

import h5py
import numpy as np
import pytest
from rich.console import Console

from coos_mlflow.cli.plates import print_summary
from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import clean_ids
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.summary import inspect

MISSING = ["", "  ", "nan", "NaN", "None", "NA", "n/a", "NULL", "<NA>", b"\x00\x00", None, np.nan]


def cleaned(*values: object) -> list[str]:
    return clean_ids(values, "here").tolist()


@pytest.mark.parametrize("value", MISSING)
def test_a_missing_id_is_no_name(value) -> None:
    assert cleaned(value, "P1") == ["", "P1"]


@pytest.mark.parametrize("value", ["nano", "NA12", "Nonesuch", "0", 0, "-"])
def test_an_id_that_begins_like_a_missing_one_is_a_name(value) -> None:
    assert cleaned(value) == [str(value)]


@pytest.mark.parametrize("value", ["P1  ", " P1", b"P1\x00\x00", b"P1 \x00", "P1\u00a0", "P1\t\n"])
def test_padding_is_no_part_of_an_id(value) -> None:
    assert cleaned(value) == ["P1"]


def test_composed_and_decomposed_accents_are_one_plate() -> None:
    assert cleaned("Pl\u00e4tte", "Pla\u0308tte") == ["Pl\u00e4tte"] * 2


@pytest.mark.parametrize("value", [5, 5.0, np.float32(5), np.int8(5), "5.0", b"5.0", "5"])
def test_whole_numbers_are_one_id_however_a_table_kept_them(value) -> None:
    assert cleaned(value) == ["5"]


@pytest.mark.parametrize(("value", "said"), [(5.5, "5.5"), (np.inf, "inf"), (True, "a bool")])
def test_other_numbers_are_refused(value, said: str) -> None:
    with pytest.raises(DataError, match=rf"the id of cell 1 is {said}, expected text or a whole"):
        cleaned("P1", value)


def plate_with(path, random_cells, **columns: object):
    with h5py.File(path, "w") as file:
        file["data"] = random_cells(4)
        for name, values in columns.items():
            file[name] = values
    return path


@pytest.mark.parametrize(
    "values",
    [
        np.array([[b"P1"], [b"P1 "], [b"P2"], [b""]]),
        np.array([["P1"], ["P1"], ["P2"], ["None"]], dtype=h5py.string_dtype()),
    ],
)
def test_a_column_of_shape_n_1_is_a_column(tmp_path, random_cells, values) -> None:
    path = plate_with(tmp_path / "p.h5", random_cells, plateIDs=values, labels=[[0], [1], [6], [2]])
    with open_plate(path) as plate:
        assert plate.plates.tolist() == ["P1", "P1", "P2", ""]
        assert plate.labels.tolist() == [0, 1, 6, 2]


def test_a_packed_column_of_shape_n_1_is_a_column(tmp_path, random_cells) -> None:
    path = plate_with(tmp_path / "p.h5", random_cells)
    with h5py.File(path, "a") as file:
        packing = {"chunks": (3, 1), "compression": "gzip"}
        file.create_dataset("wellIDs", data=np.array([[1.0], [2.0], [np.nan], [2.0]]), **packing)
    with open_plate(path) as plate:
        assert plate.wells.tolist() == ["1", "2", "", "2"]


def test_coos_check_counts_no_well_and_no_plate_for_cells_without_an_id(make_plate) -> None:
    wells = np.array(["r02c03f01", "r02c03f02", "b3", "NA"] * 6)
    plates = np.array(["P1", "P1 ", "nan"] * 8)
    summary = inspect(make_plate(wells=wells, plates=plates))
    assert summary.plates == {"P1": 16}
    assert summary.n_wells == 1
    file = io.StringIO()
    print_summary(summary, Console(file=file, width=200))
    assert "plates       1: P1 (16); 8 cells have none" in file.getvalue()
    assert (
        "wells        1 read from 3 ids, such as 'b3' for well B03, "
        "'r02c03f01' for well B03, field 1; 6 cells have none" in file.getvalue()
    )
