"""Collection of a model version's reference: statistics and examples of all its splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coos_mlflow.drift.collect import Collected, Collector, concatenate_samples
from coos_mlflow.drift.effect_sizes import effect_sizes
from coos_mlflow.drift.error_estimate import MIN_CLASS_SHARE, Calibration, calibrate
from coos_mlflow.drift.image_quality import FIGURES_VERSION, RAW_FIGURES, raw_figures
from coos_mlflow.drift.reference import Reference, ReferenceCells, fit_projection
from coos_mlflow.drift.statistics import CellSample
from coos_mlflow.metrics import balanced_error
from coos_mlflow.plates.dataset import MIXTURE, TRAINING, Dataset
from coos_mlflow.plates.splits import Annotations, TrainingData
from coos_mlflow.training.features import compute_or_load

CELLS_PER_CLASS, FAR_CELLS_PER_CLASS, FAR_SPLITS = 8, 2, 2
"""Cells of each class kept as images: of Training, and of each of the two farthest references."""

IMAGE_BYTES = 1_400_000
"""Bytes of all images together: COOS-7's 84 take 16 kB each. Larger or more classes have fewer
images, so that a reference stays within its limit."""

TRAINING_SAMPLE = 5000
"""Training cells kept for effect sizes, about 80 bytes each: about 700 of each class of COOS-7,
with which a plate of one class is compared."""

PLATES_FOR_EFFECTS = 3
"""Plates of each split whose effect sizes are computed; each takes about half a second."""


@dataclass(frozen=True)
class SplitScores:
    """A model's class probabilities and features of a split.

    Parameters
    ----------
    probabilities : ndarray of float64, shape (n, classes)
    features : ndarray of float32, shape (n, d)
        The classifier's layer.
    alone : ndarray of float64, shape (n, classes), optional
        Probabilities of each cell by itself, where the model fits itself to plates.
    """

    probabilities: np.ndarray
    features: np.ndarray
    alone: np.ndarray | None = None


def raw_figures_of(data: TrainingData, split: str) -> np.ndarray:
    """Return the raw-image figures of a split's cells, shape (n, k), from the cache if there."""
    key = {"name": "raw", "version": FIGURES_VERSION, "figures": list(RAW_FIGURES)}
    return compute_or_load(data, split, key, lambda images: {"raw": raw_figures(images)})["raw"]


def collect(
    data: TrainingData,
    annotations: dict[str, Annotations],
    scores: dict[str, SplitScores],
    raw: dict[str, np.ndarray],
    confusions: dict[str, np.ndarray],
    errors: dict[str, float],
    held_out: np.ndarray,
    training_predictions: str,
    seed: int = 0,
) -> Reference:
    """Build the reference of a model version.

    Parameters
    ----------
    scores : dict by split
        Those of Training must come from classifiers fitted without the cell's plate.
    raw : dict by split of ndarray, shape (n, k)
        See `raw_figures_of`.
    confusions, errors : dict by split
        Confusion matrices and balanced errors in % of the same predictions.
    held_out : ndarray of bool, shape (cells of Training,)
        Labelled cells that the representation was not trained on; other cells of Training are left
        out.
    training_predictions : str
        See `Reference`.
    seed : int
        Seed of the choice of example cells and of the cells that fit the projection.
    """
    projection = fit_projection(scores["training"].features, seed=seed)
    kept = {split: held_out if split == TRAINING else slice(None) for split in annotations}
    collected: dict[str, Collected] = {}
    for split, rows in kept.items():
        collector = Collector(seed)
        collector.add(
            plates=annotations[split].plates[rows],
            wells=annotations[split].wells[rows],
            softmax=_compared(scores[split])[rows],
            answers=scores[split].probabilities[rows],
            features=projection.project(scores[split].features[rows]),
            raw=raw[split][rows],
        )
        collected[split] = collector.build()
    training = annotations["training"]
    calibration = calibrate(
        scores["training"].probabilities[held_out],
        training.labels[held_out],
        training.plates[held_out],
        training.wells[held_out],
        mixtures=data.dataset.wells == MIXTURE,
    )
    sample = _sample(collected["training"], seed)
    return Reference(
        dataset=data.dataset,
        profiles={split: summary.profile for split, summary in collected.items()},
        projection=projection,
        cells=_example_cells(data, annotations, seed),
        confusions=confusions,
        errors=errors,
        calibration=calibration,
        record=_record(calibration, collected),
        sample=sample,
        effects=_effects(collected, sample, seed),
        training_predictions=training_predictions,
        kept_share=float(np.mean(held_out)),
        provenance={"dataset": data.name, "digest": data.digest, "simulated": data.simulated},
    )


