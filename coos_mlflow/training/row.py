"""Fit of one row: the classifier, class probabilities of every split, and the reference."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

from coos_mlflow._utils.cache import make_cache_home
from coos_mlflow.classifiers.fit import (
    Fitted,
    Places,
    class_probabilities,
    fit,
    fits_to_plates,
    left_out_probabilities,
)
from coos_mlflow.classifiers.kinds import kinds
from coos_mlflow.classifiers.protocol import TITLES, Protocol
from coos_mlflow.drift.reference import Reference
from coos_mlflow.metrics import Evaluation, evaluate
from coos_mlflow.plates.dataset import MIXTURE, TRAINING
from coos_mlflow.plates.schema import UNLABELLED
from coos_mlflow.plates.splits import Annotations, TrainingData
from coos_mlflow.representations import PROBABILITIES, VALIDATION_ERROR, Representation
from coos_mlflow.training.features import extract
from coos_mlflow.training.reference import SplitScores, collect, raw_figures_of

OWN = "own"
"""The kind of a row without a classifier: the representation classifies by itself."""

KIND_TITLES = {OWN: "End-to-End"} | TITLES
"""All kinds of rows; those of the paper come first, under the names of its Table 3."""


class TrainingInputs:
    """Labels, features and figures that the rows of a representation share, computed on demand."""

    def __init__(self, representation: Representation, data: TrainingData):
        self.representation, self.data = representation, data

    @cached_property
    def annotations(self) -> dict[str, Annotations]:
        """Labels, plates and wells of the cells by split."""
        return {split: self.data.annotations(split) for split in self.data.files}

    @cached_property
    def features(self) -> dict[str, dict[str, np.ndarray]]:
        """All layers by split; sets `seconds`, the time of the extraction."""
        start = time.perf_counter()
        features = {s: extract(self.data, s, self.representation) for s in self.data.files}
        self.seconds = time.perf_counter() - start
        return features

    @cached_property
    def raw(self) -> dict[str, np.ndarray]:
        """Raw-image figures by split."""
        return {split: raw_figures_of(self.data, split) for split in self.data.files}

    @cached_property
    def held_out(self) -> np.ndarray:
        """Mask of the labelled cells of Training that the representation was not trained on."""
        return self.labelled & self.representation.held_out(len(self.labelled))

    @cached_property
    def labelled(self) -> np.ndarray:
        """Mask of the cells of Training that have a label."""
        labelled: np.ndarray = self.annotations[TRAINING].labels != UNLABELLED
        return labelled

    def places(self, split: str) -> Places:
        """Return where the cells of a split were imaged."""
        cells = self.annotations[split]
        return Places(cells.plates, cells.wells, self.data.dataset.wells != MIXTURE)

    def layer(self, layer: str) -> dict[str, np.ndarray]:
        """Return one layer's features by split."""
        return {split: np.asarray(layers[layer]) for split, layers in self.features.items()}


def kinds_of(representation: Representation) -> tuple[str, ...]:
    """Return all kinds of a representation's rows, those of the paper first."""
    return tuple(KIND_TITLES) if representation.classifies else tuple(TITLES)


def paper_kinds_of(representation: Representation) -> tuple[str, ...]:
    """Return the kinds of a representation's rows that are in the paper, in its order."""
    return tuple(k for k in kinds_of(representation) if k == OWN or kinds()[k].in_paper)


def fit_row(
    layer: str, kind: str, inputs: TrainingInputs, protocol: Protocol, fingerprint: str
) -> tuple[Fitted, dict[str, np.ndarray], dict[str, float]]:
    """Return the fitted classifier, probabilities (n, classes) by split, and metrics of time."""
    if kind == OWN:
        fitted = Fitted(None, {}, inputs.representation.training_summary[VALIDATION_ERROR])
        return fitted, predict(None, layer, inputs), {}
    training, features = inputs.annotations[TRAINING], inputs.layer(layer)
    rows = inputs.labelled
    start = time.perf_counter()
    fitted = fit(
        kind,
        features[TRAINING] if rows.all() else features[TRAINING][rows],
        training.labels[rows],
        inputs.places(TRAINING).select(rows),
        protocol,
        journal=_journal(fingerprint),
    )
    seconds = {"seconds_fit": time.perf_counter() - start}
    return fitted, predict(fitted.pipeline, layer, inputs), seconds


def predict(pipeline: Pipeline | None, layer: str, inputs: TrainingInputs) -> dict[str, np.ndarray]:
    """Return class probabilities (n, classes) by split, float64.

    Parameters
    ----------
    pipeline : Pipeline or None
        Fitted on the layer; None where the representation classifies by itself.
    """
    if pipeline is None:
        return {split: p.astype(np.float64) for split, p in inputs.layer(PROBABILITIES).items()}
    n = inputs.data.dataset.n_classes
    return {
        split: class_probabilities(pipeline, X, n, inputs.places(split))
        for split, X in inputs.layer(layer).items()
    }


