"""Collects what a model version will remember of Training and Test1..4."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow.data.cells import CLASSES, SPLITS
from coos_mlflow.data.plate import open_plate
from coos_mlflow.drift.profile import Profile, ProfileBuilder
from coos_mlflow.drift.reference import Reference, ReferenceCells, fit_projection
from coos_mlflow.drift.views import FIGURES_VERSION, RAW_FIGURES, raw_figures
from coos_mlflow.features import compute_once
from coos_mlflow.training_data import Annotations, TrainingData

CELLS_PER_CLASS = {"training": 8, "test3": 2, "test4": 2}
"""Cells kept for pictures: 84 of 16 kB, well inside the 5 MB that a reference may take."""


@dataclass(frozen=True)
class SplitScores:
    """What a model says of a split.

    Parameters
    ----------
    probabilities : ndarray of float64, shape (n, 7)
    features : ndarray of float32, shape (n, d)
        The layer that the classifier reads.
    """

    probabilities: np.ndarray
    features: np.ndarray


def raw_figures_of(data: TrainingData, split: str) -> np.ndarray:
    """Return the raw-image figures of a split's cells, from the cache where they are there."""
    path, digest = data.paths[split], data.digests[split]
    what = {"name": "raw", "version": FIGURES_VERSION, "figures": list(RAW_FIGURES)}
    return compute_once(path, digest, what, lambda images: {"raw": raw_figures(images)})["raw"]


def collect(
    data: TrainingData,
    annotations: dict[str, Annotations],
    scores: dict[str, SplitScores],
    raw: dict[str, np.ndarray],
    confusions: dict[str, np.ndarray],
    errors: dict[str, float],
    judged: np.ndarray,
    seed: int = 0,
) -> Reference:
    """Put together a reference.

    Parameters
    ----------
    scores : dict by split
        Those of Training must come from classifiers that did not see the cell's plate.
    raw : dict by split of ndarray, shape (n, k)
        See `raw_figures_of`.
    confusions, errors : dict by split
        Of the same predictions.
    judged : ndarray of bool
        Cells of Training that the representation has not learnt from; the others are left out.
    seed : int
        Draws the cells to show and those that fit the projection.
    """
    projection = fit_projection(scores["training"].features, seed=seed)
    profiles: dict[str, Profile] = {}
    for split in SPLITS:
        kept = judged if split == "training" else slice(None)
        probabilities = scores[split].probabilities[kept]
        builder = ProfileBuilder()
        builder.add(
            plates=annotations[split].plates[kept],
            wells=annotations[split].wells[kept],
            predicted=probabilities.argmax(axis=1),
            softmax=probabilities,
            features=projection.project(scores[split].features[kept]),
            raw=raw[split][kept],
        )
        profiles[split] = builder.build()
    return Reference(
        profiles=profiles,
        projection=projection,
        cells=_cells_to_show(data, annotations, seed),
        confusions=confusions,
        errors=errors,
        provenance=_origin(data),
    )


def _origin(data: TrainingData) -> dict[str, Any]:
    return {"dataset": data.name, "digest": data.digest, "simulated": data.simulated}


def _cells_to_show(
    data: TrainingData, annotations: dict[str, Annotations], seed: int
) -> ReferenceCells:
    """Draw a few cells of each class from the splits that a plate is compared with."""
    rng = np.random.default_rng(seed)
    images, labels, splits, plates, wells = [], [], [], [], []
    for split, per_class in CELLS_PER_CLASS.items():
        known = annotations[split]
        chosen = np.concatenate(
            [_draw(np.flatnonzero(known.labels == c), per_class, rng) for c in range(len(CLASSES))]
        )
        images.append(_read_cells(data.paths[split], np.sort(chosen)))
        labels.append(known.labels[np.sort(chosen)])
        plates.append(known.plates[np.sort(chosen)])
        wells.append(known.wells[np.sort(chosen)])
        splits.append(np.full(len(chosen), split))
    joined = (np.concatenate(parts) for parts in (images, labels, splits, plates, wells))
    return ReferenceCells(*joined)


def _draw(rows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(rows, min(n, len(rows)), replace=False)


def _read_cells(path: Path, rows: np.ndarray) -> np.ndarray:
    """Read single cells as uint16."""
    with open_plate(path) as plate:
        read = (next(plate.batches(1, start=row, stop=row + 1)).images for row in rows.tolist())
        return np.concatenate([np.rint(image).astype(np.uint16) for image in read])
