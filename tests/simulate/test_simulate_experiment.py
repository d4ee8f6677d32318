"""Simulated data sets and plates: deterministic, complete, marked as simulated."""

from __future__ import annotations

import numpy as np
import pytest

import coos_mlflow
from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.simulate import (
    planned_cells,
    simulate_dataset,
    simulate_plate,
    simulate_plate_cells,
)
from coos_mlflow.simulate.classes import PROTEIN_CLASSES
from coos_mlflow.simulate.coos7_layout import SHIFTS, plan_dataset, plan_plate
from coos_mlflow.simulate.experiment import simulate_well, state_of
from coos_mlflow.simulate.population import EFFECTS, mean_shift, well_state

SCALE = 0.002
SPLITS = coos7().split_keys


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "made" / "here"
    done: list[int] = []
    paths = simulate_dataset(folder, SCALE, 7, jobs=2, on_progress=done.append)
    read = {}
    for split, path in paths.items():
        with open_plate(path) as plate:
            images = np.concatenate([batch.images for batch in plate.batches()])
            read[split] = (plate, images)
    return paths, read, done


def test_five_files_hold_the_planned_cells(dataset):
    paths, read, done = dataset
    assert tuple(paths) == SPLITS
    assert [p.name for p in paths.values()] == [f"simulated_{s}.hdf5" for s in SPLITS]
    counts = {split: len(images) for split, (_, images) in read.items()}
    assert counts == planned_cells(SCALE)
    assert sum(done) == sum(counts.values())


def test_files_say_that_they_are_simulated(dataset):
    for split, (plate, _) in dataset[1].items():
        assert plate.simulated
        assert plate.attrs["seed"] == 7
        assert plate.attrs["scale"] == SCALE
        assert plate.attrs["split"] == split
        assert coos_mlflow.__version__ in plate.attrs["simulator"]


def test_all_columns_are_there_and_every_class(dataset):
    for plate, images in dataset[1].values():
        assert set(plate.labels.tolist()) == set(range(7))
        assert not plate.missing
        assert images.dtype == np.uint16


def test_test1_shares_wells_with_training_and_no_cells(dataset):
    _, read, _ = dataset
    wells, cells = {}, {}
    for split in ("training", "test1", "test2"):
        plate, images = read[split]
        wells[split] = {(p, w[:6]) for p, w in zip(plate.plates, plate.wells, strict=True)}
        cells[split] = {image.tobytes() for image in images}
        assert len(cells[split]) == len(images)
    assert wells["test1"] == wells["training"]
    assert not wells["test2"] & wells["training"]
    assert {plate for plate, _ in wells["test2"]} == {plate for plate, _ in wells["training"]}
    assert not cells["training"] & cells["test1"]


def test_number_of_jobs_changes_nothing(dataset, tmp_path):
    again = simulate_dataset(tmp_path, SCALE, 7, jobs=1)
    for split, path in again.items():
        with open_plate(path) as plate:
            images = np.concatenate([batch.images for batch in plate.batches()])
            np.testing.assert_array_equal(images, dataset[1][split][1])
            np.testing.assert_array_equal(plate.wells, dataset[1][split][0].wells)


def test_a_well_depends_on_its_plan_and_seed_alone():
    plans = [p for p in plan_dataset(SCALE, 7) if p.population == "training"]
    first = simulate_well(plans[3], 7)
    simulate_well(plans[0], 7)
    again = simulate_well(plans[3], 7)
    np.testing.assert_array_equal(first["training"]["images"], again["training"]["images"])
    other = simulate_well(plans[3], 8)
    assert (first["training"]["images"] != other["training"]["images"]).any()


def test_existing_files_are_kept_unless_forced(dataset, tmp_path):
    plate = simulate_plate(tmp_path / "p.h5", wells_per_class=1, cells_per_well=2, classes=(0,))
    before = plate.read_bytes()
    with pytest.raises(OutputError, match=r"p\.h5"):
        simulate_plate(plate, wells_per_class=1, cells_per_well=2, classes=(0,), seed=1)
    assert plate.read_bytes() == before
    simulate_plate(plate, wells_per_class=1, cells_per_well=2, classes=(0,), seed=1, force=True)
    assert plate.read_bytes() != before
    with pytest.raises(OutputError, match="is there already"):
        simulate_dataset(dataset[0]["test4"].parent, SCALE, 8)


