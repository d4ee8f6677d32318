"""L1 logistic regression, each class against the rest: ours against liblinear, on one core each."""

from __future__ import annotations

from typing import Any

import numpy as np
from joblib import parallel_config
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from benches import in_turn, texture_features
from coos_mlflow.classifiers import Protocol, make
from coos_mlflow.forest_search import balanced_error
from coos_mlflow.l1_logistic import fit_side_by_side


def run(cells: int = 12_000, rounds: int = 1) -> dict[str, Any]:
    """Fit both on `cells` simulated cells, and judge them by half as many others."""
    X, y = texture_features(cells + cells // 2)
    fitted_on = np.arange(len(y)) % 3 > 0
    pipeline = make("lr", {}, Protocol())
    found: dict[str, Pipeline] = {}

    @threadpool_limits.wrap(limits=1)
    def by_liblinear() -> None:
        found["liblinear"] = clone(pipeline).fit(X[fitted_on], y[fitted_on])

    def by_gram_matrices() -> None:
        with parallel_config(n_jobs=1):
            rows = np.flatnonzero(fitted_on)
            (found["ours"],) = fit_side_by_side(pipeline, X, y, [rows], "LR")

    theirs, ours = in_turn([by_liblinear, by_gram_matrices], rounds)
    left = {name: _objective(f, X[fitted_on], y[fitted_on]) for name, f in found.items()}
    error = {
        name: balanced_error(y[~fitted_on], f.predict(X[~fitted_on])) for name, f in found.items()
    }
    print(f"simulated cells x features      {fitted_on.sum():8d} x {X.shape[1]}")
    print(f"liblinear                       {theirs:8.2f} s")
    print(f"Newton steps on Gram matrices   {ours:8.2f} s")
    print(f"ratio                           {theirs / ours:8.1f}")
    print(f"objective, liblinear and ours   {left['liblinear']:8.2f} {left['ours']:8.2f}")
    print(f"error in %, liblinear and ours  {error['liblinear']:8.2f} {error['ours']:8.2f}")
    return {
        "ratio": round(theirs / ours, 1),
        "liblinear_seconds": round(theirs, 3),
        "seconds": round(ours, 3),
        "liblinear_objective": round(left["liblinear"], 4),
        "objective": round(left["ours"], 4),
        "liblinear_error": round(error["liblinear"], 3),
        "error": round(error["ours"], 3),
    }


def _objective(fitted: Pipeline, X: np.ndarray, y: np.ndarray) -> float:
    """Return what both sides minimise, summed over the classes, at C = 1."""
    scaled = fitted[0].transform(X).astype(np.float64)
    reached = 0.0
    for label, one in zip(fitted.classes_, fitted[-1].estimators_, strict=True):
        margins = np.where(y == label, 1, -1) * one.decision_function(scaled)
        reached += np.abs(one.coef_).sum() + np.abs(one.intercept_).sum()
        reached += np.logaddexp(0, -margins).sum()
    return float(reached)
