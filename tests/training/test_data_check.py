"""Faults of a data set that training refuses, and what `coos dataset check` says of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from noise import described, write_noise

from coos_mlflow.errors import DataError
from coos_mlflow.plates.splits import find_data
from coos_mlflow.training.data_check import check_data

ALL = [0, 1, 2, 0, 1, 2]
TWO = ["P1", "P1", "P1", "P2", "P2", "P2"]
NEAR = "{name: Near, role: reference, files: near.h5"
TRAIN = "{name: Training, role: train, files: 'train*.h5'"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound data set: two files of one plate each train, a third plate is the reference."""
    folder = described(tmp_path / "mydata")
    write_noise(folder / "train_1.h5", labels=[0, 1, 2], plates="P1")
    write_noise(folder / "train_2.h5", labels=[0, 1, 2], plates="P2")
    write_noise(folder / "near.h5", labels=ALL, plates="P3")
    return folder


def test_a_sound_data_set_has_no_fault(folder: Path) -> None:
    found = check_data(find_data(folder))
    assert found.faults == []
    training, near = found.splits
    assert training.cells.tolist() == training.plates.tolist() == [2, 2, 2]
    assert training.by_plate["P2"].tolist() == [1, 1, 1]
    assert near.wells.tolist() == [1, 1, 1]
    assert any("2 plates" in remark and "cannot tell" in remark for remark in found.remarks)


def faults(folder: Path) -> list[str]:
    found = check_data(find_data(folder)).faults
    assert all("\n" not in fault for fault in found)
    return found


def test_a_class_without_cells_is_a_fault(folder: Path) -> None:
    for number in (1, 2):
        (folder / f"train_{number}.h5").unlink()
        write_noise(folder / f"train_{number}.h5", labels=[0, 1, -1], plates=f"P{number}")
    (fault,) = faults(folder)
    assert "Training has no cell of gamma" in fault
    with pytest.raises(DataError, match="no cell of gamma"):
        check_data(find_data(folder)).refuse()


def test_a_class_on_one_plate_is_a_fault_unless_it_is_allowed(folder: Path) -> None:
    (folder / "train_2.h5").unlink()
    write_noise(folder / "train_2.h5", labels=[0, 1], plates="P2")
    (fault,) = faults(folder)
    assert "gamma on one plate only" in fault and "allow: [one-plate-classes]" in fault
    described(folder, splits=[f"{TRAIN}, allow: one-plate-classes}}", f"{NEAR}}}"])
    found = check_data(find_data(folder))
    assert found.faults == []
    assert any("gamma on one plate only" in remark for remark in found.remarks)


def test_wells_in_training_and_reference_are_leakage(folder: Path) -> None:
    (folder / "near.h5").unlink()
    write_noise(folder / "near.h5", labels=ALL, plates="P2")
    (fault,) = faults(folder)
    assert "Near shares well" in fault and "plate P2 with Training" in fault
    described(folder, splits=[f"{TRAIN}}}", f"{NEAR}, allow: [shared-wells]}}"])
    assert faults(folder) == []


def test_images_in_training_and_reference_are_leakage(folder: Path) -> None:
    (folder / "near.h5").unlink()
    (folder / "train_1.h5").unlink()
    write_noise(folder / "near.h5", labels=[0, 1, 2], plates="P3", seed=5)
    write_noise(folder / "train_1.h5", labels=[0, 1, 2], plates="P1", seed=5)
    (fault,) = faults(folder)
    assert "3 nucleus images of Near are in Training too" in fault
    described(folder, splits=[f"{TRAIN}}}", f"{NEAR}, allow: [identical-images]}}"])
    assert faults(folder) == []


def test_wells_of_several_classes_contradict_one_class_per_well(folder: Path) -> None:
    described(folder, "wells: one_class_per_well")
    assert faults(folder) == []
    (folder / "train_2.h5").unlink()
    write_noise(folder / "train_2.h5", labels=[0, 1, 2], plates="P2", wells="B07")
    (fault,) = faults(folder)
    assert "well B07 of plate P2" in fault


def test_a_label_outside_the_list_names_file_cell_and_classes(folder: Path) -> None:
    (folder / "near.h5").unlink()
    write_noise(folder / "near.h5", labels=[0, 4], plates="P3")
    with pytest.raises(DataError, match=r"near.h5:/labels: label '?4'? of cell 1 found.*0 alpha"):
        find_data(folder)


def test_two_files_of_one_split_with_different_crops_are_refused(folder: Path) -> None:
    (folder / "train_2.h5").unlink()
    write_noise(folder / "train_2.h5", labels=[0, 1, 2], crop=64)
    with pytest.raises(DataError, match=r"train_2.h5:/data: shape .* has crops of 64 pixels"):
        find_data(folder)


def test_a_split_without_files_is_refused(folder: Path) -> None:
    (folder / "near.h5").unlink()
    with pytest.raises(DataError, match=r"no file for near.h5 of Near"):
        find_data(folder)


def test_a_file_in_two_splits_is_refused(folder: Path) -> None:
    described(folder, splits=[f"{TRAIN}}}", "{name: Near, role: reference, files: '*_1.h5'}"])
    with pytest.raises(DataError, match=r"train_1.h5: is in the splits Training and Near"):
        find_data(folder)


@pytest.mark.parametrize("pattern", ["../x.h5", "/etc/*.h5"])
def test_files_outside_the_folder_are_refused(folder: Path, pattern: str) -> None:
    described(folder, splits=[f"{{name: T, role: train, files: '{pattern}'}}"])
    with pytest.raises(DataError, match="expected a path below the folder"):
        find_data(folder)


def test_an_unlabelled_reference_is_refused_and_unlabelled_training_cells_are_not(
    folder: Path,
) -> None:
    (folder / "train_2.h5").unlink()
    write_noise(folder / "train_2.h5", labels=[0, 1, 2, -1, -1], plates="P2")
    found = check_data(find_data(folder))
    assert found.splits[0].unlabelled == 2
    assert any("2 cells of Training have no label" in remark for remark in found.remarks)
    (folder / "near.h5").unlink()
    write_noise(folder / "near.h5", labels=[0, -1], plates="P3")
    with pytest.raises(DataError, match=r"near.h5:/labels: 1 of 2 cells have no label"):
        check_data(find_data(folder))