def evaluations_of(
    probabilities: dict[str, np.ndarray], inputs: TrainingInputs
) -> dict[str, Evaluation]:
    """Compare probabilities with the labels of their splits."""
    n = inputs.data.dataset.n_classes
    return {
        split: evaluate(a.labels, probabilities[split].argmax(axis=1), a.plates, a.wells, n)
        for split, a in inputs.annotations.items()
    }


def _journal(fingerprint: str) -> Path:
    """Return the file of a search's finished fits."""
    return make_cache_home() / "searches" / f"{fingerprint}.jsonl"


@dataclass(frozen=True)
class LeftOut:
    """Predictions of Training by fits without the cell's plate. No other split is read.

    Parameters
    ----------
    probabilities : ndarray of float64, shape (cells of Training, classes)
    evaluation : Evaluation
        Of `TrainingInputs.held_out` alone.
    by : str
        The unit that is left out, `Reference.training_predictions`.
    """

    probabilities: np.ndarray
    evaluation: Evaluation
    by: str


def leave_out(
    layer: str, kind: str, fitted: Fitted, own: np.ndarray, inputs: TrainingInputs
) -> LeftOut:
    """Predict the cells of Training by fits without their plates.

    Parameters
    ----------
    layer, kind : str
    fitted : Fitted
    own : ndarray of float64, shape (cells of Training, classes)
        What the row itself predicts of Training. A network that classifies by itself is not
        trained again, so that its own predictions of held-out cells count.
    inputs : TrainingInputs
    """
    training, held_out = inputs.annotations[TRAINING], inputs.held_out
    left_out = _left_out(kind, fitted, own, inputs.layer(layer)[TRAINING], inputs)
    evaluation = evaluate(
        training.labels[held_out],
        left_out[held_out].argmax(axis=1),
        training.plates[held_out],
        training.wells[held_out],
        inputs.data.dataset.n_classes,
    )
    return LeftOut(left_out, evaluation, _training_predictions(fitted, inputs))


def build_reference(
    layer: str,
    kind: str,
    fitted: Fitted,
    left_out: LeftOut,
    probabilities: dict[str, np.ndarray],
    evaluations: dict[str, Evaluation],
    inputs: TrainingInputs,
) -> Reference:
    """Return the reference of a version; Training is predicted by fits without the cell's plate."""
    features = inputs.layer(layer)
    evaluations = evaluations | {TRAINING: left_out.evaluation}
    probabilities = probabilities | {TRAINING: left_out.probabilities}
    alone = _alone(kind, fitted, features, inputs)
    return collect(
        inputs.data,
        inputs.annotations,
        {
            split: SplitScores(p, features[split], alone.get(split))
            for split, p in probabilities.items()
        },
        inputs.raw,
        confusions={split: e.confusion for split, e in evaluations.items()},
        errors={split: e.balanced_error for split, e in evaluations.items()},
        held_out=inputs.held_out,
        training_predictions=left_out.by,
    )


def _left_out(
    kind: str,
    fitted: Fitted,
    probabilities: np.ndarray,
    features: np.ndarray,
    inputs: TrainingInputs,
    *,
    alone: bool = False,
) -> np.ndarray:
    """Return probabilities of Training, those of labelled cells by fits without their plates."""
    if fitted.pipeline is None:
        return probabilities
    rows, left_out = inputs.labelled, probabilities.copy()
    left_out[rows] = left_out_probabilities(
        kind,
        fitted.pipeline,
        features[rows],
        inputs.annotations[TRAINING].labels[rows],
        inputs.places(TRAINING).select(rows),
        inputs.data.dataset.n_classes,
        alone=alone,
    )
    return left_out


def _alone(
    kind: str, fitted: Fitted, features: dict[str, np.ndarray], inputs: TrainingInputs
) -> dict[str, np.ndarray]:
    """Return probabilities of cells by themselves, by split; none where plates make no difference.

    Those of Training are by fits without their plates.
    """
    if fitted.pipeline is None or not fits_to_plates(fitted.pipeline):
        return {}
    n = inputs.data.dataset.n_classes
    alone = {split: class_probabilities(fitted.pipeline, X, n) for split, X in features.items()}
    own = _left_out(kind, fitted, alone[TRAINING], features[TRAINING], inputs, alone=True)
    return alone | {TRAINING: own}


def _training_predictions(fitted: Fitted, inputs: TrainingInputs) -> str:
    """Return the unit that the predictions of Training leave out; see `Reference`."""
    plates, held_out = inputs.annotations[TRAINING].plates, inputs.held_out
    taught = inputs.labelled & ~held_out  # cells whose labels the representation was trained on
    if np.isin(plates[held_out], plates[taught]).any():
        return "cells"
    if fitted.pipeline is not None and len(np.unique(plates)) < 2:
        return "folds"
    unseen = taught.any() or not inputs.representation.trainable
    return "plates" if unseen else "network"
