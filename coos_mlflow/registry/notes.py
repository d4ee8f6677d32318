"""Fit Markdown to MLflow's pages: descriptions of models and versions, and notes of runs.

MLflow shows a new line wherever the text has one, and tables without space between columns. Its
stores take 5,000 characters.
"""

from __future__ import annotations

import re
from urllib.parse import quote

NOTE = "mlflow.note.content"
"""Tag of a run or LoggedModel that MLflow's pages show as its description, in Markdown."""

LIMIT = 5000
"""Characters of a description that MLflow's stores take; a tag of a run may have 8,000."""

_SPACE = "&nbsp;&nbsp;"


def for_page(markdown: str, rest: str) -> str:
    """Return Markdown for a page of MLflow: each paragraph on one line, at most `LIMIT` characters.

    Parameters
    ----------
    markdown : str
        Wrapped Markdown with blank lines between its blocks.
    rest : str
        Name of the artifact that holds the whole text. A text that is too long ends with it.
    """
    blocks = [_block(block) for block in re.split("\n{2,}", markdown.strip())]
    blocks = [block for block in blocks if not block.startswith("![")]  # a picture beside the text
    if len("\n\n".join(blocks)) <= LIMIT:
        return "\n\n".join(blocks)
    end = f"The rest is in the artifact {rest}."
    kept: list[str] = []
    for block in blocks:
        if len("\n\n".join([*kept, block, end])) > LIMIT:
            break
        kept.append(block)
    return "\n\n".join([*kept, end])


def top_of(page: str, file: str) -> str:
    """Return the part of a page before its first section as a note that names the page's file."""
    top, *_ = page.partition("\n## ")
    return for_page(f"{top}\n\nMore is in the artifact {file}.", file)


def version_link(name: str, version: str) -> str:
    """Return a link to a model version that works in the notes of any MLflow server."""
    return f"[{name} version {version}](#/models/{quote(name, safe='')}/versions/{quote(version)})"


def _block(block: str) -> str:
    """Return a paragraph, list, heading or table as MLflow's pages show it well."""
    if block.startswith("|"):
        return "\n".join(map(_spaced, block.split("\n")))
    line = re.sub(r"\n(?!- )\s*", " ", block)
    return f"**{line[2:]}**" if line.startswith("# ") else line  # the page has its own title


def _spaced(row: str) -> str:
    """Add space after each cell of a table's row; leave the marks below its heading."""
    if set(row) <= set("|-: "):
        return row
    return re.sub(r" *\|(?=.)", rf"{_SPACE} |", row[1:]).join(("|", ""))
