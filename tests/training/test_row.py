"""What the reference of a version says of its predictions for Training."""

from types import SimpleNamespace

import numpy as np
import pytest

from coos_mlflow.classifiers.fit import Fitted
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.training.row import _training_predictions

PLATES = np.array(["a", "a", "b", "b", "c", "c"])


def said(held_out, *, own, trainable=True, classifies=True, plates=PLATES):
    labelled = np.ones(len(plates), bool)
    inputs = SimpleNamespace(
        annotations={TRAINING: SimpleNamespace(plates=plates)},
        held_out=np.array(held_out, bool),
        labelled=labelled,
        representation=SimpleNamespace(trainable=trainable, classifies=classifies),
    )
    return _training_predictions(Fitted(None if own else object(), {}, 0.0), inputs)


@pytest.mark.parametrize(
    ("held_out", "own", "expected"),
    [
        ([1, 0, 1, 0, 1, 0], True, "cells"),
        ([1, 0, 1, 0, 1, 0], False, "cells"),
        ([0, 0, 0, 0, 1, 1], True, "plates"),
        ([0, 0, 0, 0, 1, 1], False, "plates"),
    ],
)
def test_a_network_that_held_out_whole_plates_was_not_taught_on_them(held_out, own, expected):
    assert said(held_out, own=own) == expected


def test_a_network_without_labels_has_seen_all_plates():
    assert said([1] * 6, own=False, classifies=False) == "network"


def test_features_without_training_have_seen_none():
    assert said([1] * 6, own=False, trainable=False, classifies=False) == "plates"


def test_one_plate_has_folds():
    one = np.full(6, "a")
    assert said([1] * 6, own=False, trainable=False, plates=one) == "folds"
