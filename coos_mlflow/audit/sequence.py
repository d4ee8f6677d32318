"""The order in which the cells of a plate are put to a person.

The first n cells of the order are a stratified sample for every n: labelling can stop anywhere and
go on later. Strata get cells in proportion to how much they may add to the error's variance (Neyman
1934, J. R. Stat. Soc. 97, 558-625), by Sainte-Lague's divisors, so that a longer sample contains
every shorter one. Inside a stratum the points of a van der Corput sequence with a random start are
taken from the cells sorted by plate and well: every cell is as likely to be drawn, and the drawn
ones are spread over the wells.
"""

from __future__ import annotations

import numpy as np

from coos_mlflow.audit.frame import CONFIDENT, CONFIDENTLY_ODD, GROUPS, ODD, UNSURE, Frame

RISKS = {CONFIDENT: 0.1, UNSURE: 0.3, ODD: 0.3, CONFIDENTLY_ODD: 0.5}
"""Least assumed share of wrong guesses by group, by which strata share the cells. That of confident
labels is high, so that confident mistakes are met; chosen on development plates."""

BLOCK = 10
"""Cells of the order that are shuffled before a person sees them (`shuffled`)."""


def sequence(frame: Frame, seed: int) -> np.ndarray:
    """Return all cells of a plate in the order in which they are asked for.

    Parameters
    ----------
    frame : Frame
    seed : int

    Returns
    -------
    ndarray of int64, shape (len(frame),)
        Rows of the frame. The first n are the sample of n cells.
    """
    rng = np.random.default_rng(seed)
    weights = np.bincount(frame.strata, _deviations(frame))
    rows, turns = [], []
    for stratum, weight in enumerate(weights):
        own = _spread(frame, np.flatnonzero(frame.strata == stratum), rng)
        rows.append(own)
        turns.append((2 * np.arange(len(own)) + 1) / weight)
    order = np.argsort(np.concatenate(turns), kind="stable")
    return np.concatenate(rows)[order]


def shuffled(n: int, seed: int) -> np.ndarray:
    """Return the places 0 to n - 1 with each ten of them shuffled, int64, shape (n,).

    The order of the cells goes through the strata, which hold one predicted class each, and so
    would tell what the model has said.
    """
    blocks = [
        start + np.random.default_rng([seed, start]).permutation(min(BLOCK, n - start))
        for start in range(0, n, BLOCK)
    ]
    return np.concatenate(blocks)


def inclusion(frame: Frame, rows: np.ndarray) -> np.ndarray:
    """Return the probability with which each drawn cell was drawn, shape (len(rows),).

    Parameters
    ----------
    frame : Frame
    rows : ndarray of int64
        All cells of the sample, the beginning of `sequence`.
    """
    drawn = np.bincount(frame.strata[rows], minlength=int(frame.strata.max()) + 1)
    share: np.ndarray = (drawn / np.bincount(frame.strata))[frame.strata[rows]]
    return share


def _deviations(frame: Frame) -> np.ndarray:
    """Return how much each cell may add to the deviation of the balanced error, shape (n,)."""
    risks = np.array([RISKS[group] for group in range(GROUPS)])[frame.groups]
    risks = np.clip(1 - frame.probabilities.max(axis=1), risks, 0.5)
    cells = np.bincount(frame.guesses, minlength=frame.n_classes)
    return np.sqrt(risks * (1 - risks)) / cells[frame.guesses]


def _spread(frame: Frame, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of a stratum in an order of which each beginning is spread over the wells."""
    rows = rows[np.lexsort((rows, frame.wells[rows], frame.plates[rows]))]
    bits = max(1, int(len(rows) - 1).bit_length())
    numbers = np.arange(2**bits)
    reversed_bits = sum(((numbers >> bit) & 1) << (bits - 1 - bit) for bit in range(bits))
    points = np.floor((reversed_bits / 2**bits + rng.random()) % 1 * len(rows)).astype(np.int64)
    first = np.sort(np.unique(points, return_index=True)[1])
    found: np.ndarray = rows[points[first]]
    return found
