"""Renders fields.json and its pictures as one self-contained HTML file of limited size."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from coos_mlflow.reports.fields import figures
from coos_mlflow.reports.fields.summary import Place, summarise
from coos_mlflow.reports.templating import environment, page_script

SIZE_LIMIT = 10_000_000
"""Largest size of a page in bytes."""

_CONTENTS = ((1000, 1000, 1000), (24, 1000, 1000), (12, 3, 24), (6, 3, 8), (2, 3, 4), (0, 2, 1))
"""Contents to try, the fullest first, until a page is within `SIZE_LIMIT`: pictures of each group,
quantities of the maps, and plates with maps."""


def render_fields(facts: dict[str, Any], pictures: Mapping[Place, bytes]) -> str:
    """Return the page that shows whether the cells of a plate were found rightly.

    Parameters
    ----------
    facts : dict
        The content of fields.json.
    pictures : mapping of (str, str, int, int) to bytes
        PNG, JPEG or WebP of the fields in ``overlays``, by plate, well, field and time; from
        `coos_mlflow.reports.fields.figures.overlay_picture`.

    Returns
    -------
    str
        HTML of at most `SIZE_LIMIT` bytes in UTF-8 that makes no network requests.
    """
    summary = summarise(facts, pictures)
    template = environment().get_template("fields.html")
    script = page_script("wells.js", "fields.js")
    fill = partial(template.render, field_figures=figures, **script)
    page = ""
    for n_pictures, n_quantities, n_maps in _CONTENTS:
        overlays = [
            group | {"fields": group["fields"][:n_pictures]} for group in summary["overlays"]
        ]
        page = fill(
            **summary
            | {
                "overlays": [group for group in overlays if group["fields"]],
                "quantities": summary["quantities"][:n_quantities],
                "maps": summary["maps"][:n_maps],
                "n_pictures": sum(len(group["fields"]) for group in summary["overlays"]),
                "n_plates": len(summary["maps"]),
            }
        )
        if len(page.encode("utf-8")) <= SIZE_LIMIT:
            break
    return page
