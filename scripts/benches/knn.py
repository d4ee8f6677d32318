"""Eleven neighbours among the cells of Training: scikit-learn's blocks against its default.

The registered kNN is scikit-learn's, by matrix products in blocks; so is what scikit-learn
chooses by itself at so many features. Blocks of NumPy in single precision show what code of
one's own would gain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from benches import in_turn
from coos_mlflow.classifiers.fit import build_pipeline
from coos_mlflow.classifiers.protocol import Protocol

N_FEATURES = 384
BLOCK = 256


def run(cells: int = 41_456, rounds: int = 3) -> dict[str, Any]:
    """Look for the neighbours of a twentieth of `cells` among all of them, on all cores."""
    X = np.random.default_rng(0).standard_normal((cells, N_FEATURES), dtype=np.float32)
    y = np.arange(cells) % 7
    asked = X[::20] + np.float32(0.1)
    registered = build_pipeline("knn", Protocol())[-1].fit(X, y)
    as_it_comes = KNeighborsClassifier(registered.n_neighbors).fit(X, y)
    found: dict[str, NDArray[np.int64]] = {}

    def by_registered() -> None:
        found["registered"] = registered.kneighbors(asked, return_distance=False)

    def by_default() -> None:
        found["default"] = as_it_comes.kneighbors(asked, return_distance=False)

    def by_numpy() -> None:
        found["numpy"] = _in_single_precision(asked, X, registered.n_neighbors)

    seconds = in_turn([by_registered, by_default, by_numpy], rounds)
    ours, theirs, numpy = (len(asked) / s for s in seconds)
    same = {name: _share_of_same(found["registered"], rows) for name, rows in found.items()}
    print(f"fitted cells x features         {cells:8d} x {N_FEATURES}")
    print(f"registered, {cpu_count()} cores             {ours:8.0f} cells/s")
    print(f"KNeighborsClassifier, default   {theirs:8.0f} cells/s")
    print(f"ratio                           {ours / theirs:8.2f}")
    print(f"NumPy's blocks of float32       {numpy:8.0f} cells/s")
    print(f"ratio                           {ours / numpy:8.2f}")
    return {
        "ratio": round(ours / theirs, 2),
        "ratio_to_numpy": round(ours / numpy, 2),
        "cells_per_second": round(ours),
        "default_cells_per_second": round(theirs),
        "numpy_cells_per_second": round(numpy),
        "same_neighbours": same["default"],
        "same_neighbours_numpy": same["numpy"],
    }


def _in_single_precision(
    asked: NDArray[np.float32], X: NDArray[np.float32], neighbours: int
) -> NDArray[np.int64]:
    squares = np.einsum("ij,ij->i", X, X)
    found = []
    for start in range(0, len(asked), BLOCK):
        distances = asked[start : start + BLOCK] @ X.T
        distances *= -2
        distances += squares
        found.append(np.argpartition(distances, neighbours, axis=1)[:, :neighbours])
    return np.concatenate(found)


def _share_of_same(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    return float((np.sort(one, axis=1) == np.sort(other, axis=1)).all(axis=1).mean())
