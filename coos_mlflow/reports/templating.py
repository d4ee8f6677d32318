"""The Jinja environment of every page: HTML and Markdown, with each value escaped.

Open this module to see what is escaped, or to add a filter to the templates.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from coos_mlflow.reports.plate import figures
from coos_mlflow.reports.plate.wording import percent, without_controls

_MARKDOWN_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


@cache
def environment(*, markdown: bool = False) -> Environment:
    """Return the environment that fills the templates in the folder ``templates``.

    Parameters
    ----------
    markdown : bool
        Escape values as Markdown instead of HTML. Text of a template and results of its macros
        are not escaped in either.
    """
    pages = Environment(
        loader=PackageLoader("coos_mlflow.reports"),
        autoescape=True,
        # Jinja escapes HTML alone. `finalize` sees a value first, and Jinja leaves Markup as it is.
        finalize=_as_markdown if markdown else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals["figures"] = figures
    pages.filters |= {"percent": percent, "shortened": shortened}
    return pages


def page_script(*names: str) -> dict[str, str]:
    """Return the one script of a page, made of files of ``templates``.

    Returns
    -------
    dict
        ``script``, and ``script_hash``, by which the page's content security policy allows it.
    """
    folder = files("coos_mlflow.reports").joinpath("templates")
    script = "".join(folder.joinpath(name).read_text("utf-8") for name in names)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return {"script": Markup(script), "script_hash": f"sha256-{digest}"}


def _as_markdown(value: object) -> Markup:
    return value if isinstance(value, Markup) else Markup(escaped_markdown(str(value)))


def escaped_markdown(text: str) -> str:
    """Return a text in which nothing is Markdown, HTML or a control character."""
    return _MARKDOWN_SPECIAL.sub(r"\\\1", without_controls(text))


def shortened(text: str, length: int) -> str:
    """Shorten a text until it takes at most `length` characters as escaped Markdown."""
    while len(escaped_markdown(text)) > length:
        text = text[:-2] + "…"
    return text
