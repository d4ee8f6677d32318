"""Fills the Markdown templates and lays the text out for a terminal.

The templates hold the text of a page. This module aligns the columns of their tables and wraps
their paragraphs. Open it to change the layout; open ``templates/*.md.j2`` to change the text.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

from coos_mlflow.reports.templating import environment

WIDTH = 100
"""Characters of a line, except in tables that are wider."""


def render_markdown(summary: dict[str, Any], template: str = "report.md.j2") -> str:
    """Return a summary as Markdown that is also readable as plain text.

    Parameters
    ----------
    summary : dict
        The template's variables, such as `coos_mlflow.reports.plate.summary.summarise` returns.
    template : str
        Name of a file in the folder ``templates``.

    Returns
    -------
    str
        Markdown without HTML, in which every value of the summary is escaped.
    """
    text = environment(markdown=True).get_template(template).render(summary)
    blocks = re.split("\n{2,}", text.strip("\n"))
    return "\n\n".join(laid_out(block) for block in blocks) + "\n"


def laid_out(block: str) -> str:
    """Align the columns of a table; wrap a paragraph, or each item of a list."""
    if block.startswith("| "):
        return _aligned([line[2:-2].split(" | ") for line in block.split("\n")])
    if block.startswith("- "):
        return "\n".join(_wrapped(item, "  ") for item in block.split("\n"))
    return _wrapped(block)


def _aligned(rows: list[list[str]]) -> str:
    """Pad each column as its mark in the second row asks: ``---`` left, ``--:`` right."""
    columns = [_padded(column) for column in zip(*rows, strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in zip(*columns, strict=True))


def _padded(column: tuple[str, ...]) -> list[str]:
    heading, mark, *cells = column
    width = max(map(len, column))
    align = str.rjust if mark.endswith(":") else str.ljust
    heading, *cells = (align(cell, width) for cell in (heading, *cells))
    return [heading, mark.rjust(width, "-"), *cells]


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
