"""Register an adapted model as a version of its own, with its lineage."""

from __future__ import annotations

import hashlib
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from coos_mlflow import __version__
from coos_mlflow._utils.versions import package_versions
from coos_mlflow.drift.reference import Reference
from coos_mlflow.errors import OutputError
from coos_mlflow.labelling.adapt.choice import Figure, Gain, Trial
from coos_mlflow.model import bundle as bundles
from coos_mlflow.model.correction import Correction
from coos_mlflow.registry import adapted, outbox, versions
from coos_mlflow.registry.artifacts import CARD, requirements
from coos_mlflow.registry.ranking import ADAPTED_FROM
from coos_mlflow.registry.retry import with_retry
from coos_mlflow.reports.plate.markdown import render_markdown
from coos_mlflow.reports.plate.wording import without_controls
from coos_mlflow.scoring.scorer import Scorer

_KEPT_TAGS = (
    "layer",
    "classifier",
    "training_cells",
    "training_classes",
    "preset",
    "package_version",
    "dataset_digest",
    "dataset",
    "simulated",
    "representation",
)
"""Tags that an adapted version has from its parent. Errors on splits are not among them: nobody
has measured those of the adapted model."""


def register(
    scorer: Scorer,
    plate: Path,
    sha256: str,
    pairs: list[tuple[int, int]],
    n_labels: int,
    trial: Trial,
    gain: Gain,
    correction: Correction,
) -> versions.ModelRef:
    """Register a correction of a model as a new version, unless an equal one is there.

    Parameters
    ----------
    scorer : Scorer
        With the version that was adapted.
    plate : Path
    sha256 : str
        Its digest.
    pairs : list of (int, int)
        Index in the file and class of all cells that taught.
    n_labels : int
        Of them, those that a person labelled.
    trial : Trial
        The remedy that was chosen.
    gain : Gain
    correction : Correction

    Returns
    -------
    ModelRef
        With the alias of the plate.

    Raises
    ------
    OutputError
        When the disk is full.
    RunNotLoggedError
        When the store is away. The version is kept for `coos sync`.
    """
    parent = scorer.model
    fingerprint = _fingerprint(parent, sha256, pairs, trial, correction)
    pending = outbox.pending_model(fingerprint)
    with pending.lock():
        if not pending.is_whole:
            found = _registered(parent.name, fingerprint)
            if found is not None:
                with versions.registry_errors():
                    found = adapted.give_alias(found)
                outbox.forget(pending)
                return found
            facts = _facts(scorer, plate, sha256, pairs, n_labels, trial, gain, fingerprint)
            pending = _kept(scorer.bundle, correction, facts)
        return outbox.register(pending)


def _fingerprint(
    parent: versions.ModelRef,
    sha256: str,
    pairs: list[tuple[int, int]],
    trial: Trial,
    correction: Correction,
) -> str:
    """Return the hash of an adapted version and all that it depends on."""
    dependencies = {
        "parent": parent.tags["fingerprint"],
        "plate": sha256,
        "labels": pairs,
        "remedy": [trial.key, trial.strength],
        "correction": [values.tolist() for values in vars(correction).values()],
        "package": __version__,
    }
    return hashlib.sha256(json.dumps(dependencies, sort_keys=True).encode()).hexdigest()[:32]


def _registered(name: str, fingerprint: str) -> versions.ModelRef | None:
    """Return the version with a fingerprint; None also where the store is away."""
    try:
        return with_retry(lambda: versions.find_version(name, fingerprint))
    except (MlflowException, OSError):
        return None


def _kept(parent: Path, correction: Correction, facts: dict[str, Any]) -> outbox.PendingModel:
    try:
        with tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder) / bundles.ARTIFACT
            facts["tags"][versions.DIGEST] = bundles.save_adapted(bundle, parent, correction)
            return outbox.keep(facts["tags"]["fingerprint"], facts, bundle)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"{tempfile.gettempdir()}: no room for the adapted model ({error.strerror}); make "
            "some, or set TMPDIR to another folder."
        ) from error


def _facts(
    scorer: Scorer,
    plate: Path,
    sha256: str,
    pairs: list[tuple[int, int]],
    n_labels: int,
    trial: Trial,
    gain: Gain,
    fingerprint: str,
) -> dict[str, Any]:
    """Return all that is logged of an adapted version, JSON-ready for the outbox."""
    parent, model = scorer.model, scorer.cell_model
    representation, reference = model.representation, model.reference
    lineage = {
        ADAPTED_FROM: parent.version,
        adapted.PLATE: plate.name,
        adapted.SHA256: sha256,
        adapted.LABELS: n_labels,
        adapted.REMEDY: trial.remedy.title,
    }
    errors = _named(adapted.BEFORE, gain.before) | _named(adapted.AFTER, gain.after)
    kept = {tag: parent.tags[tag] for tag in _KEPT_TAGS if tag in parent.tags}
    title = f"{parent.name} version {parent.version} adapted to {plate.name}"
    return {
        "name": parent.name,
        "run": f"{parent.name} adapted to {plate.stem}",
        "title": title,
        "run_tags": lineage | {tag: kept[tag] for tag in ("dataset", "simulated") if tag in kept},
        "params": {f"{representation.key}.{k}": v for k, v in representation.params().items()}
        | {"layer": model.layer, "classifier": kept.get("classifier")}
        | {"remedy": trial.key, "remedy.strength": trial.strength},
        "data": {
            "simulated": reference.provenance["simulated"],
            "dataset": reference.dataset.as_dict(),
            "files": {},
            "digests": {},
        },
        "plate": {"path": str(plate.resolve()), "sha256": sha256},
        "files": {
            "labels.json": [{"cell": cell, "class": label} for cell, label in pairs],
            "package_versions.json": package_versions(),
        },
        "requirements": requirements(representation),
        "metrics": errors | {adapted.LABELS: n_labels},
        "evaluations": {},
        "tags": kept
        | lineage
        | {name: f"{value:.6g}" for name, value in errors.items()}
        | {"fingerprint": fingerprint},
        "card": _card(parent, plate, n_labels, trial, gain, reference),
    }


def _named(name: str, figure: Figure) -> dict[str, float]:
    """Return a figure and its ends under the names of tags and metrics, without unknown ones."""
    values = (figure.value, figure.low, figure.high)
    return {name + end: value for end, value in zip(adapted.ENDS, values, strict=True)}


def _card(
    parent: versions.ModelRef,
    plate: Path,
    n_labels: int,
    trial: Trial,
    gain: Gain,
    reference: Reference,
) -> str:
    """Return the model card: what was adapted, then the card of the parent."""
    summary = {
        "plate": without_controls(plate.name),
        "parent": f"{parent.name} version {parent.version}",
        "n_labels": n_labels,
        "remedy": trial.remedy,
        "before": interval_words(gain.before),
        "after": interval_words(gain.after),
        "simulated": reference.provenance["simulated"],
    }
    text = render_markdown(summary, "adapted_card.md.j2")
    card = ""
    with suppress(MlflowException, OSError):
        card = mlflow.artifacts.load_text(f"runs:/{parent.run_id}/{CARD}")
    return f"{text}\n{card}" if card else text


def interval_words(figure: Figure) -> str:
    """Return a figure in % with its interval: ``12.3 % (8.1 to 17.0)``."""
    return f"{figure.value:.1f} % ({figure.low:.1f} to {figure.high:.1f})"
