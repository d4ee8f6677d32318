"""Renders the summary as one self-contained HTML file."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from coos_mlflow.data.cells import CLASS_ABBREVIATIONS, CLASSES
from coos_mlflow.report import figures

SIZE_LIMIT = 3_000_000
"""Bytes that a report may take, whatever the size of the plate."""

_CELLS_PER_ROLE = (6, 4, 2, 1)


def render(summary: dict[str, Any]) -> str:
    """Return the page of a summary, with fewer example cells or maps where it would grow too big.

    Parameters
    ----------
    summary : dict
        What `coos_mlflow.report.summary.summarise` returned.

    Returns
    -------
    str
        HTML of at most `SIZE_LIMIT` bytes in UTF-8, which asks the network for nothing.
    """
    pages = environment()
    pages.globals["figures"] = figures
    template = pages.get_template("report.html")
    page = ""
    for per_role in _CELLS_PER_ROLE:
        page = template.render(
            **summary,
            axis=figures.axis_of(summary["ladder"]),
            per_role=per_role,
            class_names=CLASSES,
            class_short=CLASS_ABBREVIATIONS,
        )
        if len(page.encode("utf-8")) <= SIZE_LIMIT:
            break
    return page


def environment() -> Environment:
    """Return where pages are made from the templates beside this file, escaping what they get."""
    return Environment(
        loader=PackageLoader("coos_mlflow.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
