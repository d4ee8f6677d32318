"""Read models and versions from the registry, without changing anything.

Open this to change the content of `coos models list` and `coos models show`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from coos_mlflow._utils.versions import fits
from coos_mlflow.errors import RegistryError
from coos_mlflow.metrics import Evaluation
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.registry import versions
from coos_mlflow.registry.adapted import Adapted
from coos_mlflow.registry.pins import pins
from coos_mlflow.registry.ranking import LEFT_OUT_BY, tag_number
from coos_mlflow.registry.relocation import check_there
from coos_mlflow.registry.runs import first_line

_ERROR, _WELL_ERROR = "error_", "well_error_"
"""First part of the tags with the error on a split: of its cells, and of its wells."""


@dataclass(frozen=True)
class Version:
    """A registered version, as the registry describes it; its run and files are not read.

    Parameters
    ----------
    model : ModelRef
    aliases : tuple of str
        Aliases that point to it, sorted.
    pinned : tuple of str
        Aliases pinned to it: training does not move them away, and moves them back to it.
    made : datetime
        Time of its registration, in UTC.
    """

    model: versions.ModelRef
    aliases: tuple[str, ...]
    pinned: tuple[str, ...]
    made: datetime

    @property
    def number(self) -> int:
        """The version as a number."""
        return int(self.model.version)

    @property
    def held_by(self) -> list[str]:
        """Aliases that point to it or are pinned to it, and would break if it were deleted."""
        return sorted({*self.aliases, *self.pinned})

    @property
    def ours(self) -> bool:
        """Whether this package registered it."""
        return self.model.ours

    @property
    def package_version(self) -> str:
        """The version of this package that trained it; empty without a tag."""
        return self.model.tags.get("package_version", "")

    @property
    def fits(self) -> bool:
        """Whether the installed package may score with it."""
        return fits(self.package_version)

    @property
    def classes(self) -> int:
        """Number of classes that it was trained on; 0 without a tag."""
        return int(self.tag_number("training_classes", 0))

    @property
    def errors(self) -> dict[str, float]:
        """Balanced error in % by split: `TRAINING`, then as its tag ``splits`` lists them.

        Splits that the tag does not list follow by name: older versions lack the tag.
        """
        tags = self.model.tags
        there = {tag.removeprefix(_ERROR) for tag in tags if tag.startswith(_ERROR)}
        listed = [TRAINING, *tags.get("splits", "").split(",")]
        order = dict.fromkeys(split for split in [*listed, *sorted(there)] if split in there)
        return {split: self.tag_number(f"{_ERROR}{split}") for split in order}

    @property
    def well_errors(self) -> dict[str, float]:
        """Balanced error in % of wells, by the splits of `errors`; NaN if unknown.

        Older versions lack it, and so do data without wells of one class.
        """
        return {split: self.tag_number(f"{_WELL_ERROR}{split}") for split in self.errors}

    @property
    def left_out_error(self) -> float:
        """Balanced error in % on Training, each plate predicted by a fit without it."""
        return self.tag_number("left_out_error")

    @property
    def left_out_well_error(self) -> float:
        """`left_out_error` of wells; NaN if unknown."""
        return self.tag_number("left_out_well_error")

    @property
    def adapted(self) -> Adapted | None:
        """To which plate it was adapted, and from what; None for a version that was trained."""
        return Adapted.of(self.model.tags)

    def tag_number(self, tag: str, missing: float = math.nan) -> float:
        """Return the number in a tag, or `missing` if the tag is absent or no number."""
        return tag_number(self.model.tags, tag, missing)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready, NaN as None."""
        tags = self.model.tags
        return {
            "name": self.model.name,
            "version": self.number,
            "aliases": list(self.aliases),
            "pinned": list(self.pinned),
            "layer": tags.get("layer"),
            "dataset": tags.get("dataset"),
            "dataset_digest": tags.get("dataset_digest"),
            "simulated": self.model.simulated,
            "left_out_error": _known(self.left_out_error),
            "left_out_by": self.model.tags.get(LEFT_OUT_BY),
            "left_out_well_error": _known(self.left_out_well_error),
            "cv_error": _known(self.tag_number("cv_error")),
            "errors": {split: _known(error) for split, error in self.errors.items()},
            "well_errors": {split: _known(error) for split, error in self.well_errors.items()},
            "package_version": self.package_version or None,
            "fits": self.fits,
            "made": self.made.isoformat(timespec="seconds"),
            "adapted": _adapted(self.adapted),
        }


