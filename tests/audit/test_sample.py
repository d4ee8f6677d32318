"""Which cells are drawn: strata, inclusion probabilities, samples that contain shorter ones."""

from __future__ import annotations

import numpy as np
import pytest
from plates_to_label import simulated_frame

from coos_mlflow.audit.frame import CONFIDENT, CONFIDENTLY_ODD, ODD, UNSURE, Frame
from coos_mlflow.audit.sequence import BLOCK, inclusion, sequence, shuffled


def test_a_cell_is_grouped_by_its_well_and_its_confidence():
    probabilities = np.array([[0.95, 0.05], [0.6, 0.4], [0.95, 0.05], [0.1, 0.9], [0.3, 0.7]])
    frame = Frame(np.arange(5), np.full(5, "p"), np.full(5, "A01"), probabilities, True)
    assert frame.guesses.tolist() == [0, 0, 0, 0, 0]
    assert frame.groups.tolist() == [CONFIDENT, UNSURE, CONFIDENT, CONFIDENTLY_ODD, ODD]
    mixed = Frame(np.arange(5), np.full(5, "p"), np.full(5, "A01"), probabilities, False)
    assert mixed.guesses.tolist() == [0, 0, 0, 1, 1]
    nameless = Frame(np.arange(5), np.full(5, ""), np.full(5, ""), probabilities, True)
    assert nameless.guesses.tolist() == [0, 0, 0, 1, 1]


def test_wells_of_the_same_name_on_two_plates_are_two():
    probabilities = np.array([[0.9, 0.1]] * 3 + [[0.1, 0.9]] * 3)
    plates = np.repeat(["p", "q"], 3)
    frame = Frame(np.arange(6), plates, np.full(6, "A01"), probabilities, True)
    assert frame.guesses.tolist() == [0, 0, 0, 1, 1, 1]


def test_every_cell_comes_once_and_longer_samples_contain_shorter_ones():
    frame, _ = simulated_frame()
    order = sequence(frame, 3)
    assert sorted(order.tolist()) == list(range(len(frame)))
    assert (sequence(frame, 3) == order).all()
    assert (sequence(frame, 4) != order).any()


def test_every_cell_of_a_stratum_is_drawn_as_often_as_its_probability_says():
    frame, _ = simulated_frame(wells=4, cells=10)
    n, runs = 30, 2000
    hits = np.zeros(len(frame))
    for seed in range(runs):
        hits[sequence(frame, seed)[:n]] += 1
    drawn = sequence(frame, 0)[:n]
    expected = np.zeros(len(frame))
    for row, share in zip(drawn, inclusion(frame, drawn), strict=True):
        expected[frame.strata == frame.strata[row]] = share
    # Each count is binomial: 5 standard deviations are exceeded once in a million.
    limit = 5 * np.sqrt(np.maximum(expected * (1 - expected), 1e-9) / runs)
    assert (np.abs(hits / runs - expected) <= limit + 1e-12).all()


def test_doubtful_cells_are_looked_at_and_confident_ones_too():
    confident = np.tile([0.97, 0.03], (400, 1))
    unsure = np.tile([0.6, 0.4], (100, 1))
    wells = np.tile(["A01", "A02", "A03", "A04", "A05"], 100)
    probabilities = np.concatenate([confident, unsure])
    frame = Frame(np.arange(500), np.full(500, "p"), wells, probabilities, True)
    drawn = frame.groups[sequence(frame, 0)[:50]]
    assert 10 < np.count_nonzero(drawn == UNSURE) < 25
    assert np.count_nonzero(drawn == CONFIDENT) > 25


def test_the_drawn_cells_are_spread_over_the_wells():
    frame, _ = simulated_frame(wells=8, cells=30)
    spread = [len(np.unique(frame.wells[sequence(frame, seed)[:50]])) for seed in range(20)]
    random = [
        len(np.unique(frame.wells[np.random.default_rng(seed).permutation(len(frame))[:50]]))
        for seed in range(20)
    ]
    assert np.mean(spread) > np.mean(random)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_tiny_plates(n):
    frame = Frame(np.arange(n), np.full(n, ""), np.full(n, ""), np.full((n, 3), 1 / 3), True)
    assert sorted(sequence(frame, 0).tolist()) == list(range(n))


@pytest.mark.parametrize("n", [1, 9, 10, 25, 200])
def test_every_ten_places_are_shuffled(n):
    places = shuffled(n, 0)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        assert sorted(places[start:stop]) == list(range(start, stop))
    orders = {tuple(places[start : start + BLOCK] % BLOCK) for start in range(0, n, BLOCK)}
    assert len(orders) == -(-n // BLOCK)  # no order comes twice, so it tells of no stratum
