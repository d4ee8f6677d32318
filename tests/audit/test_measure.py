"""The measured error: what labels of all cells give, and how often intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from plates_to_label import simulated_frame

from coos_mlflow.audit.frame import Frame
from coos_mlflow.audit.measure import measure
from coos_mlflow.audit.sequence import sequence
from coos_mlflow.metrics import balanced_error, confusion_matrix
from coos_mlflow.plates.layout import NONE


def error_of(frame: Frame, truths: np.ndarray) -> float:
    known = truths != NONE
    confusion = confusion_matrix(truths[known], frame.labels[known], frame.n_classes)
    return float(balanced_error(confusion))


def test_labels_of_all_cells_give_the_error_itself():
    frame, truths = simulated_frame()
    truths[:40] = NONE
    found = measure(frame, np.arange(len(frame)), truths)
    exact = error_of(frame, truths)
    assert exact > 1
    assert (found["balanced_error"], found["low"], found["high"]) == pytest.approx((exact,) * 3)
    wrong = 100 * np.mean(frame.labels != truths)
    assert (found["wrong_labels"], found["wrong_low"], found["wrong_high"]) == pytest.approx(
        (wrong,) * 3
    )
    share = 40 / len(frame)
    assert tuple(found["none"].values()) == pytest.approx((share,) * 3)
    assert found["recalls"] == pytest.approx(found["recall_lows"])


def test_a_range_holds_its_value_and_narrows_with_labels():
    frame, truths = simulated_frame()
    order = sequence(frame, 0)
    widths = []
    for n in (20, 80, 320):
        found = measure(frame, order[:n], truths[order[:n]])
        assert 0 <= found["low"] <= found["balanced_error"] <= found["high"] <= 100
        for value, low, high in zip(
            found["recalls"], found["recall_lows"], found["recall_highs"], strict=True
        ):
            assert value is None or 0 <= low <= value <= high <= 1
        widths.append(found["high"] - found["low"])
    assert widths[0] > widths[1] > widths[2]


def test_without_a_mistake_the_range_still_ends_above_0():
    frame, truths = simulated_frame(skill=20.0)
    assert error_of(frame, truths) == 0
    order = sequence(frame, 0)[:50]
    found = measure(frame, order, truths[order])
    # The exact 95 % limit of 0 in 50 is 3.6 in 50, that of Jeffreys' prior 2.5 in 50.
    assert found["low"] == 0
    assert 1 < found["high"] < 8
    assert 0.01 < found["none"]["high"] < 0.08


def test_cells_of_no_known_class_are_counted_apart():
    frame, truths = simulated_frame(skill=20.0)
    truths[truths == 0] = NONE  # a protein that is read as class 0
    order = sequence(frame, 0)[:60]
    found = measure(frame, order, truths[order])
    assert found["none"]["low"] < 0.2 < found["none"]["high"]
    assert found["none"]["share"] == pytest.approx(0.2, abs=0.08)
    assert found["low"] < 5  # the other classes are read rightly
    assert found["wrong_low"] < 20 < found["wrong_high"]


def test_only_strangers_leave_no_balanced_error():
    frame, _ = simulated_frame()
    order = sequence(frame, 0)[:20]
    found = measure(frame, order, np.full(20, NONE))
    assert found["balanced_error"] is None
    assert found["low"] is None
    assert found["classes"] == []
    assert found["none"]["share"] > 0.9


def lose_class(frame: Frame, truths: np.ndarray) -> tuple[Frame, np.ndarray]:
    """Read all wells of class 0 as class 1."""
    probabilities = frame.probabilities.copy()
    lost = truths == 0
    probabilities[lost] = probabilities[lost][:, [1, 0, *range(2, frame.n_classes)]]
    return Frame(frame.cells, frame.plates, frame.wells, probabilities, True), truths


def mix_wells(frame: Frame, truths: np.ndarray) -> tuple[Frame, np.ndarray]:
    """Put a fifth of the cells of each well into the next one."""
    rng = np.random.default_rng(0)
    names = np.unique(frame.wells)
    following = dict(zip(names, np.roll(names, -7), strict=True))
    moved = rng.random(len(frame)) < 0.2
    wells = np.where(moved, [following[well] for well in frame.wells], frame.wells)
    return Frame(frame.cells, frame.plates, wells, frame.probabilities, True), truths


@pytest.mark.parametrize(
    "change", [lambda *both: both, lose_class, mix_wells], ids=["as it is", "class lost", "mixed"]
)
def test_nine_of_ten_ranges_at_least_hold_the_error(change):
    held = []
    for seed in range(30):
        frame, truths = change(*simulated_frame(skill=0.45, seed=seed))
        order = sequence(frame, seed)[:50]
        found = measure(frame, order, truths[order])
        confusion = confusion_matrix(truths, frame.labels, frame.n_classes)
        recalls = np.diag(confusion) / confusion.sum(axis=1)
        exact = 100 * (1 - recalls[found["classes"]].mean())
        held.append(found["low"] <= exact <= found["high"])
    # Of 30 ranges that hold in 93 %, fewer than 24 do so once in four hundred.
    assert sum(held) >= 24
