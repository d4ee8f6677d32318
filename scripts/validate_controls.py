#!/usr/bin/env python3
"""Measure how often the intervals of control wells hold the true recall and balanced error.

Wells are simulated as beta-binomial: `scripts/validate_controls.py --draws 2000`.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np

from coos_mlflow.drift.recall_intervals import intervals

WELLS, CELLS, RECALLS, CORRELATIONS = (
    (1, 2, 4, 8),
    (10, 40, 100),
    (0.5, 0.9, 0.98),
    (0.02, 0.05, 0.15),
)


def coverage(
    wells: int, cells: int, recall: float, correlation: float, *, classes: int = 1, draws: int = 400
) -> tuple[float, float]:
    """Return the share of intervals that hold the recall, and the balanced error of all classes.

    Wells of a class have `cells` cells on average: half of them a third of it, half of them more.
    """
    key = [wells, cells, round(100 * recall), round(100 * correlation), classes]
    rng = np.random.default_rng([2, *key])
    label = np.repeat(np.arange(classes), wells)
    concentration = 1 / correlation - 1
    held = np.zeros(2)
    for _ in range(draws):
        own = rng.beta(recall * concentration, (1 - recall) * concentration, len(label))
        sizes = np.maximum(rng.poisson(cells * rng.choice([1 / 3, 5 / 3], len(label))), 1)
        lows, highs, (low, high) = intervals(rng.binomial(sizes, own), sizes, label)
        held[0] += np.mean((lows <= recall) & (recall <= highs))
        held[1] += low <= 100 * (1 - recall) <= high
    recalls, errors = held / draws
    return float(recalls), float(errors)


def main() -> None:
    """Print the least coverage over the grid, and by number of wells and correlation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--draws", type=int, default=400, help="intervals in each place of the grid"
    )
    draws = parser.parse_args().draws
    print("classes  correlation  wells  least of recalls  least of balanced errors")
    for classes, correlation, wells in itertools.product((1, 7), CORRELATIONS, WELLS):
        found = [
            coverage(wells, cells, recall, correlation, classes=classes, draws=draws)
            for cells, recall in itertools.product(CELLS, RECALLS)
        ]
        least = np.min(found, axis=0)
        print(
            f"{classes:7}  {correlation:11}  {wells:5}  {least[0]:16.1%}  {least[1]:24.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
