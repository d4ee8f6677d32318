"""Folds of whole plates, and the plates that a network holds out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from coos_mlflow.plates.folds import held_out_plates, left_out_plates
from coos_mlflow.plates.schema import UNLABELLED
from coos_mlflow.simulate.coos7_layout import plan_dataset

layouts = st.dictionaries(
    st.text("0123456789", min_size=1, max_size=3),
    st.sets(st.integers(0, 6), min_size=1, max_size=7),
    min_size=2,
    max_size=25,
)


@given(layouts)
def test_folds_of_plates_leave_out_one_plate_of_a_class(layout):
    y = np.array([label for classes in layout.values() for label in sorted(classes)])
    plates = np.array([plate for plate, classes in layout.items() for _ in classes])
    folds = left_out_plates(y, plates)
    held_once = np.concatenate([held for _, held in folds])
    np.testing.assert_array_equal(np.sort(held_once), np.arange(len(y)))
    for fitted, held in folds:
        np.testing.assert_array_equal(np.sort(np.r_[fitted, held]), np.arange(len(y)))
        assert not set(plates[fitted]) & set(plates[held])
        assert len(set(y[held])) == len(held)  # a cell a class and plate: no two of a class
        if len(set(plates[held])) > 1:
            assert set(y[held]) <= set(y[fitted])


def test_the_plates_of_coos7_make_few_folds():
    """Four plates a class, each of one or two classes."""
    plans = [p for p in plan_dataset(1.0, 0) if "training" in p.cells]
    y, plates = np.array([p.label for p in plans]), np.array([p.plate for p in plans])
    assert len(np.unique(plates)) == 20
    assert 4 <= len(left_out_plates(y, plates)) <= 6


def test_plates_that_hold_every_class_are_left_out_one_by_one():
    y = np.tile(np.arange(7), 60)
    plates = (np.arange(len(y)) // 7 % 8).astype(str)
    folds = left_out_plates(y, plates)
    assert [set(plates[held]) for _, held in folds] == [{str(plate)} for plate in range(8)]


@given(layouts, st.integers(0, 2**32 - 1))
def test_held_out_are_whole_plates_and_every_class_is_in_both_parts(layout, seed):
    y = np.array([label for classes in layout.values() for label in sorted(classes)] * 2)
    plates = np.array([plate for plate, classes in layout.items() for _ in classes] * 2)
    y[-1] = UNLABELLED
    divided = held_out_plates(y, plates, seed)
    if divided is None:
        return
    fitted, held = divided
    np.testing.assert_array_equal(np.sort(np.r_[fitted, held]), np.arange(len(y) - 1))
    assert not set(plates[fitted]) & set(plates[held])
    assert set(y[fitted]) == set(y[held]) == set(y[:-1])


def test_a_plate_of_each_class_of_coos7_is_held_out():
    plans = [p for p in plan_dataset(1.0, 0) if "training" in p.cells]
    y, plates = np.array([p.label for p in plans]), np.array([p.plate for p in plans])
    found = [held_out_plates(y, plates, seed)[1] for seed in range(20)]
    for held in found:
        pairs = {(label, plate) for label, plate in zip(y[held], plates[held], strict=True)}
        assert len(pairs) == 7  # one plate of each of seven classes
    assert len({tuple(held) for held in found}) > 1  # the seed chooses


def test_a_class_on_one_plate_alone_cannot_be_held_out():
    y, plates = np.array([0, 1, 0, 1, 2]), np.array(list("aabbb"))
    assert held_out_plates(y, plates, 0) is None
    assert held_out_plates(y[:2], plates[:2], 0) is None
