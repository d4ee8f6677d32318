"""Check a data set before it trains: classes, plates, leakage between splits, and what these cost.

Open this module to add a check; `coos dataset check` prints them, and training refuses the faults.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from coos_mlflow.drift.verdict import MIN_REFERENCE_PLATES
from coos_mlflow.errors import DataError
from coos_mlflow.plates.copies import cell_digests
from coos_mlflow.plates.dataset import (
    IDENTICAL_IMAGES,
    ONE_CLASS,
    ONE_PLATE_CLASSES,
    SHARED_WELLS,
    TRAINING,
)
from coos_mlflow.plates.schema import CHANNELS, NUCLEUS, UNLABELLED
from coos_mlflow.plates.splits import Annotations, TrainingData
from coos_mlflow.training.features import compute_or_load

_DIGEST = {"name": "nuclei", "version": "1"}
_NAMED = 3


@dataclass(frozen=True)
class SplitCheck:
    """What a split holds.

    Parameters
    ----------
    key, title : str
    cells : ndarray of int64, shape (classes,)
        Labelled cells by class.
    plates, wells : ndarray of int64, shape (classes,)
        Plates and wells that hold a class.
    by_plate : dict of ndarray of int64, shape (classes,)
        Labelled cells by plate and class.
    unlabelled : int
        Cells without a label.
    """

    key: str
    title: str
    cells: np.ndarray
    plates: np.ndarray
    wells: np.ndarray
    by_plate: dict[str, np.ndarray]
    unlabelled: int


@dataclass(frozen=True)
class DataCheck:
    """The result of `check_data`.

    Parameters
    ----------
    splits : list of SplitCheck
    faults : list of str
        Sentences on what keeps the data from training a model.
    remarks : list of str
        Sentences on what the data cannot show, or were allowed to have.
    """

    splits: list[SplitCheck]
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def refuse(self) -> None:
        """Raise the first fault.

        Raises
        ------
        DataError
        """
        if self.faults:
            raise DataError(self.faults[0])


def check_data(data: TrainingData) -> DataCheck:
    """Read labels, ids and nuclei of all splits, and look for faults.

    The nuclei are compared as digests, which are cached.

    Parameters
    ----------
    data : TrainingData

    Raises
    ------
    DataError
        For missing columns and ids, and for images that cannot be used.
    """
    annotations = {split: data.annotations(split) for split in data.files}
    checked = DataCheck([_split(data, key, found) for key, found in annotations.items()])
    for fault, allowed in _faults(data, checked.splits, annotations):
        (checked.remarks if allowed else checked.faults).append(fault)
    checked.remarks.extend(_costs(data, checked.splits))
    return checked


def _split(data: TrainingData, key: str, found: Annotations) -> SplitCheck:
    n = data.dataset.n_classes
    known = found.labels != UNLABELLED
    labels, plates = found.labels[known], found.plates[known]
    wells = np.array([f"{p}\t{w}" for p, w in zip(plates, found.wells[known], strict=True)])
    by_plate = {
        str(plate): np.bincount(labels[plates == plate], minlength=n) for plate in np.unique(plates)
    }
    return SplitCheck(
        key=key,
        title=data.dataset.title(key),
        cells=np.bincount(labels, minlength=n),
        plates=np.array([len(np.unique(plates[labels == label])) for label in range(n)]),
        wells=np.array([len(np.unique(wells[labels == label])) for label in range(n)]),
        by_plate=by_plate,
        unlabelled=int(np.count_nonzero(~known)),
    )


def _faults(
    data: TrainingData, splits: list[SplitCheck], annotations: dict[str, Annotations]
) -> Iterator[tuple[str, bool]]:
    """Yield sentences on faults, and whether dataset.yaml allows each."""
    names, training = data.dataset.class_names, splits[0]
    where = f"{data.folder}: {training.title}"
    allow = {key: split.allow for key, split in data.dataset.by_split.items()}
    lacking = [names[label] for label in np.flatnonzero(training.cells == 0)]
    if lacking:
        advice = "label some, or take the class out of dataset.yaml"
        yield f"{where} has no cell of {_listed(lacking)}; {advice}.", False
    single = [names[label] for label in np.flatnonzero(training.plates == 1)]
    if single:
        fault = (
            f"{where} has {_listed(single)} on one plate only, so a model may learn the plate "
            "instead of the class and nothing can show it"
        )
        yield _fault(fault, "add a second plate", ONE_PLATE_CLASSES, allow[TRAINING])
    if data.dataset.wells == ONE_CLASS and (mixed := _mixed_wells(annotations)):
        fault = f"{data.folder}: {_listed(mixed)} hold cells of several classes"
        advice = f"dataset.yaml says {ONE_CLASS}: write mixture there, or mend the labels"
        yield f"{fault}; {advice}.", False
    own = _wells(annotations[TRAINING])
    nuclei = _nuclei(data, TRAINING) if len(splits) > 1 else frozenset()
    advice = "take these cells out of one of them"
    for split in splits[1:]:
        shared = sorted(own & _wells(annotations[split.key]))
        if shared:
            words = [f"well {well} of plate {plate}" for plate, well in shared]
            fault = (
                f"{data.folder}: {split.title} shares {_listed(words)} with {training.title}, so "
                "its error is too low for new wells"
            )
            yield _fault(fault, advice, SHARED_WELLS, allow[split.key])
        copies = len(nuclei & _nuclei(data, split.key))
        if copies:
            fault = (
                f"{data.folder}: {copies:,} nucleus images of {split.title} are in "
                f"{training.title} too, pixel by pixel, so its error is too low"
            )
            yield _fault(fault, advice, IDENTICAL_IMAGES, allow[split.key])


def _fault(fault: str, advice: str, name: str, allow: Sequence[str]) -> tuple[str, bool]:
    """Return the sentence on a fault that dataset.yaml may allow, and whether it does."""
    if name in allow:
        return f"{fault}; dataset.yaml allows it ({name}).", True
    allowing = f"write `allow: [{name}]` below the split in dataset.yaml if it is meant so"
    return f"{fault}; {advice}, or {allowing}.", False


def _wells(found: Annotations) -> set[tuple[str, str]]:
    return set(zip(found.plates.tolist(), found.wells.tolist(), strict=True))


def _mixed_wells(annotations: dict[str, Annotations]) -> list[str]:
    classes: dict[tuple[str, str], set[int]] = {}
    for found in annotations.values():
        columns = (found.plates.tolist(), found.wells.tolist(), found.labels.tolist())
        for plate, well, label in zip(*columns, strict=True):
            if label != UNLABELLED:
                classes.setdefault((plate, well), set()).add(label)
    return [
        f"well {well} of plate {plate}"
        for (plate, well), labels in sorted(classes.items())
        if len(labels) > 1
    ]


def _nuclei(data: TrainingData, split: str) -> frozenset[int]:
    """Return digests of the nucleus images of a split.

    Nuclei are compared, not whole cells: the same cell may be there once for each of its proteins.
    """
    channel = CHANNELS.index(NUCLEUS)
    digests = compute_or_load(
        data, split, _DIGEST, lambda images: {"nuclei": cell_digests(images[:, channel])}
    )["nuclei"]
    return frozenset(np.asarray(digests).tolist())


def _costs(data: TrainingData, splits: list[SplitCheck]) -> Iterator[str]:
    """Yield sentences on what the data are too few for."""
    training, names = splits[0], data.dataset.class_names
    n_plates = len(training.by_plate)
    if n_plates < MIN_REFERENCE_PLATES:
        yield (
            f"{training.title} has {n_plates} {'plate' if n_plates == 1 else 'plates'}, and a "
            f"verdict on new plates needs at least {MIN_REFERENCE_PLATES}: every report will say "
            "'cannot tell'."
        )
    if not splits[1:]:
        yield (
            f"No reference split: the error is measured on left-out plates of {training.title} "
            "alone, and "
            "how it grows with distance is not known."
        )
    for split in splits[1:]:
        lacking = [names[label] for label in np.flatnonzero(split.cells == 0)]
        if lacking:
            yield (
                f"{split.title} has no cell of {_listed(lacking)}: its balanced error is the mean "
                "over the other classes."
            )
    if training.unlabelled:
        yield (
            f"{training.unlabelled:,} cells of {training.title} have no label: only networks that "
            "learn without labels use them."
        )


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {more:,} more" if more > 0 else shown
