"""Data sets of made-up classes: what a description says is what lies in the folder."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import yaml

from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.plates.dataset_file import DATASET_FILE, read_dataset, write_dataset
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.splits import find_files
from coos_mlflow.simulate import Size, made_up_dataset, simulate_described
from coos_mlflow.simulate.coos7_layout import SHIFTS
from coos_mlflow.simulate.described import plan_described, share_plates, shift_weights
from coos_mlflow.simulate.experiment import simulate_well, state_of
from coos_mlflow.simulate.made_up import MADE_UP_CLASSES, made_up_class

THREE = Dataset.from_dict(
    {
        "name": "lab",
        "classes": [
            {"name": "wild type", "label": 10},
            {"name": "mutant", "label": 4},
            {"name": "drug", "label": 7},
        ],
        "crop": 80,
        "pixel_size": 0.4,
        "splits": [
            {"name": "far away", "role": "reference", "files": ["far.h5", "further.hdf5"]},
            {"name": "home", "role": "train", "files": "home/*.h5"},
            {"name": "week 2", "role": "reference", "files": "*week2.hdf5"},
        ],
    },
    "a test",
)
SIZE = Size(plates=4, wells=2, cells=3)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "up"
    done: list[int] = []
    files = simulate_described(folder, THREE, SIZE, 5, jobs=2, on_progress=done.append)
    return folder, files, done


def read(paths):
    """Images, and columns by name, of all files of a split."""
    columns = {"images": [], "labels": [], "plates": [], "wells": [], "microscopes": []}
    for path in paths:
        with open_plate(path) as plate:
            batch = next(plate.batches(plate.n_cells))
        for name, parts in columns.items():
            parts.append(getattr(batch, name))
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def test_names_of_files_fit_the_patterns_of_their_splits(lab):
    folder, files, _ = lab
    assert {split: [p.relative_to(folder).as_posix() for p in files[split]] for split in files} == {
        "training": [f"home/plate{number}.h5" for number in (1, 2, 3, 4)],
        "far-away": ["far.h5", "further.hdf5"],
        "week-2": [f"plate{number}_week2.hdf5" for number in (9, 10, 11, 12)],
    }
    found = find_files(folder, THREE)
    assert {split: set(paths) for split, paths in found.items()} == {
        split: set(paths) for split, paths in files.items()
    }
    assert sum(1 for path in folder.rglob("*") if path.is_file()) == 4 + 2 + 4 + 1


def test_description_is_written_beside_the_files(lab):
    assert read_dataset(lab[0] / DATASET_FILE) == THREE


def test_cells_have_the_crop_labels_and_numbers_asked_for(lab):
    _, files, done = lab
    for paths in files.values():
        cells = read(paths)
        assert cells["images"].shape == (72, 2, 80, 80)
        assert cells["images"].dtype == np.uint16
        assert Counter(cells["labels"].tolist()) == {10: 24, 4: 24, 7: 24}
        assert len(set(cells["plates"])) == 4
        columns = (cells["plates"], cells["wells"], cells["labels"].tolist())
        wells = {(plate, well[:6], label) for plate, well, label in zip(*columns, strict=True)}
        assert len(wells) == len({well[:2] for well in wells}) == 24  # one class in a well
    assert sum(done) == SIZE.total(THREE) == 216


def test_splits_share_no_plates_and_each_plate_holds_all_classes(lab):
    columns = {split: read(paths) for split, paths in lab[1].items()}
    plates = [set(cells["plates"]) for cells in columns.values()]
    assert len(set.union(*plates)) == sum(map(len, plates)) == 12
    for cells in columns.values():
        on_plates = set(zip(cells["plates"], cells["labels"].tolist(), strict=True))
        assert len(on_plates) == 12
    assert set(columns["training"]["microscopes"]) != set(columns["week-2"]["microscopes"])


def test_files_say_that_they_are_simulated_and_their_pixel_size(lab):
    for split, paths in lab[1].items():
        for path in paths:
            with open_plate(path) as plate:
                assert plate.simulated
                assert plate.attrs["split"] == split
                assert plate.attrs["seed"] == 5
                assert plate.attrs["pixel_size_um"] == 0.4
                assert plate.attrs["channels"] == "protein,nucleus"


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(lab, tmp_path):
    again = simulate_described(tmp_path / "again", THREE, SIZE, 5, jobs=1)
    for split, paths in again.items():
        for path, first in zip(paths, lab[1][split], strict=True):
            assert path.read_bytes() == first.read_bytes()
    plans = plan_described(THREE, SIZE, 5)["training"]
    first, other = (simulate_well(plans[0], seed)["training"]["images"] for seed in (5, 6))
    assert (first != other).any()


def test_existing_files_are_kept_unless_forced(lab, tmp_path):
    with pytest.raises(OutputError, match="is there already"):
        simulate_described(lab[0], THREE, SIZE, 6)
    small = Size(1, 1, 2)
    two = made_up_dataset(2, 32, 0)
    (path,) = simulate_described(tmp_path, two, small, 1)["training"]
    before = path.read_bytes()
    simulate_described(tmp_path, two, small, 2, force=True)
    assert path.read_bytes() != before
    path.unlink()
    with pytest.raises(OutputError, match=r"dataset\.yaml"):
        simulate_described(tmp_path, made_up_dataset(3, 32, 0), small)
    assert not path.exists()


def test_a_description_that_is_in_the_folder_already_stays_as_it_is(tmp_path):
    two = made_up_dataset(2, 32, 0)
    file = tmp_path / DATASET_FILE
    write_dataset(two, file)
    file.write_text(f"# mine\n{file.read_text()}")
    simulate_described(tmp_path, two, Size(1, 1, 2))
    assert file.read_text().startswith("# mine")


def test_wells_of_a_mixture_hold_all_classes_in_equal_numbers(tmp_path):
    mixed = Dataset.from_dict(made_up_dataset(5, 32, 0).as_dict() | {"wells": "mixture"}, "a test")
    files = simulate_described(tmp_path, mixed, Size(plates=1, wells=2, cells=7), 3)
    cells = read(files["training"])
    assert Counter(cells["labels"].tolist()) == dict.fromkeys(range(5), 14)
    by_well = Counter((w[:6], c) for w, c in zip(cells["wells"], cells["labels"], strict=True))
    assert len(by_well) == 50 and set(by_well.values()) <= {1, 2}
    assert len({image.tobytes() for image in cells["images"][:, 1]}) == 70


def test_more_classes_than_a_plate_has_wells_for_take_more_plates():
    plans = plan_described(made_up_dataset(100, 32, 1), Size(plates=2, wells=8, cells=1), 0)
    for of_split in plans.values():
        assert len(of_split) == 100 * 2 * 8
        plates = {plan.plate: set() for plan in of_split}
        for plan in of_split:
            plates[plan.plate].add(plan.label)
        assert Counter(label for labels in plates.values() for label in labels) == dict.fromkeys(
            range(100), 2
        )
        places = {(plan.plate, plan.row, plan.column) for plan in of_split}
        assert len(places) == len(of_split)


def test_three_references_have_the_shifts_of_the_last_splits_of_coos7():
    found = [shift_weights(place / 3) for place in range(4)]
    assert found == [SHIFTS[split] for split in ("training", "test2", "test3", "test4")]
    assert shift_weights(0.5) == {"edge": 0.5, "drift": 0.5}


def test_one_reference_is_as_far_as_the_last_of_many():
    for count in (1, 4):
        plans = plan_described(made_up_dataset(2, 32, count), Size(1, 1, 1), 0)
        assert plans["training"][0].shift == dict.fromkeys(plans["training"][0].shift, 0) | {
            "pixel_um": 0.0
        }
        assert plans[f"reference-{count}"][0].shift["blur"] == pytest.approx(0.32)


def test_pixels_have_the_size_that_is_said_in_every_split():
    for plans in plan_described(THREE, SIZE, 0).values():
        for plan in plans:
            assert state_of(plan, 0).instrument.pixel_um == pytest.approx(0.4)


def test_smaller_pixels_show_larger_nuclei():
    def radius(pixel_size):
        values = made_up_dataset(2, 64, 0).as_dict() | {"pixel_size": pixel_size}
        plan = plan_described(Dataset.from_dict(values, "a test"), Size(1, 1, 1), 0)["training"][0]
        return state_of(plan, 0).tissue.nucleus_radius

    assert radius(0.2) == pytest.approx(2 * radius(0.4))


def test_classes_of_one_row_differ_in_brightness_alone():
    assert len(set(MADE_UP_CLASSES)) == len(MADE_UP_CLASSES) == 20
    first, again = made_up_class(3), made_up_class(23)
    assert again.photons > first.photons
    assert again.organelles == first.organelles


def with_files(**files):
    """The description of two classes whose splits have these files."""
    values = made_up_dataset(2, 32, len(files) - 1).as_dict()
    for split, given in zip(values["splits"], files.values(), strict=True):
        split["files"] = given
    return Dataset.from_dict(values, "a test")


@pytest.mark.parametrize("pattern", ["plate?.h5", "[ab].h5", "**/*.h5", "../a.h5", "/tmp/a.h5"])
def test_files_that_cannot_be_made_are_refused(tmp_path, pattern):
    with pytest.raises(DataError, match="expected names below the folder"):
        simulate_described(tmp_path / "new", with_files(training=pattern), Size(1, 1, 1))
    assert not (tmp_path / "new").exists()


def test_a_file_of_two_splits_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"'\*\.h5' of the split Reference 1 found, which fits a_"):
        simulate_described(tmp_path, with_files(training="a*.h5", near="*.h5"), Size(1, 1, 1))
    with pytest.raises(DataError, match="one split"):
        simulate_described(tmp_path, with_files(training="a.h5", near="a.h5"), Size(1, 1, 1))


def test_plates_are_shared_among_files():
    (split,) = with_files(training=["a.h5", "b*.h5"]).splits
    assert share_plates(split, [1, 2, 3]) == {"a.h5": [1, 2], "b_plate3.h5": [3]}
    with pytest.raises(DataError, match="2 files of the split Training found, expected at most 1"):
        share_plates(split, [1])


@pytest.mark.parametrize(
    ("change", "size", "seed", "message"),
    [
        ({}, Size(plates=0), 0, "expected at least 1 of each"),
        ({}, Size(wells=309), 0, "309 inner wells asked for"),
        ({}, Size(), -1, "seed -1"),
        ({"pixel_size": 1.3}, Size(), 0, r"pixel_size 1\.3 found, expected 0\.1 to 0\.8"),
        ({"name": "COOS-7"}, Size(), 0, "the name COOS-7 found"),
    ],
)
def test_a_data_set_that_cannot_be_simulated_is_refused(tmp_path, change, size, seed, message):
    values = made_up_dataset(2, 32, 0).as_dict() | change
    with pytest.raises(DataError, match=message):
        simulate_described(tmp_path / "new", Dataset.from_dict(values, "a test"), size, seed)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("n_classes", "crop"), [(1, 64), (101, 64), (3, 31), (3, 257)])
def test_a_description_made_up_on_the_spot_keeps_the_limits(n_classes, crop):
    with pytest.raises(DataError):
        made_up_dataset(n_classes, crop)


@pytest.mark.parametrize(("crop", "pixel_size"), [(32, 0.8), (256, 0.1), (33, 0.3225), (256, 0.8)])
def test_any_crop_and_pixel_size_can_be_drawn(crop, pixel_size):
    values = made_up_dataset(2, crop, 1).as_dict() | {"pixel_size": pixel_size}
    plans = plan_described(Dataset.from_dict(values, "a test"), Size(1, 1, 3), 0)
    for split, (plan, *_) in plans.items():
        images = simulate_well(plan, 0)[split]["images"]
        assert images.shape == (3, 2, crop, crop)
        assert (images.std(axis=(2, 3)) > 5).all()


def test_a_crop_shows_the_nucleus_in_its_middle():
    for crop in (48, 128):
        plan = plan_described(made_up_dataset(2, crop, 0), Size(1, 1, 20), 0)["training"][0]
        nucleus = simulate_well(plan, 0)["training"]["images"][:, 1].mean(axis=0)
        half, near = crop // 2, crop // 2 - 6
        middle = nucleus[near : half + 6, near : half + 6].mean()
        corner = nucleus[:12, :12].mean()
        assert middle > corner + 50


def test_yaml_of_a_made_up_data_set_names_its_classes(tmp_path):
    write_dataset(made_up_dataset(12, 48), tmp_path / DATASET_FILE)
    values = yaml.safe_load((tmp_path / DATASET_FILE).read_text())
    assert [one["name"] for one in values["classes"]] == [f"made-up {n}" for n in range(1, 13)]
    assert len({one["short"] for one in values["classes"]}) == 12
    assert values["pixel_size"] == 0.3225
