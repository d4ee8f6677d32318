"""Looks: what a sample of labels says of one plate, beside the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from drift_validation import plates as drift_plates
from drift_validation.bank import Bank
from drift_validation.registries import Judging

from audit_validation.plates import Plate, frame_of, truths_of
from coos_mlflow._utils.files import write_whole
from coos_mlflow.audit.frame import Frame
from coos_mlflow.audit.measure import DRAWS, LEVEL, measure
from coos_mlflow.audit.sequence import sequence
from coos_mlflow.metrics import confusion_matrix, recalls
from coos_mlflow.plates.layout import NONE

LABELS = (20, 50, 100, 200)
SLIPS = {0.0: LABELS, 0.02: (100,), 0.05: (100,)}
"""Shares of cells of which a person says a wrong class, and numbers of labels."""

REPEATS = 2
"""Samples of each plate."""

MAX_SHARE = 0.5
"""Largest share of a plate's cells that is labelled; larger samples are left out."""


@dataclass(frozen=True)
class Look:
    """What labels say of a plate.

    Parameters
    ----------
    model, group, kind, plate : str
    labels : int
    slips : float
        Share of labels that are wrong.
    truth, estimate, low, high : float
        Balanced error in % over the classes that the labels name.
    all_classes : float
        The true balanced error over all known classes of the plate.
    wrong, wrong_low, wrong_high : float
        Wrong labels in %.
    none, none_low, none_high : float
        Cells of no known class, a share.
    recalls, recalls_held : int
        Classes with an interval of their recall, and those whose true recall is in it.
    plain_truth, plain_low, plain_high : float
        Balanced error in % over the classes that a plain random sample of as many cells finds, and
        its interval from that sample.
    """

    model: str
    group: str
    kind: str
    plate: str
    labels: int
    slips: float
    truth: float
    estimate: float
    low: float
    high: float
    all_classes: float
    wrong: float
    wrong_low: float
    wrong_high: float
    none: float
    none_low: float
    none_high: float
    recalls: int
    recalls_held: int
    plain_truth: float
    plain_low: float
    plain_high: float


def look(judging: Judging, plates: list[Plate], bank: Bank, file: Path) -> None:
    """Label plates that one model has scored, and write what is found into a file."""
    model = judging.load()
    found = [
        asdict(one)
        for plate in plates
        for one in _looks(judging, plate, drift_plates.score(model, bank.load(plate.entry)))
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(found).encode())


def _looks(judging: Judging, plate: Plate, scored: drift_plates.Scored) -> Iterator[Look]:
    cells = plate.of(scored)
    frame, truths = frame_of(cells), truths_of(cells)
    for repeat in range(REPEATS):
        seed = plate.entry.seed * REPEATS + repeat
        order = sequence(frame, seed)
        rng = np.random.default_rng(seed)
        for slips, numbers in SLIPS.items():
            for n in numbers:
                if n <= MAX_SHARE * len(frame):
                    yield _look(judging, plate, frame, truths, order[:n], slips, rng)


def _look(
    judging: Judging,
    plate: Plate,
    frame: Frame,
    truths: np.ndarray,
    rows: np.ndarray,
    slips: float,
    rng: np.random.Generator,
) -> Look:
    found = measure(frame, rows, _said(truths[rows], slips, frame.n_classes, rng))
    known = truths != NONE
    confusion = confusion_matrix(truths[known], frame.labels[known], frame.n_classes)
    of_class = recalls(confusion)
    held = np.array(
        [
            found["recall_lows"][c] - 1e-9 <= of_class[c] <= found["recall_highs"][c] + 1e-9
            for c in found["classes"]
            if np.isfinite(of_class[c])
        ]
    )
    plain = rng.permutation(len(frame))[: len(rows)]
    plain_classes, plain_low, plain_high = _plain_interval(frame.labels[plain], truths[plain], rng)
    return Look(
        model=judging.name,
        group=judging.group,
        kind=plate.kind,
        plate=plate.name,
        labels=len(rows),
        slips=slips,
        truth=100 * (1 - float(np.nanmean(of_class[found["classes"]]))),
        estimate=found["balanced_error"],
        low=found["low"],
        high=found["high"],
        all_classes=100 * (1 - float(np.nanmean(of_class))),
        wrong=100 * float(np.mean(truths != frame.labels)),
        wrong_low=found["wrong_low"],
        wrong_high=found["wrong_high"],
        none=float(np.mean(~known)),
        none_low=found["none"]["low"],
        none_high=found["none"]["high"],
        recalls=len(held),
        recalls_held=int(held.sum()),
        plain_truth=100 * (1 - float(np.nanmean(of_class[plain_classes]))),
        plain_low=plain_low,
        plain_high=plain_high,
    )


def _said(truths: np.ndarray, slips: float, n_classes: int, rng: np.random.Generator) -> np.ndarray:
    """Return what a person says who calls a share of the cells another class at random."""
    other = (np.maximum(truths, 0) + rng.integers(1, n_classes, len(truths))) % n_classes
    return np.where(rng.random(len(truths)) < slips, other, truths)


def _plain_interval(
    labels: np.ndarray, truths: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float, float]:
    """Return the classes of a plain random sample, and the interval of its balanced error.

    Recalls have Jeffreys' prior.
    """
    classes = np.unique(truths[truths != NONE])
    right = np.array([np.count_nonzero((truths == c) & (labels == c)) for c in classes])
    cells = np.array([np.count_nonzero(truths == c) for c in classes])
    drawn = rng.beta(right + 0.5, cells - right + 0.5, (DRAWS, len(classes)))
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(100 * (1 - drawn.mean(axis=1)), [tail, 100 - tail])
    return classes, float(low), float(high)
