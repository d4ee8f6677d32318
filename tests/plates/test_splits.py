"""The plate files of a data set, by split."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from _coos7 import SPLITS
from noise import described as describe
from noise import write_noise

from coos_mlflow.errors import DataError
from coos_mlflow.plates.cleaned import without_unusable
from coos_mlflow.plates.dataset import Dataset, coos7
from coos_mlflow.plates.dataset_file import write_dataset
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.splits import (
    TrainingData,
    coos7_home,
    coos7_present,
    find_data,
    find_files,
)


def fill(folder: Path, beginning: str = "COOS7_v1.1_") -> Path:
    folder.mkdir(exist_ok=True)
    for split in SPLITS:
        (folder / f"{beginning}{split}.hdf5").touch()
    return folder


def described(train: str | list[str], near: str) -> Dataset:
    values = {
        "name": "own",
        "classes": [{"name": "ER", "label": 3}, {"name": "Golgi", "label": 8}],
        "crop": 64,
        "splits": [
            {"name": "Next", "role": "reference", "files": near},
            {"name": "First", "role": "train", "files": train},
        ],
    }
    return Dataset.from_dict(values, "here")


@pytest.mark.parametrize("beginning", ["COOS7_v1.1_", "simulated_", ""])
def test_the_files_of_coos7(tmp_path, beginning: str) -> None:
    files = find_files(fill(tmp_path, beginning), coos7())
    assert list(files) == list(SPLITS)
    assert files["test3"] == (tmp_path / f"{beginning}test3.hdf5",)


def test_what_is_missing_is_listed(tmp_path) -> None:
    fill(tmp_path)
    for split in ("test1", "test4"):
        (tmp_path / f"COOS7_v1.1_{split}.hdf5").unlink()
    with pytest.raises(DataError, match=r"no file for \*test1\.hdf5 of Test1, \*test4\.hdf5 of"):
        find_files(tmp_path, coos7())


def test_two_data_sets_in_one_folder(tmp_path) -> None:
    fill(fill(tmp_path), "simulated_")
    with pytest.raises(DataError, match=r"2 files for the split training \(COOS7_v1.1_training"):
        find_files(tmp_path, coos7())


def test_no_folder(tmp_path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_data(tmp_path / "nowhere")


def test_a_folder_that_nothing_describes(make_plate) -> None:
    folder = make_plate("own/a.h5").parent
    with pytest.raises(DataError, match=r"own: no dataset\.yaml found, .*coos dataset init"):
        find_data(folder)


def test_a_split_of_several_files(make_plate) -> None:
    for name, first in (("p2.h5", 8), ("p10.h5", -1), ("q.h5", 8)):
        path = make_plate(f"own/{name}", n=2, labels=np.array([first, 3]), attrs={"simulated": 1})
    write_dataset(described("p*.h5", "q.h5"), path.parent / "dataset.yaml")
    data = find_data(path.parent)
    assert (data.name, data.simulated, data.folder) == ("own", True, path.parent)
    assert {split: [path.name for path in paths] for split, paths in data.files.items()} == {
        "training": ["p10.h5", "p2.h5"],
        "next": ["q.h5"],
    }
    assert data.annotations("training").labels.tolist() == [-1, 0, 1, 0]
    assert data.annotations("training").plates.tolist() == ["59", "109"] * 2


def test_the_digest_is_that_of_description_and_files(make_plate) -> None:
    dataset, (p, q) = described("p.h5", "q.h5"), (make_plate("p.h5", seed=1), make_plate("q.h5"))
    other = Dataset.from_dict(dataset.as_dict() | {"wells": "mixture"}, "here")
    digests = {
        TrainingData(of, {"training": (first,), "next": (second,)}, simulated=False).digest
        for of, first, second in ((dataset, p, q), (dataset, q, p), (other, p, q), (dataset, q, q))
    }
    assert len(digests) == 4


def test_unlabelled_cells_are_only_in_training(make_plate) -> None:
    labels = np.array([3, -1])
    for name in "pq":
        path = make_plate(f"own/{name}.h5", n=2, labels=labels)
    write_dataset(described("p.h5", "q.h5"), path.parent / "dataset.yaml")
    data = find_data(path.parent)
    assert data.annotations("training").labels.tolist() == [0, -1]
    with pytest.raises(DataError, match=r"q\.h5:/labels: 1 of 2 cells have no label, .* cell 1;"):
        data.annotations("next")


@pytest.mark.parametrize(
    ("train", "near", "sentence"),
    [
        ("*.h5", "q.h5", r"q\.h5: is in the splits First and Next, expected one"),
        ("../*.h5", "q.h5", r"files '\.\./\*\.h5' found, expected a path below the folder"),
        ("/etc/passwd", "q.h5", r"files '/etc/passwd' found, expected a path below the folder"),
        (["p.h5", "gone.h5"], "q.h5", r"no file for gone\.h5 of First"),
    ],
)
def test_files_that_do_not_fit(tmp_path, train, near: str, sentence: str) -> None:
    for name in ("p.h5", "q.h5"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=sentence):
        find_files(tmp_path, described(train, near))


def test_home_of_coos7(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COOS7_HOME", str(tmp_path / "here"))
    assert coos7_home() == tmp_path / "here"
    assert not coos7_present()
    fill(tmp_path / "here")
    assert coos7_present()
    (tmp_path / "here/COOS7_v1.1_test2.hdf5").rename(tmp_path / "here/.COOS7_v1.1_test2.hdf5.part")
    assert not coos7_present()


def test_default_home_is_the_users_cache(monkeypatch) -> None:
    monkeypatch.delenv("COOS7_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert coos7_home().name == "coos7"
    assert coos7_home().is_absolute()


def test_the_digest_tells_to_which_split_a_file_belongs(tmp_path):
    for name in ("train_1", "train_2", "x_test"):
        write_noise(tmp_path / f"{name}.h5", labels=[0, 1, 2])
    splits = [
        "{name: T, role: train, files: 'train_*.h5'}",
        "{name: R, role: reference, files: '*_test.h5'}",
    ]
    before = find_data(describe(tmp_path, splits=splits)).digest
    (tmp_path / "train_2.h5").rename(tmp_path / "a_test.h5")
    assert find_data(tmp_path).digest != before


def test_a_cleaned_copy_is_of_the_description_that_asked_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "cache"))
    path = write_noise(tmp_path / "data" / "train.h5", labels=[0] * 40 + [1] * 40)
    with h5py.File(path, "a") as file:
        file["data"][0, 0] = 7  # a constant channel
    values = {"name": "d", "crop": 48, "splits": [{"name": "T", "role": "train", "files": "x"}]}
    one = Dataset.from_dict(values | {"classes": ["a", "b"]}, "")
    other = Dataset.from_dict(
        values | {"classes": [{"name": "a", "label": 1}, {"name": "b", "label": 0}]}, ""
    )
    labels = []
    for dataset in (one, other):
        with open_plate(without_unusable(path, dataset), dataset) as plate:
            labels.append(plate.labels)
    assert labels[0].tolist() == (1 - labels[1]).tolist() == [0] * 39 + [1] * 40
