"""The paper's random search for a forest against successive halving, on the same draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from joblib import cpu_count
from sklearn.model_selection import StratifiedKFold

from benches import in_turn, texture_features
from coos_mlflow.classifiers.fit import build_pipeline
from coos_mlflow.classifiers.forest_search import FOREST_GRID, Search, search_forest
from coos_mlflow.classifiers.protocol import Protocol

FEWER_TREES = 10
"""Forests have a tenth of the paper's trees: both searches then take a tenth of their time."""

CELLS_PER_DRAW = 15
"""Below 1,500 cells fewer than the protocol's 100 draws are made, so that a trial takes seconds."""


def run(cells: int = 12_000, rounds: int = 1) -> dict[str, Any]:
    """Search by the paper's protocol, 100 draws on five folds, on all cores."""
    protocol = Protocol()
    X, y = texture_features(cells)
    folds = StratifiedKFold(protocol.cv_folds, shuffle=True, random_state=protocol.seed)
    samples = min(protocol.search_samples, -(-cells // CELLS_PER_DRAW))
    fewer = [max(n // FEWER_TREES, 1) for n in FOREST_GRID["n_estimators"]]
    random = Search(
        build_pipeline("rf", protocol),
        X,
        y,
        list(folds.split(X, y)),
        samples,
        protocol.seed,
        grid=FOREST_GRID | {"n_estimators": fewer},
    )
    halving = replace(random, method="halving")
    errors: dict[str, float] = {}

    def by(search: Search) -> None:
        errors[search.method] = search_forest(search)[1]

    theirs, ours = in_turn([lambda: by(random), lambda: by(halving)], rounds)
    worse = errors["halving"] - errors["random"]
    print(f"simulated cells x features      {len(y):8d} x {X.shape[1]}")
    print(f"draws                           {samples:8d}")
    print(f"random search, {cpu_count()} cores          {theirs:8.1f} s")
    print(f"successive halving              {ours:8.1f} s")
    print(f"ratio                           {theirs / ours:8.1f}")
    print(f"error in %, random and halving  {errors['random']:8.2f} {errors['halving']:8.2f}")
    print(f"difference in points            {worse:8.2f}")
    return {
        "ratio": round(theirs / ours, 1),
        "draws": samples,
        "random_seconds": round(theirs, 2),
        "halving_seconds": round(ours, 2),
        "random_error": round(errors["random"], 3),
        "halving_error": round(errors["halving"], 3),
        "points_worse": round(worse, 3),
    }
