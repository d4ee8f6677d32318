"""Renders the summary as one self-contained HTML file of limited size.

Open it to change what is left out of a page that would be too large.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from coos_mlflow.reports.plate.cells import trimmed
from coos_mlflow.reports.templating import environment, page_script

SIZE_LIMIT = 3_000_000
"""Largest size of a report in bytes, for a plate of any size."""

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
"""Contents to try, the fullest first, until a page is within `SIZE_LIMIT`. Each is the number of
cells shown in each role of a class, of roles shown for each well, and of plates with maps."""


def render(summary: dict[str, Any]) -> str:
    """Return the page of a summary, with fewer cells or maps where it would be too large.

    Parameters
    ----------
    summary : dict
        What `coos_mlflow.reports.plate.summary.summarise` returned.

    Returns
    -------
    str
        HTML of at most `SIZE_LIMIT` bytes in UTF-8 that makes no network requests.
    """
    template = environment().get_template("report.html")
    fill = partial(template.render, **page_script("wells.js", "report.js"))
    page = ""
    for per_role, per_well, n_maps in _CONTENTS:
        maps = summary["maps"][:n_maps]
        wells = {well["id"] for drawn in maps for well in drawn["wells"]}
        cells = trimmed(summary["cells"], wells, per_role, per_well)
        page = fill(**summary | {"maps": maps, "cells": cells})
        if len(page.encode("utf-8")) <= SIZE_LIMIT:
            break
    return page
