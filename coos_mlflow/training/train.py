"""One row of the benchmark: a representation's layer and a classifier, to a registered version."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException

from coos_mlflow import __version__
from coos_mlflow._utils.versions import package_versions
from coos_mlflow.classifiers.fit import VERSION as CLASSIFIERS_VERSION
from coos_mlflow.classifiers.protocol import AUTO, PRESETS, Protocol, check_protocol, choose_preset
from coos_mlflow.drift.reference import SCHEMA_VERSION as REFERENCE_VERSION
from coos_mlflow.errors import DataError, RegistryError, UnusableCellsError
from coos_mlflow.metrics import Evaluation, evaluate
from coos_mlflow.model import bundle as bundles
from coos_mlflow.plates.dataset import TrainingData
from coos_mlflow.plates.schema import SPLITS
from coos_mlflow.registry import outbox, versions
from coos_mlflow.registry.artifacts import log_data, read_evaluations, requirements
from coos_mlflow.registry.retry import with_retry
from coos_mlflow.registry.runs import TRAINING_EXPERIMENT, log_new_params, prepare_store, run
from coos_mlflow.representations import Representation
from coos_mlflow.training.features import identity
from coos_mlflow.training.network import train_or_restore
from coos_mlflow.training.row import KIND_TITLES, OWN, Prepared, build_reference, fit_row, kinds_of


@dataclass(frozen=True)
class Row:
    """A registered version and what it reached.

    Parameters
    ----------
    model : ModelRef
    title : str
        What tables call the representation.
    layer : str
        The layer that the classifier reads.
    kind : str
        A key of `KIND_TITLES`.
    evaluations : dict of Evaluation
        By split; that of Training on the cells of the fit, as in the paper.
    cv_error : float
        Balanced error in % by cross-validation on Training; of a network that answers itself,
        on the held-out cells.
    trained : bool
        False where the registry had it already.
    """

    model: versions.ModelRef
    title: str
    layer: str
    kind: str
    evaluations: dict[str, Evaluation]
    cv_error: float
    trained: bool

    @property
    def errors(self) -> dict[str, float]:
        """Balanced error in % by split."""
        return {split: found.balanced_error for split, found in self.evaluations.items()}


def rows_of(
    representation: Representation,
    classifiers: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
) -> list[tuple[str, str]]:
    """Return the rows that a representation can make, as (layer, kind).

    The one that needs no classifier comes first, then one for each layer and classifier.

    Parameters
    ----------
    representation : Representation
    classifiers, layers : sequence of str, optional
        Some of `kinds_of`, and some of the representation's layers; all by default.

    Raises
    ------
    DataError
        For a classifier or layer that it does not have.
    """
    kinds = _chosen("Classifier", classifiers, kinds_of(representation), representation)
    chosen = _chosen("Layer", layers, representation.layers, representation)
    own = [(representation.layers[0], OWN)] if OWN in kinds else []
    return own + [(layer, kind) for layer in chosen for kind in kinds if kind != OWN]


def _chosen(
    what: str, asked: Sequence[str] | None, known: Sequence[str], representation: Representation
) -> list[str]:
    unknown = [name for name in asked or () if name not in known]
    if unknown:
        raise DataError(
            f"{what} {unknown[0]!r} is not known; {representation.title} has {', '.join(known)}."
        )
    return [name for name in known if asked is None or name in asked]


def train_rows(
    representation: Representation,
    data: TrainingData,
    *,
    rows: Sequence[tuple[str, str]] | None = None,
    preset: str = AUTO,
    overrides: dict[str, Any] | None = None,
    resume: bool = True,
    on_row: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Fit, evaluate and register rows of a representation, recalling those that are there.

    Parameters
    ----------
    representation : Representation
        Learns from Training first, unless it did so before.
    data : TrainingData
    rows : sequence of (str, str), optional
        Some of `rows_of`; all by default.
    preset : str
        "auto", "paper" or "quick".
    overrides : dict, optional
        Fields of `Protocol` that differ from the preset.
    resume : bool
        See `coos_mlflow.training.network.train_or_restore`.
    on_row : callable, optional
        Told of each row as soon as it is registered.

    Returns
    -------
    list of Row
        In the order asked for.

    Raises
    ------
    MissingWeightsError
        When the representation needs weights that are not on this machine.
    """
    overrides = overrides or {}
    check_protocol(preset, overrides)
    representation.require()
    preset = choose_preset(preset, data)
    protocol = Protocol(**(PRESETS[preset] | overrides))
    for split in SPLITS:
        data.annotations(split)  # refuses files without ids before a network learns for hours
    prepare_store()
    tags = {
        "representation": representation.name,
        "preset": preset,
        "dataset": data.name,
        "dataset_digest": data.digest,
        "simulated": data.simulated,
    }
    with _remedy_named(), run(representation.name, TRAINING_EXPERIMENT, tags):
        log_new_params(_flat(protocol, representation) | {"preset": preset})
        log_data(data)
        train_or_restore(representation, data, tags, resume=resume)
        prepared = Prepared(representation, data)
        made: list[Row] = []
        failed: list[RegistryError] = []
        for layer, kind in rows_of(representation) if rows is None else rows:
            try:
                made.append(_row(layer, kind, prepared, protocol, tags))
            except RegistryError as error:  # the other rows are fitted, and pending if need be
                failed.append(error)
                continue
            if on_row:
                on_row(made[-1])
        if failed:
            raise type(failed[0])("\n".join(map(str, failed))) from failed[0]
        return made


