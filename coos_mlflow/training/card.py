"""Write the model card of a version, in Markdown.

``reports/templates/model_card.md.j2`` holds the text. This module finds the figures.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from coos_mlflow.drift.reference import Reference
from coos_mlflow.drift.verdict import MIN_REFERENCE_PLATES
from coos_mlflow.metrics import Evaluation
from coos_mlflow.plates.dataset import TRAINING, Dataset
from coos_mlflow.reports.plate import sensitivity
from coos_mlflow.reports.plate.doubts import ALWAYS_A_CLASS
from coos_mlflow.reports.plate.markdown import render_markdown
from coos_mlflow.reports.plate.wording import LEFT_OUT


def model_card(
    name: str,
    title: str,
    dataset: Dataset,
    evaluations: dict[str, Evaluation],
    reference: Reference,
    found: dict[str, Any],
    origin: str = "",
) -> str:
    """Return the model card of a version.

    Parameters
    ----------
    name : str
        Name of the registered model.
    title : str
        Representation, layer and classifier in words.
    dataset : Dataset
    evaluations : dict of Evaluation
        By split. Training is evaluated on the cells of the fit.
    reference : Reference
        What the version knows of drift.
    found : dict
        What its verdict can find, `coos_mlflow.drift.assessment.Assessor.sensitivity`.
    origin : str
        `coos_mlflow.representations.base.Representation.origin`.
    """
    plates = {split: _count(profile.plates) for split, profile in reference.profiles.items()}
    m = plates.pop(TRAINING)
    summary: dict[str, Any] = {
        "name": name,
        "title": title,
        "origin": origin,
        "dataset": dataset,
        "data_name": reference.provenance["dataset"],
        "simulated": reference.provenance["simulated"],
        "n_training": f"{evaluations[TRAINING].n_cells:,}",
        "splits": [_row(split, dataset, evaluation) for split, evaluation in evaluations.items()],
        "left_out": LEFT_OUT[reference.training_predictions],
        "left_out_error": reference.errors[TRAINING],
        "n_plates": m,
        "enough_plates": m >= MIN_REFERENCE_PLATES,
        "fewest_plates": MIN_REFERENCE_PLATES,
        "smallest_p": f"{1 / (m + 1):.2g}",
        "sensitivity": sensitivity.sentences(
            found,
            {split: dataset.title(split) for split in reference.profiles},
        ),
        "always_a_class": ALWAYS_A_CLASS,
        "others": [_plates(count, dataset.title(split)) for split, count in plates.items()],
    }
    return render_markdown(summary, "model_card.md.j2")


def _row(split: str, dataset: Dataset, evaluation: Evaluation) -> dict[str, Any]:
    low, high = evaluation.interval
    return {
        "title": dataset.title(split),
        "error": evaluation.balanced_error,
        "well_error": "-" if math.isnan(evaluation.well_error) else f"{evaluation.well_error:.1f}",
        "interval": "-" if math.isnan(low) else f"{low:.1f} to {high:.1f}",
        "cells": f"{evaluation.n_cells:,}",
        "meaning": dataset.by_split[split].meaning or "-",
    }


def _count(plates: np.ndarray) -> int:
    return len(np.unique(plates))


def _plates(count: int, title: str) -> str:
    return f"{count} plate{'s' * (count != 1)} of {title}"
