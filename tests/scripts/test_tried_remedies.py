"""What scripts/tried_remedies.py computes beside the package's functions."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

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


@pytest.mark.parametrize("way", ["aligned", "tvn"])
def test_alignment_gives_controls_the_mean_and_covariance_of_the_target(script, way):
    rng = np.random.default_rng(0)
    target, controls, others = (
        rng.normal(i, 1 + i, (40, 4)) @ rng.normal(size=(4, 4)) for i in range(3)
    )
    cells = np.concatenate([controls, others])
    moved = getattr(script, way)(cells, controls, target, ridge=0.0)
    np.testing.assert_allclose(moved[:40].mean(axis=0), target.mean(axis=0))
    np.testing.assert_allclose(np.cov(moved[:40], rowvar=False), np.cov(target, rowvar=False))
    assert np.abs(moved[40:] - others).max() > 0.1


@pytest.mark.parametrize("way", ["shifted", "aligned", "tvn"])
def test_alignment_undoes_a_shift_and_keeps_what_the_target_lacks(script, way):
    rng = np.random.default_rng(0)
    target = rng.normal(size=(40, 4)) * [1, 2, 3, 0]
    cells, shift = rng.normal(size=(5, 4)), np.array([1.0, 2.0, 3.0, 4.0])
    moved = getattr(script, way)(cells + shift, target + shift, target)
    np.testing.assert_allclose(moved, cells)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_plate_is_cut_to_classes(script, count):
    labels = np.repeat(np.arange(7), 3)
    cuts = [*script.of_classes(count, labels)]
    assert all(len(np.unique(labels[rows])) == count for rows, _ in cuts)
    assert all(np.isin(counted, rows).all() for rows, counted in cuts)
    counted = np.concatenate([counted for _, counted in cuts])
    np.testing.assert_array_equal(np.sort(counted), np.arange(21))


def test_errors_are_of_plates_and_counted_cells_alone(script):
    labels = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    plates = np.repeat(["a", "b"], 4)
    cells = script.Cells(np.arange(8), labels, plates, plates)
    given = np.array([0, 1, 1, 1, 0, 0, 0, 1])
    np.testing.assert_allclose(script.errors(cells, given), [25, 25])
    np.testing.assert_allclose(script.errors(cells, given, without=0), [0, 50])


def test_labels_come_from_the_cells_of_the_cut_plate_alone(script):
    plates = np.repeat(["a", "b"], 4)
    cells = script.Cells(np.arange(8), np.array([0, 0, 1, 1, 0, 0, 1, 1]), plates, plates)

    def least(part):
        return np.full(len(part.X), part.X.min())

    def itself(part):
        return part.X

    for parts, of_least in (
        (script.whole, [0, 0, 0, 0, 4, 4, 4, 4]),
        (partial(script.of_classes, 1), [0, 0, 2, 2, 4, 4, 6, 6]),
        (partial(script.of_classes, 2), [0, 0, 0, 0, 4, 4, 4, 4]),
        (partial(script.of_cells, 1), range(8)),
    ):
        np.testing.assert_array_equal(script.labels_of(itself, cells, parts), np.arange(8))
        np.testing.assert_array_equal(script.labels_of(least, cells, parts), of_least)
