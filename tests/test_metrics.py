"""Balanced error and its interval, on cases worked by hand."""

import json

import numpy as np
import pytest
from _coos7 import CLASSES

from coos_mlflow.metrics import (
    Evaluation,
    WellCounts,
    balanced_error,
    confusion_matrix,
    confusion_table,
    difference,
    evaluate,
    plate_difference,
)


def test_balanced_error_is_the_mean_of_the_classes_not_of_the_cells():
    labels = np.array([0] * 90 + [1] * 10)
    predicted = np.array([0] * 90 + [1] * 5 + [0] * 5)
    place = np.full(100, "1")
    found = evaluate(labels, predicted, place, place, 7)
    assert found.balanced_error == pytest.approx(25.0)  # recalls 1 and 1/2; plain error is 5 %
    assert found.recalls[:2] == [1.0, 0.5]
    assert np.isnan(found.recalls[2:]).all()
    assert found.as_dict()["recalls"][2] is None


def test_balanced_error_counts_the_classes_that_are_present():
    confusion = confusion_matrix(np.array([0, 0, 0, 5]), np.array([0, 0, 3, 5]))
    assert balanced_error(confusion) == pytest.approx(100 / 6)


def test_rare_classes_count_unless_a_minimum_share_is_given():
    confusion = np.zeros((7, 7))
    confusion[0, :2] = 90, 10
    confusion[4, 4] = 50
    confusion[6, 0] = 1  # less than 2 % of the commonest class
    assert balanced_error(confusion) == pytest.approx(100 * (0.1 + 0 + 1) / 3)
    assert balanced_error(confusion, min_share=0.02) == pytest.approx(5)
    both = np.stack([confusion, np.eye(7)])
    np.testing.assert_allclose(balanced_error(both, min_share=0.02), [5, 0])


def test_perfect_and_hopeless_predictions():
    labels = np.arange(7).repeat(3)
    place = np.full(21, "1")
    assert evaluate(labels, labels, place, place, 7).balanced_error == 0
    assert evaluate(labels, (labels + 1) % 7, place, place, 7).balanced_error == 100


def test_confusion_has_true_classes_in_rows():
    found = evaluate(np.array([2]), np.array([5]), np.array(["1"]), np.array(["A01"]), 7)
    assert found.confusion[2, 5] == 1 and found.confusion.sum() == 1
    assert confusion_table(found, CLASSES).loc["Golgi", "Cytosol"] == 1


def test_cells_without_a_label_are_not_counted():
    labels, place = np.array([0, -1, 1, -1]), np.full(4, "1")
    found = evaluate(labels, np.array([0, 0, 1, 1]), place, place, 3)
    assert found.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert found.balanced_error == 0


def one_class(errors_per_well: list[float], cells: int = 100):
    labels = np.zeros(cells * len(errors_per_well), int)
    rng = np.random.default_rng(0)
    predicted = np.concatenate([rng.random(cells) < e for e in errors_per_well]).astype(int)
    wells = np.arange(len(errors_per_well)).repeat(cells).astype(str)
    return labels, predicted, wells


def test_interval_is_wide_where_wells_differ():
    """The same mean error; cells alone would give the two cases the same interval."""
    alike, apart = (
        evaluate(labels, predicted, np.full(len(wells), "1"), wells, 2)
        for labels, predicted, wells in (one_class([0.2] * 8), one_class([0.0, 0.4] * 4))
    )
    assert alike.interval[0] <= alike.balanced_error <= alike.interval[1]
    assert np.ptp(apart.interval) > 3 * np.ptp(alike.interval)


def test_wells_are_drawn_within_their_plates():
    """Plates with nothing but error and without any: drawing across plates would vary."""
    labels, predicted, wells = one_class([0.0, 0.0, 1.0, 1.0])
    plates = np.array(["a", "a", "b", "b"]).repeat(100)
    assert evaluate(labels, predicted, plates, wells, 2).interval == (50.0, 50.0)
    assert evaluate(labels, predicted, np.full(400, "a"), wells, 2).interval != (50.0, 50.0)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        low, high = evaluate(*plate_of_wells(rng), 2, draws=200).interval
        covered += low <= 20 <= high
    # 16 wells: a percentile bootstrap of so few units is somewhat narrow
    assert 0.85 <= covered / 200 <= 0.99


