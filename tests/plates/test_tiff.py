"""Plates to folders of TIFF images and back."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer
from typer.testing import CliRunner

from coos_mlflow.cli.plates import register
from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.plates import tiff
from coos_mlflow.plates.columns import ID_DATASETS
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.tiff_pairs import find_pairs


def unpack(plate: Path, out: Path) -> Path:
    with open_plate(plate) as opened:
        return tiff.unpack(opened, out)


def write_pairs(folder: Path, cells: np.ndarray, name: Callable[[int], tuple[str, str]]) -> Path:
    for index, cell in enumerate(cells):
        for image, path in zip(cell, name(index), strict=True):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / path, image)
    return folder


def gfp_rfp(index: int) -> tuple[str, str]:
    return f"cell{index}_gfp.tif", f"cell{index}_rfp.tif"


GFP_RFP = ("*_gfp.tif", "*_rfp.tif")


def assert_same_plate(first: Path, second: Path) -> None:
    with open_plate(first) as a, open_plate(second) as b:
        assert (a.n_cells, a.dtype, a.simulated) == (b.n_cells, b.dtype, b.simulated)
        for batch_a, batch_b in zip(a.batches(), b.batches(), strict=True):
            assert batch_a.images.tobytes() == batch_b.images.tobytes()
        for name in ("labels", *ID_DATASETS):
            column_a, column_b = getattr(a, name), getattr(b, name)
            assert (column_a is None) == (column_b is None)
            if column_a is not None:
                assert column_a.tolist() == column_b.tolist()


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"labels": None},
        {"wells": None, "dates": None},
        {"plates": np.array([f'a, "b" {i} ü' for i in range(24)])},
        {"plates": np.array([["", "=1+1", "-", " x "][i % 4] for i in range(24)])},
        {"attrs": {"simulated": True}},
        {"labels": np.arange(24) % 3 - 1},
        {"labels": np.array([["", "ER", "Zelle µ", ".."][i % 4] for i in range(24)])},
        {"images": np.random.default_rng(0).integers(1, 4095, (24, 2, 40, 40), np.uint16)},
    ],
)
def test_unpack_and_pack_restore_everything(
    make_plate, tmp_path, random_cells, dtype: str, columns: dict[str, np.ndarray | None]
) -> None:
    images = columns.pop("images", random_cells(24)).astype(dtype)
    if dtype == "float32":
        images += np.float32(1 / 3)
    plate = make_plate(images=images, **columns)
    folder = unpack(plate, tmp_path / "images")
    tiff.pack(find_pairs(folder), tmp_path / "again.h5")
    assert_same_plate(plate, tmp_path / "again.h5")


def test_names_are_those_of_the_authors(make_plate, tmp_path, random_cells) -> None:
    folder = unpack(make_plate(n=9), tmp_path / "images")
    image = tifffile.imread(folder / "1/COOSv1cell_8_nucleus.tif")
    np.testing.assert_array_equal(image, random_cells(9)[8, 1])
    assert len(list(folder.rglob("*.tif"))) == 18
    with (folder / "cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[8] == {
        "file": "1/COOSv1cell_8",
        "label": "1",
        "plate": "109",
        "well": "012005000",
        "date": "2017-03-02",
        "microscope": "1",
    }


def test_cells_without_a_class_have_their_folder(make_plate, tmp_path) -> None:
    folder = unpack(make_plate(n=2, labels=None), tmp_path / "images")
    assert (folder / "unlabelled/COOSv1cell_1_protein.tif").is_file()


@pytest.mark.parametrize("name", ["..", ".", "../..", "/etc", "a/../../b", ".hidden"])
def test_the_name_of_a_class_is_no_path(make_plate, tmp_path, name: str) -> None:
    plate = make_plate(n=2, labels=np.array([name] * 2))
    folder = unpack(plate, tmp_path / "images")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "plate.h5"]
    (group,) = (path for path in folder.iterdir() if path.is_dir())
    assert len(list(group.iterdir())) == 4


def test_an_existing_folder_is_kept(make_plate, tmp_path) -> None:
    (tmp_path / "images").mkdir()
    unpack(make_plate(n=2), tmp_path / "images")
    with pytest.raises(OutputError, match="is there already and not empty"):
        unpack(make_plate(n=2), tmp_path / "images")


def test_nothing_is_left_of_a_faulty_unpacking(make_plate, tmp_path, monkeypatch) -> None:
    plate = make_plate(n=9)
    calls = []

    def full(path: Path, *args: object, **kwargs: object) -> None:
        calls.append(path)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", full)
    with pytest.raises(OutputError, match=r"images: cannot be written \(No space left"):
        unpack(plate, tmp_path / "images")
    assert [path.name for path in tmp_path.iterdir()] == ["plate.h5"]


def test_pairs_by_pattern_in_natural_order(tmp_path, random_cells) -> None:
    cells = random_cells(12)
    write_pairs(tmp_path / "in", cells, gfp_rfp)
    pairs = find_pairs(tmp_path / "in", GFP_RFP)
    assert pairs.stems == [f"cell{i}" for i in range(12)]
    tiff.pack(pairs, tmp_path / "p.h5")
    with open_plate(tmp_path / "p.h5") as plate:
        assert plate.missing == ("labels", *ID_DATASETS.values())
        (batch,) = plate.batches()
    np.testing.assert_array_equal(batch.images, cells)


def test_channels_in_folders_of_their_own(tmp_path, random_cells) -> None:
    write_pairs(
        tmp_path, random_cells(4), lambda i: (f"green/w{i % 2}/c{i}.tif", f"red/w{i % 2}/c{i}.tif")
    )
    pairs = find_pairs(tmp_path, ("green/*.tif", "red/*.tif"), levels="well")
    assert pairs.stems == ["w0/c0", "w0/c2", "w1/c1", "w1/c3"]
    assert pairs.columns["wells"].tolist() == ["w0", "w0", "w1", "w1"]


def test_what_both_patterns_fit_belongs_to_the_narrower(tmp_path, random_cells) -> None:
    write_pairs(tmp_path, random_cells(2), lambda i: (f"{i}.tif", f"{i}_dapi.tif"))
    pairs = find_pairs(tmp_path, ("*.tif", "*_dapi.tif"))
    assert pairs.paths[1] == (tmp_path / "1.tif", tmp_path / "1_dapi.tif")


def test_plate_and_well_from_folders(tmp_path, random_cells) -> None:
    write_pairs(
        tmp_path,
        random_cells(4),
        lambda i: (f"p{i % 2}/x/B0{i}/c_gfp.tif", f"p{i % 2}/x/B0{i}/c_rfp.tif"),
    )
    columns = find_pairs(tmp_path, GFP_RFP, levels="plate/-/well").columns
    assert columns["plates"].tolist() == ["p0", "p0", "p1", "p1"]
    assert columns["wells"].tolist() == ["B00", "B02", "B01", "B03"]


def test_plate_well_and_label_from_names(tmp_path, random_cells) -> None:
    write_pairs(
        tmp_path, random_cells(3), lambda i: (f"P7_B0{i}_{i}_gfp.tif", f"P7_B0{i}_{i}_rfp.tif")
    )
    regex = r"(?P<plate>[^_]+)_(?P<well>[A-P]\d+)_(?P<label>\d)"
    columns = find_pairs(tmp_path, GFP_RFP, name_regex=regex).columns
    assert columns["plates"].tolist() == ["P7"] * 3
    assert columns["wells"].tolist() == ["B00", "B01", "B02"]
    assert columns["labels"].tolist() == [0, 1, 2]


def test_a_csv_gives_order_and_columns(tmp_path, random_cells) -> None:
    write_pairs(tmp_path, random_cells(3), lambda i: tuple(f"a/{n}" for n in gfp_rfp(i)))
    table = tmp_path / "about.csv"
    table.write_text("\ufefffile,well,colour\ncell2,B02,red\na/cell0,B00,\ncell1,B01,blue\n")
    pairs = find_pairs(tmp_path, GFP_RFP, metadata=table)
    assert pairs.stems == ["a/cell2", "a/cell0", "a/cell1"]
    assert pairs.columns.keys() == {"wells"}
    assert pairs.columns["wells"].tolist() == ["B02", "B00", "B01"]


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("name,well\ncell0,x\n", "columns .* found, expected 'file'"),
        ("", "columns none found, expected 'file'"),
        ("file\ncell0\n", "1 pairs of images have no line, e.g. 'cell1'"),
        ("file\ncell0\ncell1\ncell0\n", "line 4: 'cell0' stands in an earlier line"),
        ("file\ncell0\n../../cell1\n", "line 3: no pair of images named '../../cell1'"),
        ("file\ncell0\n/etc/passwd\n", "line 3: no pair of images named '/etc/passwd'"),
        ("file,well\ncell0,x\ncell1\n", "line 3 does not have the columns"),
        ("file,well\ncell0,x\ncell1,y,z\n", "line 3 does not have the columns"),
        ("file,label\ncell0,0\ncell1,0.7\n", "label '0.7' of cell 1, expected a whole number"),
        ('file\ncell0\n"cell1\n', "cannot be read as a CSV"),
        ("file,plate\ncell0,a\ncell1," + "b" * 300 + "\n", "plate: the id of cell 1 has 300"),
        ("file,plate\ncell0,a\ncell1," + "b" * 200_000 + "\n", "cannot be read as a CSV"),
    ],
)
def test_a_csv_that_does_not_fit(tmp_path, random_cells, table: str, sentence: str) -> None:
    write_pairs(tmp_path / "in", random_cells(2), gfp_rfp)
    (tmp_path / "in/cells.csv").write_text(table)
    with pytest.raises(DataError, match=sentence):
        find_pairs(tmp_path / "in", GFP_RFP)


def test_a_csv_that_is_no_text(tmp_path, random_cells) -> None:
    write_pairs(tmp_path, random_cells(1), gfp_rfp)
    (tmp_path / "t.csv").write_bytes(b"file\n\xff\xfe\x00")
    for name in ("t.csv", "gone.csv"):
        with pytest.raises(DataError, match=f"{name}: cannot be read as a CSV table"):
            find_pairs(tmp_path, GFP_RFP, metadata=tmp_path / name)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"levels": "plate/field"}, "field found, expected any of label, plate"),
        ({"levels": "plate/plate"}, "plate, plate found, expected any of .* each once"),
        ({"levels": "plate"}, "'cell0' lies 0 folders deep, expected at least 1"),
        ({"name_regex": "("}, "is no regular expression"),
        ({"name_regex": "cell"}, "no names found"),
        ({"name_regex": "(?P<plate>x)"}, "'cell0' does not fit the regular expression"),
        ({"name_regex": "(?P<run>.)"}, "run found, expected any of"),
    ],
)
def test_sources_that_do_not_fit(
    tmp_path, random_cells, options: dict[str, str], sentence: str
) -> None:
    write_pairs(tmp_path, random_cells(2), gfp_rfp)
    with pytest.raises(DataError, match=sentence):
        find_pairs(tmp_path, GFP_RFP, **options)


def test_two_sources_of_one_column(tmp_path, random_cells) -> None:
    write_pairs(tmp_path, random_cells(2), lambda i: tuple(f"p/{n}" for n in gfp_rfp(i)))
    (tmp_path / "t.csv").write_text("file,plate\ncell0,a\ncell1,a\n")
    with pytest.raises(DataError, match="two sources give the plate"):
        find_pairs(tmp_path, GFP_RFP, levels="plate", metadata=tmp_path / "t.csv")


def test_images_without_a_partner(tmp_path, random_cells) -> None:
    write_pairs(tmp_path, random_cells(3), gfp_rfp)
    (tmp_path / "cell1_rfp.tif").unlink()
    with pytest.raises(DataError, match=r"1 images have no partner, e\.g\. 'cell1' fits '\*_gfp"):
        find_pairs(tmp_path, GFP_RFP)


def test_no_images(tmp_path) -> None:
    with pytest.raises(DataError, match="no image fits"):
        find_pairs(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        find_pairs(tmp_path / "nowhere")
    for pattern in ("gfp.tif", "*_*.tif"):
        with pytest.raises(DataError, match="asterisks, expected one"):
            find_pairs(tmp_path, (pattern, "*_rfp.tif"))


def test_links_out_of_the_folder_are_refused(tmp_path, random_cells) -> None:
    write_pairs(tmp_path / "in", random_cells(2), gfp_rfp)
    (tmp_path / "in/cell1_gfp.tif").rename(tmp_path / "outside.tif")
    (tmp_path / "in/cell1_gfp.tif").symlink_to(tmp_path / "outside.tif")
    with pytest.raises(DataError, match="is a link to a file outside"):
        find_pairs(tmp_path / "in", GFP_RFP)


@pytest.mark.parametrize("dtype", ["uint8", "int32", ">u2", "float64", ">f4"])
def test_types_of_images(tmp_path, random_cells, dtype: str) -> None:
    cells = (random_cells(3) % 251).astype(dtype)
    write_pairs(tmp_path, cells, gfp_rfp)
    tiff.pack(find_pairs(tmp_path, GFP_RFP), tmp_path / "p.h5")
    with open_plate(tmp_path / "p.h5") as plate:
        (batch,) = plate.batches()
    assert batch.images.dtype == ("float32" if "f" in dtype else "uint16")
    np.testing.assert_array_equal(batch.images, cells)


def test_rescale_restores_the_counts(tmp_path, random_cells) -> None:
    cells = random_cells(4).clip(0, 4095)
    write_pairs(tmp_path, (cells / 4095).astype(np.float32), gfp_rfp)
    pairs = find_pairs(tmp_path, GFP_RFP)
    with pytest.raises(DataError, match=r"'cell0': cell 0, .* scaled to \[0, 1\]; .*--rescale"):
        tiff.pack(pairs, tmp_path / "p.h5")
    tiff.pack(pairs, tmp_path / "p.h5", rescale=4095)
    with open_plate(tmp_path / "p.h5") as plate:
        assert plate.dtype == np.uint16
        (batch,) = plate.batches()
    np.testing.assert_array_equal(batch.images, cells)


def test_rescale_refuses_counts(tmp_path, random_cells) -> None:
    write_pairs(tmp_path, random_cells(2), gfp_rfp)
    pairs = find_pairs(tmp_path, GFP_RFP)
    with pytest.raises(DataError, match=r"'cell0': \d+ found, expected values in \[0, 1\]"):
        tiff.pack(pairs, tmp_path / "p.h5", rescale=4095)
    for rescale in (0, 1, -4095, float("nan"), 70000):
        with pytest.raises(DataError, match=r"rescale .* asked for"):
            tiff.pack(pairs, tmp_path / "p.h5", rescale=rescale)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.ones((3, 64, 64), np.uint16), "3 images found, expected one"),
        (np.ones((64, 32), np.uint16), r"shape \(64, 32\) found, expected a square of 32"),
        (np.ones((48, 48), np.uint16), r"shape \(48, 48\) found, expected \(64, 64\) as in"),
        (np.ones((64, 64, 3), np.uint8), r"3 channels in each pixel \(RGB\) found, expected"),
        (np.eye(64, dtype=np.float32), "dtype float32 found, expected uint16 as in .*cell0_gfp"),
        (np.eye(64) > 0, "dtype bool found, expected uint16 or float32"),
        (np.full((64, 64), 5, np.uint16), "'cell1': cell 1, channel 1 .*: 5 stands in every"),
        (b"", "cannot be read as a TIFF image"),
        (b"II*\0\x08\0\0\0", "cannot be read as a TIFF image"),
        (b"\x89PNG\r\n\x1a\n", "cannot be read as a TIFF image"),
    ],
)
def test_images_that_do_not_fit(
    tmp_path, random_cells, image: np.ndarray | bytes, sentence: str
) -> None:
    write_pairs(tmp_path / "in", random_cells(3), gfp_rfp)
    faulty = tmp_path / "in/cell1_rfp.tif"
    if isinstance(image, bytes):
        faulty.write_bytes(image)
    else:
        colours = "rgb" if image.shape[-1] == 3 else "minisblack"
        tifffile.imwrite(faulty, image, photometric=colours)
    with pytest.raises(DataError, match=sentence) as caught:
        tiff.pack(find_pairs(tmp_path / "in", GFP_RFP), tmp_path / "p.h5")
    assert "cell1" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_truncated_image(tmp_path, random_cells) -> None:
    write_pairs(tmp_path, random_cells(2), gfp_rfp)
    path = tmp_path / "cell1_gfp.tif"
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(DataError, match=r"cell1_gfp\.tif: cannot be read as a TIFF image"):
        tiff.pack(find_pairs(tmp_path, GFP_RFP), tmp_path / "p.h5")


def test_the_commands(make_plate, tmp_path) -> None:
    app = typer.Typer()
    register(app)
    plate, folder, again = make_plate(), tmp_path / "images", tmp_path / "again.h5"
    unpacked = CliRunner().invoke(app, ["unpack", str(plate), str(folder)])
    assert (unpacked.exit_code, "24 cells in" in unpacked.stdout) == (0, True)
    packed = CliRunner().invoke(app, ["pack", str(folder), str(again)])
    assert packed.exit_code == 0
    assert "with labels, plates, wells, dates, microscopes" in packed.stdout.replace("\n", " ")
    assert_same_plate(plate, again)
    refused = CliRunner().invoke(app, ["pack", str(folder), str(again)])
    assert isinstance(refused.exception, OutputError)
    assert CliRunner().invoke(app, ["pack", str(folder), str(again), "--force"]).exit_code == 0


def test_the_real_plate(shared_file, tmp_path) -> None:
    real = shared_file("real/yeast_cells.hdf5")
    folder = unpack(real, tmp_path / "images")
    tiff.pack(find_pairs(folder), tmp_path / "again.h5")
    assert_same_plate(real, tmp_path / "again.h5")
