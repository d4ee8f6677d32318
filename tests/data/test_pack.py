"""Folders of TIFF images as microscopes, spreadsheets and file systems leave them, packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from coos_mlflow.cli import app
from coos_mlflow.data import tiff
from coos_mlflow.data.pairs import CellPairs, find_pairs
from coos_mlflow.data.plate import open_plate
from coos_mlflow.errors import DataError

GFP_DAPI = ("*_gfp.tif", "*_dapi.tif")


@pytest.fixture
def images(tmp_path, random_cells) -> Path:
    """Six cells of two wells: a/c0_gfp.tif, a/c0_dapi.tif, ..., b/c5_dapi.tif."""
    folder = tmp_path / "images"
    for number, cell in enumerate(random_cells(6)):
        write_cell(folder / "ab"[number // 3], f"c{number}", cell)
    return folder


def write_cell(folder: Path, name: str, cell: np.ndarray, ending: str = ".tif") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image, channel in zip(cell, ("gfp", "dapi"), strict=True):
        tifffile.imwrite(folder / f"{name}_{channel}{ending}", image)


def packed(pairs: CellPairs, tmp_path: Path) -> np.ndarray:
    tiff.pack(pairs, tmp_path / "plate.h5")
    with open_plate(tmp_path / "plate.h5") as plate:
        return next(plate.batches(plate.n_cells)).images


def run_pack(folder: Path, *options: str) -> str:
    patterns = ["--protein", GFP_DAPI[0], "--nucleus", GFP_DAPI[1]]
    out = str(folder.parent / "plate.h5")
    result = CliRunner().invoke(app, ["pack", str(folder), out, *patterns, *options])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


# Hidden files


@pytest.mark.parametrize(
    "hidden",
    [".ipynb_checkpoints", ".Trash-1000/files", ".snapshot/hourly", "__MACOSX", "a/.thumbnails"],
)
def test_images_in_hidden_folders_are_left_out_and_counted(images, random_cells, hidden) -> None:
    write_cell(images / hidden, "c0", random_cells(1, seed=9)[0])
    assert find_pairs(images, GFP_DAPI).n_hidden == 2
    said = run_pack(images, "--levels", "well")
    assert "6 cells in" in said and "2 images left out that are hidden" in said


def test_hidden_files_of_macos_are_left_out(images) -> None:
    (images / "a" / "._c0_gfp.tif").write_bytes(b"Mac OS X, no image")
    pairs = find_pairs(images, GFP_DAPI)
    assert len(pairs.stems) == 6 and pairs.n_hidden == 1


def test_a_folder_that_is_hidden_itself_can_be_packed(images) -> None:
    hidden = images.rename(images.with_name(".images"))
    assert len(find_pairs(hidden, GFP_DAPI).stems) == 6


# Patterns


def test_one_pattern_for_both_channels_is_refused(images) -> None:
    for patterns in (("*_gfp.tif", "*_gfp.tif"), ("*_gfp.tif", "*_gfp.TIFF")):
        with pytest.raises(DataError, match="which are the same images; expected a pattern for"):
            find_pairs(images, patterns)


def test_a_folder_with_the_same_image_as_protein_and_nucleus_is_refused(images, tmp_path) -> None:
    for path in images.rglob("*_dapi.tif"):
        path.write_bytes(path.with_name(path.name.replace("dapi", "gfp")).read_bytes())
    with pytest.raises(DataError, match=r"'a/c0': .* both channels, which are the same image"):
        tiff.pack(find_pairs(images, GFP_DAPI), tmp_path / "plate.h5")
    assert not (tmp_path / "plate.h5").exists()


@pytest.mark.parametrize("ending", [".TIF", ".tiff", ".TIFF", ".Tif"])
def test_tif_finds_other_spellings_of_the_ending(tmp_path, random_cells, ending) -> None:
    cells = random_cells(2)
    for number, cell in enumerate(cells):
        write_cell(tmp_path / "in", f"c{number}", cell, ending)
    found = packed(find_pairs(tmp_path / "in", GFP_DAPI), tmp_path)
    np.testing.assert_array_equal(found, cells)


def test_two_images_of_one_channel_that_differ_in_the_ending_are_refused(images) -> None:
    (images / "a" / "c0_gfp.tiff").write_bytes((images / "a" / "c0_gfp.tif").read_bytes())
    with pytest.raises(DataError, match=r"c0_gfp.tif and .*c0_gfp.tiff both fit '\*_gfp.tif'"):
        find_pairs(images, GFP_DAPI)


# Tables


def table(images: Path, text: str, encoding: str = "utf-8") -> Path:
    path = images.parent / "cells.csv"
    path.write_bytes(text.encode(encoding))
    return path


def read(images: Path, text: str, encoding: str = "utf-8") -> CellPairs:
    return find_pairs(images, GFP_DAPI, metadata=table(images, text, encoding))


def rows(header: str, line: str = "{stem},P1,{well}") -> str:
    """Write a table of the six cells."""
    stems = [f"{folder}/c{3 * i + j}" for i, folder in enumerate("ab") for j in range(3)]
    lines = [line.format(stem=stem, well=f"{stem[0].upper()}01") for stem in stems]
    return "\n".join([header, *lines]) + "\n"


WELLS = ["A01"] * 3 + ["B01"] * 3


@pytest.mark.parametrize(
    "header",
    [
        "file,plate,well",
        "file,Metadata_Plate,Metadata_Well",
        "FileName,PLATE,Well",
        "File Name,Plate ID,Well_ID",
        "file,plateIDs,wellIDs",
        "file,Barcode,well name",
    ],
)
def test_names_of_columns_as_other_tools_spell_them(images, header) -> None:
    pairs = read(images, rows(header))
    assert pairs.columns["plates"].tolist() == ["P1"] * 6
    assert pairs.columns["wells"].tolist() == WELLS


@pytest.mark.parametrize("name", ["Plate Map", "wellposition", "acquisition_date", "Label text"])
def test_a_column_that_looks_like_an_id_is_not_dropped_without_a_word(images, name) -> None:
    with pytest.raises(DataError, match=f"the column '{name}' is not understood; call it"):
        read(images, rows(f"file,{name},Metadata_Site"))


def test_columns_without_a_place_in_a_plate_are_named(images) -> None:
    table(
        images, rows("file,Metadata_Plate,Metadata_Site,Metadata_Plate_Map_Name", "{stem},P1,2,m")
    )
    said = run_pack(images, "--metadata", str(images.parent / "cells.csv"))
    assert "6 cells in" in said and "with plates" in said
    assert "no place for: Metadata_Site, Metadata_Plate_Map_Name" in said


def test_two_columns_for_one_id_are_refused(images) -> None:
    with pytest.raises(DataError, match="'Plate' and 'Metadata_Plate' both give the plate"):
        read(images, rows("file,Plate,Metadata_Plate"))


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_as_excel_writes_them(images, separator, encoding) -> None:
    text = rows("file,plate,well", "{stem},Zähler,{well}").replace(",", separator)
    pairs = read(images, text.replace("\n", "\r\n"), encoding)
    assert pairs.columns["plates"].tolist() == ["Zähler"] * 6
    assert pairs.columns["wells"].tolist() == WELLS


def test_a_comma_inside_a_value_is_kept_where_semicolons_separate(images) -> None:
    pairs = read(images, rows("file;plate;well", "{stem};1,5;{well}"))
    assert pairs.columns["plates"].tolist() == ["1,5"] * 6


def test_a_table_in_another_encoding_says_so(images) -> None:
    with pytest.raises(DataError, match=r"as a CSV table in UTF-8 .*; save it as CSV UTF-8"):
        read(images, rows("file,plate,well", "{stem},Zähler,{well}"), "latin-1")


@pytest.mark.parametrize(
    "name",
    ["{stem}", ".\\{stem}", "{stem}_gfp.tif", "{stem}_dapi.tif", "{root}/{stem}_gfp.tif"],
)
def test_files_are_found_by_stem_or_image_with_slashes_of_any_system(images, name) -> None:
    name = name.replace("{root}", str(images)).replace("/", "\\")
    pairs = read(images, rows("file,plate,well", name + ",P1,{well}"))
    assert pairs.stems[0] == "a/c0" and pairs.columns["wells"].tolist() == WELLS


def test_labels_as_excel_writes_them(images) -> None:
    pairs = read(images, rows("file,label,well", "{stem},4.0,{well}"))
    assert pairs.columns["labels"].tolist() == [4] * 6
    with pytest.raises(DataError, match=r"label '4.5' of cell 0, expected a number 0..6"):
        read(images, rows("file,label,well", "{stem},4.5,{well}"))


# Kinds of TIFF


def pair_of(folder: Path, image: np.ndarray, nucleus: np.ndarray, **options: object) -> CellPairs:
    folder.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(folder / "c_gfp.tif", image, **options)
    tifffile.imwrite(folder / "c_dapi.tif", nucleus, **options)
    return find_pairs(folder, GFP_DAPI)


@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd", "jpeg2000"])
def test_compressions_of_microscopes_are_read(tmp_path, random_cells, compression) -> None:
    (cell,) = random_cells(1)
    options = {"compression": compression}
    if compression == "jpeg2000":
        options["compressionargs"] = {"reversible": True, "level": 0}
    found = packed(pair_of(tmp_path / "in", *cell, **options), tmp_path)
    np.testing.assert_array_equal(found[0], cell)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_images_in_which_0_is_white_are_inverted(tmp_path, random_cells, dtype) -> None:
    cell = (random_cells(1)[0] // 32).astype(dtype)
    stored = np.iinfo(dtype).max - cell
    found = packed(pair_of(tmp_path / "in", *stored, photometric="miniswhite"), tmp_path)
    np.testing.assert_array_equal(found[0], cell)


def test_floats_in_which_0_is_white_are_refused(tmp_path, random_cells) -> None:
    cell = random_cells(1)[0].astype(np.float32)
    pairs = pair_of(tmp_path / "in", *cell, photometric="miniswhite")
    with pytest.raises(DataError, match="of which 0 is white found"):
        tiff.pack(pairs, tmp_path / "plate.h5")


def test_palette_images_are_refused(tmp_path, random_cells) -> None:
    cell = (random_cells(1)[0] // 32).astype(np.uint8)
    colours = np.zeros((3, 256), np.uint16)
    pairs = pair_of(tmp_path / "in", *cell, photometric="palette", colormap=colours)
    with pytest.raises(DataError, match=r"c_gfp.tif: a palette of colours found"):
        tiff.pack(pairs, tmp_path / "plate.h5")


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True, "metadata": {"axes": "CYX"}},
        {"ome": True, "metadata": {"axes": "CYX"}},
        {"photometric": "minisblack"},
    ],
    ids=["ImageJ", "OME", "plain"],
)
def test_channel_stacks_are_refused_and_say_how_to_split_them(
    tmp_path, random_cells, options
) -> None:
    """Also ImageJ's, which lie behind a single page when they are large."""
    (cell,) = random_cells(1)
    pairs = pair_of(tmp_path / "in", cell, cell[::-1], **options)
    with pytest.raises(DataError, match=r"2 images in one file found, .*save each channel as a"):
        tiff.pack(pairs, tmp_path / "plate.h5")


