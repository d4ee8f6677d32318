"""Training of rows, each a layer of a representation with a classifier, to registered models.

`rows_of` lists the rows, `train_rows` fits, evaluates and registers them.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException

from coos_mlflow import __version__
from coos_mlflow._utils.versions import package_versions
from coos_mlflow.classifiers.fit import VERSION as CLASSIFIERS_VERSION
from coos_mlflow.classifiers.fit import Fitted
from coos_mlflow.classifiers.protocol import AUTO, PRESETS, Protocol, check_protocol, choose_preset
from coos_mlflow.drift.assessment import Assessor
from coos_mlflow.drift.reference import SCHEMA_VERSION as REFERENCE_VERSION
from coos_mlflow.errors import DataError, RegistryError, UnusableCellsError
from coos_mlflow.metrics import Evaluation
from coos_mlflow.model import bundle as bundles
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.plates.schema import UNLABELLED
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.registry import outbox, versions
from coos_mlflow.registry.artifacts import CARD, log_data, read_evaluations, requirements
from coos_mlflow.registry.notes import NOTE, for_page
from coos_mlflow.registry.ranking import LEFT_OUT_BY
from coos_mlflow.registry.retry import with_retry
from coos_mlflow.registry.runs import log_new_params, prepare_store, run, training_experiment
from coos_mlflow.reports.plate.markdown import render_markdown
from coos_mlflow.representations import Representation
from coos_mlflow.training.card import model_card
from coos_mlflow.training.data_check import check_data
from coos_mlflow.training.features import identity
from coos_mlflow.training.network import train_or_restore
from coos_mlflow.training.row import (
    KIND_TITLES,
    OWN,
    LeftOut,
    TrainingInputs,
    build_reference,
    evaluations_of,
    fit_row,
    kinds_of,
    leave_out,
    paper_kinds_of,
)

ALL = "all"
"""All kinds of classifiers, with those that are not in the paper."""


@dataclass(frozen=True)
class Row:
    """A registered model version and its errors.

    Parameters
    ----------
    model : ModelRef
    title : str
        Title of the representation in tables.
    layer : str
        The layer that the classifier reads.
    kind : str
        A key of `KIND_TITLES`.
    evaluations : dict of Evaluation
        By split. Training is evaluated on the cells of the fit, as in the paper.
    cv_error : float
        Balanced error in % by cross-validation on Training. For a network that classifies by
        itself it is the error on the held-out cells.
    trained : bool
        False where the version was registered before.
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
        return {split: e.balanced_error for split, e in self.evaluations.items()}


def rows_of(
    representation: Representation,
    classifiers: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
) -> list[tuple[str, str]]:
    """Return the rows of a representation, as (layer, kind).

    The row without a classifier comes first, then one row for each layer and classifier.

    Parameters
    ----------
    representation : Representation
    classifiers, layers : sequence of str, optional
        Some of `kinds_of` or `ALL`, and some of the representation's layers. By default the
        classifiers of the paper, and all layers.

    Raises
    ------
    DataError
        For an unknown classifier or layer.
    """
    kinds = _chosen_kinds(classifiers, representation)
    chosen = _chosen("Layer", layers, representation.layers, representation)
    own = [(representation.layers[0], OWN)] if OWN in kinds else []
    return own + [(layer, kind) for layer in chosen for kind in kinds if kind != OWN]


def _chosen_kinds(asked: Sequence[str] | None, representation: Representation) -> list[str]:
    if asked is None:
        return list(paper_kinds_of(representation))
    known = kinds_of(representation)
    return _chosen("Classifier", None if ALL in asked else asked, known, representation)


def _chosen(
    word: str, selected: Sequence[str] | None, known: Sequence[str], representation: Representation
) -> list[str]:
    unknown = [name for name in selected or () if name not in known]
    if unknown:
        raise DataError(
            f"{word} {unknown[0]!r} is not known; {representation.title} has {', '.join(known)}."
        )
    return [name for name in known if selected is None or name in selected]


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
    """Fit, evaluate and register rows of a representation; registered rows are not repeated.

    Parameters
    ----------
    representation : Representation
        Trained on Training first, unless its weights are cached.
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
        Called with each row as soon as it is registered.

    Returns
    -------
    list of Row
        In the order of `rows`.

    Raises
    ------
    MissingWeightsError
        Where the representation needs weights that are not on this machine.
    DataError
        For wrong settings, or data with missing ids or unusable cells.
    RegistryError
        Where rows could not be registered; the other rows are.
    """
    overrides = overrides or {}
    check_protocol(preset, overrides)
    representation.require()
    preset = choose_preset(preset, data)
    protocol = Protocol(**(PRESETS[preset] | overrides))
    with _name_drop_bad_in_errors():
        check_data(data).refuse()
    prepare_store()
    tags = {
        "dataset": data.name,
        "simulated": data.simulated,
        "representation": representation.name,
    }
    experiment = training_experiment(data.dataset)
    with _name_drop_bad_in_errors(), run(representation.name, experiment, tags):
        log_new_params(_all_params(protocol, representation) | {"preset": preset})
        log_data(data)
        train_or_restore(representation, data, tags, resume=resume)
        inputs = TrainingInputs(representation, data)
        specs = [
            _RowSpec(layer, kind, inputs, protocol, preset)
            for layer, kind in (rows_of(representation) if rows is None else rows)
        ]
        trained = _train_each(specs, tags, on_row)
        mlflow.set_tag(NOTE, _note(trained, inputs))
        return trained


