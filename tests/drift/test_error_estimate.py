"""Estimated errors: close to known errors, covered by their ranges, "cannot tell" if need be."""

from __future__ import annotations

import numpy as np
import pytest

from coos_mlflow.drift import error_estimate
from coos_mlflow.drift.error_estimate import (
    AT_LEAST,
    CANNOT_TELL,
    ESTIMATED,
    RUNNER_UP,
    calibrate,
    doubtful_wells,
    estimate,
    number_ids,
    torn_wells,
    untold_classes,
)
from coos_mlflow.metrics import balanced_error, confusion_matrix

ALL = {"has_wells": True}


def by_well(*votes: dict[int, int], truth: int = 0) -> np.ndarray:
    """The estimated confusions of wells with one class each, from their labels."""
    wells = np.zeros((len(votes), 7, 7))
    for number, labels in enumerate(votes):
        for label, cells in labels.items():
            wells[number, truth, label] = cells
    return wells


def predictions_of(confusion: np.ndarray, wells: int, seed: int):
    """Cells whose labels follow a confusion matrix: probabilities, truth, plate and well."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(7), wells * 40)
    labels = np.array([rng.choice(7, p=confusion[c]) for c in truth])
    probabilities = np.full((len(labels), 7), 0.02)
    probabilities[np.arange(len(labels)), labels] = 0.88
    well = np.arange(len(labels)) // 40
    return probabilities, truth, well % wells, well


def confusion_of(error_rate: float) -> np.ndarray:
    return (1 - error_rate) * np.eye(7) + error_rate / 6 * (1 - np.eye(7))


@pytest.fixture(scope="module")
def calibration():
    probabilities, truth, plates, wells = predictions_of(confusion_of(0.05), 8, seed=0)
    return calibrate(probabilities, truth, plates.astype(str), wells.astype(str))


def test_numbers_of_wells_have_no_gaps():
    plates, wells = np.array(["a", "a", "b", "b"]), np.array(["x", "y", "x", "x"])
    np.testing.assert_array_equal(number_ids(plates, wells), [0, 1, 2, 2])


def test_left_out_plates_choose_the_well_consensus(calibration):
    assert calibration.pure_wells
    assert calibration.chosen(has_wells=True) == "well_consensus"
    assert calibration.off["well_consensus"] < 0.5
    assert calibration.chosen(has_wells=False) != "well_consensus"


def test_wells_that_hold_several_classes_in_training_rule_the_consensus_out():
    probabilities, truth, plates, _ = predictions_of(confusion_of(0.05), 4, seed=0)
    mixed = (np.arange(len(truth)) % 30).astype(str)
    calibrated = calibrate(probabilities, truth, plates.astype(str), mixed)
    assert not calibrated.pure_wells
    assert "well_consensus" not in calibrated.fitted
    assert calibrated.chosen(has_wells=True) == calibrated.chosen(has_wells=False)


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2, 0.35])
def test_the_error_of_a_plate_is_found_whatever_it_is(calibration, rate):
    probabilities, truth, _, wells = predictions_of(confusion_of(rate), 4, seed=1)
    entry = estimate([calibration.confusions(probabilities, wells)], calibration, **ALL)
    labels = probabilities.argmax(axis=1)
    true = balanced_error(confusion_matrix(truth, labels))
    assert entry["answer"] == ESTIMATED
    assert entry["balanced_error"] == pytest.approx(true, abs=0.1)
    assert entry["low"] <= true <= entry["high"]
    assert entry["classes"] == list(range(7))
    for label in range(7):
        recall = np.mean(labels[truth == label] == label)
        assert entry["recalls"][label] == pytest.approx(recall, abs=0.01)
        assert entry["recall_lows"][label] <= recall <= entry["recall_highs"][label]


def test_the_estimate_uses_no_truth_of_the_plate(calibration):
    probabilities, _, _, wells = predictions_of(confusion_of(0.1), 4, seed=1)
    first, second = (
        estimate([calibration.confusions(probabilities, wells)], calibration, **ALL)
        for _ in range(2)
    )
    assert first == second


def test_a_plate_of_two_classes_is_judged_by_these(calibration):
    probabilities, truth, _, wells = predictions_of(confusion_of(0.1), 4, seed=2)
    two = truth < 2
    entry = estimate(
        [calibration.confusions(probabilities[two], number_ids(wells[two]))], calibration, **ALL
    )
    assert entry["classes"] == [0, 1]
    assert entry["recalls"][2:] == [None] * 5
    assert entry["balanced_error"] == pytest.approx(10, abs=3)


def test_more_wells_make_a_narrower_range(calibration):
    widths = []
    for wells_per_class in (2, 16):
        probabilities, _, _, wells = predictions_of(confusion_of(0.2), wells_per_class, seed=3)
        entry = estimate([calibration.confusions(probabilities, wells)], calibration, **ALL)
        widths.append(entry["high"] - entry["low"])
    assert widths[1] < widths[0]


def test_torn_wells_are_not_answered(calibration):
    torn = by_well(*[{0: 20, 3: 18}] * 3, {0: 40})
    np.testing.assert_array_equal(doubtful_wells(torn), [True, True, True, False])
    entry = estimate([dict.fromkeys(calibration.fitted, torn)], calibration, **ALL)
    assert entry["answer"] == CANNOT_TELL
    assert entry["balanced_error"] is entry["low"] is entry["high"] is None
    assert "In 3 of 4 wells the labels are torn between two classes" in entry["reason"]
    assert entry["estimators"]["well_consensus"] == pytest.approx(100 * 54 / 154)


def test_plates_of_different_classes_have_the_range_of_their_classes(calibration):
    """A draw of whole plates can miss a class, which is then left out."""
    crumbs = np.full((4, 7, 7), 1e-20)
    files = [
        dict.fromkeys(calibration.fitted, crumbs + by_well(*[{c: 38, 6: 2}] * 4, truth=c))
        for c in range(3)
    ]
    entry = estimate(files, calibration, **ALL)
    assert entry["low"] <= entry["balanced_error"] <= entry["high"]
    assert entry["high"] - entry["low"] < 3
    assert min(entry["recall_lows"][:3]) > 0.9


def test_without_wells_confidence_answers(calibration):
    probabilities, truth, _, _ = predictions_of(confusion_of(0.05), 4, seed=1)
    entry = estimate([calibration.confusions(probabilities, None)], calibration, has_wells=False)
    assert entry["answer"] == ESTIMATED
    assert entry["estimators"]["well_consensus"] is None
    true = balanced_error(confusion_matrix(truth, probabilities.argmax(axis=1)))
    assert entry["low"] <= true <= entry["high"]


def test_an_obstacle_is_the_reason_to_say_nothing(calibration):
    probabilities, _, _, wells = predictions_of(confusion_of(0.05), 4, seed=1)
    confusions = calibration.confusions(probabilities, wells)
    entry = estimate([confusions], calibration, has_wells=True, obstacle="Too far.")
    assert (entry["answer"], entry["reason"]) == (CANNOT_TELL, "Too far.")
    assert entry["wrong_labels"] is None


def test_wells_of_hardly_any_cells_are_not_answered(calibration):
    """A single cell is always the majority of its well, so that no label would seem wrong."""
    probabilities, _, _, _ = predictions_of(confusion_of(0.3), 4, seed=1)
    alone = np.arange(len(probabilities))
    entry = estimate([calibration.confusions(probabilities, alone)], calibration, **ALL)
    assert entry["answer"] == CANNOT_TELL
    assert "too few to tell" in entry["reason"]


def test_uneven_mixtures_are_taken_for_mistakes(calibration):
    """A fifth of another protein in each well looks like 20 % of errors, as the report must say."""
    wells = by_well(*[{0: 32, 3: 8}] * 4)
    entry = estimate([dict.fromkeys(calibration.fitted, wells)], calibration, **ALL)
    assert entry["balanced_error"] == pytest.approx(20)


def test_plain_share_of_wrong_labels_beside_the_balanced_error(calibration):
    wells = np.concatenate([by_well({0: 99, 1: 1}), by_well({1: 6, 0: 4}, truth=1)])
    entry = estimate([dict.fromkeys(calibration.fitted, wells)], calibration, **ALL)
    assert entry["balanced_error"] == pytest.approx((1 + 40) / 2)
    assert entry["wrong_labels"] == pytest.approx(100 * 5 / 110)


def test_plates_that_differ_make_a_wider_range_than_wells_that_do(calibration):
    bad, good = by_well(*[{0: 30, 3: 10}] * 8), by_well(*[{0: 40}] * 8)
    mixed = [np.concatenate([bad[:4], good[:4]])] * 2
    plates = [
        [dict.fromkeys(calibration.fitted, one) for one in file] for file in ([bad, good], mixed)
    ]
    apart, alike = (estimate(file, calibration, **ALL) for file in plates)
    assert apart["balanced_error"] == pytest.approx(alike["balanced_error"])
    assert apart["high"] - apart["low"] > alike["high"] - alike["low"] + 5


def test_draws_keep_the_layout_of_the_plate():
    wells = np.concatenate([by_well({0: 10}, {0: 10}), by_well({1: 10}, truth=1)])
    weights = error_estimate._draw_wells([wells], np.random.default_rng(0))
    np.testing.assert_array_equal(weights[:, 2], 1)
    np.testing.assert_array_equal(weights[:, :2].sum(axis=1), 2)


def test_plates_are_drawn_whole():
    wells = by_well({0: 10}, {0: 10})
    weights = error_estimate._draw_wells([wells, wells], np.random.default_rng(0))
    per_plate = weights.reshape(len(weights), 2, 2).sum(axis=2)
    assert set(np.unique(per_plate)) == {0, 2, 4}
    np.testing.assert_array_equal(per_plate.sum(axis=1), 4)


def test_classes_on_a_single_plate_each_leave_the_widest_margin():
    """If a plate is left out, its class is on no other plate."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 3], 60)
    probabilities = rng.dirichlet(np.ones(7), 120)
    calibrated = calibrate(probabilities, labels, labels.astype(str), np.repeat(list("abcd"), 30))
    assert calibrated.recall_margin["confidence"] == 100.0
    assert all(np.isfinite(margin) for margin in calibrated.recall_margin.values())


