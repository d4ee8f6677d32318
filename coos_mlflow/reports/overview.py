"""Renders one page that lists several scored plate files, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from coos_mlflow.drift import CANNOT_TELL, IN_RANGE, SHIFTED
from coos_mlflow.reports.plate import wording
from coos_mlflow.reports.plate.doubts import ALWAYS_A_CLASS
from coos_mlflow.reports.plate.headline import far_outside, headline
from coos_mlflow.reports.plate.labelled import first_error
from coos_mlflow.reports.plate.wording import shown
from coos_mlflow.reports.templating import environment

_ORDER = {SHIFTED: 1, CANNOT_TELL: 2, IN_RANGE: 3}


def render_overview(scored: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Return the page that ranks plate files scored together.

    Parameters
    ----------
    scored : sequence of tuple
        The name of each folder of results, beside which the page is written, and its drift.json.

    Returns
    -------
    str
        Self-contained HTML, which links to the report in each folder.
    """
    return environment().get_template("overview.html").render(**rank(scored))


def rank(scored: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the variables of the page: rows, the worst first, and the number of each verdict.

    Files far outside what the model knows come first, then shifted ones, then those that cannot be
    judged, then those in range. Within these, files without an estimated error come first, then
    those with the largest.
    """
    rows = sorted((_row(folder, drift) for folder, drift in scored), key=_order)
    ends = [wording.axis_end(row["error"]) for row in rows]
    highs = [end for end in ends if end is not None]
    models = list(dict.fromkeys(row["model"] for row in rows))
    return {
        "rows": [row | {"rank": number} for number, row in enumerate(rows, start=1)],
        "axis": min(max([*highs, 5.0]) * 1.05, 100.0),
        "models": models,
        "counts": [
            {"verdict": verdict, "n": sum(row["verdict"] == verdict for row in rows)}
            for verdict in _ORDER
        ],
        "always_a_class": ALWAYS_A_CLASS,
        "n_simulated": sum(row["simulated"] is not None for row in rows),
    }


def _row(folder: str, drift: dict[str, Any]) -> dict[str, Any]:
    plates, head, error = drift["plates"], headline(drift), first_error(drift)
    return {
        "name": shown(drift["plate_file"]["name"]),
        "link": f"./{quote(folder, safe='')}/report.html",
        "verdict": drift["verdict"],
        "far_outside": far_outside(drift),
        "trust": head["trust"],
        "reason": " ".join([drift["reason"], *_own_doubts(head)]),
        "error": error,
        "assumptions": error["how_words"] if drift.get("audit") else error["assumptions"],
        "n_plates": len(plates),
        "n_cells": drift["n_cells"],
        "simulated": _simulated(drift["simulated"]),
        "model": f"{shown(drift['model']['name'])} version {shown(drift['model']['version'])}",
    }


def _own_doubts(head: dict[str, Any]) -> list[str]:
    """Return the doubts on a file, without the one on all files, which the page says once."""
    return [doubt for doubt in head["doubts"] if doubt != ALWAYS_A_CLASS]


def _order(row: dict[str, Any]) -> tuple[int, float, str]:
    order = 0 if row["far_outside"] else _ORDER[row["verdict"]]
    error = row["error"]["value"]
    return order, float("-inf") if error is None else -error, row["name"]


def _simulated(simulated: dict[str, bool]) -> str | None:
    """Return how a row is marked: its plate is simulated, or only the model's training cells."""
    if simulated["plate"]:
        return "simulated"
    return "model of simulated cells" if simulated["model"] else None