@contextmanager
def _remedy_named() -> Iterator[None]:
    """Say how to train on files of which some cells are refused."""
    try:
        yield
    except UnusableCellsError as error:
        raise DataError(f"{error} `--drop-bad` leaves such cells out.") from error


def _row(
    layer: str, kind: str, prepared: Prepared, protocol: Protocol, tags: dict[str, Any]
) -> Row:
    """Return the registered row, trained now unless the registry has the same one."""
    representation = prepared.representation
    name = representation.name if kind == OWN else f"{representation.name}-{kind}"
    fingerprint = _fingerprint(representation, layer, kind, prepared.data, protocol)
    with outbox.pending_model(
        fingerprint
    ).lock():  # another process with this cache then finds it registered
        pending = outbox.pending_model(fingerprint)
        model = _registered(name, fingerprint)
        trained = model is None
        if model is None:
            if not pending.is_whole:
                pending = _fit(
                    name, layer, kind, prepared, protocol, tags | {"fingerprint": fingerprint}
                )
            evaluations = pending.evaluations
            model = outbox.register(pending)
        else:
            versions.crown(name)
            outbox.forget(pending)
            evaluations = read_evaluations(str(model.run_id))
    return Row(
        model=model,
        title=representation.title,
        layer=layer,
        kind=kind,
        evaluations=evaluations,
        cv_error=float(model.tags["cv_error"]),
        trained=trained,
    )


def _registered(name: str, fingerprint: str) -> versions.ModelRef | None:
    """Return the version of a fingerprint; none, too, where the store does not answer any more."""
    try:
        return with_retry(lambda: versions.find_version(name, fingerprint))
    except (MlflowException, OSError):
        return None


def _fit(
    name: str,
    layer: str,
    kind: str,
    prepared: Prepared,
    protocol: Protocol,
    tags: dict[str, Any],
) -> outbox.PendingModel:
    """Fit and evaluate one row, and keep it on disk."""
    representation = prepared.representation
    tags = tags | {"layer": layer, "classifier": kind}
    fitted, probabilities, seconds = fit_row(layer, kind, prepared, protocol, tags["fingerprint"])
    evaluations = {
        split: evaluate(a.labels, probabilities[split].argmax(axis=1), a.plates, a.wells)
        for split, a in prepared.annotations.items()
    }
    reference = build_reference(layer, fitted, probabilities, evaluations, prepared)
    errors = {"cv_error": fitted.cv_error, "left_out_error": reference.errors["training"]}
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / bundles.ARTIFACT
        digest = bundles.save(bundle, representation, layer, fitted.pipeline, reference)
        facts = {
            "name": name,
            "run": f"{name} {layer}",
            "title": f"{representation.title} {'' if kind == OWN else f'{layer} '}"
            f"{KIND_TITLES[kind]}",
            "run_tags": tags,
            "params": _flat(protocol, representation)
            | {"layer": layer, "classifier": kind}
            | {f"classifier.{k}": v for k, v in fitted.params.items()},
            "metrics": seconds | {"seconds_features": prepared.seconds} | errors,
            "data": _said_of(prepared.data),
            "evaluations": {split: e.as_dict() for split, e in evaluations.items()},
            "files": _said_of_features(representation),
            "requirements": requirements(representation),
            "tags": tags | _version_tags(errors, evaluations, prepared) | {versions.DIGEST: digest},
        }
        return outbox.keep(tags["fingerprint"], facts, bundle)


def _version_tags(
    errors: dict[str, float], evaluations: dict[str, Evaluation], prepared: Prepared
) -> dict[str, Any]:
    """Return what a registered version says of itself, by which champions are chosen."""
    labels = prepared.annotations["training"].labels
    found = errors | {f"error_{split}": e.balanced_error for split, e in evaluations.items()}
    return {name: f"{error:.6g}" for name, error in found.items()} | {
        "training_cells": len(labels),
        "training_classes": len(np.unique(labels)),
        "package_version": __version__,
    }


def _said_of_features(representation: Representation) -> dict[str, Any]:
    names = {layer: representation.feature_names(layer) for layer in representation.layers}
    return {"feature_names.json": names, "package_versions.json": package_versions()}


def _said_of(data: TrainingData) -> dict[str, Any]:
    return {
        "simulated": data.simulated,
        "paths": {split: str(path.resolve()) for split, path in data.paths.items()},
        "digests": data.digests,
    }


def _fingerprint(
    representation: Representation, layer: str, kind: str, data: TrainingData, protocol: Protocol
) -> str:
    """Hash all on which a registered version depends, so that it is made once."""
    made_of = {
        "data": data.digest,
        "representation": identity(representation),
        "layer": layer,
        "classifier": kind,
        "protocol": {} if kind == OWN else protocol.params_of(kind),
        "code": {"classifiers": CLASSIFIERS_VERSION, "reference": REFERENCE_VERSION},
        "package": __version__,
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]


def _flat(protocol: Protocol, representation: Representation) -> dict[str, Any]:
    return protocol.params() | {
        f"{representation.key}.{k}": v for k, v in representation.params().items()
    }
