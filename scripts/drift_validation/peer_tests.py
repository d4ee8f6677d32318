"""What other packages say of exported plates; runs in their environment, without coos_mlflow.

python peer_tests.py cells.npz said.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import ks_2samp

LEVEL = 0.05
PERMUTATIONS = 100

Cells = dict[str, np.ndarray]
"""Columns of cells: `probabilities`, `figures`, `labels`, `wells`."""

PACKAGES = ("evidently", "frouros", "nannyml")


def main() -> None:
    """Read plates, let every test judge each, and write what they say."""
    source, target = map(Path, sys.argv[1:])
    with np.load(source) as arrays:
        names = sorted({name.rpartition(" ")[0] for name in arrays}, key=_order)
        cells = {
            name: {
                column: arrays[f"{name} {column}"]
                for column in ("probabilities", "figures", "labels", "wells")
            }
            for name in names
        }
    reference = cells.pop("reference")
    said: dict[str, Any] = {"versions": {name: _version(name) for name in PACKAGES}}
    for title, test in _tests(reference).items():
        said[title] = [test(_of_classes(reference, plate), plate) for plate in cells.values()]
    target.write_text(json.dumps(said), "utf-8")


def _order(name: str) -> int:
    return -1 if name == "reference" else int(name.rpartition(" ")[2])


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _of_classes(reference: Cells, plate: Cells) -> Cells:
    """Return the reference's cells of the classes that the plate has."""
    rows = np.isin(reference["labels"], plate["labels"])
    return {name: values[rows] for name, values in reference.items()}


def _columns(cells: Cells) -> np.ndarray:
    return np.hstack([cells["probabilities"], cells["figures"]])


Test = Callable[[Cells, Cells], dict[str, Any]]


def _tests(reference: Cells) -> dict[str, Test]:
    tests: dict[str, Test] = {
        "KS + Bonferroni, cells": _ks,
        "KS + Bonferroni, well means": _ks_wells,
    }
    if _version("evidently"):
        tests["Evidently, data drift preset"] = _evidently
    if _version("frouros"):
        tests["frouros, MMD with permutations"] = _frouros
    if _version("nannyml"):
        tests["NannyML, CBPE"] = partial(_with_cbpe, _nannyml(reference))
    else:
        tests["CBPE by hand"] = partial(_with_cbpe, _cbpe_by_hand(reference))
    return tests


def _ks(reference: Cells, plate: Cells) -> dict[str, Any]:
    return _any_column(_columns(reference), _columns(plate))


def _ks_wells(reference: Cells, plate: Cells) -> dict[str, Any]:
    return _any_column(_well_means(reference), _well_means(plate))


def _well_means(cells: Cells) -> np.ndarray:
    columns = _columns(cells)
    return np.stack(
        [columns[cells["wells"] == well].mean(axis=0) for well in np.unique(cells["wells"])]
    )


def _any_column(reference: np.ndarray, plate: np.ndarray) -> dict[str, Any]:
    smallest = min(ks_2samp(*columns).pvalue for columns in zip(reference.T, plate.T, strict=True))
    return {"shifted": bool(smallest <= LEVEL / reference.shape[1])}


def _evidently(reference: Cells, plate: Cells) -> dict[str, Any]:
    """Half of the columns or more drifted, by the tests that Evidently chooses."""
    import pandas as pd
    from evidently import Report  # type: ignore[import-not-found]
    from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]

    tables = []
    for cells in (plate, reference):
        values = _columns(cells)
        tables.append(pd.DataFrame(values, columns=[f"c{i}" for i in range(values.shape[1])]))
    drifted = Report([DataDriftPreset()]).run(*tables).dict()["metrics"][0]
    return {"shifted": drifted["value"]["share"] >= drifted["config"]["drift_share"]}


def _frouros(reference: Cells, plate: Cells) -> dict[str, Any]:
    """As many reference cells as the plate has; the kernel as wide as the median distance."""
    from frouros.callbacks import PermutationTestDistanceBased  # type: ignore[import-not-found]
    from frouros.detectors.data_drift import MMD  # type: ignore[import-not-found]
    from frouros.utils.kernels import rbf_kernel  # type: ignore[import-not-found]

    known, new = _columns(reference), _columns(plate)
    mean, deviation = known.mean(axis=0), known.std(axis=0) + 1e-9
    drawn = np.random.default_rng(0).permutation(len(known))[: len(new)]
    known, new = (known[drawn] - mean) / deviation, (new - mean) / deviation
    test = PermutationTestDistanceBased(
        num_permutations=PERMUTATIONS, random_state=0, num_jobs=1, method="exact", name="test"
    )
    kernel = partial(rbf_kernel, sigma=float(np.median(pdist(known))))
    detector = MMD(kernel=kernel, callbacks=[test])
    detector.fit(X=known)
    _, found = detector.compare(X=new)
    return {"shifted": bool(found["test"]["p_value"] <= LEVEL)}


Estimator = Callable[[np.ndarray], float]
"""Estimates the share of wrong labels in % from probabilities."""


def _with_cbpe(estimate: Estimator, _: Cells, plate: Cells) -> dict[str, Any]:
    return {"error": estimate(plate["probabilities"])}


def _nannyml(reference: Cells) -> Estimator:
    import nannyml  # type: ignore[import-not-found]
    import pandas as pd

    n_classes = reference["probabilities"].shape[1]

    def table(probabilities: np.ndarray) -> pd.DataFrame:
        columns = [f"p{label}" for label in range(n_classes)]
        return pd.DataFrame(probabilities.astype(float), columns=columns).assign(
            predicted=probabilities.argmax(axis=1).astype(str)
        )

    fitted = nannyml.CBPE(
        problem_type="classification_multiclass",
        y_pred_proba={str(label): f"p{label}" for label in range(n_classes)},
        y_pred="predicted",
        y_true="truth",
        metrics=["accuracy"],
        chunk_number=1,
    )
    fitted.fit(table(reference["probabilities"]).assign(truth=reference["labels"].astype(str)))

    def estimate(probabilities: np.ndarray) -> float:
        found = fitted.estimate(table(probabilities)).filter(period="analysis").to_df()
        return float(100 * (1 - found[("accuracy", "value")].iloc[0]))

    return estimate


def _cbpe_by_hand(reference: Cells) -> Estimator:
    """As NannyML's: probabilities calibrated class by class, then their mean for the labels."""
    from sklearn.isotonic import IsotonicRegression

    known, labels = reference["probabilities"], reference["labels"]
    by_class = [
        IsotonicRegression(out_of_bounds="clip").fit(known[:, label], labels == label)
        for label in range(known.shape[1])
    ]

    def estimate(probabilities: np.ndarray) -> float:
        calibrated = np.column_stack(
            [one.predict(probabilities[:, label]) for label, one in enumerate(by_class)]
        )
        calibrated = np.maximum(calibrated, 1e-9)
        calibrated /= calibrated.sum(axis=1, keepdims=True)
        right = calibrated[np.arange(len(calibrated)), probabilities.argmax(axis=1)]
        return float(100 * (1 - right.mean()))

    return estimate


if __name__ == "__main__":
    main()
