"""The printed tables: goals and measured values, and results by kind of plate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from coos_mlflow.drift import CANNOT_TELL, SHIFTED
from drift_validation.figures import k_of_n, mean
from drift_validation.guarantees import answered, baseline_off, covered, is_regular, off
from drift_validation.journal import Record

Reaches = Callable[[Any, dict[str, Any]], bool]
"""Whether a value reaches its goal; the second argument holds all measured values."""


def _at_most(limit: float) -> Reaches:
    return lambda value, _: value <= limit


def _at_least(limit: float) -> Reaches:
    return lambda value, _: value >= limit


def _half_of(baseline: str) -> Reaches:
    return lambda value, measured: value <= measured[baseline] / 2


def _is_so(value: Any, _: dict[str, Any]) -> bool:
    return bool(value)


ROWS: dict[str, tuple[str, str, Reaches | None]] = {
    "false_alarm_rate": ("unshifted plates called shifted", "<= 6 %", _at_most(0.06)),
    "detection_test3": ("plates like Test3 called shifted", ">= 90 %", _at_least(0.90)),
    "detection_test4": ("plates like Test4 called shifted", ">= 95 %", _at_least(0.95)),
    "answered": ("plates given an estimate", "", None),
    "answered_test3": ("  of those like Test3", "", None),
    "answered_test4": ("  of those like Test4", "", None),
    "error_mae": ("estimated error off by, mean, answered", "<= 1.5", _at_most(1.5)),
    "error_mae_all": ("  unanswered as the error of Test1", "<= 1.5", _at_most(1.5)),
    "error_mae_shifted": (
        "like Test3 and Test4 off by, answered",
        "<= half the next",
        _half_of("baseline_mae_shifted_answered"),
    ),
    "baseline_mae_shifted_answered": ("  the error of Test1 off by, same plates", "", None),
    "error_mae_shifted_all": (
        "  unanswered as the error of Test1",
        "<= half the next",
        _half_of("baseline_mae_shifted"),
    ),
    "baseline_mae_shifted": ("  the error of Test1 off by, same plates", "", None),
    "coverage": ("range covers the true error, answered", ">= 90 %", _at_least(0.90)),
    "coverage_all": ("  unanswered as not covered", ">= 90 %", _at_least(0.90)),
    "recall_mae": ("estimated recalls off by, mean", "", None),
    "recall_coverage": ("range covers the true recall", "", None),
    "answered_all_kinds": ("all kinds: plates given an estimate", "", None),
    "error_mae_all_kinds": ("all kinds: error off by, answered", "", None),
    "coverage_all_kinds": ("all kinds: range covers, answered", "", None),
    "seconds_10k": ("10,000 cells from file to results, seconds", "<= 10", _at_most(10)),
    "command_seconds_10k": ("  with the start of coos-score", "", None),
    "mib_10k": ("its peak memory, MiB", "<= 1024", _at_most(1024)),
    "report_bytes": ("the largest report.html, bytes", "<= 3,000,000", _at_most(3_000_000)),
    "identical": ("drift.json identical when scored again", "yes", _is_so),
    "unnamed": ("ids missing, few cells: report, cannot tell", "yes", _is_so),
}
"""For each measured key: description, goal, and whether a value reaches it."""

SHARES = ("false_alarm_rate", "detection_", "coverage", "recall_coverage")

FOOTNOTE = (
    "Errors in points of balanced error over the true classes of a plate; recalls in points. "
    "Answers, errors and ranges presume one protein in each well, as in COOS-7, and shifts as "
    "large as a split's own; wells of several proteins and graded shifts count only in false "
    "alarms and in the rows of all kinds. Intervals of shares of plates are Clopper and Pearson's."
)


def show(console: Console, model: str, measured: dict[str, Any], records: Sequence[Record]) -> None:
    """Print the table of goals and the table by kind of plate."""
    title = f"{model}, SIMULATED plates: {measured['plates']}"
    table = Table(title=title, caption=FOOTNOTE, caption_justify="left")
    for column in ("what", "goal", "measured", "95 % interval", "of", "reached"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for key, (words, goal, reaches) in ROWS.items():
        if key in measured:
            value = measured[key]
            low, high = measured["intervals"].get(key, (None, None))
            table.add_row(
                words,
                goal,
                _shown(key, value),
                "" if low is None else f"{low:.1%} to {high:.1%}",
                measured["counts"].get(key, ""),
                "" if value is None or reaches is None else _reached(reaches(value, measured)),
            )
    console.print(table)
    console.print(kinds_table(records))


def _reached(ok: bool) -> str:
    return "yes" if ok else "NO"


def _shown(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.startswith(SHARES):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def kinds_table(records: Sequence[Record]) -> Table:
    """Return the results by kind of plate: kinds of the splits, other kinds, and all."""
    table = Table(title="By kind of plate, in points of balanced error")
    headings = ("kind", "plates", "shifted", "cannot tell", "true error", "answered", "off by")
    for heading in (*headings, "unanswered as Test1", "Test1 off by", "covered"):
        first = heading == "kind"
        table.add_column(heading, justify="left" if first else "right", no_wrap=first)
    for regular in (True, False):
        own = [record for record in records if is_regular(record) == regular]
        for kind in sorted({record.kind for record in own}):
            table.add_row(kind, *_cells([record for record in own if record.kind == kind]))
        table.add_section()
    table.add_row("all kinds", *_cells(records))
    return table


def _cells(records: Sequence[Record]) -> list[str]:
    given = [record for record in records if answered(record)]
    return [
        str(len(records)),
        *(str(sum(r.verdict == verdict for r in records)) for verdict in (SHIFTED, CANNOT_TELL)),
        _points([record.truth for record in records]),
        k_of_n([answered(record) for record in records]),
        _points([off(record) for record in given]),
        _points([off(record) for record in records]),
        _points([baseline_off(record) for record in records]),
        k_of_n([covered(record) for record in given]),
    ]


def _points(values: Sequence[float]) -> str:
    value = mean(values)
    return "-" if value is None else f"{value:.2f}"
