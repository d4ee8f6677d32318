"""A network is trained once; a stopped training resumes in its own run."""

import mlflow
import numpy as np
import pytest
from _coos7 import SPLITS
from mlflow.exceptions import MlflowException

from coos_mlflow.errors import RunNotLoggedError
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.representations import create
from coos_mlflow.representations.nn import training
from coos_mlflow.training import network
from coos_mlflow.training.network import train_or_restore

TINY = {"width": 0.03, "iterations": 10, "batch": 16, "check_every": 4, "crops": 1}


@pytest.fixture
def data(make_plate):
    """Five small plates, the Training one with ten cells of every class."""
    files = {s: (make_plate(f"data/{s}.h5", 70, seed=i),) for i, s in enumerate(SPLITS)}
    return TrainingData(coos7(), files, simulated=True)


@pytest.fixture(autouse=True)
def store(own_store, tmp_path, monkeypatch):
    """An empty cache and an empty tracking store."""
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def interrupt_at(monkeypatch):
    """Raise KeyboardInterrupt in a given iteration."""
    step = training._Training._step

    def at(iteration):
        def interrupted(self):
            if self.state.iteration == iteration:
                raise KeyboardInterrupt
            step(self)

        monkeypatch.setattr(training._Training, "_step", interrupted)

    yield at


def runs():
    return mlflow.search_runs(search_all_experiments=True, output_format="list")


def with_files(data, **files):
    others = {split: (path,) for split, path in files.items()}
    return TrainingData(data.dataset, data.files | others, simulated=True)


def train_deeploc(data, **settings):
    deeploc = create("deeploc", **(TINY | settings))
    train_or_restore(deeploc, data, {"simulated": True})
    return deeploc


def test_trained_weights_are_restored(data):
    first = train_deeploc(data)
    again = train_deeploc(data)
    assert first.digest == again.digest != ""
    assert [run.info.status for run in runs()] == ["FINISHED"]


def test_other_settings_or_other_cells_are_trained_anew(data, make_plate):
    first = train_deeploc(data)
    assert train_deeploc(data, seed=1).digest != first.digest
    other = with_files(data, training=make_plate("data/other.h5", 70, seed=9))
    assert train_deeploc(other).digest != first.digest
    assert len(runs()) == 3


def test_test_splits_do_not_matter(data, make_plate):
    first = train_deeploc(data)
    other = with_files(data, test4=make_plate("data/other.h5", 30, seed=9))
    assert train_deeploc(other).digest == first.digest


def test_curves_are_logged_by_iteration(data):
    train_deeploc(data, iterations=30, check_every=10)
    client, run = mlflow.MlflowClient(), runs()[0]
    loss = client.get_metric_history(run.info.run_id, "loss")
    errors = client.get_metric_history(run.info.run_id, "validation_error")
    assert [point.step for point in loss] == [25, 30]
    assert [point.step for point in errors] == [10, 20, 30]
    assert run.data.metrics["learnt_validation_error"] == min(point.value for point in errors)
    assert run.data.tags["trained.device"] in ("cpu", "cuda")
    assert run.data.params["iterations"] == "30"
    assert run.data.tags["simulated"] == "True"


def test_an_interrupted_training_is_killed_and_resumes_in_its_run(data, interrupt_at):
    interrupt_at(6)
    with pytest.raises(KeyboardInterrupt):
        train_deeploc(data)
    (stopped,) = runs()
    assert stopped.info.status == "KILLED"
    interrupt_at(2)  # passed already: it does not begin from 0
    resumed = train_deeploc(data)
    (run,) = runs()
    assert (run.info.run_id, run.info.status) == (stopped.info.run_id, "FINISHED")
    interrupt_at(None)
    fresh = create("deeploc", **TINY)
    fresh.fit(_cells(data), training.TrainingContext(data.folder / "fresh"))
    assert resumed.digest == fresh.digest


def test_a_lost_store_stops_a_training_which_resumes_in_its_run(data, monkeypatch):
    """It stops after the timeout, with a checkpoint of that iteration."""
    log = mlflow.log_metrics

    def lost(metrics, step=None):
        if step == 6:
            raise MlflowException("the store is gone")
        log(metrics, step=step)

    with monkeypatch.context() as patch:
        patch.setattr(network, "PATIENCE", 0.2)
        patch.setattr(mlflow, "log_metrics", lost)
        with pytest.raises(RunNotLoggedError, match=r"is gone.*checkpoint.*resumes there"):
            train_deeploc(data, check_every=6)
    (stopped,) = runs()
    assert stopped.info.status == "FAILED"
    resumed = train_deeploc(data, check_every=6)
    (run,) = runs()
    assert (run.info.run_id, run.info.status) == (stopped.info.run_id, "FINISHED")
    fresh = create("deeploc", **(TINY | {"check_every": 6}))
    fresh.fit(_cells(data), training.TrainingContext(data.folder / "fresh"))
    assert resumed.digest == fresh.digest


def test_a_deleted_run_or_another_experiment_gets_a_new_run(data, interrupt_at):
    """The checkpoint is used in any case."""
    for number in range(2):
        interrupt_at(6)
        with pytest.raises(KeyboardInterrupt):
            train_deeploc(data, seed=number)
    interrupt_at(2)
    first, second = sorted(runs(), key=lambda run: run.data.params["seed"])
    mlflow.delete_run(first.info.run_id)
    train_deeploc(data, seed=0)
    mlflow.set_experiment("elsewhere")
    with mlflow.start_run():
        train_deeploc(data, seed=1)
    found = {run.info.run_id: run.info.status for run in runs()}
    assert found[second.info.run_id] == "KILLED"
    assert sorted(found.values()) == ["FINISHED", "FINISHED", "FINISHED", "KILLED"]


def test_a_damaged_network_is_trained_again(data, tmp_path, caplog):
    first = train_deeploc(data)
    (file,) = (tmp_path / "cache" / "networks").glob("*/learnt/*.safetensors")
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    assert train_deeploc(data).digest == first.digest
    assert "not what was written" in caplog.text and "trained again" in caplog.text


def test_without_resume_it_starts_anew(data, interrupt_at):
    interrupt_at(6)
    with pytest.raises(KeyboardInterrupt):
        train_deeploc(data)
    interrupt_at(2)
    with pytest.raises(KeyboardInterrupt):
        train_or_restore(create("deeploc", **TINY), data, {}, resume=False)
    assert len(runs()) == 2


def test_the_checkpoint_does_not_stay(data, tmp_path):
    train_deeploc(data)
    assert not list((tmp_path / "cache").rglob(training.CHECKPOINT))


def test_an_untrainable_representation_makes_no_run(data):
    train_or_restore(create("texture"), data, {})
    assert runs() == []


def _cells(data):
    from coos_mlflow.plates.reader import open_plate

    with open_plate(data.files["training"][0]) as plate:
        return next(plate.batches(plate.n_cells))


def test_cells_of_the_fixture_hold_every_class(data):
    assert np.bincount(_cells(data).labels).tolist() == [10] * 7
