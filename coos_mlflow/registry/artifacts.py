"""Log data sets, evaluations and models in MLflow runs.

Open this to change the inputs, tables, figures or model files that a run holds.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import LoggedModelInput
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, DataType, Schema
from packaging.version import Version

import coos_mlflow
from coos_mlflow._utils.versions import package_versions
from coos_mlflow.errors import RegistryError
from coos_mlflow.metrics import Evaluation, confusion_table
from coos_mlflow.model import bundle as bundles
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.registry.notes import NOTE
from coos_mlflow.registry.relocation import check_there
from coos_mlflow.registry.retry import with_retry
from coos_mlflow.registry.runs import first_line, store_name
from coos_mlflow.representations import Representation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERVED_PACKAGES = (
    "joblib",
    "mlflow",
    "numpy",
    "packaging",
    "pandas",
    "pydantic",
    "pyyaml",
    "rich",
    "scikit-learn",
    "scipy",
    "skops",
)
"""Packages that the code of every served model imports. A test keeps the list complete."""

EVALUATION = "evaluation.json"
"""The artifact with everything about a row's errors."""

CARD = "README.md"
"""The artifact with the model card."""

MODEL_TYPE = "classifier"
"""What MLflow's table of models calls all of ours."""

_ANEW = "delete the model version that it made too, and the same command trains it again"

_METRIC_LENGTH = 250
"""Characters that MLflow's stores keep of a metric's name."""

_DIGEST_LENGTH = 36
"""Characters that MLflow's stores keep of a digest; the whole SHA-256 is in the input's tags."""


def resolved_path(path: Path) -> Path:
    """Return the absolute path of a file, or `path` unchanged if the file is not readable here."""
    # `Path.exists` would raise if a folder on the way is not accessible.
    return path.resolve() if os.path.exists(path) else path  # noqa: PTH110


def describe_dataset(path: Path, name: str, digest: str) -> MetaDataset:
    """Return a plate file as an MLflow data set, with our digest of the whole file.

    MLflow's own digest covers only the first 10,000 numbers, which is 1.2 cells.
    """
    # If the file is not on this machine, only its name is known.
    source = LocalArtifactDatasetSource(str(resolved_path(path)))
    return MetaDataset(source, name=name, digest=digest[:_DIGEST_LENGTH])


def describe_splits(data: TrainingData) -> dict[str, MetaDataset]:
    """Return the plate files of a data set's splits as MLflow data sets, by split.

    A split of several files has the folder as its source, and one digest for all.
    """
    described = {}
    for split, files in data.files.items():
        name, digest = f"{data.name} {data.dataset.title(split)}", split_digest(data, split)
        source = files[0] if len(files) == 1 else Path(os.path.commonpath(files))
        described[split] = describe_dataset(source, name, digest)
    return described


def split_digest(data: TrainingData, split: str) -> str:
    """Return the SHA-256 of a split's file; of several files that of their digests in order."""
    digests = data.digests[split]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def log_data(data: TrainingData) -> None:
    """Log the splits as the run's inputs."""
    for split, described in describe_splits(data).items():
        tags = {"sha256": split_digest(data, split), "simulated": str(data.simulated)}
        log_input(described, split, tags)


def log_input(
    dataset: MetaDataset, context: str, tags: dict[str, str], model: LoggedModelInput | None = None
) -> None:
    """Log a data set as an input of the active run.

    If two runs log a new data set at the same moment, MLflow's stores refuse one of them. The
    refused run tries again and then finds the data set.
    """
    with_retry(lambda: mlflow.log_input(dataset, context=context, tags=tags, model=model))


def log_evaluations(
    evaluations: dict[str, Evaluation],
    dataset: Dataset,
    splits: dict[str, MetaDataset],
    title: str,
    simulated: bool,
    model_id: str,
) -> None:
    """Log metrics of each split, confusion matrices as tables, and one figure of all.

    Parameters
    ----------
    evaluations : dict of Evaluation
        By split.
    dataset : Dataset
    splits : dict of MetaDataset
        From `describe_splits`. With these and the model's id, MLflow's pages list the metrics of a
        model by data set.
    title : str
        Title of the figure.
    simulated : bool
    model_id : str
        The LoggedModel that was evaluated.
    """
    for split, evaluation in evaluations.items():
        metrics = _metrics(split, evaluation, dataset)
        mlflow.log_metrics(metrics, model_id=model_id, dataset=splits[split])
        counts = confusion_table(evaluation, dataset.class_names)
        mlflow.log_text(counts.to_csv(), f"confusion/{split}.csv")
    mlflow.log_dict({s: e.as_dict() for s, e in evaluations.items()}, EVALUATION)
    figure = confusion_figure(evaluations, dataset, title, simulated)
    mlflow.log_figure(figure, "confusion/splits.png")


def _metrics(split: str, evaluation: Evaluation, dataset: Dataset) -> dict[str, float]:
    """Return balanced errors of cells and wells, interval and recalls; no unknown figures."""
    bounds = zip(("low", "high"), evaluation.interval, strict=True)
    recalls = zip(dataset.classes, evaluation.recalls, strict=True)
    metrics = {
        f"{split}_balanced_error": evaluation.balanced_error,
        **{f"{split}_balanced_error_{end}": bound for end, bound in bounds},
        f"{split}_well_error": evaluation.well_error,
        **{f"{split}_recall_{one.short}": recall for one, recall in recalls},
    }
    return {metric_name(name): value for name, value in metrics.items() if not np.isnan(value)}


