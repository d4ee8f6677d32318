"""One row of the benchmark: a representation's layer and a classifier, to a registered version."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlflow
import numpy as np

from coos_mlflow import __version__
from coos_mlflow.classifiers import (
    TITLES,
    Fitted,
    Protocol,
    class_probabilities,
    fit,
    left_out_probabilities,
)
from coos_mlflow.data.cells import SPLITS
from coos_mlflow.drift.reference import Reference
from coos_mlflow.errors import DataError
from coos_mlflow.evaluation import Evaluation, evaluate
from coos_mlflow.features import extract, identity
from coos_mlflow.references import SplitScores, collect, raw_figures_of
from coos_mlflow.representations import Representation
from coos_mlflow.tracking import registry
from coos_mlflow.tracking.artifacts import log_data, log_evaluations, log_model
from coos_mlflow.tracking.runs import (
    TRAINING_EXPERIMENT,
    log_new_params,
    package_versions,
    prepare_store,
    run,
)
from coos_mlflow.training_data import Annotations, TrainingData

AUTO = "auto"

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"search_samples": 100, "cv_folds": 5},
    "quick": {"search_samples": 6, "cv_folds": 3},
}
"""What `Protocol` becomes: the paper's, or one that ends in minutes on two cores."""


@dataclass(frozen=True)
class Row:
    """A registered version and what it reached.

    Parameters
    ----------
    model : ModelRef
    errors : dict of float
        Balanced error in % by split; that of Training on the cells of the fit, as in the paper.
    cv_error : float
        Balanced error in % by cross-validation on Training.
    trained : bool
        False where the registry had it already.
    """

    model: registry.ModelRef
    errors: dict[str, float]
    cv_error: float
    trained: bool


@dataclass(frozen=True)
class _Prepared:
    """What all classifiers of one representation share."""

    data: TrainingData
    annotations: dict[str, Annotations]
    features: dict[str, dict[str, np.ndarray]]
    raw: dict[str, np.ndarray]
    seconds: float


def check_request(classifiers: Sequence[str], preset: str, overrides: dict[str, Any]) -> None:
    """Refuse what `train` could not do with these settings, before any work is done."""
    unknown = [kind for kind in classifiers if kind not in TITLES]
    if unknown:
        raise DataError(f"Classifier {unknown[0]!r} is not known; there are {', '.join(TITLES)}.")
    if preset not in (AUTO, *PRESETS):
        raise DataError(f"preset={preset!r} found, expected {AUTO}, {' or '.join(PRESETS)}.")
    Protocol(**overrides)


def choose_preset(preset: str, data: TrainingData) -> str:
    """Return the preset's name; "auto" is "paper" on real data and "quick" on simulated data."""
    if preset != AUTO:
        return preset
    return "quick" if data.simulated else "paper"


def train(
    representation: Representation,
    data: TrainingData,
    *,
    classifiers: Sequence[str] = tuple(TITLES),
    preset: str = AUTO,
    overrides: dict[str, Any] | None = None,
) -> list[Row]:
    """Fit, evaluate and register every layer of a representation with each classifier.

    Parameters
    ----------
    representation : Representation
    data : TrainingData
    classifiers : sequence of str
        Keys of `coos_mlflow.classifiers.TITLES`.
    preset : str
        "auto", "paper" or "quick".
    overrides : dict, optional
        Fields of `Protocol` that differ from the preset.

    Returns
    -------
    list of Row
        One for each layer and classifier, in that order.
    """
    overrides = overrides or {}
    check_request(classifiers, preset, overrides)
    preset = choose_preset(preset, data)
    protocol = Protocol(**(PRESETS[preset] | overrides))
    prepare_store()
    tags = {
        "representation": representation.key,
        "preset": preset,
        "dataset": data.name,
        "dataset_digest": data.digest,
        "simulated": data.simulated,
    }
    with run(representation.key, TRAINING_EXPERIMENT, tags):
        log_new_params(_flat(protocol, representation) | {"preset": preset})
        log_data(data)
        prepared = _prepare(representation, data)
        _log_representation(representation, prepared)
        return [
            _row(representation, layer, kind, prepared, protocol, tags)
            for layer in representation.layers
            for kind in classifiers
        ]


def _prepare(representation: Representation, data: TrainingData) -> _Prepared:
    began = time.perf_counter()
    annotations = {split: data.annotations(split) for split in SPLITS}
    features = {
        split: extract(data.paths[split], data.digests[split], representation) for split in SPLITS
    }
    return _Prepared(
        data=data,
        annotations=annotations,
        features=features,
        raw={split: raw_figures_of(data, split) for split in SPLITS},
        seconds=time.perf_counter() - began,
    )


