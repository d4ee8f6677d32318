"""Bounds on the difficulty of the simulated benchmark, which increases with the shift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from coos_mlflow.plates.dataset import coos7
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.representations import texture
from coos_mlflow.simulate import WILD, simulate_dataset, simulate_plate_cells


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    read = {}
    for split, path in simulate_dataset(tmp_path_factory.mktemp("hard"), 0.05, 1).items():
        with open_plate(path) as plate:
            images = np.concatenate([batch.images for batch in plate.batches()])
            read[split] = images, plate.labels
    return read


def _haralick(images: np.ndarray) -> np.ndarray:
    return texture.Texture().transform(images)["haralick"]


def _regression() -> Pipeline:
    regression = LogisticRegression(l1_ratio=1.0, solver="liblinear", tol=1e-3)
    return make_pipeline(StandardScaler(), OneVsRestClassifier(regression))


def errors(splits, channel: int, wanted: Sequence[str]) -> dict[str, float]:
    """Balanced error in per cent of an L1 logistic regression on one channel's texture."""
    keep = slice(None) if channel == 0 else slice(-1)  # the last correlates both channels
    features = {
        split: _haralick(images[:, [channel, 1 - channel]])[:, keep]
        for split, (images, _) in splits.items()
        if split in ("training", *wanted)
    }
    model = _regression().fit(features["training"], splits["training"][1])
    return {
        split: 100 * (1 - balanced_accuracy_score(splits[split][1], model.predict(features[split])))
        for split in wanted
    }


@pytest.mark.slow
def test_protein_texture_errs_as_often_as_asked_and_more_under_shift(splits):
    assert tuple(splits) == coos7().split_keys
    error = errors(splits, 0, coos7().split_keys)
    assert 3 <= error["test1"] <= 15
    assert abs(error["test2"] - error["test1"]) < 4
    for split in ("test3", "test4"):
        assert error["test1"] + 3 < error[split] < 40


@pytest.mark.slow
def test_nucleus_channel_alone_stays_near_chance(splits):
    chance = 100 * 6 / 7
    error = errors(splits, 1, ("test1", "test2"))
    assert error["test1"] > 0.85 * chance
    assert error["test2"] > 0.9 * chance


@pytest.mark.slow
def test_wild_plates_are_hard_for_a_model_of_training_and_not_for_one_of_their_own(splits):
    images, labels = splits["training"]
    transferred = _regression().fit(_haralick(images), labels)
    errors = []
    for seed in range(8):
        cells = simulate_plate_cells(like=WILD, seed=seed, wells_per_class=4, cells_per_well=25)
        X, y = _haralick(cells["images"]), cells["labels"]
        half = np.random.default_rng(seed).random(len(y)) < 0.5
        own = _regression().fit(X[half], y[half])
        found = [(transferred.predict(X), y), (own.predict(X[~half]), y[~half])]
        errors.append([100 * (1 - balanced_accuracy_score(y, told)) for told, y in found])
    of_transferred, of_own = np.mean(errors, axis=0)
    assert 30 < of_transferred < 65
    assert of_own < of_transferred / 2