def plate_of_wells(rng: np.random.Generator):
    rates = np.clip(rng.normal(0.2, 0.05, 16), 0, 1)
    predicted = (rng.random((16, 50)) < rates[:, None]).astype(int).ravel()
    return np.zeros(800, int), predicted, np.full(800, "a"), np.arange(16).repeat(50).astype(str)


def two_models(rng: np.random.Generator, gain: float, wells: int = 40, cells: int = 30):
    """Two models on wells of very different difficulty; the second errs `gain` more often."""
    hardness = rng.uniform(0, 0.8, wells)[:, None]
    luck = rng.random((wells, cells))
    labels = np.zeros(wells * cells, int)
    place = np.full(len(labels), "a"), np.arange(wells).repeat(cells).astype(str)
    return [
        evaluate(labels, (luck < hardness + more).astype(int).ravel(), *place, 2)
        for more in (0, gain)
    ]


def test_a_difference_is_seen_where_the_intervals_of_both_overlap():
    a, b = two_models(np.random.default_rng(0), gain=0.05)
    assert a.interval[1] > b.interval[0]
    low, high = difference(b, a)
    assert 0 < low <= b.balanced_error - a.balanced_error <= high
    assert difference(a, b) == pytest.approx((-high, -low))
    assert difference(a, a) == (0, 0)


def test_the_interval_of_a_difference_covers_it_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(2), 0
    for _ in range(200):
        low, high = difference(*reversed(two_models(rng, gain=0.1)), draws=200)
        covered += low <= 10 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_models_that_predicted_other_cells_have_no_interval_of_their_difference():
    labels, wells = np.array([0, 0, 1]), np.array(["A01", "A02", "A02"])
    plates = np.full(3, "1")
    a = evaluate(labels, labels, plates, wells, 2)
    assert difference(a, evaluate(labels, labels, plates, wells[::-1], 2)) is None
    assert difference(a, evaluate(labels[::-1], labels, plates, wells, 2)) is None
    assert difference(a, evaluate(labels, labels, np.full(3, "2"), wells, 2)) is None
    assert difference(a, Evaluation(a.confusion, a.interval)) is None
    assert difference(a, evaluate(labels, 1 - labels, plates, wells, 2)) == (-100, -100)


def test_where_each_plate_has_one_well_nobody_knows_how_wells_differ():
    labels, plates = np.arange(4) % 2, np.array(["a", "a", "b", "b"])
    found = evaluate(labels, labels, plates, np.full(4, "A01"), 2)
    assert np.isnan(found.interval).all() and difference(found, found) is None
    values = json.loads(json.dumps(found.as_dict()))
    assert values["interval"] == [None, None]
    assert np.isnan(Evaluation.from_dict(values).interval).all()


def test_an_evaluation_comes_back_from_json_whole():
    (a, b) = two_models(np.random.default_rng(1), gain=0.1)
    again = Evaluation.from_dict(json.loads(json.dumps(b.as_dict())))
    assert again.as_dict() == b.as_dict()
    assert WellCounts.from_rows([], 7).counts.shape == (0, 7, 7)
    assert difference(again, a) == difference(b, a)


def test_a_well_has_the_label_that_most_of_its_cells_have():
    """Of three wells one is right, one has a single right cell, and one is torn evenly."""
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    predicted = np.array([0, 0, 1, 1, 0, 0, 0, 1])
    wells = np.array(["A01"] * 3 + ["A02"] * 3 + ["A03"] * 2)
    found = evaluate(labels, predicted, np.full(8, "1"), wells, 3)
    assert found.well_confusion.tolist() == [[1, 0, 0], [2, 0, 0], [0, 0, 0]]
    assert found.well_error == 50.0  # one class right, the other wrong
    assert found.balanced_error == pytest.approx(100 * (1 / 3 + 3 / 5) / 2)


def test_wells_of_equal_names_on_two_plates_are_two_wells():
    labels = np.zeros(6, int)
    predicted = np.array([0, 0, 1, 1, 1, 0])
    plates = np.array(["1"] * 3 + ["2"] * 3)
    found = evaluate(labels, predicted, plates, np.full(6, "A01"), 2)
    assert found.well_confusion.tolist() == [[1, 1], [0, 0]]
    assert {plate: c[0].tolist() for plate, c in found.by_well.by_plate.items()} == {
        "1": [2, 1],
        "2": [1, 2],
    }


