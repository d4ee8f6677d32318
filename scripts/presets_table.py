"""Write the table of presets in docs/protocol.md from the code; run it after adding a parameter.

python scripts/presets_table.py
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from coos_mlflow.classifiers.protocol import PRESETS, Protocol
from coos_mlflow.representations import names

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "protocol.md"
HEAD = "| of | parameter | paper | quick, where another |\n|---|---|---|---|\n"


def table() -> str:
    """Return the table, one row for each parameter of a representation or of the classifiers."""
    return HEAD + "".join(_rows())


def _rows() -> Iterator[str]:
    for key in names():
        representation = import_module(f"coos_mlflow.representations.{key}").REPRESENTATION
        parameters = inspect.signature(representation).parameters
        defaults = {name: parameter.default for name, parameter in parameters.items()}
        yield from _rows_of(key, defaults, representation.presets)
    yield from _rows_of("classifiers", {f.name: f.default for f in fields(Protocol)}, PRESETS)


def _rows_of(
    owner: str, defaults: dict[str, Any], presets: dict[str, dict[str, Any]]
) -> Iterator[str]:
    paper, quick = (defaults | presets.get(preset, {}) for preset in ("paper", "quick"))
    for name in defaults:
        other = "" if paper[name] == quick[name] else f"{_written(quick[name])} "
        yield f"| {owner} | {name} | {_written(paper[name])} | {other}|\n"


def _written(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True).removesuffix("\n...\n").strip()
    return f"`{text}`"


def with_table(text: str) -> str:
    """Return the document's text with the table of the code."""
    before, _, rest = text.partition(HEAD)
    after = rest.partition("\n\n")[2]
    return f"{before}{table()}\n{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
