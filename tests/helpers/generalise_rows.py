"""Rows of the comparison made by hand, with wells on twelve plates."""

from __future__ import annotations

import numpy as np

from coos_mlflow.metrics import Evaluation, evaluate
from coos_mlflow.registry.versions import ModelRef
from coos_mlflow.training.table3.rows import Entry, Line
from coos_mlflow.training.train import Row


def evaluation_of(share: float, seed: int = 0) -> Evaluation:
    """Return 12 plates of 7 wells, 20 cells each, of which about a share is wrong."""
    labels = np.tile(np.repeat(np.arange(7), 20), 12)
    plates = np.repeat(np.arange(12), 140).astype(str)
    wells = np.array([f"{chr(65 + label)}01" for label in labels])
    wrong = np.random.default_rng(seed).random(len(labels)) < share
    return evaluate(labels, (labels + wrong) % 7, plates, wells, 7)


def line_of(key: str) -> Line:
    """Return a line of texture features; the paper has kNN, L1 LR and RF."""
    kind = key.removeprefix("texture-")
    features = "Texture" if kind in ("knn", "lr", "rf") else "Another"
    return Line(key, "texture", "haralick", "lr" if features == "Another" else kind, features, "")


def entry_of(key: str, errors: dict[str, float], seeds: int = 1, **tags: object) -> Entry:
    """Return an entry whose share of wrong cells by split is given; the tags are those of all."""
    said = {"left_out_by": "plates"} | {name: str(value) for name, value in tags.items()}
    rows = []
    for seed in range(seeds):
        model = ModelRef(f"models:/{key}/1", key, "1", None, said, "r", None)
        evaluations = {split: evaluation_of(share, seed) for split, share in errors.items()}
        rows.append(Row(model, "Texture", "haralick", "lr", evaluations, 1.0, trained=True))
    return Entry(line_of(key), tuple(rows))
