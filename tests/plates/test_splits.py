"""Folders with the five splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.plates.schema import SPLITS
from coos_mlflow.plates.splits import coos7_home, coos7_present, find_splits


def fill(folder: Path, beginning: str = "COOS7_v1.1_") -> Path:
    folder.mkdir(exist_ok=True)
    for split in SPLITS:
        (folder / f"{beginning}{split}.hdf5").touch()
    return folder


@pytest.mark.parametrize("beginning", ["COOS7_v1.1_", "simulated_", ""])
def test_the_five_files(tmp_path, beginning: str) -> None:
    splits = find_splits(fill(tmp_path, beginning))
    assert list(splits) == list(SPLITS)
    assert splits["test3"] == tmp_path / f"{beginning}test3.hdf5"


def test_what_is_missing_is_listed(tmp_path) -> None:
    fill(tmp_path)
    for split in ("test1", "test4"):
        (tmp_path / f"COOS7_v1.1_{split}.hdf5").unlink()
    with pytest.raises(DataError, match=r"2 of 5 .* missing: \*test1\.hdf5, \*test4\.hdf5\."):
        find_splits(tmp_path)


def test_two_data_sets_in_one_folder(tmp_path) -> None:
    fill(fill(tmp_path), "simulated_")
    with pytest.raises(DataError, match=r"2 files for the split training \(COOS7_v1.1_training"):
        find_splits(tmp_path)


def test_no_folder(tmp_path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_splits(tmp_path / "nowhere")


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
