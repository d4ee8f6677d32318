"""Registered models on simulated plates of no split: the code of training, once for each plate."""

from __future__ import annotations

import numpy as np
import pytest

from coos_mlflow.metrics import evaluate
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.registry.artifacts import read_evaluations
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.training.data import choose
from coos_mlflow.training.generalise import worlds
from coos_mlflow.training.generalise.worlds import WORLDS, Measured, worlds_for


@pytest.fixture
def data(trained) -> TrainingData:
    return choose(str(trained.data))


def alone(data: TrainingData, split: str) -> TrainingData:
    """Return the data with one split, as a world has."""
    return TrainingData(data.dataset, {split: data.files[split]}, simulated=True)


@pytest.mark.parametrize("split", ["test1", "test4"])
def test_a_split_has_the_evaluation_of_the_training(trained, data, split):
    row = trained.row("texture-lr")
    found = Measured(row.model).evaluation(alone(data, split))
    assert found.as_dict() == read_evaluations(row.model.run_id)[split].as_dict()


def test_a_world_is_evaluated_as_it_is_scored(trained, data, small_worlds):
    wild = small_worlds[1].data(data.dataset)
    found = Measured(trained.row("texture-lr").model).evaluation(wild)
    model, cells = Scorer.load("texture-lr").cell_model, wild.annotations("wild")
    with wild.open(small_worlds[1].file()) as plate:
        labels = model.score(next(plate.batches(1000)).images).labels
    expected = evaluate(cells.labels, labels, cells.plates, cells.wells, 7)
    np.testing.assert_array_equal(found.confusion, expected.confusion)
    assert found.n_cells == 2 * 7 * 3 and len(found.by_well.by_plate) == 2


def test_what_is_measured_is_not_measured_again(trained, data, small_worlds, monkeypatch):
    model = trained.row("texture-knn").model
    plates = small_worlds[0].data(data.dataset)
    first, speed = Measured(model).evaluation(plates), Measured(model).cells_per_second(data)

    def refuse(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(worlds, "_load", refuse)
    assert Measured(model).evaluation(plates).as_dict() == first.as_dict()
    assert Measured(model).cells_per_second(data) == speed > 0
    for other in (Measured(trained.row("texture-rf").model), Measured(model)):
        with pytest.raises(AssertionError, match="the model was loaded"):
            other.evaluation(alone(data, "test2") if other.model is model else plates)


def test_worlds_are_for_models_of_simulated_coos7(data):
    assert worlds_for(data) == WORLDS
    assert worlds_for(TrainingData(data.dataset, data.files, simulated=False)) == ()
    other = data.dataset.model_copy(update={"name": "lab"})
    assert worlds_for(TrainingData(other, data.files, simulated=True)) == ()


def test_worlds_are_named_apart_from_the_splits(data):
    titles = [world.title for world in WORLDS]
    assert len(set(titles)) == len(titles) and not {*titles} & {*data.dataset.split_keys}
