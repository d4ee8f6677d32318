"""Accuracy of verdicts and estimates on plates with known labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coos_mlflow.drift import SHIFTED
from coos_mlflow.drift.reference import Reference
from drift_validation.figures import Figures, k_of_n
from drift_validation.journal import Record

MIXED_LAYOUTS = ("mixed wells", "uneven wells")
"""Layouts with several proteins in a well, which COOS-7 does not have."""

LIKE = ("test3", "test4")
"""Splits for whose shift the detection rate is measured."""


def measure(records: Sequence[Record], reference: Reference) -> dict[str, Any]:
    """Return the figures of the table, with ``counts`` and ``intervals`` by the same keys.

    Errors are averaged over plates of the kinds of COOS-7's splits, and over Test1..4 themselves.
    Figures of all kinds include graded shifts and wells of several proteins. For keys that end in
    ``_all``, a plate without an estimate gets the error of Test1 as its estimate, and counts as not
    covered. The other keys leave such plates out.
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
    """Return whether a plate is of a kind that occurs in the splits of COOS-7."""
    return record.shift == 1.0 and record.layout not in MIXED_LAYOUTS


def answered(record: Record) -> bool:
    """Return whether the plate has an estimate."""
    return record.estimate is not None


def covered(record: Record) -> bool:
    """Return whether there is a range that contains the true error."""
    low, high = record.low, record.high
    return low is not None and high is not None and low <= record.truth <= high


def off(record: Record) -> float:
    """Return the error of the estimate in points; without one, that of the baseline."""
    return baseline_off(record) if record.estimate is None else abs(record.estimate - record.truth)


def baseline_off(record: Record) -> float:
    """Return the error of the baseline "the error of Test1, everywhere", in points."""
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
    """Add errors and those of the baseline on the same plates, with an estimate and all."""
    offs, count = _off_where_answered(shifted)
    every = f"{len(shifted)} of {len(shifted)}"
    same = [baseline_off(r) for r in shifted if answered(r)]
    figures.mean("error_mae_shifted", offs, count)
    figures.mean("baseline_mae_shifted_answered", same, count)
    figures.mean("error_mae_shifted_all", [off(r) for r in shifted], every)
    figures.mean("baseline_mae_shifted", [baseline_off(r) for r in shifted], every)


def _add_recalls(figures: Figures, regular: Sequence[Record]) -> None:
    """Add errors of recalls, over classes that are on the plate and have an estimate."""
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
    # Classes of one plate are not independent: an interval over classes would be too narrow.
    hits = (low <= truth) & (truth <= high)
    figures.share("recall_coverage", hits.tolist(), independent=False)