def _note(rows: Sequence[Row], inputs: TrainingInputs) -> str:
    """Return the note of a training run: what was trained on what, and the errors."""
    data, dataset = inputs.data, inputs.data.dataset
    summary = {
        "title": inputs.representation.title,
        "data_name": data.name,
        "simulated": data.simulated,
        "n_training": f"{len(inputs.annotations['training'].labels):,}",
        "n_classes": dataset.n_classes,
        "headings": [split.name for split in dataset.by_split.values()],
        "lines": [
            {
                "model": f"{row.model.name} version {row.model.version}",
                "classifier": KIND_TITLES[row.kind] + ("" if row.kind == OWN else f", {row.layer}"),
                "errors": [row.errors[split] for split in dataset.split_keys],
            }
            for row in rows
        ],
    }
    return for_page(render_markdown(summary, "training_note.md.j2"), CARD)


@contextmanager
def _name_drop_bad_in_errors() -> Iterator[None]:
    """Add the option that leaves out unusable cells to the error about them."""
    try:
        yield
    except UnusableCellsError as error:
        raise DataError(f"{error} `--drop-bad` leaves such cells out.") from error


@dataclass(frozen=True)
class _RowSpec:
    """A row to train: the layer, the kind of classifier, the cells and the settings."""

    layer: str
    kind: str
    inputs: TrainingInputs
    protocol: Protocol
    preset: str

    @property
    def name(self) -> str:
        """Name of the registered model."""
        name = f"{self.inputs.data.dataset.model_prefix}{self.inputs.representation.name}"
        return name if self.kind == OWN else f"{name}-{self.kind}"

    @property
    def title(self) -> str:
        """Title of the figure of errors."""
        layer = "" if self.kind == OWN else f"{self.layer} "
        return f"{self.inputs.representation.title} {layer}{KIND_TITLES[self.kind]}"

    @property
    def fingerprint(self) -> str:
        """Hash of everything on which the version depends: equal rows are trained only once."""
        dependencies = {
            "data": self.inputs.data.digest,
            "representation": identity(self.inputs.representation),
            "layer": self.layer,
            "classifier": self.kind,
            "protocol": {} if self.kind == OWN else self.protocol.params_of(self.kind),
            "code": {"classifiers": CLASSIFIERS_VERSION, "reference": REFERENCE_VERSION},
            "package": __version__,
        }
        return hashlib.sha256(json.dumps(dependencies, sort_keys=True).encode()).hexdigest()[:32]


def _train_each(
    specs: Sequence[_RowSpec], tags: dict[str, Any], on_row: Callable[[Row], None] | None
) -> list[Row]:
    """Train the rows in order; errors of the registry are raised after the last one."""
    rows: list[Row] = []
    errors: list[RegistryError] = []
    for spec in specs:
        try:
            rows.append(_train_row(spec, tags))
        except RegistryError as error:  # a fitted row is pending on disk; the others go on
            errors.append(error)
            continue
        if on_row:
            on_row(rows[-1])
    if errors:
        raise type(errors[0])("\n".join(map(str, errors))) from errors[0]
    return rows


def _train_row(spec: _RowSpec, tags: dict[str, Any]) -> Row:
    """Return the registered row, trained now unless the registry has an equal one."""
    fingerprint = spec.fingerprint
    pending = outbox.pending_model(fingerprint)
    # With the lock, another process on this cache waits and then finds the row registered.
    with pending.lock():
        model = _registered(spec.name, fingerprint)
        trained = model is None
        if model is None:
            if not pending.is_whole:
                pending = _fit(spec, tags, fingerprint)
            evaluations = pending.evaluations
            model = outbox.register(pending)
        else:
            versions.update_champion(spec.name)
            outbox.forget(pending)
            evaluations = read_evaluations(str(model.run_id))
    return Row(
        model=model,
        title=spec.inputs.representation.title,
        layer=spec.layer,
        kind=spec.kind,
        evaluations=evaluations,
        cv_error=float(model.tags["cv_error"]),
        trained=trained,
    )


