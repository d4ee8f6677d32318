"""The task of networks that classify: what is held out, its batches and its loss."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import UNLABELLED
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations.nn.classification import (
    DRO_RATE,
    Classification,
    divided,
    worst_groups,
)
from coos_mlflow.representations.nn.training import Plan, TrainingContext, train

CPU = torch.device("cpu")


class Mean(nn.Module):
    """Classifies by the mean of each channel."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(2, 3)

    def forward(self, images):
        features = images.mean(dim=(2, 3))
        return self.linear(features), features


class Task(Classification):
    def optimiser(self):
        return torch.optim.Adam(self.network.parameters(), 0.01)

    def probabilities(self, images):
        return self.network(images)[0].softmax(dim=1)


@pytest.fixture(scope="module")
def training():
    """Three classes on plates a, b and c; nine of ten cells are on plate a."""
    rng = np.random.default_rng(0)
    plates = np.array(["a"] * 270 + ["b"] * 15 + ["c"] * 15)
    images = rng.integers(100, 4000, (300, 2, 32, 32)).astype(np.uint16)
    return CellBatch(0, images, labels=np.arange(300) % 3, plates=plates)


def task_of(training, **options):
    return Task(Mean(), training, divided("It", training, "cells", 0), 3, CPU, **options)


def test_whole_plates_are_held_out(training):
    division = divided("It", training, "plates", 0)
    held, fitted = (set(training.plates[rows]) for rows in (division.held_out, division.fitted))
    assert division.plates == len(held) == 1 and held | fitted == set("abc") and not held & fitted
    assert set(training.labels[division.fitted]) == {0, 1, 2}


def test_where_plates_are_too_few_cells_are_held_out_and_a_warning_says_so(training, caplog):
    alone = CellBatch(0, training.images[:270], training.labels[:270], training.plates[:270])
    division = divided("It", alone, "plates", 0)
    assert division.plates == 0 and len(division.held_out) == 54
    assert "It holds out cells in place of plates" in caplog.text
    cells = divided("It", alone, "cells", 0)
    np.testing.assert_array_equal(cells.held_out, division.held_out)
    assert len(caplog.records) == 1


def test_cells_without_labels_are_in_neither_part(training):
    labels = np.where(np.arange(300) % 5, training.labels, UNLABELLED)
    some = CellBatch(0, training.images, labels, training.plates)
    for unit in ("cells", "plates"):
        division = divided("It", some, unit, 0)
        both = np.sort(np.r_[division.fitted, division.held_out])
        np.testing.assert_array_equal(both, np.flatnonzero(labels != UNLABELLED))


def test_without_labels_there_is_one_sentence(training):
    with pytest.raises(DataError, match="It is trained on labels, and these cells have none"):
        divided("It", CellBatch(0, training.images), "plates", 0)


def test_in_a_batch_of_plates_each_plate_and_class_is_as_frequent(training):
    task = task_of(training, batches="plates")
    drawn = [task.draw(np.arange(64), np.random.default_rng(seed)) for seed in range(50)]
    counts = np.bincount(np.concatenate([groups.numpy() for _, _, groups in drawn]))
    assert len(counts) == 9
    # A binomial count of 3,200 draws with probability 1/9 has a deviation of 17.8.
    assert np.abs(counts - 3200 / 9).max() < 4.5 * 17.8
    plain = task_of(training)
    counts = np.bincount(plain.draw(np.arange(240), np.random.default_rng(0))[2])
    assert counts.sum() == 240 and min(sorted(counts)[-3:]) > 65  # each cell once: about 72 on a


def test_labels_and_groups_are_those_of_the_cells(training):
    task = task_of(training, batches="plates")
    _, labels, groups = task.draw(np.arange(64), np.random.default_rng(0))
    # Groups are numbered by plate, then class.
    np.testing.assert_array_equal(groups % 3, labels)


def test_weights_of_groups_by_hand():
    """Two groups with mean losses 2 and 1; the third has no cell."""
    losses = torch.tensor([1.0, 3.0, 1.0], requires_grad=True)
    groups, weights = torch.tensor([0, 0, 1]), torch.tensor([0.5, 0.25, 0.25])
    found = worst_groups(losses, groups, weights)
    grown = [0.5 * math.exp(2 * DRO_RATE), 0.25 * math.exp(DRO_RATE), 0.25]
    expected = np.array(grown) / sum(grown)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert float(found.detach()) == pytest.approx(2 * expected[0] + expected[1], rel=1e-6)
    found.backward()
    # The weights are constants; a cell of a pair counts half.
    np.testing.assert_allclose(
        losses.grad, [expected[0] / 2, expected[0] / 2, expected[1]], rtol=1e-6
    )


def test_the_worst_group_gets_the_weight():
    weights = torch.full((2,), 0.5)
    for _ in range(2000):
        worst_groups(torch.tensor([1.0, 2.0]), torch.tensor([0, 1]), weights)
    assert float(weights[1]) > 0.99


class PowerCut(BaseException):
    """Ends everything at once."""


def test_a_stopped_training_keeps_the_weights_of_groups(training, tmp_path):
    plan = Plan(iterations=30, batch=16, check_every=10, precision="fp32")
    options = {"objective": "groupdro", "batches": "plates"}

    def cut(iteration, metrics):
        if iteration == 25:
            raise PowerCut

    with pytest.raises(PowerCut):
        train(task_of(training, **options), plan, TrainingContext(tmp_path, cut), CPU)
    resumed, whole = task_of(training, **options), task_of(training, **options)
    found = train(resumed, plan, TrainingContext(tmp_path), CPU)
    expected = train(whole, plan, TrainingContext(tmp_path / "whole"), CPU)
    assert found.history == expected.history
    assert torch.equal(resumed.state["group_weights"], whole.state["group_weights"])
    assert float(whole.state["group_weights"].max()) > 1.0001 / 9
    for name, tensor in expected.tensors.items():
        assert torch.equal(found.tensors[name], tensor), name
