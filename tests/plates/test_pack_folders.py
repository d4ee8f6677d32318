"""Which files of a folder `coos pack` takes: hidden ones, endings, patterns of the channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer
from typer.testing import CliRunner

from coos_mlflow.cli.plates import register
from coos_mlflow.errors import DataError
from coos_mlflow.plates import tiff
from coos_mlflow.plates.tiff_pairs import find_pairs

GFP_RFP = ("*_gfp.tif", "*_rfp.tif")


def write_cells(folder: Path, cells: np.ndarray, ending: str = "tif") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, cell in enumerate(cells):
        for image, channel in zip(cell, ("gfp", "rfp"), strict=True):
            tifffile.imwrite(folder / f"cell{index}_{channel}.{ending}", image)
    return folder


@pytest.mark.parametrize(
    "hidden",
    [
        ".ipynb_checkpoints",
        ".Trash-1000/files",
        ".snapshot/hourly",
        "__MACOSX",
        "@eaDir",
        "#snapshot/day",
        "$RECYCLE.BIN",
        "System Volume Information",
        "p1/.snapshot",
    ],
)
def test_hidden_folders_are_left_out_and_counted(tmp_path, random_cells, hidden: str) -> None:
    write_cells(tmp_path / "p1", random_cells(2))
    write_cells(tmp_path / hidden, random_cells(2))
    pairs = find_pairs(tmp_path, GFP_RFP, levels="plate")
    assert pairs.columns["plates"].tolist() == ["p1", "p1"]
    assert len(pairs.hidden) == 1
    assert hidden.startswith(pairs.hidden[0])


def test_hidden_images_of_macos_are_left_out_and_counted(tmp_path, random_cells) -> None:
    write_cells(tmp_path, random_cells(2))
    for name in ("._cell0_gfp.tif", "._cell0_rfp.tif", ".DS_Store"):
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    pairs = find_pairs(tmp_path, GFP_RFP)
    assert pairs.stems == ["cell0", "cell1"]
    assert pairs.hidden == ["._cell0_gfp.tif", "._cell0_rfp.tif"]


def test_the_folder_itself_may_be_hidden(tmp_path, random_cells) -> None:
    folder = write_cells(tmp_path / ".cells/__MACOSX", random_cells(2))
    pairs = find_pairs(folder, GFP_RFP)
    assert (pairs.stems, pairs.hidden) == (["cell0", "cell1"], [])


def test_a_folder_of_hidden_images_alone_says_so(tmp_path, random_cells) -> None:
    write_cells(tmp_path / ".old", random_cells(1))
    with pytest.raises(DataError, match=r"no image fits .*what is hidden is left out \('\.old'\)"):
        find_pairs(tmp_path, GFP_RFP)


def test_pack_says_what_it_left_out(tmp_path, random_cells) -> None:
    folder = write_cells(tmp_path / "in", random_cells(2))
    write_cells(folder / ".snapshot", random_cells(2))
    (folder / "t.csv").write_text("file,well,Metadata_Site\ncell0,B03,1\ncell1,B04,2\n")
    app = typer.Typer()
    register(app)
    options = ["--protein", GFP_RFP[0], "--nucleus", GFP_RFP[1], "--metadata", folder / "t.csv"]
    words = ["pack", folder, tmp_path / "p.h5", *options]
    said = CliRunner().invoke(app, [str(word) for word in words]).stdout.replace("\n", " ")
    assert "2 cells in" in said
    assert "Left out: 1 hidden files and folders, e.g. .snapshot" in said
    assert "not taken" in said
    assert "Metadata_Site" in said


@pytest.mark.parametrize("ending", ["tif", "TIF", "tiff", "TIFF", "Tif"])
@pytest.mark.parametrize("asked", ["tif", "TIF", "tiff"])
def test_tif_finds_every_spelling_of_the_ending(tmp_path, random_cells, ending, asked) -> None:
    write_cells(tmp_path, random_cells(2), ending)
    pairs = find_pairs(tmp_path, (f"*_gfp.{asked}", f"*_rfp.{asked}"))
    assert pairs.stems == ["cell0", "cell1"]


def test_one_image_under_two_endings_is_refused(tmp_path, random_cells) -> None:
    write_cells(tmp_path, random_cells(1))
    write_cells(tmp_path, random_cells(1), "tiff")
    with pytest.raises(DataError, match="is the image of the same cell and channel"):
        find_pairs(tmp_path, GFP_RFP)


@pytest.mark.parametrize("other", ["*_gfp.tif", "*_gfp.TIF", "*_gfp.tiff"])
def test_one_pattern_for_both_channels_is_refused(tmp_path, random_cells, other) -> None:
    write_cells(tmp_path, random_cells(2))
    with pytest.raises(DataError, match="stands for both channels"):
        find_pairs(tmp_path, ("*_gfp.tif", other))


@pytest.mark.parametrize("other", ["*gfp.tif", "cell*.tif", "c*_gfp.tif"])
def test_two_patterns_that_fit_the_same_images_are_refused(tmp_path, random_cells, other) -> None:
    write_cells(tmp_path, random_cells(2))
    for path in tmp_path.glob("*_rfp.tif"):
        path.unlink()
    for patterns in (("*_gfp.tif", other), (other, "*_gfp.tif")):
        with pytest.raises(DataError, match="expected patterns that tell the channels apart"):
            find_pairs(tmp_path, patterns)


def test_the_same_image_as_protein_and_nucleus_is_refused(tmp_path, random_cells) -> None:
    folder = write_cells(tmp_path / "in", np.repeat(random_cells(3)[:, :1], 2, axis=1))
    with pytest.raises(DataError, match=r"'cell0': .* both channels, which are the same image"):
        tiff.pack(find_pairs(folder, GFP_RFP), tmp_path / "plate.h5")
    assert not (tmp_path / "plate.h5").exists()


def test_pack_tells_the_same_cell_twice(tmp_path, random_cells) -> None:
    cells = random_cells(5)
    cells[4] = cells[1]
    folder = write_cells(tmp_path / "in", cells)
    app = typer.Typer()
    register(app)
    patterns = ["--protein", GFP_RFP[0], "--nucleus", GFP_RFP[1]]
    out = str(tmp_path / "plate.h5")
    result = CliRunner().invoke(app, ["pack", str(folder), out, *patterns])
    assert result.exit_code == 0
    assert "1 of 5 cells are copies of earlier cells" in " ".join(result.output.split())
