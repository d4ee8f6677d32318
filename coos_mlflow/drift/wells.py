"""What the cells of a well say together: a class, shares with intervals, and warnings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from coos_mlflow.drift import MIN_CELLS_PER_WELL
from coos_mlflow.drift.error_estimate import torn_wells
from coos_mlflow.drift.estimators.well_consensus import design_effects, well_classes

LEVEL = 0.95
"""Of the intervals of shares."""

TORN, TOO_FEW, FAR, ODD = (
    "torn between",
    "too few cells",
    "far from the reference",
    "unlike every class",
)
"""Warnings; the first goes on with the names of two classes."""


def share_intervals(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the share of each label in wells, with its 95 % interval.

    Wilson's score interval (Wilson 1927, JASA 22, 209-212) with the effective number of cells in
    place of their number (Kish 1965, section 5.4; for score intervals of correlated answers, Franco
    et al. 2019, J. Surv. Stat. Methodol. 7(3), 334-364). It is an interval for the share among all
    cells that are treated as those of the well, in other wells too. Shares are of the labels: the
    confusions of the model are not taken out of them, because one well has too few cells for that
    and a treatment may change how cells are confused.

    Parameters
    ----------
    votes : ndarray, shape (wells, classes)
        Cells of each well by label, at least one cell a well.

    Returns
    -------
    shares, lows, highs : ndarray of float64, shape (wells, classes)
    """
    cells = votes.sum(axis=1, keepdims=True)
    shares = votes / cells
    effective = cells / design_effects(cells)
    z = float(norm.ppf((1 + LEVEL) / 2))
    stretch = 1 + z**2 / effective
    middles = (shares + z**2 / (2 * effective)) / stretch
    halves = z * np.sqrt(shares * (1 - shares) / effective + z**2 / (4 * effective**2)) / stretch
    lows, highs = middles - halves, middles + halves
    return shares, np.clip(lows, 0.0, shares), np.clip(highs, shares, 1.0)


def decided_classes(
    votes: np.ndarray, plates: np.ndarray, rates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the class that the cells of each well decide together, and its probability.

    Parameters
    ----------
    votes : ndarray, shape (wells, classes)
        Cells of each well by label.
    plates : ndarray of str, shape (wells,)
        The wells of a plate share their confusions (`well_classes`).
    rates : ndarray, shape (classes, classes)
        `Calibration.label_rates`.

    Returns
    -------
    labels : ndarray of int64, shape (wells,)
    probabilities : ndarray of float64, shape (wells,)
    """
    classes = np.zeros(votes.shape)
    for plate in np.unique(plates):
        classes[plates == plate] = well_classes(votes[plates == plate], rates)
    return classes.argmax(axis=1), classes.max(axis=1, initial=0.0)


def well_warnings(
    votes: np.ndarray,
    distances: Sequence[float | None],
    far: float | None,
    class_names: Sequence[str],
    *,
    one_class: bool,
) -> list[list[str]]:
    """Return the warnings of each well.

    Parameters
    ----------
    votes : ndarray, shape (wells, classes)
        Cells of each well by label.
    distances : sequence of float or None
        Of each well from the reference.
    far : float or None
        Distance from which on a well is far (`PlateComparison.far_well`).
    class_names : sequence of str
    one_class : bool
        Whether a well holds one class, so that it can be torn between two.
    """
    # A stable sort: of labels with equal numbers, the first class comes first.
    order = np.argsort(-votes, axis=1, kind="stable")
    torn = torn_wells(votes) & one_class
    few = votes.sum(axis=1) < MIN_CELLS_PER_WELL
    warnings = []
    for well, distance in enumerate(distances):
        first, second = (class_names[label] for label in order[well, :2])
        found = [f"{TORN} {first} and {second}"] if torn[well] else []
        found += [TOO_FEW] if few[well] else []
        found += [FAR] if far is not None and distance is not None and distance > far else []
        warnings.append(found)
    return warnings
