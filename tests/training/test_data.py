"""The choice of a run's data, and their names."""

import numpy as np
import pytest
from _coos7 import SPLITS

from coos_mlflow.classifiers.protocol import choose_preset
from coos_mlflow.errors import DataError
from coos_mlflow.plates.splits import find_data
from coos_mlflow.training.data import choose


@pytest.fixture
def coos7(tmp_path, make_plate, monkeypatch):
    """A folder that looks like COOS-7 as it is downloaded."""
    for number, split in enumerate(SPLITS):
        make_plate(f"coos7/COOS7_v1.1_{split}.hdf5", seed=number, dtype="float32")
    monkeypatch.setenv("COOS7_HOME", str(tmp_path / "coos7"))
    return tmp_path / "coos7"


@pytest.fixture
def simulated_calls(monkeypatch, make_plate, tmp_path):
    """Replace the simulator, which has its own tests, and count its calls."""
    calls = []

    def simulate(folder, scale, seed, *, on_progress, force):
        calls.append((scale, seed))
        for number, split in enumerate(SPLITS):
            made = make_plate(f"made/{split}.h5", seed=number, attrs={"simulated": True})
            folder.mkdir(parents=True, exist_ok=True)
            made.rename(folder / f"simulated_{split}.hdf5")
        return find_data(folder)

    monkeypatch.setattr("coos_mlflow.simulate.simulate_dataset", simulate)
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "cache"))
    return calls


def test_auto_takes_coos7_where_it_is(coos7, simulated_calls):
    data = choose("auto")
    assert (data.name, data.simulated, data.folder) == ("COOS-7", False, coos7)
    assert choose_preset("auto", data) == "paper"
    assert simulated_calls == []


def test_auto_simulates_once_where_it_is_not(simulated_calls, monkeypatch, tmp_path):
    monkeypatch.setenv("COOS7_HOME", str(tmp_path / "nothing"))
    data = choose("auto", scale=0.01, seed=3)
    assert (data.name, data.simulated) == ("simulated", True)
    assert choose_preset("auto", data) == "quick"
    assert choose("auto", scale=0.01, seed=3).digest == data.digest
    assert simulated_calls == [(0.01, 3)]
    choose("auto", scale=0.01, seed=4)
    assert simulated_calls == [(0.01, 3), (0.01, 4)]


def test_simulated_can_be_asked_for_beside_coos7(coos7, simulated_calls):
    assert choose("simulated", scale=0.01).simulated


def test_simulated_data_under_the_name_of_coos7_is_not_called_so(tmp_path, make_plate):
    for number, split in enumerate(SPLITS):
        attrs = {"simulated": True} if split == "test4" else None
        make_plate(f"x/COOS7_v1.1_{split}.hdf5", seed=number, attrs=attrs)
    assert choose(str(tmp_path / "x")).name == "simulated"


def test_the_digest_covers_every_split(coos7, make_plate):
    before = choose(str(coos7)).digest
    make_plate("coos7/COOS7_v1.1_test4.hdf5", seed=99, dtype="float32")
    assert choose(str(coos7)).digest != before


def test_annotations_name_wells_alike_whatever_the_field(tmp_path, make_plate):
    wells = np.array(["002003000", "002003004"])[np.arange(24) % 2]
    for split in SPLITS:
        make_plate(f"d/{split}.hdf5", wells=wells)
    found = choose(str(tmp_path / "d")).annotations("training")
    assert set(found.wells) == {"B03"}


@pytest.mark.parametrize(("column", "name"), [("plates", "plateIDs"), ("wells", "wellIDs")])
def test_a_split_whose_cells_lack_ids_cannot_train(tmp_path, make_plate, column, name):
    for split in SPLITS:
        make_plate(f"d/{split}.hdf5", **{column: np.array(["B03", "B04", "nan"] * 8)})
    with pytest.raises(
        DataError, match=rf"training.hdf5:/{name}: 8 of 24 cells have no id, the first is cell 2;"
    ):
        choose(str(tmp_path / "d")).annotations("training")


@pytest.mark.parametrize("labels", [None, np.full(24, -1)])
@pytest.mark.parametrize("split", SPLITS)
def test_a_split_without_labels_neither_trains_nor_tests(tmp_path, make_plate, labels, split):
    for name in SPLITS:
        make_plate(f"d/{name}.hdf5", **({"labels": labels} if name == split else {}))
    data = choose(str(tmp_path / "d"))
    with pytest.raises(DataError, match=rf"{split}.hdf5:/labels: (missing|24 of 24 cells)"):
        data.annotations(split)


def test_cells_without_a_label_are_allowed_in_training_alone(tmp_path, make_plate):
    some = np.where(np.arange(24) % 6 == 0, -1, np.arange(24) % 7)
    for name in SPLITS:
        make_plate(f"d/{name}.hdf5", labels=some)
    data = choose(str(tmp_path / "d"))
    np.testing.assert_array_equal(data.annotations("training").labels, some)
    with pytest.raises(DataError, match=r"test2.hdf5:/labels: 4 of 24 cells have no label"):
        data.annotations("test2")
