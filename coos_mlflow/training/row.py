"""Fit of one row: the classifier, class probabilities of every split, and the reference."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path

import numpy as np

from coos_mlflow._utils.cache import make_cache_home
from coos_mlflow.classifiers.fit import (
    Fitted,
    class_probabilities,
    fit,
    left_out_probabilities,
)
from coos_mlflow.classifiers.protocol import TITLES, Protocol
from coos_mlflow.drift.reference import Reference
from coos_mlflow.metrics import Evaluation, evaluate
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.plates.schema import UNLABELLED
from coos_mlflow.plates.splits import Annotations, TrainingData
from coos_mlflow.representations import PROBABILITIES, VALIDATION_ERROR, Representation
from coos_mlflow.training.features import extract
from coos_mlflow.training.reference import SplitScores, collect, raw_figures_of

OWN = "own"
"""The kind of a row without a classifier: the representation classifies by itself."""

KIND_TITLES = {OWN: "End-to-End"} | TITLES
"""All kinds of rows, under the names of the paper's Table 3."""


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

    def layer(self, layer: str) -> dict[str, np.ndarray]:
        """Return one layer's features by split."""
        return {split: np.asarray(layers[layer]) for split, layers in self.features.items()}


def kinds_of(representation: Representation) -> tuple[str, ...]:
    """Return the kinds of a representation's rows, in the order of the table."""
    return tuple(KIND_TITLES) if representation.classifies else tuple(TITLES)


def fit_row(
    layer: str, kind: str, inputs: TrainingInputs, protocol: Protocol, fingerprint: str
) -> tuple[Fitted, dict[str, np.ndarray], dict[str, float]]:
    """Return the fitted classifier, probabilities (n, classes) by split, and metrics of time."""
    if kind == OWN:
        fitted = Fitted(None, {}, inputs.representation.training_summary[VALIDATION_ERROR])
        own = inputs.layer(PROBABILITIES)
        return fitted, {split: p.astype(np.float64) for split, p in own.items()}, {}
    training, features = inputs.annotations[TRAINING], inputs.layer(layer)
    rows = inputs.labelled
    start = time.perf_counter()
    fitted = fit(
        kind,
        features[TRAINING] if rows.all() else features[TRAINING][rows],
        training.labels[rows],
        training.plates[rows],
        protocol,
        journal=_journal(fingerprint),
    )
    seconds = {"seconds_fit": time.perf_counter() - start}
    assert fitted.pipeline is not None
    n = inputs.data.dataset.n_classes
    probabilities = {s: class_probabilities(fitted.pipeline, X, n) for s, X in features.items()}
    return fitted, probabilities, seconds


def _journal(fingerprint: str) -> Path:
    """Return the file of a search's finished fits."""
    return make_cache_home() / "searches" / f"{fingerprint}.jsonl"


def build_reference(
    layer: str,
    fitted: Fitted,
    probabilities: dict[str, np.ndarray],
    evaluations: dict[str, Evaluation],
    inputs: TrainingInputs,
) -> Reference:
    """Return the reference of a version; Training is predicted by fits without the cell's plate."""
    training, features = inputs.annotations[TRAINING], inputs.layer(layer)
    held_out, rows = inputs.held_out, inputs.labelled
    n_classes = inputs.data.dataset.n_classes
    left_out = probabilities[TRAINING]
    if fitted.pipeline is not None:
        left_out = left_out.copy()
        left_out[rows] = left_out_probabilities(
            fitted.pipeline,
            features[TRAINING][rows],
            training.labels[rows],
            training.plates[rows],
            n_classes,
        )
    evaluations = evaluations | {
        TRAINING: evaluate(
            training.labels[held_out],
            left_out[held_out].argmax(axis=1),
            training.plates[held_out],
            training.wells[held_out],
            n_classes,
        )
    }
    probabilities = probabilities | {TRAINING: left_out}
    return collect(
        inputs.data,
        inputs.annotations,
        {split: SplitScores(p, features[split]) for split, p in probabilities.items()},
        inputs.raw,
        confusions={split: e.confusion for split, e in evaluations.items()},
        errors={split: e.balanced_error for split, e in evaluations.items()},
        held_out=held_out,
        training_predictions=_training_predictions(fitted, inputs),
    )


def _training_predictions(fitted: Fitted, inputs: TrainingInputs) -> str:
    """Return the unit that the predictions of Training leave out; see `Reference`."""
    plates, held_out = inputs.annotations[TRAINING].plates, inputs.held_out
    taught = np.isin(plates[held_out], plates[inputs.labelled & ~held_out]).any()
    if fitted.pipeline is None:
        return "cells" if taught else "plates"
    if len(np.unique(plates)) < 2:
        return "folds"
    seen = inputs.representation.trainable and (taught or not inputs.representation.classifies)
    return "network" if seen else "plates"
