"""Whole scorings against the network alone, at its best, on prepared tensors in memory.

A scoring lasts from opening the plate's file to its results and their MLflow run; starting
`coos-score` and loading the model come on top. Cells are simulated. Networks have random weights,
or took one step from them: that changes no time.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline

from benches import in_turn
from benches._scoring import (
    ONE_STEP,
    WARM_UP,
    all_images,
    network_data,
    own_place,
    registered,
    texture_data,
    texture_lr,
    write_plates,
)
from coos_mlflow._utils.timings import Timings
from coos_mlflow.classifiers.fit import build_pipeline
from coos_mlflow.classifiers.protocol import Protocol
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.training.features import extract

FITTED_CELLS = 41_456
"""Cells of COOS-7's Training: neighbours are sought among as many, and trees grow as deep."""

TREES = 120
"""The middle of `coos_mlflow.classifiers.forest_search.FOREST_GRID`."""


class Case(NamedTuple):
    """A network as it is registered."""

    key: str
    kind: str
    params: dict[str, Any]


CASES = (
    Case("deeploc", "own", {"crops": 1, **ONE_STEP}),
    Case("vgg16", "lr", {"weights": "random", "layers": ["conv4_2"]}),
    Case("pci", "lr", {"layers": ["conv5"], "epochs": 1, "least_cells": 2}),
)


def run(cells: int = 10_080, rounds: int = 2) -> dict[str, Any]:
    """Score `cells` cells by each network, and by texture with each classifier."""
    with own_place() as folder:
        few = write_plates(folder / "few.h5", WARM_UP)
        plate = write_plates(folder / "plate.h5", cells)
        found = {}
        for case in CASES:
            scorer = registered(case.key, case.kind, network_data(), case.params)
            found[case.key] = _measure(case.key, scorer, few, plate, rounds)
        smallest = min(network["share"] for network in found.values())
        scorer = texture_lr()
        found["texture-lr"] = _measure("texture-lr", scorer, few, plate, rounds)
        for kind, params in {"knn": {}, "rf": {"classify__n_estimators": TREES}}.items():
            pipeline = build_pipeline(kind, Protocol()).set_params(**params)
            scorer.cell_model.classifier = _fitted(pipeline, scorer)
            found[f"texture-{kind}"] = _measure(f"texture-{kind}", scorer, few, plate, rounds)
    return {"ratio": smallest, "cells": cells} | found


def _measure(title: str, scorer: Scorer, few: Path, plate: Path, rounds: int) -> dict[str, Any]:
    classifier = scorer.cell_model
    representation = classifier.representation
    prepared = representation.preprocess(all_images(plate))
    scorings: list[tuple[float, Timings]] = []

    def alone() -> None:
        representation.compute(prepared, classifier.layers)

    def score() -> None:
        began = time.perf_counter()
        scored = scorer.score(plate, plate.parent / title, force=True)
        scorings.append((time.perf_counter() - began, scored.timings))

    scorer.score(few, few.parent / title, force=True)
    precision = scorer.prepared_precision
    forward, whole = (len(prepared) / seconds for seconds in in_turn([alone, score], rounds))
    spent = _spent(scorings)
    print(
        f"{title:11} {precision}: alone {forward:7,.1f} cells/s, scoring {whole:7,.1f}, "
        f"ratio {whole / forward:.3f}"
    )
    for what, shares in spent.items():
        print(f"{'':11} {what}: {', '.join(f'{name} {s:.1%}' for name, s in shares.items())}")
    return {
        "share": round(whole / forward, 3),
        "cells_per_second": round(whole, 1),
        "forward_cells_per_second": round(forward, 1),
    } | spent


def _spent(scorings: list[tuple[float, Timings]]) -> dict[str, dict[str, float]]:
    """Return what phases and the work of stages are of the whole.

    Stages work side by side, so that all of theirs may be more than the phase of the cells.
    """
    phases, stages = [], []
    for whole, timings in scorings:
        rest = {"MLflow run and rest": whole - timings.seconds}
        phases.append({name: s / whole for name, s in (timings.phases | rest).items()})
        stages.append({name: s / whole for name, s in timings.stages.items()})
    return {"phases": _medians(phases), "stages": _medians(stages)}


def _medians(shares: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(one[name] for one in shares), 4) for name in shares[0]}


def _fitted(pipeline: Pipeline, scorer: Scorer) -> Pipeline:
    """Fit a classifier on as many cells as COOS-7's Training has.

    Their features are drawn from normal distributions with the means and covariances of the
    simulated classes: normal sums of the deviations of their cells.
    """
    data, classifier = texture_data(), scorer.cell_model
    known = extract(data, "training", classifier.representation)[classifier.layer]
    labels = data.annotations("training").labels
    rng, names = np.random.default_rng(0), np.unique(labels)
    each = -(-FITTED_CELLS // len(names))
    drawn = []
    for label in names:
        cells = known[labels == label]
        weights = rng.standard_normal((each, len(cells)), dtype=np.float32)
        mean = cells.mean(axis=0)
        drawn.append(mean + weights @ (cells - mean) / np.float32(np.sqrt(len(cells))))
    return pipeline.fit(np.concatenate(drawn), np.repeat(names, each))
