"""Folds of whole plates: what is held out shares no plate with what is fitted on."""

from __future__ import annotations

import numpy as np

from coos_mlflow.plates.schema import UNLABELLED

Fold = tuple[np.ndarray, np.ndarray]
"""Rows to fit on, rows held out."""


def left_out_plates(y: np.ndarray, plates: np.ndarray) -> list[Fold]:
    """Divide Training into few folds of whole plates; the plates of a fold share no class.

    As when each plate is left out alone, a fold leaves out at most one plate of each class. Plates
    of different classes share a fold, so that about twenty plates of COOS-7 need four to six folds.
    Each plate joins the first fold that it fits; plates of many classes come first. A plate that is
    the only one of a class has its own fold, so that no fold lacks more classes than necessary.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
    plates : ndarray of str, shape (n,)

    Returns
    -------
    list of Fold
        Rows to fit on and rows held out; each plate is held out once.
    """
    classes = {str(plate): set(y[plates == plate].tolist()) for plate in np.unique(plates)}
    # Whether every class of a plate is also on another plate.
    replaceable = {
        plate: all(sum(label in others for others in classes.values()) > 1 for label in labels)
        for plate, labels in classes.items()
    }
    groups: list[list[str]] = []
    for plate in sorted(classes, key=lambda name: (-len(classes[name]), name)):
        for group in groups:
            members = [*group, plate]
            n_classes = sum(len(classes[member]) for member in members)
            disjoint = len(set().union(*(classes[member] for member in members))) == n_classes
            if disjoint and all(replaceable[member] for member in members):
                group.append(plate)
                break
        else:
            groups.append([plate])
    held_out = [np.isin(plates, group) for group in groups]
    return [(np.flatnonzero(~rows), np.flatnonzero(rows)) for rows in held_out]


def held_out_plates(labels: np.ndarray, plates: np.ndarray, seed: int) -> Fold | None:
    """Choose whole plates to hold out, so that every class is on held-out and on other plates.

    They are one of the folds of `left_out_plates`, which the seed chooses. It is about a fifth of
    COOS-7's Training.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
        Cells with the label `UNLABELLED` are in neither part.
    plates : ndarray of str, shape (n,)
    seed : int

    Returns
    -------
    Fold or None
        Sorted rows; None where no fold leaves every class in both parts.
    """
    rows = np.flatnonzero(labels != UNLABELLED)
    folds = [(rows[fit], rows[out]) for fit, out in left_out_plates(labels[rows], plates[rows])]
    classes = set(labels[rows].tolist())
    full = [fold for fold in folds if all(set(labels[part].tolist()) == classes for part in fold)]
    return full[np.random.default_rng(seed).integers(len(full))] if full else None