def _registered(name: str, fingerprint: str) -> versions.ModelRef | None:
    """Return the version with a fingerprint; None also where the store is unreachable."""
    try:
        return with_retry(lambda: versions.find_version(name, fingerprint))
    except (MlflowException, OSError):
        return None


def _fit(spec: _RowSpec, tags: dict[str, Any], fingerprint: str) -> outbox.PendingModel:
    """Fit and evaluate a row, and write it to the outbox."""
    inputs = spec.inputs
    fitted, probabilities, seconds = fit_row(
        spec.layer, spec.kind, inputs, spec.protocol, fingerprint
    )
    dataset = inputs.data.dataset
    evaluations = evaluations_of(probabilities, inputs)
    left_out = leave_out(spec.layer, spec.kind, fitted, probabilities[TRAINING], inputs)
    reference = build_reference(
        spec.layer, spec.kind, fitted, left_out, probabilities, evaluations, inputs
    )
    errors = {"cv_error": fitted.cv_error, "left_out_error": left_out.evaluation.balanced_error}
    errors |= _known({"left_out_well_error": left_out.evaluation.well_error})
    metrics = errors | seconds | {"seconds_features": inputs.seconds}
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / bundles.ARTIFACT
        digest = bundles.save(bundle, inputs.representation, spec.layer, fitted.pipeline, reference)
        version_tags = _version_tags(spec, errors, evaluations, left_out) | {
            "fingerprint": fingerprint,
            versions.DIGEST: digest,
        }
        facts = _run_facts(spec, fitted) | {
            "run_tags": tags,
            "metrics": metrics,
            "evaluations": {split: e.as_dict() for split, e in evaluations.items()},
            "tags": tags | version_tags,
            "card": model_card(
                spec.name,
                spec.title,
                dataset,
                evaluations,
                reference,
                Assessor(reference).sensitivity,
                inputs.representation.origin,
            ),
        }
        return outbox.keep(fingerprint, facts, bundle)


def _run_facts(spec: _RowSpec, fitted: Fitted) -> dict[str, Any]:
    """Return names, parameters, data and files of a row's run, JSON-ready for the outbox."""
    representation, data = spec.inputs.representation, spec.inputs.data
    names = {layer: representation.feature_names(layer) for layer in representation.layers}
    return {
        "name": spec.name,
        "run": f"{spec.name} {spec.layer}",
        "title": spec.title,
        "params": _all_params(spec.protocol, representation)
        | {"layer": spec.layer, "classifier": spec.kind, "preset": spec.preset}
        | {f"classifier.{k}": v for k, v in fitted.params.items()},
        "data": {
            "simulated": data.simulated,
            "dataset": data.dataset.as_dict(),
            "files": {
                s: [str(path.resolve()) for path in files] for s, files in data.files.items()
            },
            "digests": data.digests,
        },
        "files": {"feature_names.json": names, "package_versions.json": package_versions()},
        "requirements": requirements(representation),
    }


def _version_tags(
    spec: _RowSpec,
    errors: dict[str, float],
    evaluations: dict[str, Evaluation],
    left_out: LeftOut,
) -> dict[str, Any]:
    """Return the tags of a version, those that are read most first, as MLflow lists them."""
    labels = spec.inputs.annotations[TRAINING].labels
    labels = labels[labels != UNLABELLED]
    cells = {f"error_{split}": e.balanced_error for split, e in evaluations.items()}
    wells = _known({f"well_error_{split}": e.well_error for split, e in evaluations.items()})
    return {
        "layer": spec.layer,
        "classifier": spec.kind,
        **{name: f"{error:.6g}" for name, error in (cells | errors | wells).items()},
        LEFT_OUT_BY: left_out.by,
        "splits": ",".join(evaluations),
        "training_cells": len(labels),
        "training_classes": len(np.unique(labels)),
        "preset": spec.preset,
        "package_version": __version__,
        "dataset_digest": spec.inputs.data.digest,
    }


def _known(errors: dict[str, float]) -> dict[str, float]:
    """Leave out errors of wells where no well holds one class alone."""
    return {name: error for name, error in errors.items() if not np.isnan(error)}


def _all_params(protocol: Protocol, representation: Representation) -> dict[str, Any]:
    return protocol.params() | {
        f"{representation.key}.{k}": v for k, v in representation.params().items()
    }