def test_a_well_is_torn_from_a_share_of_its_first_label_on():
    assert RUNNER_UP == 0.4
    votes = np.array([[100, 39, 0], [100, 40, 0], [0, 50, 100], [30, 29, 28], [10, 0, 0]])
    assert torn_wells(votes).tolist() == [False, True, True, True, False]


def test_a_class_of_torn_wells_has_no_recall_and_leaves_no_upper_end(calibration):
    """Eleven wells of three classes, three of class 2 torn: a fifth of the cells of the plate."""
    clear = [by_well(*[{c: 38, 6: 2}] * 6, truth=c) for c in (0, 1)]
    torn = by_well(*[{2: 22, 3: 18}] * 3, {2: 40}, truth=2)
    wells = np.concatenate([*clear, torn])
    assert untold_classes(wells) == [2]
    entry = estimate([dict.fromkeys(calibration.fitted, wells)], calibration, **ALL)
    assert (entry["answer"], entry["untold"]) == (AT_LEAST, [2])
    assert entry["high"] is None
    assert entry["low"] <= entry["balanced_error"]
    assert entry["recalls"][2] is entry["recall_highs"][2] is None
    assert entry["recalls"][0] == pytest.approx(0.95)
    # Of a class taken for another, nothing vouches for a lower end of the others' recalls either.
    assert entry["recall_lows"] == [None] * 7
    assert "torn between two classes" in entry["reason"]


