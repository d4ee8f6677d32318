"""What the drift report promises of verdicts and estimates, measured on plates of known truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from coos_mlflow.drift.reference import Reference
from coos_mlflow.drift.verdict import CANNOT_TELL, SHIFTED

if TYPE_CHECKING:
    from validate_drift import Record

GOALS: dict[str, tuple[str, str, Callable[[Any], bool]]] = {
    "false_alarm_rate": ("unshifted plates called shifted", "<= 6 %", lambda v: v <= 0.06),
    "detection_test3": ("plates like Test3 called shifted", ">= 90 %", lambda v: v >= 0.90),
    "detection_test4": ("plates like Test4 called shifted", ">= 95 %", lambda v: v >= 0.95),
    "error_mae": ("estimated error off by, mean", "<= 1.5 points", lambda v: v <= 1.5),
    "error_mae_shifted": (
        "the same, plates like Test3 and Test4",
        "<= half the next",
        lambda v: True,
    ),
    "baseline_mae_shifted": ("the error of Test1 off by, same plates", "", lambda v: True),
    "coverage": ("range covers the true error", ">= 90 %", lambda v: v >= 0.90),
    "answered": ("plates given an estimate", "", lambda _: True),
    "seconds_10k": ("coos-score of 10,000 cells, seconds", "<= 10", lambda v: v <= 10),
    "mib_10k": ("its peak memory, MiB", "<= 1024", lambda v: v <= 1024),
    "report_bytes": ("report.html, bytes", "<= 3,000,000", lambda v: v <= 3_000_000),
    "identical": ("drift.json identical when scored again", "yes", bool),
    "unnamed": ("no ids or too few cells: report made, cannot tell", "yes", bool),
}
"""What is measured: in words, the goal, and whether a value reaches it."""

SHARES = ("false_alarm_rate", "detection_test3", "detection_test4", "coverage", "answered")


def measure(records: Sequence[Record], reference: Reference) -> dict[str, Any]:
    """Return the figures of the table.

    Errors are judged over fresh plates of the kinds that the splits are made of, and over Test1..4
    themselves. Plates of graded shifts and those with mixed wells are shown apart.
    """
    fresh = [r for r in records if r.shift == 1.0 and r.layout != "mixed wells"]
    unshifted = [r for r in fresh if r.like == "training"]
    like = {split: [r for r in fresh if r.like == split] for split in ("test3", "test4")}
    shifted = [*like["test3"], *like["test4"]]
    answered = [r for r in fresh if r.estimate is not None]
    chosen = reference.record[reference.calibration.chosen(has_wells=True)]
    splits = [abs(value - reference.errors[split]) for split, value in chosen.items()]
    return {
        "plates": len(records),
        "false_alarm_rate": _share(unshifted, SHIFTED),
        "false_alarms": f"{_count(unshifted, SHIFTED)} of {len(unshifted)}",
        "detection_test3": _share(like["test3"], SHIFTED),
        "detection_test4": _share(like["test4"], SHIFTED),
        "error_mae": _mean([abs(_off(r)) for r in answered] + splits),
        "error_mae_shifted": _mean([abs(_off(r)) for r in shifted if r.estimate is not None]),
        "baseline_mae_shifted": _mean(
            [abs(r.test1 - r.truth) for r in shifted if r.estimate is not None]
        ),
        "coverage": _mean([r.low <= r.truth <= r.high for r in answered]),  # type: ignore[operator]
        "answered": _mean([r.estimate is not None for r in fresh]),
    }


def _off(record: Record) -> float:
    assert record.estimate is not None
    return record.estimate - record.truth


def _count(records: Sequence[Record], verdict: str) -> int:
    return sum(record.verdict == verdict for record in records)


def _share(records: Sequence[Record], verdict: str) -> float | None:
    return _count(records, verdict) / len(records) if records else None


def _mean(values: Sequence[Any]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def show(console: Console, model: str, measured: dict[str, Any], records: Sequence[Record]) -> None:
    """Print goals beside what was measured, and what came of each kind of plate."""
    table = Table(title=f"{model}, SIMULATED plates: {measured['plates']}")
    for column in ("what", "goal", "measured", "reached"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for key, (words, goal, reaches) in GOALS.items():
        value = measured.get(key)
        if value is None:
            continue
        ok = reaches(value)
        if key == "error_mae_shifted":
            ok = value <= measured["baseline_mae_shifted"] / 2
        table.add_row(words, goal, _shown(key, value), ("yes" if ok else "NO") if goal else "")
    console.print(table)
    console.print(_kinds_table(records))


def _shown(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in SHARES:
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def _kinds_table(records: Sequence[Record]) -> Table:
    table = Table(title="By kind of plate (errors in points of balanced error)")
    headings = ("kind", "plates", "shifted", "cannot tell", "true error", "answered", "off by")
    for heading in (*headings, "baseline off by", "covered"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for kind in sorted({record.kind for record in records}):
        own = [record for record in records if record.kind == kind]
        answered = [record for record in own if record.estimate is not None]
        off = _mean([abs(_off(record)) for record in answered])
        covered = sum(r.low <= r.truth <= r.high for r in answered)  # type: ignore[operator]
        table.add_row(
            kind,
            str(len(own)),
            str(_count(own, SHIFTED)),
            str(_count(own, CANNOT_TELL)),
            f"{_mean([record.truth for record in own]):.1f}",
            str(len(answered)),
            "-" if off is None else f"{off:.2f}",
            f"{_mean([abs(record.test1 - record.truth) for record in own]):.1f}",
            f"{covered}/{len(answered)}",
        )
    return table
