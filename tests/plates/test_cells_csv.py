"""Tables of cells as Excel, pycytominer and CellProfiler write them."""

from __future__ import annotations

from pathlib import Path

import pytest
import tifffile

from coos_mlflow.errors import DataError
from coos_mlflow.plates.tiff_pairs import CellPairs, find_pairs

GFP_RFP = ("*_gfp.tif", "*_rfp.tif")


@pytest.fixture
def images(tmp_path, random_cells) -> Path:
    """Two cells, in the folders a and b."""
    for folder, cell in zip("ab", random_cells(2), strict=True):
        (tmp_path / "in" / folder).mkdir(parents=True)
        for image, channel in zip(cell, ("gfp", "rfp"), strict=True):
            tifffile.imwrite(tmp_path / f"in/{folder}/{folder}1_{channel}.tif", image)
    return tmp_path / "in"


def read(images: Path, table: str | bytes, **options: str) -> CellPairs:
    path = images.parent / "t.csv"
    path.write_bytes(table if isinstance(table, bytes) else table.encode())
    return find_pairs(images, GFP_RFP, metadata=path, **options)


TWO = "{file},{plate},{well}\na/a1,P7,B03\nb/b1,P8,B04\n"


@pytest.mark.parametrize(
    ("plate", "well"),
    [
        ("plate", "well"),
        ("Plate", "WELL"),
        ("Metadata_Plate", "Metadata_Well"),
        ("Image_Metadata_Plate", "Image_Metadata_Well"),
        ("plateIDs", "wellIDs"),
        ("Plate ID", "Well ID"),
        ("plate_id", "well-id"),
        ("Plate Name", "WellName"),
        (" plates ", " wells"),
    ],
)
@pytest.mark.parametrize("file", ["file", "FileName"])
def test_plate_and_well_columns_in_any_spelling(images, file, plate, well) -> None:
    columns = read(images, TWO.format(file=file, plate=plate, well=well)).columns
    assert columns["plates"].tolist() == ["P7", "P8"]
    assert columns["wells"].tolist() == ["B03", "B04"]


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("Plate Barcode", "plate"),
        ("Metadata_Plate_Map_Name", "plate"),
        ("barcode", "plate"),
        ("Metadata_well_position", "well"),
        ("Metadata_Row", "well"),
        ("acquisition_date", "date"),
        ("Instrument", "microscope"),
        ("true_label", "label"),
        ("class_name", "label"),
    ],
)
def test_a_column_that_looks_like_an_id_and_is_not_understood(images, column, name) -> None:
    table = f"file,{column}\na1,x\nb1,y\n"
    with pytest.raises(DataError, match=f"'{column}' looks like the {name} .* rename it '{name}'"):
        read(images, table)


def test_what_another_source_gives_need_not_be_understood(images) -> None:
    pairs = read(images, "file,plate_map_name\na1,x\nb1,y\n", levels="plate")
    assert pairs.columns["plates"].tolist() == ["a", "b"]
    assert pairs.not_taken == ["plate_map_name"]


def test_site_and_field_columns_are_named_as_not_taken(images) -> None:
    pairs = read(images, "file,Metadata_Well,Metadata_Site,field\na1,B03,1,2\nb1,B04,1,3\n")
    assert pairs.columns["wells"].tolist() == ["B03", "B04"]
    assert pairs.not_taken == ["Metadata_Site", "field"]


@pytest.mark.parametrize("column", ["Cells_Classify_Bright", "colour", "Treatment", "ObjectNumber"])
def test_a_column_of_anything_else_is_named_as_not_taken(images, column) -> None:
    assert read(images, f"file,{column}\na1,x\nb1,y\n").not_taken == [column]