def _row(
    representation: Representation,
    layer: str,
    kind: str,
    prepared: _Prepared,
    protocol: Protocol,
    tags: dict[str, Any],
) -> Row:
    """Return the registered row, trained now unless the registry has the same one."""
    name = f"{representation.key}-{kind}"
    fingerprint = _fingerprint(representation, layer, kind, prepared.data, protocol)
    known = registry.find_version(name, fingerprint)
    if known:
        registry.crown(name)
        return Row(known, _errors_in(known.tags), float(known.tags["cv_error"]), trained=False)
    tags = tags | {"layer": layer, "classifier": kind}
    training = prepared.annotations["training"]
    with run(f"{name} {layer}", TRAINING_EXPERIMENT, tags, nested=True):
        log_new_params(_flat(protocol, representation) | {"layer": layer, "classifier": kind})
        log_data(prepared.data)
        _log_representation(representation, prepared)
        fitted, evaluations, reference = _fit_and_evaluate(layer, kind, prepared, protocol)
        log_new_params({f"classifier.{k}": v for k, v in fitted.params.items()})
        left_out = reference.errors["training"]
        mlflow.log_metrics({"cv_error": fitted.cv_error, "left_out_error": left_out})
        log_evaluations(
            evaluations, f"{representation.title} {TITLES[kind]}", prepared.data.simulated
        )
        uri = log_model(representation, layer, fitted.pipeline, reference)
        errors = {split: e.balanced_error for split, e in evaluations.items()}
        model = registry.register(
            name,
            uri,
            tags
            | {f"error_{split}": f"{error:.6g}" for split, error in errors.items()}
            | {
                "cv_error": f"{fitted.cv_error:.6g}",
                "left_out_error": f"{left_out:.6g}",
                "training_cells": len(training.labels),
                "training_classes": len(np.unique(training.labels)),
                "fingerprint": fingerprint,
                "package_version": __version__,
            },
        )
    registry.crown(name)
    return Row(model, errors, fitted.cv_error, trained=True)


def _fit_and_evaluate(
    layer: str, kind: str, prepared: _Prepared, protocol: Protocol
) -> tuple[Fitted, dict[str, Evaluation], Reference]:
    training = prepared.annotations["training"]
    X = np.asarray(prepared.features["training"][layer])
    began = time.perf_counter()
    fitted = fit(kind, X, training.labels, training.plates, protocol)
    mlflow.log_metric("seconds_fit", time.perf_counter() - began)
    probabilities = {
        split: class_probabilities(fitted.pipeline, np.asarray(prepared.features[split][layer]))
        for split in SPLITS
    }
    evaluations = {
        split: evaluate(a.labels, probabilities[split].argmax(axis=1), a.plates, a.wells)
        for split, a in prepared.annotations.items()
    }
    return fitted, evaluations, _reference(layer, fitted, probabilities, evaluations, prepared)


def _reference(
    layer: str,
    fitted: Fitted,
    probabilities: dict[str, np.ndarray],
    evaluations: dict[str, Evaluation],
    prepared: _Prepared,
) -> Reference:
    """Collect what the version remembers, Training as seen by fits that left the plate out."""
    training = prepared.annotations["training"]
    X = np.asarray(prepared.features["training"][layer])
    left_out = left_out_probabilities(fitted.pipeline, X, training.labels, training.plates)
    judged = evaluations | {
        "training": evaluate(
            training.labels, left_out.argmax(axis=1), training.plates, training.wells
        )
    }
    return collect(
        prepared.data,
        prepared.annotations,
        {
            split: SplitScores(found, np.asarray(prepared.features[split][layer]))
            for split, found in (probabilities | {"training": left_out}).items()
        },
        prepared.raw,
        confusions={split: e.confusion for split, e in judged.items()},
        errors={split: e.balanced_error for split, e in judged.items()},
    )


def _log_representation(representation: Representation, prepared: _Prepared) -> None:
    names = {layer: representation.feature_names(layer) for layer in representation.layers}
    mlflow.log_dict(names, "feature_names.json")
    mlflow.log_dict(package_versions(), "package_versions.json")
    mlflow.log_metric("seconds_features", prepared.seconds)


def _fingerprint(
    representation: Representation, layer: str, kind: str, data: TrainingData, protocol: Protocol
) -> str:
    """Hash all on which a registered version depends, so that it is made once."""
    made_of = {
        "data": data.digest,
        "representation": identity(representation),
        "layer": layer,
        "classifier": kind,
        "protocol": protocol.params_of(kind),
        "package": __version__,
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]


def _flat(protocol: Protocol, representation: Representation) -> dict[str, Any]:
    return protocol.params() | {
        f"{representation.key}.{k}": v for k, v in representation.params().items()
    }


def _errors_in(tags: dict[str, str]) -> dict[str, float]:
    return {split: float(tags[f"error_{split}"]) for split in SPLITS}
