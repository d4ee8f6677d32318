"""L1 logistic regression, each class against the rest: ours against liblinear, on one core each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from benches import in_turn, texture_features
from coos_mlflow.classifiers.fit import build_pipeline
from coos_mlflow.classifiers.logistic_l1 import minimise, one_core_per_fit
from coos_mlflow.classifiers.protocol import Protocol
from coos_mlflow.metrics import balanced_error, confusion_matrix

Weights = NDArray[np.float64]


@one_core_per_fit()
def run(cells: int = 12_000, rounds: int = 1) -> dict[str, Any]:
    """Fit every class on `cells` simulated cells, and judge both by half as many others."""
    X, y = texture_features(cells + cells // 2)
    fitted_on = np.arange(len(y)) % 3 > 0
    scaled = StandardScaler().fit(X[fitted_on]).transform(X).astype(np.float64)
    design = np.asfortranarray(np.c_[scaled, np.ones(len(y))][fitted_on])
    one = build_pipeline("lr", Protocol())[-1].estimator
    found: dict[str, list[Weights]] = {}

    def by_liblinear(positive: NDArray[np.bool_]) -> Weights:
        fitted = clone(one).fit(scaled[fitted_on], positive)
        return np.append(fitted.coef_, fitted.intercept_)

    def by_gram_matrix(positive: NDArray[np.bool_]) -> Weights:
        return minimise(design, positive, one.C)

    def fit_all(name: str, fit: Callable[[NDArray[np.bool_]], Weights]) -> None:
        found[name] = [fit(y[fitted_on] == label) for label in np.unique(y)]

    theirs, ours = in_turn(
        [lambda: fit_all("liblinear", by_liblinear), lambda: fit_all("ours", by_gram_matrix)],
        rounds,
    )
    left = {k: _objective(w, design, y[fitted_on]) for k, w in found.items()}
    error = {
        k: float(balanced_error(confusion_matrix(y[~fitted_on], _predict(w, scaled[~fitted_on]))))
        for k, w in found.items()
    }
    print(f"simulated cells x features      {len(design):8d} x {X.shape[1]}")
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


def _predict(weights: list[Weights], scaled: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.argmax([scaled @ w[:-1] + w[-1] for w in weights], axis=0)


def _objective(weights: list[Weights], design: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    """Return what both sides minimise, summed over the classes, at C = 1."""
    losses = (
        np.logaddexp(0, np.where(y == label, -1, 1) * (design @ w)).sum()
        for label, w in enumerate(weights)
    )
    return float(sum(losses) + sum(np.abs(w).sum() for w in weights))
