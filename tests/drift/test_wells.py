"""What the cells of a well say together: hand-computed values, and coverage on simulated wells."""

from __future__ import annotations

import numpy as np
import pytest

from coos_mlflow.drift.error_estimate import calibrate, doubtful_wells
from coos_mlflow.drift.estimators.well_consensus import CELL_CORRELATION, well_classes
from coos_mlflow.drift.wells import decided_classes, share_intervals, well_warnings

NAMES = ("red", "green", "blue")
RATES = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])


def test_an_interval_has_the_values_computed_by_hand():
    """16 of 20 cells: 20 / (1 + 19 * 0.05) = 10.256 independent ones in Wilson's formula."""
    shares, lows, highs = share_intervals(np.array([[16.0, 4.0]]))
    np.testing.assert_allclose(shares, [[0.8, 0.2]])
    np.testing.assert_allclose(lows, [[0.49402, 0.05751]], atol=1e-5)
    np.testing.assert_allclose(highs, [[0.94249, 0.50598]], atol=1e-5)


def test_a_single_cell_has_wilson_s_interval():
    """With one cell there is no correlation: z^2 / (1 + z^2) = 0.7935 of the scale is open."""
    _, lows, highs = share_intervals(np.array([[1.0, 0.0]]))
    np.testing.assert_allclose([lows[0], highs[0]], [[0.20654, 0], [1, 0.79346]], atol=1e-5)


def test_intervals_hold_the_share_and_narrow_with_cells():
    votes = np.array([[2.0, 8.0, 0.0], [20.0, 80.0, 0.0], [2000.0, 8000.0, 0.0]])
    shares, lows, highs = share_intervals(votes)
    assert (lows <= shares).all() and (shares <= highs).all()
    assert (lows >= 0).all() and (highs <= 1).all()
    assert (np.diff((highs - lows)[:, 0]) < 0).all()
    # Cells of one well never weigh more than 20 independent ones.
    assert (highs - lows)[2, 1] > 2 * 1.96 * np.sqrt(0.16 / 25)


@pytest.mark.parametrize("n", [10, 25, 100, 400])
@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
def test_intervals_cover_the_share_of_correlated_cells(n, share):
    """Beta-binomial wells with the assumed correlation: nominal 95 %, measured 93.4 to 96.5 %."""
    rng = np.random.default_rng([n, round(100 * share)])
    concentration = (1 - CELL_CORRELATION) / CELL_CORRELATION
    own = rng.beta(share * concentration, (1 - share) * concentration, 20_000)
    cells = rng.binomial(n, own).astype(float)
    _, lows, highs = share_intervals(np.stack([cells, n - cells], axis=1))
    covered = np.mean((lows[:, 0] <= share) & (share <= highs[:, 0]))
    assert 0.93 < covered < 0.97
    # Taken as independent, the cells would promise far too much in large wells.
    p = cells / n
    naive = np.mean(np.abs(p - share) <= 1.96 * np.sqrt(share * (1 - share) / n))
    assert n < 100 or naive < 0.75


def test_the_class_is_that_of_the_well_consensus_of_the_plate():
    votes = np.array([[12.0, 2, 1], [1, 11, 3], [0, 2, 18], [6, 5, 4], [3, 3, 14], [9, 1, 2]])
    plates = np.array(["P1", "P1", "P1", "P2", "P2", "P2"])
    labels, probabilities = decided_classes(votes, plates, RATES)
    for plate in ("P1", "P2"):
        expected = well_classes(votes[plates == plate], RATES)
        np.testing.assert_array_equal(labels[plates == plate], expected.argmax(axis=1))
        np.testing.assert_array_equal(probabilities[plates == plate], expected.max(axis=1))
    assert labels.tolist() == [0, 1, 2, 0, 2, 0]
    assert probabilities[3] < 0.99
    assert probabilities[0] > 0.9999


def test_warnings_follow_the_doubtful_wells_of_the_report():
    votes = np.array([[10.0, 3, 0], [10, 4, 0], [0, 5, 10], [3, 1, 0], [2, 2, 0], [40, 0, 0]])
    warnings = well_warnings(votes, [1.0, 1.0, 4.0, None, 9.0, 3.0], 3.0, NAMES, one_class=True)
    assert warnings == [
        [],
        ["torn between red and green"],
        ["torn between blue and green", "far from the reference"],
        ["too few cells"],
        ["torn between red and green", "too few cells", "far from the reference"],
        [],
    ]
    # The report takes confusion matrices; their labels are in the columns.
    confusions = np.zeros((6, 3, 3))
    confusions[:, 0] = votes
    said = [any(not one.startswith("far") for one in own) for own in warnings]
    np.testing.assert_array_equal(doubtful_wells(confusions), said)


def test_mixtures_are_not_torn():
    votes = np.array([[10.0, 10, 0], [1, 1, 0]])
    warnings = well_warnings(votes, [None, None], None, NAMES, one_class=False)
    assert warnings == [[], ["too few cells"]]


def test_a_file_without_wells_has_no_rows():
    none = np.zeros((0, 3))
    assert all(values.shape == (0, 3) for values in share_intervals(none))
    assert decided_classes(none, np.zeros(0, dtype=str), RATES)[0].shape == (0,)
    assert well_warnings(none, [], 3.0, NAMES, one_class=True) == []


def test_wells_that_are_mixtures_have_no_consensus_even_if_training_is_pure():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2] * 6, 12)
    wells = np.repeat(np.arange(18), 12).astype(str)
    plates = np.repeat(["P1", "P2", "P3"], 72)
    probabilities = rng.dirichlet([1, 1, 1], 216) * 0.5 + 0.5 * np.eye(3)[labels]
    pure = calibrate(probabilities, labels, plates, wells)
    mixed = calibrate(probabilities, labels, plates, wells, mixtures=True)
    assert pure.label_rates is not None
    np.testing.assert_allclose(pure.label_rates.sum(axis=1), 1)
    assert mixed.label_rates is None
    assert "well_consensus" not in mixed.confusions(probabilities[:72], np.zeros(72, np.int64))