def metric_name(text: str) -> str:
    """Return a metric's name in a form that MLflow takes: ``recall_CD4+`` as ``recall_CD4_2b``.

    Signs that MLflow refuses become their code points. The name has at most 250 characters.
    """
    return re.sub(r"[^\w.\- ]", lambda sign: f"_{ord(sign[0]):x}", text)[:_METRIC_LENGTH]


def read_evaluations(run_id: str) -> dict[str, Evaluation]:
    """Return the evaluations, by split, that `log_evaluations` has logged in a run.

    Raises
    ------
    RegistryError
        When the run or its artifacts cannot be read.
    """
    try:
        place = mlflow.get_run(run_id).info.artifact_uri
        check_there(f"The run {run_id}", place, _ANEW)
        found = mlflow.artifacts.load_dict(f"runs:/{run_id}/{EVALUATION}")
    except (MlflowException, OSError) as error:
        raise RegistryError(
            f"{EVALUATION} of run {run_id} cannot be read from {store_name()} "
            f"({first_line(error)}): bring it back if its disk or store is away; if it was "
            f"deleted, {_ANEW}."
        ) from error
    return {split: Evaluation.from_dict(said) for split, said in found.items()}


def confusion_figure(
    evaluations: dict[str, Evaluation], dataset: Dataset, title: str, simulated: bool
) -> Figure:
    """Draw the confusion matrices of all splits, rows in % of the true class."""
    # Imported here, so that a scorer, which draws nothing, starts faster.
    from matplotlib.figure import Figure

    side = max(4.0, 0.3 * dataset.n_classes + 1.9)
    figure = Figure(figsize=(side * len(evaluations), side + 0.6), layout="constrained")
    axes = figure.subplots(1, len(evaluations), squeeze=False)[0]
    ticks = range(dataset.n_classes)
    for ax, (split, evaluation) in zip(axes, evaluations.items(), strict=True):
        cells = evaluation.confusion.sum(axis=1, keepdims=True)
        share = 100 * evaluation.confusion / np.maximum(cells, 1)
        ax.imshow(share, cmap="Blues", vmin=0, vmax=100)
        for row, column in np.argwhere(share >= 0.5):
            ink = "white" if share[row, column] > 60 else "black"
            text = f"{share[row, column]:.0f}"
            ax.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
        ax.set_xticks(ticks, dataset.short_names, rotation=60, fontsize=8)
        ax.set_yticks(ticks, dataset.short_names, fontsize=8)
        ax.set_title(f"{dataset.title(split)}: {evaluation.balanced_error:.1f} %")
        ax.set_xlabel("predicted class")
    axes[0].set_ylabel("true class")
    kind = "simulated cells" if simulated else "cells"
    figure.suptitle(f"{title}: {kind} in % of the true class; balanced error above each split")
    return figure


def requirements(representation: Representation) -> list[str]:
    """Return the packages that a machine must install to serve a model on a representation."""
    return pinned({*SERVED_PACKAGES, *representation.packages}, package_versions())


def log_model(bundle: Path, needed: list[str], name: str, card: str = "") -> ModelInfo:
    """Log the pyfunc of a bundle in the active run.

    Parameters
    ----------
    bundle : Path
        From `coos_mlflow.model.bundle.save`, in a folder called `bundle.ARTIFACT`.
    needed : list of str
        From `requirements`.
    name : str
        Name of the registered model that it becomes a version of.
    card : str
        Its description in Markdown, at most `coos_mlflow.registry.notes.LIMIT` characters.
    """
    package = Path(coos_mlflow.__file__).parent
    return mlflow.pyfunc.log_model(
        name=name.replace(".", "-"),  # MLflow refuses dots in names of LoggedModels
        model_type=MODEL_TYPE,
        tags={NOTE: card} if card else None,
        python_model=str(package / "model" / "mlflow_code.py"),
        code_paths=[str(package)],
        artifacts={bundles.ARTIFACT: str(bundle)},
        signature=_signature(bundles.dataset_of(bundles.read_description(bundle)).n_classes),
        input_example=bundles.example_cell(bundle),
        pip_requirements=needed,
    )


def pinned(names: Collection[str], versions: dict[str, str]) -> list[str]:
    """Return requirements that the default package index can meet.

    The index has no local versions: it has torch 2.13.0, but not 2.13.0+cpu.
    """
    return [f"{name}=={Version(versions[name]).public}" for name in sorted(names)]


def _signature(n_classes: int) -> ModelSignature:
    """Declare the output only.

    With an input schema MLflow would silently cast the cells of a request to the declared type:
    floats scaled to [0, 1] would become the count 0 before the model could refuse them.
    """
    columns = [
        ColSpec(DataType.long, "label"),
        ColSpec(DataType.string, "class_name"),
        *(ColSpec(DataType.double, f"p_{label}") for label in range(n_classes)),
    ]
    return ModelSignature(outputs=Schema(columns))
