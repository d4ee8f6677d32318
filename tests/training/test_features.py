"""The cache of feature matrices: one entry for the same cells and parameters."""

import numpy as np
import pytest

from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.plates.dataset import TRAINING, coos7
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.representations import create
from coos_mlflow.training import features
from coos_mlflow.training.features import compute_or_load, extract


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def data_of(*paths, dataset=None):
    """Data whose split Training is these files."""
    return TrainingData(dataset or coos7(), {TRAINING: paths}, simulated=False)


class Counter:
    """Computes means per channel, and counts the cells."""

    def __init__(self):
        self.cells = 0

    def __call__(self, images):
        self.cells += len(images)
        return {"mean": images.mean(axis=(2, 3))}


def test_second_time_comes_from_disk_in_the_order_of_the_file(make_plate, monkeypatch):
    monkeypatch.setattr(features, "BATCH", 7)
    data = data_of(make_plate())
    count = Counter()
    first, second = (
        compute_or_load(data, TRAINING, {"name": "mean"}, count)["mean"] for _ in range(2)
    )
    with open_plate(data.files[TRAINING][0]) as plate:
        expected = next(plate.batches(100)).images.mean(axis=(2, 3))
    assert count.cells == 24
    np.testing.assert_allclose(first, expected)
    np.testing.assert_array_equal(first, second)


def test_other_parameters_or_other_cells_are_computed_anew(make_plate):
    count = Counter()
    one, other = make_plate("one.h5", seed=1), make_plate("other.h5", seed=2)
    compute_or_load(data_of(one), TRAINING, {"name": "mean"}, count)
    compute_or_load(data_of(one), TRAINING, {"name": "mean", "version": "2"}, count)
    compute_or_load(data_of(other), TRAINING, {"name": "mean"}, count)
    assert count.cells == 72


def test_a_failure_leaves_no_entry(make_plate, cache):
    data = data_of(make_plate())

    def fail(images):
        raise DataError("no")

    with pytest.raises(DataError):
        compute_or_load(data, TRAINING, {"name": "mean"}, fail)
    assert not cache.exists() or list(cache.iterdir()) == []


def test_an_entry_that_was_cut_is_made_again(make_plate, cache):
    data = data_of(make_plate())
    count = Counter()
    first = np.array(compute_or_load(data, TRAINING, {"name": "mean"}, count)["mean"])
    (entry,) = cache.glob("*/mean.npy")
    entry.write_bytes(entry.read_bytes()[:150])
    again = compute_or_load(data, TRAINING, {"name": "mean"}, count)["mean"]
    np.testing.assert_array_equal(again, first)
    assert count.cells == 48


def test_a_cache_that_cannot_be_made_is_named(make_plate, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "file"))
    data = data_of(make_plate())
    with pytest.raises(OutputError, match="COOS_CACHE"):
        compute_or_load(data, TRAINING, {"name": "mean"}, Counter())


def test_representations_are_told_apart_by_their_parameters(make_plate, cache):
    data = data_of(make_plate(n=6))
    one = extract(data, TRAINING, create("texture"))
    other = extract(data, TRAINING, create("texture", reading="downsample"))
    assert not np.allclose(one["haralick"], other["haralick"])
    assert len(list(cache.iterdir())) == 2
