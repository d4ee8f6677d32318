"""`coos simulate` with made-up classes, and `coos simulate-plate` with whole fields."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from typer.testing import CliRunner

from coos_mlflow.cli.main import app
from coos_mlflow.errors import CoosError, DataError, OutputError
from coos_mlflow.fields.sources.base import open_images
from coos_mlflow.plates.dataset_file import read_dataset, write_dataset
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.splits import find_files
from coos_mlflow.simulate import made_up_dataset, simulate_fields, simulate_plate_cells

SMALL = ("--plates", "2", "--wells", "1", "--cells", "2")


def coos(*words: object) -> str:
    """Run a command; return what it prints, or raise what it raises."""
    done = CliRunner().invoke(app, [*map(str, words)])
    if isinstance(done.exception, CoosError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_a_number_of_classes_is_enough(tmp_path):
    said = coos("simulate", tmp_path, "--classes", 4, "--crop", 33, "--references", 1, *SMALL)
    assert said.count("2 files, 16 simulated cells") == 2
    dataset = read_dataset(tmp_path / "dataset.yaml")
    assert (dataset.n_classes, dataset.crop, len(dataset.references)) == (4, 33, 1)
    assert {split: len(paths) for split, paths in find_files(tmp_path, dataset).items()} == {
        "training": 2,
        "reference-1": 2,
    }


def test_a_description_is_simulated_where_it_lies(tmp_path):
    file = tmp_path / "dataset.yaml"
    write_dataset(made_up_dataset(2, 32, 0), file)
    before = file.read_bytes()
    said = coos("simulate", tmp_path, "--dataset", file, *SMALL)
    assert "Training: 2 files, 8 simulated cells" in said
    assert file.read_bytes() == before
    with pytest.raises(OutputError, match="is there already"):
        coos("simulate", tmp_path, "--dataset", file, *SMALL)
    coos("simulate", tmp_path, "--dataset", file, "--force", *SMALL)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--crop", "48"], "--crop 48 found without --classes or --dataset"),
        (["--plates", "2"], "--plates 2 found without"),
        (["--classes", "3", "--scale", "0.5"], r"--scale 0\.5 found with made-up classes"),
        (["--dataset", "x.yaml", "--classes", "3"], "--classes 3 found with --dataset"),
        (["--dataset", "x.yaml", "--references", "0"], "--references 0 found with --dataset"),
        (["--classes", "1"], "1 made-up classes asked for, expected 2 to 100"),
        (["--classes", "3", "--crop", "300"], "crop: '300' found"),
        (["--classes", "3", "--wells", "400"], "400 inner wells asked for"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, words, message):
    with pytest.raises(DataError, match=message):
        coos("simulate", tmp_path / "new", *words)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("like", ["wild", "defocus"])
def test_a_plate_may_be_wild_or_have_a_single_cause(tmp_path, like):
    out = tmp_path / "p.h5"
    words = ("--like", like, "--classes", "0,4", "--wells", 1, "--cells", 3, "--seed", 2)
    assert f"6 simulated cells like {like}" in coos("simulate-plate", out, *words)
    expected = simulate_plate_cells(
        like=like, classes=(0, 4), wells_per_class=1, cells_per_well=3, seed=2
    )
    with open_plate(out) as plate:
        np.testing.assert_array_equal(next(plate.batches()).images, expected["images"])
        assert plate.labels.tolist() == [0, 0, 0, 4, 4, 4]


FIELDS = ("--classes", "0,4", "--wells", "1", "--fields", "2", "--size", "96")


@pytest.mark.parametrize("format", ["ome_zarr", "harmony", "tiff"])
def test_whole_fields_are_written_as_an_instrument_does(tmp_path, format):  # noqa: A002
    if format == "ome_zarr":
        pytest.importorskip("zarr")
    out = tmp_path / "plate42"
    said = coos("simulate-plate", out, *FIELDS, "--format", format, "--pixel-size", "0.645")
    assert "4 simulated fields like training" in said
    images = open_images(str(out), pixel_size_um=0.645 if format == "tiff" else None)
    assert images.pixel_size_um == pytest.approx(0.645)
    drawn = simulate_fields(
        classes=(0, 4), wells_per_class=1, fields_per_well=2, size=(96, 96), pixel_size_um=0.645
    )
    expected = {(one.well, one.number): one for one in drawn}
    assert {(field.well, field.number) for field in images.fields} == set(expected)
    for field in images.fields:
        one = expected[field.well, field.number]
        for place, channel in enumerate(images.channels):
            read = field.planes[place, 1].read()
            np.testing.assert_array_equal(read, one.counts[int("DRAQ5" in channel.name)])


def test_the_truth_stands_beside_the_images(tmp_path):
    coos("simulate-plate", tmp_path / "plate42", *FIELDS, "--format", "harmony", "--density", "0,1")
    with (tmp_path / "plate42_truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    fields = simulate_fields(
        classes=(0, 4), wells_per_class=1, fields_per_well=2, size=(96, 96), density=(0.0, 1.0)
    )
    expected = [
        (one.well, one.number, number, label)
        for one in fields
        for number, label in enumerate(one.classes.tolist(), 1)
    ]
    found = [(r["well"], int(r["field"]), int(r["object"]), int(r["class"])) for r in rows]
    assert found == expected
    assert {r["class"] for r in rows} == {"4"}
    assert all(-1 < float(r["centre_y"]) < 96 for r in rows)
    with pytest.raises(OutputError, match=r"plate42_truth\.csv: exists already"):
        coos("simulate-plate", tmp_path / "plate42", *FIELDS, "--format", "harmony")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "96"], "--size 96 found without --fields"),
        (["--pixel-size", "0.5"], r"--pixel-size 0\.5 found without --fields"),
        (["--fields", "1", "--cells", "5"], "--cells 5 found with --fields"),
        (["--fields", "1", "--density", "much"], "--density 'much' found"),
        (["--fields", "1", "--density", "nan"], "density nan found"),
        (["--fields", "1", "--format", "jpeg"], "format 'jpeg' found"),
        (["--fields", "1", "--size", "9"], "9 x 9 pixels asked for"),
    ],
)
def test_wrong_options_of_a_plate_are_refused(tmp_path, words, message):
    with pytest.raises(DataError, match=message):
        coos("simulate-plate", tmp_path / "new", *words)
    assert list(tmp_path.iterdir()) == []