def test_classes_for_which_no_well_decides_are_missing(calibration):
    wells = np.concatenate([by_well(*[{c: 38, 6: 2}] * 3, truth=c) for c in (0, 3)])
    entry = estimate([dict.fromkeys(calibration.fitted, wells)], calibration, **ALL)
    assert entry["answer"] == ESTIMATED
    assert entry["missing"] == [1, 2, 4, 5, 6]
    assert entry["untold"] == []
    # Taken together, the plates of a file hold the classes of each.
    more = by_well(*[{1: 40}] * 3, truth=1)
    both = [dict.fromkeys(calibration.fitted, one) for one in (wells, more)]
    assert estimate(both, calibration, **ALL)["missing"] == [2, 4, 5, 6]


def test_without_an_upper_end_the_rest_of_the_estimate_stays(calibration):
    probabilities, _, _, wells = predictions_of(confusion_of(0.1), 4, seed=1)
    confusions = [calibration.confusions(probabilities, wells)]
    plain = estimate(confusions, calibration, **ALL)
    open_ended = estimate(confusions, calibration, **ALL, no_upper_end="Unlike Training.")
    assert (open_ended["answer"], open_ended["reason"]) == (AT_LEAST, "Unlike Training.")
    assert open_ended["high"] is None and plain["high"] is not None
    for key in ("balanced_error", "low", "wrong_labels", "recalls", "recall_highs"):
        assert open_ended[key] == plain[key]
    both = estimate(confusions, calibration, **ALL, obstacle="Too far.", no_upper_end="Unlike.")
    assert (both["answer"], both["low"]) == (CANNOT_TELL, None)


def test_without_wells_nothing_is_untold_or_missing(calibration):
    probabilities, _, _, _ = predictions_of(confusion_of(0.05), 4, seed=1)
    entry = estimate([calibration.confusions(probabilities, None)], calibration, has_wells=False)
    assert entry["untold"] == entry["missing"] == []