@pytest.mark.parametrize("second", ["Plate", "Metadata_Plate", "plateIDs", "plate"])
def test_two_columns_for_one_field_are_refused(images, second) -> None:
    with pytest.raises(DataError, match=f"'plate' and '{second}' both give the plate"):
        read(images, f"file,plate,{second}\na1,x,x\nb1,y,z\n")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_separators_and_encodings_of_excel(images, separator, encoding, newline) -> None:
    table = '"file","plate"\n"a1","Größe"\n"b1","P8"\n'
    table = table.replace(",", separator).replace("\n", newline)
    columns = read(images, table.encode(encoding)).columns
    assert columns["plates"].tolist() == ["Größe", "P8"]


def test_a_table_that_is_not_utf_8_says_how_to_save_it(images) -> None:
    with pytest.raises(DataError, match=r"cannot be read .* save it as CSV in UTF-8"):
        read(images, "file,plate\na1,Größe\nb1,P8\n".encode("cp1252"))


def test_emptied_lines_of_excel_are_no_cells(images) -> None:
    assert read(images, "file;well\na1;B03\n;\nb1;B04\n;\n").stems == ["a/a1", "b/b1"]


@pytest.mark.parametrize("labels", [("0", "6"), ("0.0", "6.0"), ("0,0", "6,0"), ("0.", " 6 ")])
def test_labels_as_spreadsheets_write_them(images, labels) -> None:
    columns = read(images, f"file;label\na1;{labels[0]}\nb1;{labels[1]}\n").columns
    assert columns["labels"].tolist() == [0, 6]


@pytest.mark.parametrize("label", ["0.5", "-2", "1e0", "inf"])
@pytest.mark.parametrize("other", ["1", "ER"])
def test_labels_that_are_no_whole_number(images, label, other) -> None:
    with pytest.raises(DataError, match=f"label '{label}' of cell 0, expected a whole number"):
        read(images, f"file,label\na1,{label}\nb1,{other}\n")


@pytest.mark.parametrize("label", ["", "-1", "NaN", "unlabelled"])
def test_cells_without_a_label(images, label) -> None:
    assert read(images, f"file,label\na1,{label}\nb1,1\n").columns["labels"].tolist() == [-1, 1]


def test_labels_that_are_names_of_classes(images) -> None:
    columns = read(images, "file,label\na1,Early Endosome\nb1,\n").columns
    assert columns["labels"].tolist() == ["Early Endosome", ""]


@pytest.mark.parametrize(
    "file",
    [
        "{0}1",
        "{0}/{0}1",
        "{0}\\{0}1",
        "{0}/{0}1.tif",
        "{0}1.TIF",
        "{0}1_gfp.tif",
        "{0}\\{0}1_rfp.tiff",
        "./{0}/{0}1",
        "D:\\screen\\{0}\\{0}1_gfp.tif",
        "/data/of another/machine/{0}/{0}1_gfp.tif",
    ],
)
def test_files_by_stem_or_image_or_path_from_another_root(images, file) -> None:
    table = f"file,well\n{file.format('b')},B04\n{file.format('a')},B03\n"
    pairs = read(images, table)
    assert pairs.stems == ["b/b1", "a/a1"]
    assert pairs.columns["wells"].tolist() == ["B04", "B03"]


def test_paths_from_two_roots_are_refused(images) -> None:
    with pytest.raises(DataError, match=r"line 3: '/p2/b/b1' lies below '/p2', .* below '/p1'"):
        read(images, "file\n/p1/a/a1\n/p2/b/b1\n")


@pytest.mark.parametrize("file", ["x/b1", "../b/b1", "b/../b/b1", "..\\b\\b1", "b/b1_dapi.tif"])
def test_files_that_name_no_pair(images, file) -> None:
    with pytest.raises(DataError, match="line 3: no pair of images named"):
        read(images, f"file\na1\n{file}\n")


def test_a_short_name_that_several_images_have(images) -> None:
    for channel in ("gfp", "rfp"):
        (images / f"b/b1_{channel}.tif").rename(images / f"b/a1_{channel}.tif")
    with pytest.raises(DataError, match=r"'a1' may be 'a/a1' or 'b/a1'; name .* folders"):
        read(images, "file\na1\nb/a1\n")