def test_wells_that_hold_several_classes_decide_nothing():
    labels, place = np.array([0, 1, 0]), np.full(3, "1")
    mixed = evaluate(labels, labels, place, place, 2)
    assert mixed.well_confusion.sum() == 0 and np.isnan(mixed.well_error)
    assert mixed.as_dict()["well_error"] is None
    partly = evaluate(labels, labels, place, np.array(["1", "1", "2"]), 2)
    assert partly.well_confusion.tolist() == [[1, 0], [0, 0]]


def test_many_cells_of_a_well_are_right_together():
    """Condorcet: where 51 independent cells are right in 7 of 10 cases, so is nearly each well."""
    rng = np.random.default_rng(0)
    labels, wells = np.zeros(51 * 200, int), np.arange(200).repeat(51).astype(str)
    predicted = (rng.random(len(labels)) > 0.7).astype(int)
    found = evaluate(labels, predicted, np.full(len(labels), "1"), wells, 2)
    assert found.balanced_error == pytest.approx(30, abs=2)
    assert found.well_error < 2


def test_an_evaluation_without_wells_has_no_error_of_wells():
    found = Evaluation(np.eye(3, dtype=int), (0, 1))
    assert found.well_confusion is None and np.isnan(found.well_error)


def plates_of_two_models(rng: np.random.Generator, n_plates: int, gain: float):
    """Return two models on plates of very different difficulty; the second errs `gain` more often.

    The gain of a plate varies around `gain` too.
    """
    hardness = rng.uniform(0, 0.6, n_plates)[:, None]
    gains = rng.normal(gain, 0.03, n_plates)[:, None]
    luck = rng.random((n_plates, 60))
    plates = np.arange(n_plates).repeat(60).astype(str)
    return [
        evaluate(np.zeros(plates.size, int), wrong.ravel().astype(int), plates, plates, 2)
        for wrong in (luck < hardness, luck < hardness + gains)
    ]


def test_the_interval_over_plates_covers_the_difference_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(3), 0
    for _ in range(200):
        a, b = plates_of_two_models(rng, 12, gain=0.1)
        low, high = plate_difference([b], [a], draws=300)
        covered += low <= 10 <= high
    # 12 plates: a percentile bootstrap of so few units is somewhat narrow
    assert 0.85 <= covered / 200 <= 0.99


def test_the_difference_over_plates_is_paired_and_averages_seeds():
    a, b = plates_of_two_models(np.random.default_rng(0), 30, gain=0.1)
    low, high = plate_difference([b], [a])
    assert 0 < low < b.balanced_error - a.balanced_error < high
    assert plate_difference([a], [a]) == (0, 0)
    assert plate_difference([a, b], [a, b]) == (0, 0)
    assert plate_difference([a], [b]) == pytest.approx((-high, -low))
    assert plate_difference([a, b], [a]) == pytest.approx((low / 2, high / 2))


def test_one_plate_or_other_cells_have_no_interval_over_plates():
    a, _ = plates_of_two_models(np.random.default_rng(0), 3, gain=0.1)
    other, _ = plates_of_two_models(np.random.default_rng(0), 4, gain=0.1)
    one, _ = plates_of_two_models(np.random.default_rng(0), 1, gain=0.1)
    assert plate_difference([a], [other]) is None
    assert plate_difference([one], [one]) is None
    assert plate_difference([a], [Evaluation(a.confusion, a.interval)]) is None
    assert plate_difference([Evaluation(a.confusion, a.interval)], [a]) is None


def test_the_difference_of_wells_counts_wells():
    """One model is right in 6 of 10 cells of each well, the other in 4: all wells differ."""
    labels, cell = np.zeros(200, int), np.arange(200) % 10
    plates = np.repeat(["a", "b", "c", "d"], 50)
    wells = np.repeat(np.arange(20), 10).astype(str)
    good, bad = (
        evaluate(labels, (cell >= right).astype(int), plates, wells, 2) for right in (6, 4)
    )
    assert plate_difference([bad], [good]) == pytest.approx((20, 20))
    assert plate_difference([bad], [good], wells=True) == (100, 100)


def test_mixed_wells_have_no_difference_of_wells():
    labels, place = np.tile([0, 1], 4), np.repeat(["a", "b"], 4)
    mixed = evaluate(labels, labels, place, place, 2)
    assert plate_difference([mixed], [mixed]) == (0, 0)
    assert plate_difference([mixed], [mixed], wells=True) is None
