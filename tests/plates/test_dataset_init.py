"""`coos dataset init`: what it makes of the files and images of a folder."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from noise import write_noise

from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import MIXTURE, ONE_CLASS, UNKNOWN, Dataset
from coos_mlflow.plates.dataset_file import read_dataset, write_dataset
from coos_mlflow.plates.dataset_init import describe_folder
from coos_mlflow.plates.splits import find_data


def made(folder: Path) -> Dataset:
    """Describe a folder, and return what is read from the file that is written."""
    dataset, remarks = describe_folder(folder)
    write_dataset(dataset, folder / "dataset.yaml", remarks)
    assert read_dataset(folder / "dataset.yaml") == dataset
    return dataset


def test_numbers_become_classes_to_be_named(tmp_path: Path) -> None:
    write_noise(tmp_path / "train_a.h5", labels=[3, 1, 1, -1], crop=80)
    write_noise(tmp_path / "later.h5", labels=[1, 3], crop=80)
    dataset = made(tmp_path)
    assert [(one.name, one.label) for one in dataset.classes] == [("class 1", 1), ("class 3", 3)]
    assert dataset.crop == 80
    assert dataset.by_split["training"].files == ("train_a.h5",)
    assert [dataset.title(split) for split in dataset.references] == ["later"]
    found = find_data(tmp_path)
    assert found.annotations("training").labels.tolist() == [1, 0, 0, -1]
    assert found.annotations("later").labels.tolist() == [0, 1]


def test_text_labels_are_the_names_of_the_classes(tmp_path: Path) -> None:
    write_noise(tmp_path / "training.h5", labels=["Golgi", "", "actin"])
    write_noise(tmp_path / "x" / "test.h5", labels=["tubulin"])
    dataset = made(tmp_path)
    assert dataset.class_names == ("Golgi", "actin", "tubulin")
    assert find_data(tmp_path).annotations("training").labels.tolist() == [0, -1, 1]


def test_references_come_in_natural_order_and_unlabelled_files_are_left_out(tmp_path: Path) -> None:
    write_noise(tmp_path / "train.h5", labels=[0, 1])
    for name in ("day10", "day9"):
        write_noise(tmp_path / f"{name}.h5", labels=[0, 1])
    write_noise(tmp_path / "new.h5")
    dataset, remarks = describe_folder(tmp_path)
    assert dataset.references == ("day9", "day10")
    assert any("new.h5" in remark for remark in remarks["splits"])


def test_numbers_as_text_keep_their_meaning(tmp_path: Path) -> None:
    write_noise(tmp_path / "train.h5", labels=["1", "2", "3", "4"])
    dataset = made(tmp_path)
    assert [one.label for one in dataset.classes] == [1, 2, 3, 4]
    assert find_data(tmp_path).annotations("training").labels.tolist() == [0, 1, 2, 3]


def test_odd_names_are_found_again(tmp_path: Path) -> None:
    names = (
        "plate[1]_train",
        "strainA_test",
        "\u0433\u043e\u043b\u044c\u0434\u0436\u0438",
        "test 1",
        "test_1",
        "test-1",
    )
    for name in names:
        write_noise(tmp_path / f"{name}.h5", labels=[0, 1], plates=name)
    dataset = made(tmp_path)
    assert dataset.by_split["training"].files == ("plate[1]_train.h5",)
    assert len(find_data(tmp_path).files) == len(set(dataset.split_keys)) == len(names)


def test_the_files_own_names_of_channels_are_taken(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["data"] = np.arange(2 * 3 * 32 * 32, dtype=np.uint16).reshape(2, 3, 32, 32)
        file["labels"] = [0, 1]
        file.attrs["channels"] = np.bytes_("nucleus,actin,protein")
    assert made(tmp_path).channels == ("nucleus", "actin", "protein")


def test_the_same_well_and_class_in_two_files_of_text_is_pure(tmp_path: Path) -> None:
    write_noise(tmp_path / "train.h5", labels=["actin", "golgi"], wells=["A01", "B01"])
    write_noise(tmp_path / "test.h5", labels=["golgi", "golgi"], wells=["B01", "B01"])
    assert made(tmp_path).wells == ONE_CLASS


def test_without_a_training_file_the_largest_labelled_one_trains(tmp_path: Path) -> None:
    write_noise(tmp_path / "a.h5", labels=[0, 1])
    write_noise(tmp_path / "b.h5", labels=[0, 1, 1])
    write_noise(tmp_path / "test_c.h5", labels=[0, 1, 1, 0])
    assert made(tmp_path).by_split["training"].files == ("b.h5",)


@pytest.mark.parametrize(
    ("wells", "expected"),
    [(["A01", "A02"], ONE_CLASS), (["A01", "A01"], MIXTURE), (["", ""], UNKNOWN)],
)
def test_wells_of_one_class_or_of_several(tmp_path: Path, wells: list[str], expected: str) -> None:
    write_noise(tmp_path / "train.h5", labels=[0, 1], wells=wells)
    assert made(tmp_path).wells == expected


def test_a_well_in_two_files_counts_once(tmp_path: Path) -> None:
    write_noise(tmp_path / "train.h5", labels=[0, 0], wells="A01")
    write_noise(tmp_path / "test.h5", labels=[1, 1], wells="A01")
    assert made(tmp_path).wells == MIXTURE


def test_files_without_wells_leave_it_open(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "train.h5", labels=[0, 1])
    with h5py.File(path, "a") as file:
        del file["wellIDs"]
    assert made(tmp_path).wells == UNKNOWN


def test_the_pixel_size_is_taken_where_all_files_agree(tmp_path: Path) -> None:
    write_noise(tmp_path / "train.h5", labels=[0, 1], pixel_size_um=0.3)
    assert made(tmp_path).pixel_size == 0.3
    write_noise(tmp_path / "far.h5", labels=[0, 1], pixel_size_um=0.6)
    assert describe_folder(tmp_path)[0].pixel_size is None


def test_further_channels_are_named_for_the_eye(tmp_path: Path) -> None:
    cells = np.arange(3 * 4 * 32 * 32, dtype=np.uint16).reshape(3, 4, 32, 32)
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["data"], file["labels"] = cells, [0, 1, 1]
    assert made(tmp_path).channels == ("protein", "nucleus", "other 1", "other 2")


def test_folders_of_images_are_described_and_packed(tmp_path: Path) -> None:
    for name in ("actin", "golgi"):
        (tmp_path / name).mkdir()
        for channel in ("protein", "nucleus"):
            image = np.full((40, 40), 7, np.uint16)
            tifffile.imwrite(tmp_path / name / f"cell_1_{channel}.tif", image)
    dataset, remarks = describe_folder(tmp_path)
    assert (dataset.class_names, dataset.crop) == (("actin", "golgi"), 40)
    assert "coos pack" in remarks["splits"][0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "no plate files and 0 folders with TIFF images found"),
        (lambda folder: write_noise(folder / "a.h5"), "none of 1 plate files has labels"),
        (
            lambda folder: [
                write_noise(folder / "a.h5", labels=[0, 1], crop=48),
                write_noise(folder / "b.h5", labels=[0, 1], crop=64),
            ],
            "crops of 48 pixels in a.h5 and crops of 64 pixels in b.h5",
        ),
        (
            lambda folder: [
                write_noise(folder / "a.h5", labels=[0, 1]),
                write_noise(folder / "b.h5", labels=["x", "y"]),
            ],
            "labels are text in b.h5 and numbers in a.h5",
        ),
        (lambda folder: h5py.File(folder / "a.h5", "w").close(), "no dataset /data"),
        (lambda folder: (folder / "a.h5").write_text("no"), "not an HDF5 file"),
        (lambda folder: write_noise(folder / "a.h5", labels=[1, 1]), "classes"),
    ],
)
def test_what_cannot_be_described_is_said_in_one_sentence(tmp_path: Path, make, words) -> None:
    make(tmp_path)
    with pytest.raises(DataError, match=words) as refused:
        describe_folder(tmp_path)
    assert "\n" not in str(refused.value)
