"""What the registry tells of its models and versions, read without changing anything."""

from __future__ import annotations

import math
from dataclasses import dataclass
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
from coos_mlflow.plates.schema import SPLITS
from coos_mlflow.registry import versions
from coos_mlflow.registry.pins import pins
from coos_mlflow.registry.ranking import tag_number
from coos_mlflow.registry.relocation import check_there
from coos_mlflow.registry.runs import first_line


@dataclass(frozen=True)
class Version:
    """A registered version, as far as the registry alone tells of it.

    Parameters
    ----------
    model : ModelRef
    aliases : tuple of str
        Those that point to it, sorted.
    pinned : tuple of str
        Aliases that training leaves to it, or will give back to it.
    made : datetime
        When it was registered, in UTC.
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
        """Aliases that would break without it."""
        return sorted({*self.aliases, *self.pinned})

    @property
    def ours(self) -> bool:
        """Whether this package has made it."""
        return self.model.ours

    @property
    def package_version(self) -> str:
        """The version of this package that made it, empty where no tag says so."""
        return self.model.tags.get("package_version", "")

    @property
    def fits(self) -> bool:
        """Whether the installed package may score with it."""
        return fits(self.package_version)

    @property
    def classes(self) -> int:
        """Number of classes that it was trained on, 0 where no tag says so."""
        return int(self.tag_number("training_classes", 0))

    @property
    def errors(self) -> dict[str, float]:
        """Balanced error in % by split, NaN where no tag says so."""
        return {split: self.tag_number(f"error_{split}") for split in SPLITS}

    @property
    def left_out_error(self) -> float:
        """Balanced error in % on Training by fits that left the plate out."""
        return self.tag_number("left_out_error")

    def tag_number(self, tag: str, missing: float = math.nan) -> float:
        """Return a tag that is a number; `missing` where it is not there or no number."""
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
            "cv_error": _known(self.tag_number("cv_error")),
            "errors": {split: _known(error) for split, error in self.errors.items()},
            "package_version": self.package_version or None,
            "fits": self.fits,
            "made": self.made.isoformat(timespec="seconds"),
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
        By split; empty where the run no longer holds them.
    files : Model or None
        MLflow's description of its files.
    requirements : tuple of str
        What MLflow installs for it.
    missing : tuple of str
        A sentence for each of these that is gone.
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
        """Balanced error in % by split and its 95 % interval, NaN for what is not known."""
        said = {s: (error, math.nan, math.nan) for s, error in self.version.errors.items()}
        return said | {s: (e.balanced_error, *e.interval) for s, e in self.evaluations.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready, NaN as None."""
        tags, model = self.version.model.tags, self.version.model
        bounds = ("error", "low", "high")
        return self.version.as_dict() | {
            "errors": {
                split: dict(zip(bounds, map(_known, found), strict=True))
                for split, found in self.intervals.items()
            },
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
    """Return the champions of this package's models, and the names of models that have none."""
    crowned, headless = [], []
    for model in versions.registered_models():
        there = [version for version in _versions(model) if version.ours]
        found = [version for version in there if versions.CHAMPION in version.aliases]
        crowned += found
        headless += [model.name] if there and not found else []
    return crowned, headless


def version_of(asked: str) -> Version:
    """Return the version that `asked` names; see `coos_mlflow.registry.versions.resolve`."""
    meant = versions.resolve(asked)
    return next(v for v in versions_of(meant.name) if v.model.version == meant.version)


def registered_model(name: str) -> RegisteredModel:
    """Return a registered model, with the aliases and tags that it has now.

    Raises
    ------
    RegistryError
        When there is no such model, listing those that are there.
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
        When they are not where the store says, left to `mlflow gc`, or damaged.
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
    except Exception as error:  # whatever a damaged MLmodel makes of MLflow
        raise RegistryError(
            f"The files of {model.name} version {model.version} cannot be read from "
            f"{versions.registry_uri()} ({first_line(error)}): bring them back if their disk or "
            f"store is away; if they were deleted or damaged, {model.recovery_hint}."
        ) from error
    return described


def details_of(asked: str) -> Details:
    """Return everything about the version that `asked` names."""
    # Imported here: it loads scikit-learn, which a list of versions does not need.
    from coos_mlflow.registry.artifacts import read_evaluations

    version = version_of(asked)
    run, evaluations, files, requirements, missing = None, {}, None, "", []
    try:
        run = MlflowClient().get_run(version.model.run_id or "")
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
    there = versions.versions(model.name)
    held = {alias: str(number) for alias, number in model.aliases.items()}
    pinned = pins(model, there)
    return [_version(found, held, pinned) for found in there]


def _version(found: ModelVersion, held: dict[str, str], pinned: dict[str, str]) -> Version:
    number = str(found.version)
    aliases = tuple(sorted(alias for alias, version in held.items() if version == number))
    return Version(
        model=versions.model_ref(found),
        aliases=aliases,
        pinned=tuple(sorted(alias for alias, version in pinned.items() if version == number)),
        made=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
    )


def _known(figure: float) -> float | None:
    return None if math.isnan(figure) else figure
