"""What adapting a model to a simulated plate gains, by the number of labelled cells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from drift_validation.bank import Bank, Described
from drift_validation.kinds import Entry
from drift_validation.registries import Judging

from coos_mlflow._utils.files import write_whole
from coos_mlflow.audit.frame import Frame
from coos_mlflow.audit.sequence import inclusion, sequence
from coos_mlflow.labelling.adapt.cells import LabelledCells, corrected
from coos_mlflow.labelling.adapt.choice import Gain, choose, fit
from coos_mlflow.model.cell_model import CellModel

NUMBERS = (20, 50, 100, 200)

MOST_LABELLED = 0.6
"""Share of a plate's cells up to which the others are enough to judge by."""


@dataclass(frozen=True)
class Gained:
    """A plate before and after adapting the model to it.

    Parameters
    ----------
    kind : str
        Of the plate.
    n_labels : int
    remedy : str
        Empty where nothing helped.
    before, after : float
        True balanced error in % of the cells that were not labelled, weighted to stand for the
        whole plate.
    unsure : float
        Standard error of the true change in points, over the cells that were not labelled.
    said_before, said_after, said_low, said_high : float
        What `coos adapt` says of the labelled cells: balanced error in % before and after, and the
        interval of the change in points. NaN without.
    """

    kind: str
    n_labels: int
    remedy: str
    before: float
    after: float
    unsure: float
    said_before: float = float("nan")
    said_after: float = float("nan")
    said_low: float = float("nan")
    said_high: float = float("nan")


def write_gains(judging: Judging, entry: Entry, bank: Bank, file: Path) -> None:
    """Adapt one model to one plate, and write what is gained into a file."""
    found = gains(judging.load(), bank.load(entry), entry.kind.name, seed=entry.seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [asdict(one) | {"model": judging.name, "group": judging.group} for one in found]
    write_whole(file, json.dumps(rows).encode())


def gains(
    model: CellModel,
    plate: Described,
    kind: str,
    numbers: Sequence[int] = NUMBERS,
    seed: int = 0,
    *,
    one_class_wells: bool = True,
) -> list[Gained]:
    """Adapt a model to a described plate by the first cells of its sequence.

    Parameters
    ----------
    model : CellModel
    plate : Described
        Cells of classes that the model does not know are left out of labels and error.
    kind : str
    numbers : sequence of int
        Labelled cells; those that leave too few others are left out.
    seed : int
        Of the sequence.
    one_class_wells : bool
        Whether wells hold one class, for the strata.
    """
    scores, features = model.classify(plate.features), plate.features[model.layer]
    n = len(plate.labels)
    frame = Frame(
        np.arange(n), np.full(n, "plate"), plate.wells, scores.probabilities, one_class_wells
    )
    wells = np.unique(plate.wells, return_inverse=True)[1]
    whole = LabelledCells(
        features, scores.features, scores.probabilities, plate.labels, np.ones(n), wells
    )
    order, rows = sequence(frame, seed), []
    for number in numbers:
        if number > MOST_LABELLED * n:
            continue
        drawn, known = order[:number], plate.labels < frame.n_classes
        own = replace(whole.select(drawn), weights=1 / inclusion(frame, drawn))
        own = own.select(known[drawn])
        others = _weights_of_others(frame, drawn) * known
        before = _balanced_error(plate.labels, frame.labels, others)
        found, labels = choose(model, own), frame.labels
        if found.chosen:
            labels = corrected(model, fit(model, found.chosen, own), whole).argmax(axis=1)
        after = _balanced_error(plate.labels, labels, others)
        unsure = _unsure(plate.labels, frame.labels, labels, others)
        key = found.chosen.key if found.chosen else ""
        rows.append(Gained(kind, number, key, before, after, unsure, *_said(found.gain)))
    return rows


def _said(gain: Gain | None) -> tuple[float, ...]:
    if gain is None:
        return ()
    return gain.before.value, gain.after.value, gain.change.low, gain.change.high


def _weights_of_others(frame: Frame, drawn: np.ndarray) -> np.ndarray:
    """Return how many cells each unlabelled cell stands for, 0 for labelled ones, shape (n,)."""
    cells = np.bincount(frame.strata)
    left = cells - np.bincount(frame.strata[drawn], minlength=len(cells))
    weights = (cells / np.maximum(left, 1))[frame.strata]
    weights[drawn] = 0
    return weights


def _balanced_error(truths: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    there = [label for label in np.unique(truths) if weights[truths == label].sum() > 0]
    errors = [
        np.average(labels[truths == label] != label, weights=weights[truths == label])
        for label in there
    ]
    return float(100 * np.mean(errors))


def _unsure(
    truths: np.ndarray, before: np.ndarray, after: np.ndarray, weights: np.ndarray
) -> float:
    """Return the standard error of the change of the balanced error in points."""
    change = (after != truths).astype(float) - (before != truths)
    variances = []
    for label in np.unique(truths[weights > 0]):
        own = (truths == label) & (weights > 0)
        shares = weights[own] / weights[own].sum()
        around = change[own] - shares @ change[own]
        variances.append(np.sum((shares * around) ** 2))
    return float(100 * np.sqrt(np.sum(variances)) / len(variances))
