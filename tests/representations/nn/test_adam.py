"""The steps of TensorFlow 1's Adam, by its documented formula in double precision."""

import copy

import numpy as np
import pytest
import torch

from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations import create
from coos_mlflow.representations.nn.adam import TensorFlowAdam

STEPS = 400
SIZES = np.array([0.0, 1e-12, 1e-9, 1e-8, 1e-7, 1e-5, 1e-3, 1.0, 1e4])
"""Of gradients: epsilon decides about those near it."""

RATES = 0.01 * 0.96 ** (np.arange(STEPS) // 25)


def gradients():
    return np.random.default_rng(0).normal(size=(STEPS, len(SIZES))) * SIZES


def tensorflows(begin, rates, betas):
    """Yield the weights after each step, as tf.train.AdamOptimizer documents them."""
    theta, m, v = begin.copy(), 0.0, 0.0
    for t, (rate, gradient) in enumerate(zip(rates, gradients(), strict=True), start=1):
        m = betas[0] * m + (1 - betas[0]) * gradient
        v = betas[1] * v + (1 - betas[1]) * gradient**2
        rate_t = rate * np.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t)
        theta = theta - rate_t * m / (np.sqrt(v) + 1e-8)
        yield theta


def taken(optimiser, weights, first, last):
    """Yield the weights after each of some steps."""
    for rate, gradient in zip(RATES[first:last], gradients()[first:last], strict=True):
        optimiser.param_groups[0]["lr"] = rate
        weights.grad = torch.from_numpy(gradient)
        optimiser.step()
        yield weights.detach().numpy().copy()


def fresh(betas=(0.9, 0.999)):
    weights = torch.nn.Parameter(torch.zeros(len(SIZES), dtype=torch.float64))
    return weights, TensorFlowAdam([weights], 1.0, betas)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.999)])
def test_every_step_is_that_of_tensorflows_formula(betas):
    weights, optimiser = fresh(betas)
    found = list(taken(optimiser, weights, 0, STEPS))
    expected = list(tensorflows(np.zeros(len(SIZES)), RATES, betas))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-16)


def test_steps_go_on_exactly_from_a_state_that_was_kept():
    weights, optimiser = fresh()
    whole = list(taken(optimiser, weights, 0, STEPS))
    before, optimiser = fresh()
    for _ in taken(optimiser, before, 0, 150):
        pass
    kept = copy.deepcopy(optimiser.state_dict()["state"])
    weights, optimiser = fresh()
    weights.data.copy_(before.data)
    # As a checkpoint: the state is what was kept, the settings are those of a fresh optimiser.
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": kept, "param_groups": groups})
    np.testing.assert_array_equal(list(taken(optimiser, weights, 150, STEPS)), whole[150:])


@pytest.mark.parametrize(("key", "betas"), [("deeploc", (0.9, 0.999)), ("pci", (0.5, 0.999))])
def test_both_networks_learn_by_tensorflows_steps(random_cells, key, betas):
    named = np.full(20, "B03")
    cells = CellBatch(0, random_cells(20), np.arange(20) % 2, plates=named, wells=named)
    settings = {"least_cells": 2} if key == "pci" else {}
    task = create(key, width=0.02, **settings).training_task(cells, torch.device("cpu"))
    task.network.double()
    optimiser = task.optimiser()
    weights = next(p for p in task.network.parameters() if p.numel() >= len(SIZES))
    begin = weights.detach().numpy().ravel()[: len(SIZES)].copy()
    expected = tensorflows(begin, RATES, betas)
    for rate, gradient, wanted in zip(RATES[:40], gradients(), expected, strict=False):
        optimiser.param_groups[0]["lr"] = rate
        for parameter in task.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        weights.grad.view(-1)[: len(SIZES)] = torch.from_numpy(gradient)
        optimiser.step()
        found = weights.detach().numpy().ravel()[: len(SIZES)]
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)
