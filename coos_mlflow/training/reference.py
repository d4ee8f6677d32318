"""Collects what a model version will remember of Training and Test1..4."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow.drift.collect import Collected, Collector, concatenate_samples
from coos_mlflow.drift.effect_sizes import effect_sizes
from coos_mlflow.drift.error_estimate import MIN_CLASS_SHARE, Calibration, calibrate
from coos_mlflow.drift.image_quality import FIGURES_VERSION, RAW_FIGURES, raw_figures
from coos_mlflow.drift.reference import Reference, ReferenceCells, fit_projection
from coos_mlflow.drift.statistics import CellSample
from coos_mlflow.metrics import balanced_error
from coos_mlflow.plates.dataset import Annotations, TrainingData
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.schema import CLASSES, SPLITS
from coos_mlflow.training.features import compute_once

CELLS_PER_CLASS = {"training": 8, "test3": 2, "test4": 2}
"""Cells kept for pictures: 84 of 16 kB, well inside the 5 MB that a reference may take."""

TRAINING_SAMPLE = 5000
"""Training cells kept for effect sizes, in about 80 bytes each: seven classes, and on a plate of
one class still some 700 to compare with."""

PLATES_FOR_EFFECTS = 3
"""Plates of each split whose effect sizes are measured; each takes about half a second."""


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
    training_predictions: str,
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
    training_predictions : str
        See `Reference`.
    seed : int
        Draws the cells to show and those that fit the projection.
    """
    projection = fit_projection(scores["training"].features, seed=seed)
    kept = {split: judged if split == "training" else slice(None) for split in SPLITS}
    collected: dict[str, Collected] = {}
    for split, rows in kept.items():
        collector = Collector(seed)
        collector.add(
            plates=annotations[split].plates[rows],
            wells=annotations[split].wells[rows],
            softmax=scores[split].probabilities[rows],
            features=projection.project(scores[split].features[rows]),
            raw=raw[split][rows],
        )
        collected[split] = collector.build()
    training = annotations["training"]
    calibration = calibrate(
        scores["training"].probabilities[judged],
        training.labels[judged],
        training.plates[judged],
        training.wells[judged],
    )
    sample = _sample(collected["training"], seed)
    return Reference(
        profiles={split: found.profile for split, found in collected.items()},
        projection=projection,
        cells=_cells_to_show(data, annotations, seed),
        confusions=confusions,
        errors=errors,
        calibration=calibration,
        record=_record(calibration, collected),
        sample=sample,
        effects=_effects(collected, sample, seed),
        training_predictions=training_predictions,
        kept_share=float(np.mean(judged)),
        provenance=_origin(data),
    )


def _record(
    calibration: Calibration, collected: dict[str, Collected]
) -> dict[str, dict[str, float]]:
    """Return what each estimator says of each test split, plate by plate and together."""
    record: dict[str, dict[str, float]] = {key: {} for key in calibration.fitted}
    for split in SPLITS[1:]:
        plates = [
            calibration.confusions(probabilities, collected[split].wells[plate])
            for plate, probabilities in collected[split].probabilities.items()
        ]
        for key in plates[0]:
            together = sum(plate[key].sum(axis=0) for plate in plates)
            error = balanced_error(np.asarray(together), min_share=MIN_CLASS_SHARE)
            record[key][split] = float(error)
    return {key: splits for key, splits in record.items() if splits}


def _sample(training: Collected, seed: int) -> CellSample:
    """Draw Training cells evenly from the plates' own samples."""
    cells = concatenate_samples(list(training.samples.values()))
    rng = np.random.default_rng(seed)
    return cells.select(_draw(np.arange(len(cells)), TRAINING_SAMPLE, rng))


def _effects(
    collected: dict[str, Collected], sample: CellSample, seed: int
) -> dict[str, dict[str, float | None]]:
    """Return by split the median effect sizes of a few plates beside Training."""
    return {
        split: _median(
            [
                effect_sizes(
                    cells, _others(collected["training"], plate) if split == "training" else sample
                )
                for plate, cells in _some(found.samples, seed).items()
            ]
        )
        for split, found in collected.items()
    }


def _some(samples: dict[str, CellSample], seed: int) -> dict[str, CellSample]:
    names = np.random.default_rng(seed).permutation(sorted(samples))[:PLATES_FOR_EFFECTS]
    return {str(name): samples[str(name)] for name in names}


def _others(training: Collected, plate: str) -> CellSample:
    """Return cells of the other plates; of none, where there is but one."""
    samples = [cells for name, cells in training.samples.items() if name != plate]
    own = training.samples[plate]
    return concatenate_samples(samples) if samples else own.select(np.zeros(len(own), dtype=bool))


def _median(plates: list[dict[str, float | None]]) -> dict[str, float | None]:
    medians: dict[str, float | None] = {}
    for key in plates[0]:
        values = [value for plate in plates if (value := plate[key]) is not None]
        medians[key] = float(np.median(values)) if values else None
    return medians


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
