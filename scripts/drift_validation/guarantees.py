"""What the drift report promises of verdicts and estimates, measured on plates of known truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coos_mlflow.drift import SHIFTED
from coos_mlflow.drift.reference import Reference
from drift_validation.figures import Figures, k_of_n
from drift_validation.journal import Record

TORN_LAYOUTS = ("mixed wells", "uneven wells")
"""Layouts that put several proteins into a well, as no well of COOS-7 does."""

LIKE = ("test3", "test4")
"""Splits that plates are detected as being like."""


def measure(records: Sequence[Record], reference: Reference) -> dict[str, Any]:
    """Return the figures of the table, with ``counts`` and ``intervals`` by the same keys.

    Errors are judged over plates of the kinds that the splits are made of, and over Test1..4
    themselves; figures of all kinds take graded shifts and wells of several proteins as well.
    Keys that end in ``_all`` take a plate without an estimate as off by as much as the error of
    Test1, which is what is left to go by, and as not covered; the others leave it out.
    """
    figures = Figures(plates=len(records))
    unshifted = [r for r in records if r.like == "training"]
    figures.share("false_alarm_rate", [r.verdict == SHIFTED for r in unshifted])
    regular = [r for r in records if is_regular(r)]
    figures.note("answered", k_of_n([answered(r) for r in regular]))
    for split in LIKE:
        own = [r for r in regular if r.like == split]
        figures.share(f"detection_{split}", [r.verdict == SHIFTED for r in own])
        figures.note(f"answered_{split}", k_of_n([answered(r) for r in own]))
    _add_errors(figures, regular, reference)
    _add_shifted_errors(figures, [r for r in regular if r.like in LIKE])
    _add_recalls(figures, regular)
    figures.note("answered_all_kinds", k_of_n([answered(r) for r in records]))
    figures.mean("error_mae_all_kinds", *_off_where_answered(records))
    figures.share("coverage_all_kinds", [covered(r) for r in records if answered(r)])
    return figures.as_dict()


def is_regular(record: Record) -> bool:
    """Tell whether a plate is of a kind that the splits of COOS-7 are made of."""
    return record.shift == 1.0 and record.layout not in TORN_LAYOUTS


def answered(record: Record) -> bool:
    """Tell whether an estimate was given."""
    return record.estimate is not None


def covered(record: Record) -> bool:
    """Tell whether there is a range and the true error lies in it."""
    low, high = record.low, record.high
    return low is not None and high is not None and low <= record.truth <= high


def off(record: Record) -> float:
    """Return how far the estimate is off, in points; where there is none, the error of Test1."""
    return baseline_off(record) if record.estimate is None else abs(record.estimate - record.truth)


def baseline_off(record: Record) -> float:
    """Return how far "the error of Test1, everywhere" is off, in points."""
    return abs(record.test1 - record.truth)


def _off_where_answered(records: Sequence[Record]) -> tuple[list[float], str]:
    return [off(r) for r in records if answered(r)], k_of_n([answered(r) for r in records])


def _add_errors(figures: Figures, regular: Sequence[Record], reference: Reference) -> None:
    chosen = reference.record[reference.calibration.chosen(has_wells=True)]
    splits = [abs(value - reference.errors[split]) for split, value in chosen.items()]
    offs, count = _off_where_answered(regular)
    figures.mean("error_mae", offs + splits, f"{count} + {len(splits)} splits")
    every = f"{len(regular)} of {len(regular)} + {len(splits)} splits"
    figures.mean("error_mae_all", [off(r) for r in regular] + splits, every)
    figures.share("coverage", [covered(r) for r in regular if answered(r)])
    figures.share("coverage_all", [covered(r) for r in regular])


def _add_shifted_errors(figures: Figures, shifted: Sequence[Record]) -> None:
    """Add errors beside the baseline's on the same plates: those answered, and all."""
    offs, count = _off_where_answered(shifted)
    every = f"{len(shifted)} of {len(shifted)}"
    same = [baseline_off(r) for r in shifted if answered(r)]
    figures.mean("error_mae_shifted", offs, count)
    figures.mean("baseline_mae_shifted_answered", same, count)
    figures.mean("error_mae_shifted_all", [off(r) for r in shifted], every)
    figures.mean("baseline_mae_shifted", [baseline_off(r) for r in shifted], every)


def _add_recalls(figures: Figures, regular: Sequence[Record]) -> None:
    """Add how far recalls are off, over classes that are on the plate and have an estimate."""
    by_class = np.array(
        [
            row
            for r in regular
            for row in zip(r.true_recalls, r.recalls, r.recall_lows, r.recall_highs, strict=True)
        ],
        dtype=float,  # None becomes NaN
    ).reshape(-1, 4)
    on_plates = by_class[~np.isnan(by_class[:, 0])]
    known = on_plates[~np.isnan(on_plates).any(axis=1)]
    truth, recall, low, high = known.T
    offs = 100 * np.abs(recall - truth)
    figures.mean("recall_mae", offs.tolist(), f"{len(known)} of {len(on_plates)} classes")
    # Classes of one plate share its fate: an interval that counts them singly would flatter.
    hits = (low <= truth) & (truth <= high)
    figures.share("recall_coverage", hits.tolist(), independent=False)
