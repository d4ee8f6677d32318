"""One row computed: its classifier fitted, every split answered, and what a version remembers."""

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
from coos_mlflow.plates.dataset import Annotations, TrainingData
from coos_mlflow.plates.schema import SPLITS
from coos_mlflow.representations import PROBABILITIES, VALIDATION_ERROR, Representation
from coos_mlflow.training.features import extract
from coos_mlflow.training.reference import SplitScores, collect, raw_figures_of

OWN = "own"
"""The kind of a row that needs no classifier: the representation answers itself."""

KIND_TITLES = {OWN: "End-to-End"} | TITLES
"""All kinds of rows, under the names of the paper's Table 3."""


class Prepared:
    """What all rows of one representation share, computed when a row needs it."""

    def __init__(self, representation: Representation, data: TrainingData):
        self.representation, self.data = representation, data

    @cached_property
    def annotations(self) -> dict[str, Annotations]:
        """Labels and origin of the cells by split."""
        return {split: self.data.annotations(split) for split in SPLITS}

    @cached_property
    def features(self) -> dict[str, dict[str, np.ndarray]]:
        """All layers by split."""
        paths, digests = self.data.paths, self.data.digests
        began = time.perf_counter()
        found = {s: extract(paths[s], digests[s], self.representation) for s in SPLITS}
        self.seconds = time.perf_counter() - began
        return found

    @cached_property
    def raw(self) -> dict[str, np.ndarray]:
        """Raw-image figures by split."""
        return {split: raw_figures_of(self.data, split) for split in SPLITS}

    @cached_property
    def judged(self) -> np.ndarray:
        """Which cells of Training the representation has not learnt from."""
        return self.representation.held_out(len(self.annotations["training"].labels))

    def layer(self, layer: str) -> dict[str, np.ndarray]:
        """Return one layer's features by split."""
        return {split: np.asarray(found[layer]) for split, found in self.features.items()}


def kinds_of(representation: Representation) -> tuple[str, ...]:
    """Return the kinds of rows that a representation can make, in the order of the table."""
    return tuple(KIND_TITLES) if representation.classifies else tuple(TITLES)


def fit_row(
    layer: str, kind: str, prepared: Prepared, protocol: Protocol, fingerprint: str
) -> tuple[Fitted, dict[str, np.ndarray], dict[str, float]]:
    """Return the fitted classifier, every split's class probabilities, and the seconds it took."""
    if kind == OWN:
        fitted = Fitted(None, {}, prepared.representation.training_summary[VALIDATION_ERROR])
        answers = prepared.layer(PROBABILITIES)
        return fitted, {split: p.astype(np.float64) for split, p in answers.items()}, {}
    training, features = prepared.annotations["training"], prepared.layer(layer)
    began = time.perf_counter()
    fitted = fit(
        kind,
        features["training"],
        training.labels,
        training.plates,
        protocol,
        journal=_journal(fingerprint),
    )
    seconds = {"seconds_fit": time.perf_counter() - began}
    assert fitted.pipeline is not None
    answers = {s: class_probabilities(fitted.pipeline, X) for s, X in features.items()}
    return fitted, answers, seconds


def _journal(fingerprint: str) -> Path:
    """Return the file in which a search notes what it has finished."""
    return make_cache_home() / "searches" / f"{fingerprint}.jsonl"


def build_reference(
    layer: str,
    fitted: Fitted,
    probabilities: dict[str, np.ndarray],
    evaluations: dict[str, Evaluation],
    prepared: Prepared,
) -> Reference:
    """Collect what the version remembers, Training as seen by fits that left the plate out."""
    training, features, seen = (
        prepared.annotations["training"],
        prepared.layer(layer),
        prepared.judged,
    )
    left_out = probabilities["training"]
    if fitted.pipeline is not None:
        left_out = left_out_probabilities(
            fitted.pipeline, features["training"], training.labels, training.plates
        )
    judged = evaluations | {
        "training": evaluate(
            training.labels[seen],
            left_out[seen].argmax(axis=1),
            training.plates[seen],
            training.wells[seen],
        )
    }
    scores = probabilities | {"training": left_out}
    return collect(
        prepared.data,
        prepared.annotations,
        {split: SplitScores(found, features[split]) for split, found in scores.items()},
        prepared.raw,
        confusions={split: e.confusion for split, e in judged.items()},
        errors={split: e.balanced_error for split, e in judged.items()},
        judged=seen,
        training_predictions=_training_predictions(fitted, prepared),
    )


def _training_predictions(fitted: Fitted, prepared: Prepared) -> str:
    """Say how Training's predictions were kept apart from what was fitted; see `Reference`."""
    if fitted.pipeline is None:
        return "cells"
    return "network" if prepared.representation.trainable else "plates"
