"""Several scored plate files on one page, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from coos_mlflow.drift import CANNOT_TELL, IN_RANGE, SHIFTED
from coos_mlflow.reports.plate import answer, wording
from coos_mlflow.reports.plate.html import environment
from coos_mlflow.reports.plate.wording import shown

_BADNESS = {SHIFTED: 1, CANNOT_TELL: 2, IN_RANGE: 3}


def render_overview(scored: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Return the page that ranks plate files scored together.

    Parameters
    ----------
    scored : sequence of tuple
        The name of each folder of results, beside which the page will lie, and its drift.json.

    Returns
    -------
    str
        Self-contained HTML, which links to the report in each folder.
    """
    return environment().get_template("overview.html").render(**rank(scored))


def rank(scored: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return what the page shows: rows, the worst first, and how many there are of each verdict.

    Worst are files that lie far outside what the model knows, then shifted ones, then those that
    cannot be judged; within these, those with the largest estimated error, unknown ones first.
    """
    rows = sorted((_row(folder, drift) for folder, drift in scored), key=_badness)
    highs = [row["error"]["high"] for row in rows if row["error"]["high"] is not None]
    models = list(dict.fromkeys(row["model"] for row in rows))
    return {
        "rows": [row | {"rank": number} for number, row in enumerate(rows, start=1)],
        "axis": min(max([*highs, 5.0]) * 1.05, 100.0),
        "models": models,
        "counts": [
            {"verdict": verdict, "n": sum(row["verdict"] == verdict for row in rows)}
            for verdict in _BADNESS
        ],
        "n_simulated": sum(row["simulated"] is not None for row in rows),
    }


def _row(folder: str, drift: dict[str, Any]) -> dict[str, Any]:
    plates = drift["plates"]
    return {
        "name": shown(drift["plate_file"]["name"]),
        "link": f"./{quote(folder, safe='')}/report.html",
        "verdict": drift["verdict"],
        "beyond": answer.far_outside(drift),
        "trust": answer.verdict(drift)["trust"],
        "reason": drift["reason"],
        "error": wording.estimate(drift["error"]),
        "n_plates": len(plates),
        "n_cells": drift["n_cells"],
        "simulated": _simulated(drift["simulated"]),
        "model": f"{shown(drift['model']['name'])} version {shown(drift['model']['version'])}",
    }


def _badness(row: dict[str, Any]) -> tuple[int, float, str]:
    order = 0 if row["beyond"] else _BADNESS[row["verdict"]]
    error = row["error"]["value"]
    return order, float("-inf") if error is None else -error, row["name"]


def _simulated(what: dict[str, bool]) -> str | None:
    """Return what of a row rests on simulated cells, in few words."""
    if what["plate"]:
        return "simulated"
    return "model of simulated cells" if what["model"] else None