def _compared(scores: SplitScores) -> np.ndarray:
    """Return the probabilities in which plates are compared with Training."""
    return scores.probabilities if scores.alone is None else scores.alone


def _record(
    calibration: Calibration, collected: dict[str, Collected]
) -> dict[str, dict[str, float]]:
    """Return each estimator's error in % by test split, over the estimates of all its plates."""
    record: dict[str, dict[str, float]] = {key: {} for key in calibration.fitted}
    for split in [split for split in collected if split != TRAINING]:
        plates = [
            calibration.confusions(probabilities, collected[split].wells[plate])
            for plate, probabilities in collected[split].probabilities.items()
        ]
        for key in plates[0]:
            total = sum(plate[key].sum(axis=0) for plate in plates)
            error = balanced_error(np.asarray(total), min_share=MIN_CLASS_SHARE)
            record[key][split] = float(error)
    return {key: splits for key, splits in record.items() if splits}


def _sample(training: Collected, seed: int) -> CellSample:
    """Draw Training cells from the samples of all plates."""
    cells = concatenate_samples(list(training.samples.values()))
    rng = np.random.default_rng(seed)
    return cells.select(_draw(np.arange(len(cells)), TRAINING_SAMPLE, rng))


def _effects(
    collected: dict[str, Collected], sample: CellSample, seed: int
) -> dict[str, dict[str, float | None]]:
    """Return by split the median effect sizes of a few plates compared with Training."""
    return {
        split: _median(
            [
                effect_sizes(
                    cells, _others(collected["training"], plate) if split == "training" else sample
                )
                for plate, cells in _random_plates(summary.samples, seed).items()
            ]
        )
        for split, summary in collected.items()
    }


def _random_plates(samples: dict[str, CellSample], seed: int) -> dict[str, CellSample]:
    names = np.random.default_rng(seed).permutation(sorted(samples))[:PLATES_FOR_EFFECTS]
    return {str(name): samples[str(name)] for name in names}


def _others(training: Collected, plate: str) -> CellSample:
    """Return the cells of all other plates; an empty sample where there are none."""
    samples = [cells for name, cells in training.samples.items() if name != plate]
    own = training.samples[plate]
    return concatenate_samples(samples) if samples else own.select(np.zeros(len(own), dtype=bool))


def _median(plates: list[dict[str, float | None]]) -> dict[str, float | None]:
    medians: dict[str, float | None] = {}
    for key in plates[0]:
        values = [value for plate in plates if (value := plate[key]) is not None]
        medians[key] = float(np.median(values)) if values else None
    return medians


def _example_cells(
    data: TrainingData, annotations: dict[str, Annotations], seed: int
) -> ReferenceCells:
    """Draw a few cells of each class from the splits with which a plate is compared."""
    rng = np.random.default_rng(seed)
    images, labels, splits, plates, wells = [], [], [], [], []
    for split, per_class in cells_per_class(data.dataset).items():
        cells = annotations[split]
        rows = np.sort(
            np.concatenate(
                [
                    _draw(np.flatnonzero(cells.labels == label), per_class, rng)
                    for label in range(data.dataset.n_classes)
                ]
            )
        )
        images.append(_read_cells(data, split, rows))
        labels.append(cells.labels[rows])
        plates.append(cells.plates[rows])
        wells.append(cells.wells[rows])
        splits.append(np.full(len(rows), split))
    columns = (np.concatenate(parts) for parts in (images, labels, splits, plates, wells))
    return ReferenceCells(*columns)


def _draw(rows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(rows, min(n, len(rows)), replace=False)


def cells_per_class(dataset: Dataset) -> dict[str, int]:
    """Return by split how many cells of each class are kept as images."""
    far = dataset.references[-FAR_SPLITS:]
    asked = {TRAINING: CELLS_PER_CLASS} | dict.fromkeys(far, FAR_CELLS_PER_CLASS)
    of_one_each = dataset.n_classes * 2 * int(np.prod(dataset.cell_shape))
    share = IMAGE_BYTES / (of_one_each * sum(asked.values()))
    return {split: max(1, round(n * min(1.0, share))) for split, n in asked.items()}


def _read_cells(data: TrainingData, split: str, rows: np.ndarray) -> np.ndarray:
    """Return the images of some cells of a split, uint16 (n, 2, crop, crop)."""
    images, first = [], 0
    for path in data.files[split]:
        with data.open(path) as plate:
            own = rows[(rows >= first) & (rows < first + plate.n_cells)] - first
            read = (next(plate.batches(1, row, row + 1)).images for row in own.tolist())
            images += [np.rint(image).astype(np.uint16) for image in read]
            first += plate.n_cells
    return np.concatenate(images)
