"""Pieces of work side by side: in threads, and over worker processes of a cluster."""

from __future__ import annotations

import os

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.model_selection import StratifiedKFold

from coos_mlflow._utils.cluster import LOCAL, connect, is_spreading, spread, spreading_over
from coos_mlflow.classifiers.fit import build_pipeline
from coos_mlflow.classifiers.forest_search import FOREST_GRID, Search, search_forest
from coos_mlflow.classifiers.protocol import Protocol
from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import TRAINING, coos7
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.representations import create
from coos_mlflow.training import features


def scaled(factor: int, number: int) -> tuple[int, int]:
    if number < 0:
        raise DataError(f"{number} is negative")
    return factor * number, os.getpid()


def test_threads_are_the_default():
    assert not is_spreading()
    found = list(spread(scaled, 3, [(n,) for n in range(10)], ordered=True))
    assert found == [(3 * n, os.getpid()) for n in range(10)]


@pytest.mark.slow
def test_a_cluster_does_the_same_in_its_workers(make_plate, tmp_path, monkeypatch):
    """One cluster for three things: starting it is what takes time."""
    X, y = make_classification(120, 8, n_informative=6, n_classes=3, random_state=0)
    folds = list(StratifiedKFold(2).split(X, y))
    forest = build_pipeline("rf", Protocol())
    search = Search(forest, X.astype(np.float32), y, folds, samples=4, seed=0)
    monkeypatch.setitem(FOREST_GRID, "n_estimators", [3, 5])
    monkeypatch.setattr(features, "_WORKER_BLOCK", 16)
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "cache"))
    data = TrainingData(coos7(), {TRAINING: (make_plate(n=40),)}, simulated=False)
    texture = create("texture")
    params, error = search_forest(search)
    before = dict(os.environ)
    with connect(LOCAL, 2) as client, spreading_over(client):
        found = dict(spread(scaled, 3, [(n,) for n in range(10)], ordered=False))
        assert sorted(found) == [3 * n for n in range(10)]
        assert os.getpid() not in found.values()
        with pytest.raises(DataError, match="-1 is negative"):
            list(spread(scaled, 3, [(-1,)], ordered=True))
        assert search_forest(search) == (params, error)
        there = features.extract(data, TRAINING, texture)
    assert not is_spreading() and dict(os.environ) == before
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "another"))
    here = features.extract(data, TRAINING, texture)
    for layer, matrix in here.items():
        np.testing.assert_array_equal(there[layer], matrix)
