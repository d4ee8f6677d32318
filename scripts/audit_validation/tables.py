"""Tables of the validation, and the figures of its last line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from audit_validation import plates

DECENT = 20.0
"""A model is decent on a plate where its balanced error is at most so many %."""

_TOLERANCE = 1e-6


def rows(looks: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each kind of plate, number of labels and share of wrong labels."""
    return _grouped(looks, ["kind", "labels", "slips"])


def by_group(looks: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each group of models and number of labels, without wrong labels."""
    return _grouped(looks[looks.slips == 0], ["group", "labels"])


def _grouped(looks: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    held = looks.assign(
        held=_inside(looks.truth, looks.low, looks.high),
        held_all=_inside(looks.all_classes, looks.low, looks.high),
        wrong_held=_inside(looks.wrong, looks.wrong_low, looks.wrong_high),
        none_held=_inside(looks.none, looks.none_low, looks.none_high),
        plain_held=_inside(looks.plain_truth, looks.plain_low, looks.plain_high),
        width=looks.high - looks.low,
        plain_width=looks.plain_high - looks.plain_low,
        off=looks.estimate - looks.truth,
        far=(looks.estimate - looks.truth).abs(),
    )
    grouped = held.groupby(by, sort=False)
    means = ["held", "held_all", "wrong_held", "none_held", "plain_held", "width", "plain_width"]
    table = grouped[["truth", *means, "off"]].mean()
    table["far"] = grouped["far"].quantile(0.9)
    table["recalls_held"] = grouped["recalls_held"].sum() / grouped["recalls"].sum()
    table["ratio"] = table.width / table.plain_width
    table["looks"] = grouped.size()
    return table.reset_index()


def _inside(values: pd.Series, low: pd.Series, high: pd.Series) -> pd.Series:
    return (values >= low - _TOLERANCE) & (values <= high + _TOLERANCE)


def summary(looks: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of the last line, as fractions."""
    table = rows(looks)
    sure = table[table.slips == 0]
    worst = sure.sort_values("held").iloc[0]
    decent = looks[(looks.slips == 0) & (looks.all_classes <= DECENT)]
    width = (decent.high - decent.low).mean() / (decent.plain_high - decent.plain_low).mean()
    return {
        "coverage_least": round(float(worst.held), 4),
        "coverage_least_of": f"{worst.kind}, {worst.labels} labels",
        "coverage_wrong_labels_least": round(float(sure.wrong_held.min()), 4),
        "coverage_none_least": round(float(sure.none_held.min()), 4),
        "coverage_recalls_least": round(float(sure.recalls_held.min()), 4),
        "width_ratio": round(float(width), 4),
        "looks": len(looks),
    }


SURELY = 1.96
"""Standard errors by which the true error of an adapted model is larger, where it is worse."""


def gains(gained: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each kind of plate and number of labels, with true errors."""
    adapted, change = gained.remedy != "", gained.after - gained.before
    # What is said where nothing was chosen is of a remedy that was not used.
    said = (gained.said_after - gained.said_before).where(adapted)
    held = _inside(change, gained.said_low, gained.said_high).astype(float).where(adapted)
    both = gained.assign(
        adapted=adapted,
        worse=_worse(gained),
        change=change,
        true_change=change.where(adapted),
        said_change=said,
        held=held,
    )
    grouped = both.groupby(["kind", "n_labels"], sort=False)
    means = ["before", "after", "adapted", "worse", "true_change", "said_change", "held"]
    table = grouped[means].mean()
    table["gain"] = 1 - table.after / table.before
    table["most_worse"] = grouped["change"].max()
    table["plates"] = grouped.size()
    return table.reset_index()


def summary_of_gains(gained: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of adapted models for the last line."""
    hundred = gained[gained.n_labels == 100]
    far = hundred[hundred.kind.isin((plates.TEST4, plates.TEST4_TWO))]
    return {
        "adapt_gain_test4": round(1 - far.after.mean() / far.before.mean(), 4),
        "adapt_worse_share": round(float(_worse(gained).mean()), 4),
        "adapt_most_worse": round(float((gained.after - gained.before).max()), 2),
    }


def _worse(gained: pd.DataFrame) -> pd.Series:
    """Return where the true error is surely larger after adapting."""
    return gained.after - gained.before > SURELY * gained.unsure


def show(console: Console, looks: pd.DataFrame, gained: pd.DataFrame) -> None:
    """Print the tables."""
    console.print(_gains(gains(gained)))
    table = rows(looks)
    console.print(_coverage(table[table.slips == 0], "kind", "Plates, labels without mistakes"))
    console.print(_coverage(by_group(looks), "group", "Models"))
    named = [plates.UNSHIFTED, "like Test3", plates.TEST4]
    slips = table[table.kind.isin(named) & (table.labels == 100)].sort_values(
        "slips", kind="stable"
    )
    console.print(_slips(slips))


def _coverage(table: pd.DataFrame, first: str, title: str) -> Table:
    headings = {
        first: "",
        "labels": "labels",
        "truth": "true error",
        "held": "held",
        "held_all": "all classes",
        "recalls_held": "recalls",
        "wrong_held": "wrong labels",
        "none_held": "none",
        "off": "off",
        "far": "off, 9 of 10",
        "width": "width",
        "ratio": "of plain",
        "plain_held": "plain held",
        "looks": "looks",
    }
    shown = Table(title=title)
    for key, heading in headings.items():
        shown.add_column(heading, justify="left" if key == first else "right")
    for _, row in table.iterrows():
        shown.add_row(*(_text(key, row[key]) for key in headings))
    return shown


def _slips(table: pd.DataFrame) -> Table:
    shown = Table(title="A person's mistakes, 100 labels")
    for heading in ("", "mistakes", "true error", "measured", "held"):
        shown.add_column(heading, justify="right" if heading else "left")
    for _, row in table.iterrows():
        measured = f"{row.truth + row.off:.1f}"
        shown.add_row(row.kind, f"{row.slips:.0%}", f"{row.truth:.1f}", measured, f"{row.held:.1%}")
    return shown


def _gains(table: pd.DataFrame) -> Table:
    shown = Table(title="Adapted models")
    headings = [
        "",
        "labels",
        "before",
        "after",
        "gain",
        "adapted",
        "change",
        "said",
        "held",
        "worse",
    ]
    headings += ["worst change", "plates"]
    for heading in headings:
        shown.add_column(heading, justify="right" if heading else "left")
    for _, row in table.iterrows():
        shown.add_row(
            row.kind,
            str(row.n_labels),
            f"{row.before:.1f}",
            f"{row.after:.1f}",
            f"{row.gain:.0%}",
            f"{row.adapted:.0%}",
            _known("{:+.1f}", row.true_change),
            _known("{:+.1f}", row.said_change),
            _known("{:.0%}", row.held),
            f"{row.worse:.0%}",
            f"{row.most_worse:+.1f}",
            str(row.plates),
        )
    return shown


def _known(form: str, value: float) -> str:
    """Return a formatted figure, nothing where no model was adapted."""
    return "" if np.isnan(value) else form.format(value)


def _text(key: str, value: Any) -> str:
    if key in ("held", "held_all", "recalls_held", "wrong_held", "none_held", "plain_held"):
        return f"{value:.1%}"
    if key == "ratio":
        return f"{value:.2f}"
    if isinstance(value, float):
        return f"{value:.1f}"
    return str(value)