def test_a_stack_that_imagej_writes_behind_one_page_is_refused(tmp_path, random_cells) -> None:
    (cell,) = random_cells(1)
    description = "ImageJ=1.54f\nimages=5\nslices=5\n"
    pairs = pair_of(tmp_path / "in", *cell, description=description, metadata=None)
    with pytest.raises(DataError, match="5 images in one file"):
        tiff.pack(pairs, tmp_path / "plate.h5")


def pack_12_bits(path: Path, image: np.ndarray) -> None:
    """Write two counts in three bytes, as some cameras do and tifffile does not."""
    first, second = image[:, ::2], image[:, 1::2]
    bytes_ = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=2)
    tifffile.imwrite(path, bytes_.reshape(64, 96).astype(np.uint8), metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["ImageWidth"].overwrite(64)
        file.pages[0].tags["BitsPerSample"].overwrite(12)


@pytest.mark.parametrize("white_is_0", [False, True])
def test_12_bits_packed_are_counts(tmp_path, random_cells, white_is_0) -> None:
    (cell,) = np.minimum(random_cells(1), 4095)
    for image, channel in zip(cell, ("gfp", "dapi"), strict=True):
        path = tmp_path / f"c_{channel}.tif"
        pack_12_bits(path, 4095 - image if white_is_0 else image)
        if white_is_0:
            with tifffile.TiffFile(path, mode="r+") as file:
                file.pages[0].tags["PhotometricInterpretation"].overwrite(0)
    np.testing.assert_array_equal(packed(find_pairs(tmp_path, GFP_DAPI), tmp_path)[0], cell)


def test_signed_counts_of_imagej_lose_their_offset(tmp_path, random_cells) -> None:
    (cell,) = random_cells(1)
    description = "ImageJ=1.54f\nc0=-32768.0\nc1=1.0\nvunit=gray value\n"
    pairs = pair_of(tmp_path / "in", *(cell + 32768), description=description, metadata=None)
    np.testing.assert_array_equal(packed(pairs, tmp_path)[0], cell)


def test_an_offset_that_no_file_tells_of_is_pointed_at(images) -> None:
    for path in images.rglob("*.tif"):
        tifffile.imwrite(path, tifffile.imread(path) + 32768)
    assert "as if 32,768 had been added to signed counts" in run_pack(images)


def test_negative_counts_are_refused(tmp_path, random_cells) -> None:
    cell = random_cells(1)[0].astype(np.int16)
    cell[0, 0, 0] = -5
    with pytest.raises(DataError, match="-5 is negative; raw camera counts start at 0"):
        tiff.pack(pair_of(tmp_path / "in", *cell), tmp_path / "plate.h5")


def test_the_same_cell_twice_is_told(images) -> None:
    for channel in ("gfp", "dapi"):
        (images / "b" / f"c9_{channel}.tif").write_bytes(
            (images / "a" / f"c0_{channel}.tif").read_bytes()
        )
    assert "1 of 7 cells are copies of earlier cells" in run_pack(images)


@pytest.mark.parametrize(
    ("folder", "protein", "nucleus"),
    [
        ("harmony_phenix/BR00121482", 0, 4),
        ("bbbc014_tiff", 0, 2),
        ("metaxpress_md_embl", 0, 1),
    ],
)
def test_crops_of_real_fields_come_through_with_their_counts(
    shared_file, tmp_path, folder, protein, nucleus
) -> None:
    fields = sorted(
        path
        for path in shared_file(f"real/fields/{folder}").rglob("*")
        if path.suffix.lower() in (".tif", ".tiff")
    )
    crops = []
    for number in (protein, nucleus):
        field = tifffile.imread(fields[number])
        y, x = (side // 2 for side in field.shape)
        crops.append(field[y : y + 64, x : x + 64])
    pairs = pair_of(tmp_path / "in", *crops, compression="lzw")
    np.testing.assert_array_equal(packed(pairs, tmp_path)[0], np.stack(crops))
