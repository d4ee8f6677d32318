"""What the labelled cells of a plate tell: the entry `audit` of drift.json."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from coos_mlflow.audit.agreement import agreement
from coos_mlflow.audit.frame import Frame
from coos_mlflow.audit.labels_file import (
    CANNOT_SEE,
    NONE_WORDS,
    SEED,
    Label,
    now,
    read_labels,
    sample_of,
)
from coos_mlflow.audit.measure import LEVEL, measure
from coos_mlflow.audit.sequence import BLOCK, inclusion, sequence
from coos_mlflow.drift import CANNOT_TELL
from coos_mlflow.drift.assessment import rounded
from coos_mlflow.drift.error_estimate import MEASURED
from coos_mlflow.errors import DataError
from coos_mlflow.plates.layout import NONE
from coos_mlflow.registry.results import AUDIT, PREDICTIONS


def frame_of(folder: Path, drift: dict[str, Any]) -> Frame:
    """Return the cells of a plate that can be drawn: those that count in its figures.

    Parameters
    ----------
    folder : Path
        Of the results; its table of predictions is read.
    drift : dict
        Content of its drift.json.
    """
    path = folder / PREDICTIONS
    columns = pq.read_schema(path).names
    scores = [name for name in columns if re.fullmatch(r"p_\d+", name)]
    ids = ["Metadata_Plate", "Metadata_Well"]
    table = pd.read_parquet(path, columns=["Metadata_Index", *ids, *scores, "flag"])
    counts = table["flag"].isna()
    for name, in_use in zip(ids, (drift["has_plate_ids"], drift["has_well_ids"]), strict=True):
        table[name] = table[name].fillna("")
        if in_use:
            counts &= table[name] != ""
    table = table[counts]
    return Frame(
        cells=table["Metadata_Index"].to_numpy(np.int64),
        plates=table["Metadata_Plate"].to_numpy(str),
        wells=table["Metadata_Well"].to_numpy(str),
        probabilities=table[scores].to_numpy(np.float32),
        one_class_wells=drift["wells_have_classes"],
    )


def order_of(frame: Frame) -> np.ndarray:
    """Return the rows of a frame in the order in which cells are asked for, int64."""
    return sequence(frame, SEED)


def new_label(
    frame: Frame, order: np.ndarray, place: int, answer: str, labeller: str, sample: str
) -> Label:
    """Return the label that a person gives now to the cell at a place of the order, from 0."""
    row = int(order[place])
    return Label(
        cell=int(frame.cells[row]),
        plate=str(frame.plates[row]),
        well=str(frame.wells[row]),
        label=answer,
        labeller=labeller,
        time=now(),
        inclusion_probability=round(float(inclusion(frame, order[: place + 1])[-1]), 9),
        sample=sample,
    )


def audit_entry(folder: Path, drift: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the labels in a folder of results measure, as docs/drift.md describes it.

    Parameters
    ----------
    folder : Path
        Holds the table of predictions and the labels.
    drift : dict
        Content of drift.json, with or without this entry.

    Returns
    -------
    dict or None
        None where no cell was labelled, or none could be judged.

    Raises
    ------
    DataError
        For labels of another sample, and a label that is no class of the model.
    """
    sample, path = sample_of(drift), folder / AUDIT
    labels = read_labels(path, sample)
    names = [one["name"] for one in drift["dataset"]["classes"]]
    for label in labels:
        if label.label not in (known := [*names, NONE_WORDS, CANNOT_SEE]):
            raise DataError(
                f"{path}: label {label.label!r:.80} of cell {label.cell} found, expected one of "
                f"{', '.join(known)}; mend it."
            )
    judged = Counter(label.labeller for label in labels if label.label != CANNOT_SEE)
    if not judged:
        return None
    labeller = max(judged, key=lambda name: judged[name])  # the first of several
    frame = frame_of(folder, drift)
    own = {label.cell: label.label for label in labels if label.labeller == labeller}
    rows, truths = judged_rows(frame, own, names)
    if not len(rows):
        return None
    figures = measure(frame, rows, truths, SEED)
    has_label = np.isin(frame.cells[order_of(frame)], list(own))
    estimated = _estimated(drift["error"])
    measured = figures["balanced_error"]
    both = estimated is not None and measured is not None
    everyone = Counter(label.labeller for label in labels)
    entry: dict[str, Any] = rounded(
        {
            "sample": sample,
            "seed": SEED,
            "skipped": _skipped(np.flatnonzero(has_label)),
            "n_cells": len(rows),
            "cannot_see": int(has_label.sum()) - len(rows),
            "labeller": labeller,
            "labellers": [{"name": name, "n_cells": n} for name, n in everyone.items()],
            "agreement": agreement(labels, labeller),
            **figures,
            "estimated": estimated,
            "off": estimated - measured if both else None,
            "level": LEVEL,
        }
    )
    return entry


def judged_rows(
    frame: Frame, said: Mapping[int, str], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labelled cells that could be judged.

    Parameters
    ----------
    frame : Frame
    said : mapping of int to str
        What was said of each cell, by its index in the plate file.
    names : sequence of str
        Of the classes.

    Returns
    -------
    rows, truths : ndarray of int64, shape (n,)
        Of the frame, and the class of each or `NONE`.
    """
    numbers = {name: label for label, name in enumerate(names)} | {NONE_WORDS: NONE}
    judged = {cell: numbers[answer] for cell, answer in said.items() if answer != CANNOT_SEE}
    rows = np.flatnonzero(np.isin(frame.cells, list(judged)))
    return rows, np.array([judged[cell] for cell in frame.cells[rows].tolist()], np.int64)


def _skipped(places: np.ndarray) -> int:
    """Return how many cells have no label though later ones have, from the labelled places.

    Every `BLOCK` cells are shown in any order, so those of the last one do not count.
    """
    before = int(places.max()) // BLOCK * BLOCK
    return before - int((places < before).sum())


def _estimated(error: dict[str, Any]) -> float | None:
    """Return the best guess that needs no labels, or None where there is none."""
    answer = error["answer"]
    return None if answer in (MEASURED, CANNOT_TELL) else error["balanced_error"]
