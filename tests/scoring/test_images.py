"""A plate is scored from the images of an instrument, and its labels get back to the images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plates_of_images import simulated_fields, written
from typer.testing import CliRunner

import coos_mlflow
from coos_mlflow.cli.main import app
from coos_mlflow.cropping import crop as cropping
from coos_mlflow.errors import CoosError, DataError, PlatesFailedError
from coos_mlflow.fields.sources import open_images
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.scoring.image_names import plate_file

ASKED = ("--model", "texture-lr", "--out", "scores")


def coos_score(*words: object) -> str:
    """Run the command; return what it prints, or raise what it raises."""
    done = CliRunner().invoke(app, ["score", *map(str, words), *ASKED])
    if isinstance(done.exception, CoosError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def fields():
    return simulated_fields(size=(420, 420))


@pytest.fixture(scope="module")
def images(fields, tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("images") / "plate42", fields, "harmony")


@pytest.fixture(scope="module")
def scores(images, trained, tmp_path_factory) -> Path:
    """Score the images from the command, with labels written back, and return the folder."""
    folder = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        said = coos_score(images, "--write-labels")
    assert "simulated cells of" in said
    assert "fields.html  look here" in said
    return folder / "scores"


def test_results_are_those_of_scoring_the_cells(scores, images):
    drift = json.loads((scores / "plate42" / "drift.json").read_text())
    assert drift["simulated"] == {"plate": True, "model": True}
    with open_plate(scores / "crops" / "plate42.h5") as plate:
        cells = next(plate.batches(plate.n_cells))
    alone = coos_mlflow.load_model("texture-lr").predict(cells.images)
    table = pd.read_parquet(scores / "plate42" / "predictions.parquet")
    assert list(table["class_name"]) == list(alone["class_name"])
    assert set(table["Metadata_Well"]) == {well for _, well in open_images(str(images)).wells}


def test_most_cells_get_the_class_that_was_drawn(scores, fields):
    centres = pd.read_csv(scores / "plate42" / "centres.csv")
    names = coos_mlflow.load_model("texture-lr").dataset.class_names
    by_place = {(field.well, field.number): field for field in fields}
    right = []
    for row in centres.itertuples():
        field = by_place[row.Metadata_Well, row.Metadata_Field]
        y, x = round(row.Location_Center_Y), round(row.Location_Center_X)
        if number := field.labels[y, x]:
            right.append(names[field.classes[number - 1]] == row.class_name)
    assert len(right) > 0.95 * len(centres) > 50
    assert np.mean(right) > 0.8


def test_labels_in_the_copy_of_the_plate_are_those_of_the_table(scores):
    pytest.importorskip("zarr")
    import zarr

    centres = pd.read_csv(scores / "plate42" / "centres.csv")
    copy = open_images(str(scores / "crops" / "plate42.zarr"))
    for field in copy.fields:
        (labels,) = (plane.read() for name, plane in field.labels.items() if name == "predictions")
        ours = centres[
            (centres["Metadata_Well"] == field.well) & (centres["Metadata_Field"] == field.number)
        ]
        rows = zip(
            ours["ObjectNumber"], ours["Location_Center_Y"], ours["Location_Center_X"], strict=True
        )
        for number, y, x in rows:
            ys, xs = np.nonzero(labels == number)
            assert ys.mean() == pytest.approx(y, abs=0.01)
            assert xs.mean() == pytest.approx(x, abs=0.01)
    assert zarr.open_group(str(scores / "crops" / "plate42.zarr"), mode="r").attrs


def test_cells_are_found_again(scores, images, monkeypatch):
    monkeypatch.chdir(scores.parent)
    monkeypatch.setattr(cropping, "finish", None)  # fails where it is called
    coos_score(images)
    coos_score(images, "--force")


def test_a_dry_run_writes_nothing(images, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = coos_score(images, "--dry-run")
    assert "would write scores/crops/plate42.h5 and scores/crops/plate42.fields" in said
    assert "would write scores/plate42" in said
    assert not list(tmp_path.iterdir())


def test_a_damaged_field_is_named_and_the_others_are_scored(images, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = Path(shutil.copytree(images, tmp_path / "plate42"))
    damaged = sorted(copy.rglob("*ch1*.tiff"))[0]
    damaged.write_bytes(damaged.read_bytes()[:1000])
    with pytest.raises(DataError, match=damaged.name):
        coos_score(copy)
    assert not (tmp_path / "scores" / "plate42").exists()
    with pytest.raises(PlatesFailedError, match=damaged.name) as error:
        coos_score(copy, "--keep-going")
    assert error.value.exit_code == 5
    assert (tmp_path / "scores" / "plate42" / "report.html").is_file()


def test_channels_that_cannot_be_told_are_asked_for_before_the_model_is_loaded(
    images, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="--nucleus 'Hoechst' fits no channel"):
        coos_score(images, "--nucleus", "Hoechst", "--model", "no-such-model")


def test_python_scores_images_too(images, trained, scores):
    result = coos_mlflow.score(images, "texture-lr")
    assert result.folder is None
    table = pd.read_parquet(scores / "plate42" / "predictions.parquet")
    assert list(result.predictions["class_name"]) == list(table["class_name"])


def test_options_of_images_are_refused_with_plate_files_alone(new_plate):
    with pytest.raises(DataError, match="--keep found with plate files alone"):
        coos_score(new_plate, "--keep", "good")
    with pytest.raises(DataError, match="--write-labels found with plate files alone"):
        coos_score(new_plate, "--write-labels")


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("/data/plate_1.1", "plate_1.1"),
        ("/data/plate42/", "plate42"),
        ("/data/plate42/Images", "plate42"),
        ("/data/plate42/Images/Index.idx.xml", "plate42"),
        ("s3://bucket/plate.ome.zarr", "plate"),
    ],
)
def test_cells_of_images_have_the_name_of_their_plate(location, name):
    assert plate_file(location, Path("out")) == Path("out/crops") / f"{name}.h5"


def test_a_plate_named_as_the_folder_of_crops_is_refused():
    with pytest.raises(DataError, match="'crops' cannot name"):
        plate_file("/data/crops", Path("out"))
