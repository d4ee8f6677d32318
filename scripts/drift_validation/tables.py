"""The printed tables: claims, coverage by rising error, single causes, and kinds of plates."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.table import Table

from coos_mlflow.drift import CANNOT_TELL, IN_RANGE, SHIFTED
from coos_mlflow.drift.error_estimate import AT_LEAST
from drift_validation.claims import HARMFUL, Claim, rows_of_rise

FOOTNOTE = (
    "SIMULATED plates. Least, median and most are over models; pooled is over all looks. Intervals "
    "are 95 %, from drawing models and plates again, as the models judge the same plates. An "
    "answer holds if the true error lies in its range, or above its lower end where it says "
    '"at least".'
)


def show(console: Console, rows: dict[str, Claim], looks: pd.DataFrame) -> None:
    """Print all tables."""
    console.print(claims_table(rows))
    causes = looks[looks["is_cause"]]
    console.print(rises_table(causes))
    console.print(causes_table(causes))
    console.print(kinds_table(looks[~looks["is_cause"]]))


def _table(title: str, *columns: str, caption: str | None = None) -> Table:
    table = Table(title=title, caption=caption, caption_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def claims_table(rows: dict[str, Claim]) -> Table:
    """Return the table of claims, their bars, and what was found."""
    headings = ("claim", "bar", "least", "median", "most", "pooled", "95 %", "looks", "reached")
    table = _table("The drift report's claims", *headings, caption=FOOTNOTE)
    for claim in rows.values():
        figure = claim.figure
        if figure is None:
            table.add_row(claim.words, claim.bar, *["-"] * 5, "0", "")
            continue
        values = (figure.least, figure.median, figure.most, figure.pooled)
        interval = (
            f"{figure.low:.1%} to {figure.high:.1%}"
            if figure.low is not None and figure.high is not None
            else ""
        )
        table.add_row(
            claim.words,
            claim.bar,
            *(f"{value:.1%}" if claim.is_share else f"{value:.2f}" for value in values),
            interval,
            f"{figure.count:,}",
            {None: "", True: "yes", False: "NO"}[claim.reached],
        )
    return table


def rises_table(causes: pd.DataFrame) -> Table:
    """Return what is said as the true error rises, over plates with single causes."""
    table = _table(
        "Single causes, by how much they raised the true error (points)",
        *("rise", "looks", "in range", "shifted", "answered", "estimated", "holds", "at least"),
        *("holds", "too low by, median", "estimate off by, mean"),
    )
    for words, own in rows_of_rise(causes):
        answered = own[own["answered"]]
        floors = answered[answered["answer"] == AT_LEAST]
        ranges = answered[answered["answer"] != AT_LEAST]
        table.add_row(
            words,
            f"{len(own):,}",
            *(_share(own["verdict"] == verdict) for verdict in (IN_RANGE, SHIFTED)),
            f"{len(answered):,}",
            f"{len(ranges):,}",
            _share(ranges["covered"]),
            f"{len(floors):,}",
            _share(floors["covered"]),
            _points((floors["truth"] - floors["low"]).median()),
            _points(answered["off"].mean()),
        )
    return table


def causes_table(causes: pd.DataFrame) -> Table:
    """Return each cause at each strength, the most harmful first."""
    table = _table(
        "Single causes",
        *("cause", "looks", "error up by, mean", "shifted", "cannot tell", "in range"),
        *(f"up > {HARMFUL:g}", "of these in range", "answered", "holds"),
    )
    rises = causes.groupby("kind")["rise"].mean().sort_values(ascending=False)
    for kind, rise in rises.items():
        own = causes[causes["kind"] == kind]
        harmful, answered = own[own["rise"] > HARMFUL], own[own["answered"]]
        table.add_row(
            str(kind),
            f"{len(own):,}",
            _points(rise),
            *(_share(own["verdict"] == verdict) for verdict in (SHIFTED, CANNOT_TELL, IN_RANGE)),
            f"{len(harmful):,}",
            _share(harmful["verdict"] == IN_RANGE),
            f"{len(answered):,}",
            _share(answered["covered"]),
        )
    return table


def kinds_table(looks: pd.DataFrame) -> Table:
    """Return the results by kind of plate."""
    table = _table(
        "By kind of plate",
        *("kind", "looks", "true error", "shifted", "cannot tell", "answered", "of these at least"),
        *("off by, mean", "holds"),
    )
    for kind, own in looks.groupby("kind", sort=False):
        answered = own[own["answered"]]
        table.add_row(
            str(kind),
            f"{len(own):,}",
            _points(own["truth"].mean()),
            *(_share(own["verdict"] == verdict) for verdict in (SHIFTED, CANNOT_TELL)),
            f"{len(answered):,}",
            _share(answered["answer"] == AT_LEAST),
            _points(answered["off"].mean()),
            _share(answered["covered"]),
        )
    return table


def _share(hits: pd.Series) -> str:
    return f"{hits.mean():.1%}" if len(hits) else "-"


def _points(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.1f}"
