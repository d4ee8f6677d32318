"""Renders the summary as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
from functools import partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from coos_mlflow.plates.schema import CLASS_ABBREVIATIONS, CLASSES
from coos_mlflow.reports.plate import figures
from coos_mlflow.reports.plate.cells import trimmed
from coos_mlflow.reports.plate.figures.svg import symbol

SIZE_LIMIT = 3_000_000
"""Bytes that a report may take, whatever the size of the plate."""

_CONTENTS = (
    (6, 3, 4),
    (6, 2, 4),
    (6, 1, 4),
    (6, 3, 1),
    (6, 2, 1),
    (6, 1, 1),
    (4, 0, 4),
    (2, 0, 2),
    (1, 0, 1),
    (0, 0, 0),
)
"""From all to the least: cells in each role of a class, roles of each well's cells, plate maps."""

_SCRIPT = "report.js"


def render(summary: dict[str, Any]) -> str:
    """Return the page of a summary, with fewer cells or maps where it would grow too big.

    Parameters
    ----------
    summary : dict
        What `coos_mlflow.reports.plate.summary.summarise` returned.

    Returns
    -------
    str
        HTML of at most `SIZE_LIMIT` bytes in UTF-8, which asks the network for nothing.
    """
    script = Markup(
        files("coos_mlflow.reports.plate").joinpath("templates", _SCRIPT).read_text("utf-8")
    )
    make = partial(
        environment().get_template("report.html").render,
        axis=figures.axis_of(summary["ladder"]),
        class_names=CLASSES,
        class_short=CLASS_ABBREVIATIONS,
        script=script,
        script_hash=_hash(script),
    )
    page = ""
    for per_role, per_well, n_maps in _CONTENTS:
        maps = summary["maps"][:n_maps]
        wells = {well["id"] for drawn in maps for well in drawn["wells"]}
        cells = trimmed(summary["cells"], wells, per_role, per_well)
        page = make(**summary | {"maps": maps, "cells": cells})
        if len(page.encode("utf-8")) <= SIZE_LIMIT:
            break
    return page


def environment() -> Environment:
    """Return where pages are made from the templates beside this file, escaping what they get."""
    pages = Environment(
        loader=PackageLoader("coos_mlflow.reports.plate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals |= {"figures": figures, "symbol": symbol}
    return pages


def _hash(script: str) -> str:
    """Return what a content security policy calls the one script that may run."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")
