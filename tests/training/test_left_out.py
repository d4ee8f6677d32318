"""The left-out error: what it leaves out, that it reads Training alone, where it is comparable."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from coos_mlflow.classifiers.fit import Fitted
from coos_mlflow.classifiers.protocol import PRESETS, Protocol
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.plates.splits import Annotations, TrainingData
from coos_mlflow.registry.artifacts import read_evaluations
from coos_mlflow.registry.inspect import details_of
from coos_mlflow.registry.ranking import LEFT_OUT_BY, is_comparable
from coos_mlflow.representations import create
from coos_mlflow.training.data import choose
from coos_mlflow.training.row import OWN, TrainingInputs, fit_row, leave_out


@pytest.mark.parametrize("kind", ["knn", "lr"])
def test_fit_and_left_out_error_need_the_file_of_training_alone(trained, tmp_path, kind):
    """The same error as that of the version, where no test split is on the disk."""
    data = choose(str(trained.data))
    (file,) = data.files[TRAINING]
    alone = TrainingData(
        data.dataset, {TRAINING: (Path(shutil.copy(file, tmp_path)),)}, simulated=True
    )
    inputs = TrainingInputs(create("texture"), alone)
    protocol = Protocol(**PRESETS["quick"] | {"search_samples": 2, "cv_folds": 2})
    fitted, probabilities, _ = fit_row("haralick", kind, inputs, protocol, "alone")
    left_out = leave_out("haralick", kind, fitted, probabilities[TRAINING], inputs)
    tags = trained.row(f"texture-{kind}").model.tags
    assert tags["left_out_error"] == f"{left_out.evaluation.balanced_error:.6g}"
    assert tags["left_out_well_error"] == f"{left_out.evaluation.well_error:.6g}"
    assert tags["cv_error"] == f"{fitted.cv_error:.6g}"
    assert tags[LEFT_OUT_BY] == left_out.by == "plates"


def test_a_version_tells_its_error_of_wells(trained):
    row = trained.row("texture-lr")
    logged = read_evaluations(row.model.run_id)
    for split, evaluation in logged.items():
        expected = f"{evaluation.well_error:.6g}"
        assert row.model.tags[f"well_error_{split}"] == expected
        # COOS-7's ids name row, column and field; two fields of a well are one well.
        assert evaluation.well_confusion.sum() == len(
            set(zip(evaluation.by_well.plates, evaluation.by_well.wells, strict=True))
        )
    details = details_of("texture-lr")
    assert details.as_dict()["well_errors"] == pytest.approx(
        {split: evaluation.well_error for split, evaluation in logged.items()}
    )


class Network:
    """What `leave_out` asks of a representation."""

    def __init__(self, held_out: np.ndarray, *, trainable: bool = True):
        self._held_out, self.trainable = held_out, trainable

    def held_out(self, n_cells: int) -> np.ndarray:
        return self._held_out


ALL = np.ones(8, bool)
PLATES = np.array(list("aaaabbbb"))
FIFTH = np.tile([True, False, False, False], 2)


@pytest.mark.parametrize(
    ("representation", "own", "plates", "by", "comparable"),
    [
        (Network(ALL, trainable=False), False, PLATES, "plates", True),
        (Network(ALL), False, PLATES, "network", True),
        (Network(FIFTH), False, PLATES, "cells", False),
        (Network(FIFTH), True, PLATES, "cells", False),
        (Network(PLATES == "b"), False, PLATES, "plates", True),
        (Network(PLATES == "b"), True, PLATES, "plates", True),
        (Network(ALL, trainable=False), False, np.full(8, "a"), "folds", False),
        (Network(FIFTH), True, np.full(8, "a"), "cells", False),
    ],
)
def test_what_learnt_from_labels_may_not_have_seen_the_plates(
    representation, own, plates, by, comparable, monkeypatch
):
    labels = np.arange(8) % 2
    inputs = TrainingInputs(
        representation, SimpleNamespace(dataset=SimpleNamespace(n_classes=2, wells="unknown"))
    )
    inputs.annotations = {TRAINING: Annotations(labels, plates, plates)}
    inputs.features = {TRAINING: {"layer": np.zeros((8, 1))}}
    monkeypatch.setattr(
        "coos_mlflow.training.row.left_out_probabilities", lambda *_, **__: np.eye(2)[labels]
    )
    fitted = Fitted(None if own else object(), {}, 0.0)
    left_out = leave_out("layer", OWN if own else "lr", fitted, np.eye(2)[labels], inputs)
    assert left_out.by == by
    assert is_comparable({LEFT_OUT_BY: by}) is comparable
    assert left_out.evaluation.n_cells == representation.held_out(8).sum()


def test_a_version_that_does_not_say_cannot_be_compared():
    assert not is_comparable({"left_out_error": "1.0"})