def test_an_interrupted_simulation_leaves_nothing(tmp_path):
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_plate(tmp_path / "p.h5", wells_per_class=2, cells_per_well=2, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be made"):
        simulate_dataset(tmp_path / "file" / "folder", SCALE)


def test_plate_on_disk_is_the_plate_in_memory(tmp_path):
    asked = {"like": "test3", "classes": (0, 4), "seed": 5, "shift": 0.5}
    size = {"wells_per_class": 2, "cells_per_well": 6}
    cells = simulate_plate_cells(**asked, **size, jobs=1)
    path = simulate_plate(tmp_path / "new.h5", **asked, **size, jobs=2)
    with open_plate(path) as plate:
        batch = next(plate.batches())
        assert plate.simulated
        assert plate.attrs["like"] == "test3"
        assert plate.attrs["shift"] == 0.5
    np.testing.assert_array_equal(batch.images, cells["images"])
    np.testing.assert_array_equal(batch.labels, cells["labels"])
    np.testing.assert_array_equal(batch.wells, cells["wells"])
    assert np.unique(cells["plates"]).size == 1
    assert np.bincount(cells["labels"]).tolist() == [12, 0, 0, 0, 12]


def test_new_plates_are_none_of_the_data_sets():
    plans = [p for p in plan_dataset(SCALE, 0) if p.population == "training"]
    own = {state_of(p, 0).cell_photons for p in plans}
    new = plan_plate("training", range(7), 0, 8, 5, 1.0)
    assert not own & {state_of(p, 0).cell_photons for p in new}


def states(like: str, seed: int, severity: float = 1.0):
    return [state_of(p, seed) for p in plan_plate(like, (2,), seed, 4, 5, severity)]


def test_wells_of_a_plate_share_its_effects_and_differ():
    wells = {seed: states("training", seed) for seed in range(40)}
    logs = np.log([[well.cell_photons for well in plate] for plate in wells.values()])
    within, between = logs.var(axis=1, ddof=1).mean(), logs.mean(axis=1).var(ddof=1)
    effect = EFFECTS["photons"]
    assert within == pytest.approx(effect.well**2, rel=0.35)
    expected = effect.plate**2 + effect.day**2 + effect.well**2 / 4
    assert between == pytest.approx(expected, rel=0.6)


def test_severity_zero_is_training_and_the_shift_is_linear_in_the_log():
    for like in ("test2", "test3", "test4"):
        none, one, two = (
            np.log([well.instrument.background for well in states(like, 3, severity)])
            for severity in (0.0, 1.0, 2.0)
        )
        mean = mean_shift(SHIFTS[like])
        shift = mean["background"] + 2 * mean["pixel_um"]
        np.testing.assert_allclose(one - none, shift, atol=1e-9)
        np.testing.assert_allclose(two - none, 2 * shift, atol=1e-9)
    assert set(mean_shift({}).values()) == {0.0}


def test_shifted_populations_move_in_the_direction_that_is_said():
    base, drifted, moved = (
        well_state(PROTEIN_CLASSES[4], mean_shift(SHIFTS[split]))
        for split in ("training", "test3", "test4")
    )
    assert drifted.organelles.pool > base.organelles.pool
    assert drifted.tissue.nucleus_radius > base.tissue.nucleus_radius
    assert drifted.instrument == base.instrument._replace(background=drifted.instrument.background)
    assert moved.instrument.pixel_um > base.instrument.pixel_um
    assert moved.instrument.blur > base.instrument.blur
    assert moved.instrument.gain < base.instrument.gain
    assert moved.instrument.falloff > base.instrument.falloff
    assert tuple(SHIFTS) == SPLITS
    assert len(PROTEIN_CLASSES) == coos7().n_classes


def test_a_bad_question_makes_no_file(tmp_path):
    with pytest.raises(DataError):
        simulate_plate(tmp_path / "new" / "p.h5", like="nonsense")
    with pytest.raises(DataError):
        simulate_dataset(tmp_path / "new", 2.0)
    assert not (tmp_path / "new").exists()