@dataclass(frozen=True)
class Details:
    """Everything about a version that the store still holds.

    Parameters
    ----------
    version : Version
    run : Run or None
        The run that trained it.
    evaluations : dict of Evaluation
        By split; empty if the run no longer holds them.
    files : Model or None
        MLflow's description of its files.
    requirements : tuple of str
        Packages that MLflow installs for it.
    missing : tuple of str
        One sentence for each of the above that is missing.
    """

    version: Version
    run: Run | None
    evaluations: dict[str, Evaluation]
    files: Model | None
    requirements: tuple[str, ...]
    missing: tuple[str, ...]

    @cached_property
    def params(self) -> dict[str, str]:
        """Settings of the protocol, of the representation and of the classifier, by name."""
        return dict(sorted(self.run.data.params.items())) if self.run else {}

    @property
    def intervals(self) -> dict[str, tuple[float, float, float]]:
        """Balanced error in % by split and its 95 % interval; NaN if unknown."""
        tagged = {s: (error, math.nan, math.nan) for s, error in self.version.errors.items()}
        return tagged | {s: (e.balanced_error, *e.interval) for s, e in self.evaluations.items()}

    @property
    def well_errors(self) -> dict[str, float]:
        """Balanced error in % of wells by split; NaN if unknown.

        The run of an older version, whose tags lack it, still tells it.
        """
        told = {split: e.well_error for split, e in self.evaluations.items()}
        return self.version.well_errors | told

    def as_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready, NaN as None."""
        tags, model = self.version.model.tags, self.version.model
        bounds = ("error", "low", "high")
        return self.version.as_dict() | {
            "errors": {
                split: dict(zip(bounds, map(_known, figures), strict=True))
                for split, figures in self.intervals.items()
            },
            "well_errors": {split: _known(error) for split, error in self.well_errors.items()},
            "training_cells": _known(self.version.tag_number("training_cells")),
            "training_classes": self.version.classes or None,
            "representation": tags.get("representation"),
            "classifier": tags.get("classifier"),
            "preset": tags.get("preset"),
            "params": self.params,
            "uri": model.uri,
            "run_id": model.run_id,
            "model_id": model.model_id,
            "fingerprint": tags.get("fingerprint"),
            "bundle_sha256": tags.get("bundle_sha256"),
            "size_bytes": self.files.model_size_bytes if self.files else None,
            "requirements": list(self.requirements),
            "missing": list(self.missing),
        }


def versions_of(name: str) -> list[Version]:
    """Return all versions of a model, oldest first.

    Raises
    ------
    RegistryError
        When there is no such model.
    """
    return _versions(registered_model(name))


def champions() -> tuple[list[Version], list[str]]:
    """Return the champions of this package's models, and the names of models without champion."""
    all_champions, without = [], []
    for model in versions.registered_models():
        own = [version for version in _versions(model) if version.ours]
        champion = [version for version in own if versions.CHAMPION in version.aliases]
        all_champions += champion
        without += [model.name] if own and not champion else []
    return all_champions, without


def version_of(asked: str) -> Version:
    """Return the version that `asked` names; see `coos_mlflow.registry.versions.resolve`."""
    meant = versions.resolve(asked)
    return next(v for v in versions_of(meant.name) if v.model.version == meant.version)


def registered_model(name: str) -> RegisteredModel:
    """Return a registered model, with its current aliases and tags.

    Raises
    ------
    RegistryError
        When there is no such model; the message lists the existing ones.
    """
    try:
        return MlflowClient().get_registered_model(name)
    except MlflowException as error:
        there = ", ".join(model.name for model in versions.registered_models())
        raise RegistryError(
            f"Model {name!r} is not in {versions.registry_uri()}, which holds: "
            f"{there or 'no model yet; `coos train texture` makes some'}."
        ) from error


def read_files(model: versions.ModelRef) -> Model:
    """Return MLflow's description of a version's files.

    Raises
    ------
    RegistryError
        When the files are not where the store says, are deleted for `mlflow gc`, or are damaged.
    """
    try:
        check_there(
            f"{model.name} version {model.version}",
            versions.artifact_location(model),
            model.recovery_hint,
        )
        described = Model.load(model.uri)
        if described.model_id:
            MlflowClient().get_logged_model(described.model_id)
    except RegistryError:
        raise
    except Exception as error:  # MLflow may raise anything for a damaged MLmodel file
        raise RegistryError(
            f"The files of {model.name} version {model.version} cannot be read from "
            f"{versions.registry_uri()} ({first_line(error)}): bring them back if their disk or "
            f"store is away; if they were deleted or damaged, {model.recovery_hint}."
        ) from error
    return described


def details_of(asked: str) -> Details:
    """Return everything about the version that `asked` names."""
    # Imported here, since it loads scikit-learn, which a list of versions does not need.
    from coos_mlflow.registry.artifacts import read_evaluations

    version = version_of(asked)
    run, evaluations, files, requirements, missing = None, {}, None, "", []
    try:
        run = MlflowClient().get_run(version.model.run_id or "")
        if version.adapted is None:
            evaluations = read_evaluations(run.info.run_id)
    except MlflowException:
        missing.append("The run that trained it is gone.")
    except RegistryError as error:
        missing.append(str(error))
    try:
        files = read_files(version.model)
        requirements = mlflow.artifacts.load_text(f"{version.model.uri}/requirements.txt")
    except RegistryError as error:
        missing.append(str(error))
    except (MlflowException, OSError):
        missing.append("Its files hold no requirements.txt.")
    return Details(
        version, run, evaluations, files, tuple(requirements.splitlines()), tuple(missing)
    )


def _versions(model: RegisteredModel) -> list[Version]:
    registered = versions.versions(model.name)
    held = {alias: str(number) for alias, number in model.aliases.items()}
    pinned = pins(model, registered)
    return [_version(entry, held, pinned) for entry in registered]


def _version(entry: ModelVersion, held: dict[str, str], pinned: dict[str, str]) -> Version:
    number = str(entry.version)
    aliases = tuple(sorted(alias for alias, version in held.items() if version == number))
    return Version(
        model=versions.model_ref(entry),
        aliases=aliases,
        pinned=tuple(sorted(alias for alias, version in pinned.items() if version == number)),
        made=datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC),
    )


def _adapted(adapted: Adapted | None) -> dict[str, Any] | None:
    """Return what is known of an adapted version, JSON-ready, NaN as None."""
    if adapted is None:
        return None
    ends = {name: [*map(_known, getattr(adapted, name))] for name in ("before", "after")}
    return asdict(adapted) | ends


def _known(figure: float) -> float | None:
    return None if math.isnan(figure) else figure
