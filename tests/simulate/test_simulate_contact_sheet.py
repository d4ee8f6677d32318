"""The contact sheet as a picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from coos_mlflow.errors import DataError
from coos_mlflow.simulate import (
    Size,
    contact_sheet,
    made_up_dataset,
    simulate_dataset,
    simulate_described,
    simulate_plate_cells,
)
from coos_mlflow.simulate.contact_sheet import stretch


@pytest.fixture(scope="module")
def cells():
    found = simulate_plate_cells(wells_per_class=1, cells_per_well=3, jobs=1)
    return found["images"], found["labels"]


def test_stretch_takes_each_image_to_black_and_white():
    images = np.random.default_rng(0).normal(500, 50, (3, 2, 64, 64))
    shown = stretch(images * np.array([1.0, 7.0])[:, None, None])
    assert shown.min(axis=(2, 3)).tolist() == [[0, 0]] * 3
    assert shown.max(axis=(2, 3)).tolist() == [[1, 1]] * 3


def test_sheet_from_arrays_shows_bright_cells_and_differs_in_colour(cells, tmp_path):
    source = {"training": cells, "test4": cells}
    grey = contact_sheet(source, tmp_path / "grey.png", cells_per_split=2)
    colour = contact_sheet(source, tmp_path / "colour.png", cells_per_split=2, composite=True)
    with Image.open(grey) as picture:
        assert picture.info["Title"] == "Simulated cells"
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (pixels.max(axis=2) - pixels.min(axis=2)).max() < 8
    assert (pixels < 60).mean() > 0.15
    with Image.open(colour) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (pixels[..., 1] - pixels[..., 0] > 60).mean() > 0.02
    assert (pixels[..., 2] - pixels[..., 0] > 60).mean() > 0.02


def test_sheet_from_a_folder_says_simulated(tmp_path):
    simulate_dataset(tmp_path / "data", 0.0001, jobs=1)
    path = contact_sheet(tmp_path / "data", tmp_path / "sheet.png", cells_per_split=2)
    with Image.open(path) as picture:
        assert picture.info["Title"] == "Simulated cells"
        assert picture.width > picture.height > 400


def test_sheet_of_a_described_folder_has_a_row_for_each_class(tmp_path):
    heights = []
    for n_classes in (3, 6):
        folder = tmp_path / str(n_classes)
        simulate_described(folder, made_up_dataset(n_classes, 48, 1), Size(2, 1, 1))
        path = contact_sheet(folder, folder / "sheet.png", cells_per_split=2)
        with Image.open(path) as picture:
            heights.append(picture.height)
            assert picture.info["Title"] == "Simulated cells"
    # A row is 0.62 inches high, of 150 pixels each; its last gap is left out.
    assert heights[1] - heights[0] == pytest.approx(3 * 0.62 * 150, abs=2)


def test_a_class_without_enough_cells_is_named(cells, tmp_path):
    with pytest.raises(DataError, match="3 cells of Endoplasmic Reticulum found, expected 4"):
        contact_sheet({"training": cells}, tmp_path / "x.png", cells_per_split=4)
