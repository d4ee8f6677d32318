"""What scripts/tried_remedies.py computes beside the package's functions."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from coos_mlflow.plates.splits import Annotations
from coos_mlflow.representations.nn.resnet_network import ResNet

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield import_module("tried_remedies")
    sys.modules.pop("tried_remedies")


@pytest.fixture
def network():
    """A network whose running statistics are those of no cells."""
    network = ResNet(7, width=0.1, blocks=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.manual_seed(0)))
    return network.eval()


def test_own_statistics_give_the_output_of_training(script, network):
    images = torch.rand((12, 2, 32, 32), generator=torch.manual_seed(1))
    with torch.inference_mode():
        found = script.with_own_statistics(network)(images)
        before = network(images)
        trained = network.train()(images)
    for one, expected, other in zip(found, trained, before, strict=True):
        torch.testing.assert_close(one, expected)
        assert (one - other).abs().max() > 0.1


def test_own_statistics_undo_a_gain_of_the_plate(script, network):
    """The first layer has no bias, so that its statistics follow the gain."""
    images = torch.rand((12, 2, 32, 32), generator=torch.manual_seed(1))
    own = script.with_own_statistics(network)
    with torch.inference_mode():
        torch.testing.assert_close(own(3 * images), own(images), rtol=1e-3, atol=1e-3)
        assert (network(3 * images)[0] - network(images)[0]).abs().max() > 0.1


def test_alignment_gives_controls_the_mean_and_covariance_of_the_target(script, monkeypatch):
    monkeypatch.setattr(script, "RIDGE", 0.0)
    rng = np.random.default_rng(0)
    target, controls, others = (
        rng.normal(i, 1 + i, (40, 4)) @ rng.normal(size=(4, 4)) for i in range(3)
    )
    moved = script.tvn(np.concatenate([controls, others]), controls, target)
    np.testing.assert_allclose(moved[:40].mean(axis=0), target.mean(axis=0))
    np.testing.assert_allclose(np.cov(moved[:40], rowvar=False), np.cov(target, rowvar=False))
    assert np.abs(moved[40:] - others).max() > 0.1


@pytest.mark.parametrize("way", ["shifted", "tvn"])
def test_alignment_undoes_a_shift_and_keeps_what_the_target_lacks(script, way):
    rng = np.random.default_rng(0)
    target = rng.normal(size=(40, 4)) * [1, 2, 3, 0]
    cells, shift = rng.normal(size=(5, 4)), np.array([1.0, 2.0, 3.0, 4.0])
    moved = getattr(script, way)(cells + shift, target + shift, target)
    np.testing.assert_allclose(moved, cells)


def test_each_plate_is_moved_by_its_own_controls(script):
    plates = np.repeat(["a", "b"], 4)
    at = Annotations(np.array([0, 0, 1, 1, 0, 0, 1, 1]), plates, plates)
    X = np.arange(8.0)[:, None]
    found = script.moved(script.shifted, 1, np.zeros((3, 1)), X, at)
    np.testing.assert_allclose(found[:, 0], [-2.5, -1.5, -0.5, 0.5, -2.5, -1.5, -0.5, 0.5])


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_plate_is_cut_to_classes(script, count):
    labels = np.repeat(np.arange(7), 3)
    cuts = [*script.parts_of(labels, count, "classes")]
    assert all(len(np.unique(labels[rows])) == count for rows, _ in cuts)
    assert all(np.isin(counted, rows).all() for rows, counted in cuts)
    counted = np.concatenate([counted for _, counted in cuts])
    np.testing.assert_array_equal(np.sort(counted), np.arange(21))


def test_errors_are_of_plates_and_counted_cells_alone(script):
    plates = np.repeat(["a", "b"], 4)
    at = Annotations(np.array([0, 0, 1, 1, 0, 0, 1, 1]), plates, plates)
    given = np.array([0, 1, 1, 1, 0, 0, 0, 1])
    np.testing.assert_allclose(script.errors(at, given), [25, 25])
    np.testing.assert_allclose(script.errors(at, given, without=0), [0, 50])


def test_labels_come_from_the_cells_of_the_cut_plate_alone(script):
    plates = np.repeat(["a", "b"], 4)
    at = Annotations(np.array([0, 0, 1, 1, 0, 0, 1, 1]), plates, plates)
    images = np.arange(8, dtype=np.float32)[:, None, None, None]

    def itself(cells):
        return torch.eye(8)[cells.flatten().long()], cells

    def least(cells):
        return itself(torch.full_like(cells, cells.min()))

    for cut, of_least in (
        (None, [0, 0, 0, 0, 4, 4, 4, 4]),
        ((1, "classes"), [0, 0, 2, 2, 4, 4, 6, 6]),
        ((2, "classes"), [0, 0, 0, 0, 4, 4, 4, 4]),
        ((1, "cells"), range(8)),
    ):
        np.testing.assert_array_equal(script.labels_of(itself, images, at, cut), np.arange(8))
        np.testing.assert_array_equal(script.labels_of(least, images, at, cut), of_least)
