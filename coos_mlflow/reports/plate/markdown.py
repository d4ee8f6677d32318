"""Renders the summary as text for a terminal, which is also Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.plates.schema import CLASS_ABBREVIATIONS
from coos_mlflow.reports.plate.wording import percent, without_controls

WIDTH = 100
"""Characters of a line."""

_MOST_NAME = 20
_MOST_TITLE = 28
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


def render_markdown(summary: dict[str, Any]) -> str:
    """Return the report as Markdown of at most `WIDTH` characters a line, without HTML.

    Parameters
    ----------
    summary : dict
        What `coos_mlflow.reports.plate.summary.summarise` returned.
    """
    sections = [
        _answer(summary),
        _ladder(summary),
        _plates(summary) if summary["several"] else [],
        _error(summary),
        _record(summary["record"]),
        _splits(summary),
        _shares(summary),
        _moves(summary["moves"]),
        _effects(summary["effects"]),
        _provenance(summary["provenance"]),
    ]
    return "\n\n".join(block for section in sections for block in section) + "\n"


def _answer(summary: dict[str, Any]) -> list[str]:
    verdict, estimate = summary["verdict"], summary["error"]["estimate"]
    said = [f"Balanced error, estimated (each class counts alike): {estimate['words']}"]
    if estimate["value"] is None:
        said.append(f". {estimate['reason']}")
    else:
        said.append(f"; wrong labels: {estimate['wrong_words']}")
        said.append(f", {premise}." if (premise := summary["error"]["premise"]) else ".")
    model = summary["model"]
    blocks = [f"# {escaped(summary['title'])}: {verdict['words'].lower()}"]
    if summary["simulated"]:
        blocks.append(_prose(summary["simulated"].upper()))
    blocks += [
        _wrapped(f"**{escaped(verdict['trust'])}**"),
        _prose(verdict["reason"]),
        _prose(verdict["advice"]),
        _prose("".join(said)),
        _prose(", ".join(f"{item['label']} {item['value']}" for item in summary["key_figures"])),
        *map(_prose, summary["notes"]),
        _prose(f"Scored with {model['name']} version {model['version']}."),
    ]
    return blocks


def _ladder(summary: dict[str, Any]) -> list[str]:
    panels = summary["ladder"]
    rows = [
        ["usual up to", *(_number(panel["usual"]) for panel in panels)],
        ["adjusted p", *("-" if p["p"] is None else f"{p['p']:.2g}" for p in panels)],
    ]
    for number, row in enumerate(panels[0]["rows"]):
        spans = [_span([m["distance"] for m in p["rows"][number]["marks"]]) for p in panels]
        rows.insert(number, [row["title"], *spans])
    return [
        "## How far from the plates that the model knows",
        _prose("Distances of plates from Training within each class; 1 is an ordinary plate."),
        table(["distance", *(panel["title"] for panel in panels)], rows),
        *([_prose(summary["compared"])] if summary["compared"] else []),
    ]


def _span(values: list[float]) -> str:
    if not values:
        return "-"
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low}-{high}"


def _plates(summary: dict[str, Any]) -> list[str]:
    rows = [
        [
            _short(plate["plate"]),
            plate["standing"],
            plate["error"]["words"],
            *(_number(plate["distances"][view]) for view in VIEWS),
            f"{plate['n_cells']}",
        ]
        for plate in summary["plates"]
    ]
    left_out = summary["plates_left_out"]
    aside = f" {left_out} nearer plates are not listed." if left_out else ""
    headings = ["plate", "verdict", "estimated error", "answers", "seen", "images", "cells"]
    return ["## Plate by plate", _prose(f"The farthest first.{aside}"), table(headings, rows)]


def _error(summary: dict[str, Any]) -> list[str]:
    error = summary["error"]
    rows = [[row["title"], row["words"]] for row in error["overall"]]
    blocks = [
        "## How large the error is",
        _prose(error["estimate"]["reason"]),
        table(["balanced error", "estimated here, else measured"], rows),
    ]
    if error["recalls"]:
        recalls = [[row["title"], row["words"]] for row in error["recalls"]]
        blocks.append(table(["class", "recognised, estimated"], recalls))
    return blocks


def _record(record: dict[str, Any]) -> list[str]:
    if not record["rows"]:
        return []
    headings = ["balanced error, %", "here"]
    headings += [split["title"] for split in record["splits"]]
    rows = [["measured", "?", *(_number(split["truth"]) for split in record["splits"])]]
    for row in record["rows"]:
        attempts = [f"{_number(a['estimate'])} {_signed(a['off'])}".strip() for a in row["splits"]]
        rows.append([_short(row["title"], _MOST_TITLE), _number(row["today"]), *attempts])
    used = "".join(f"Used here: {row['title']}. " for row in record["rows"] if row["chosen"])
    note = f"{used}In brackets: points by which an estimate was too high (+) or too low (-)."
    return ["### How far such estimates were off where the truth is known", _prose(note),
            table(headings, rows)]  # fmt: skip


def _signed(off: str) -> str:
    amount, _, side = off.partition(" too ")
    return f"({'-' if side == 'low' else '+'}{amount})" if side else ""


def _splits(summary: dict[str, Any]) -> list[str]:
    rows = [
        [
            row["split"],
            percent(row["error"]),
            *("-" if recall is None else f"{100 * recall:.0f}" for recall in row["recalls"]),
        ]
        for row in summary["errors"]
    ]
    training = "".join(
        f"{row['split']}: {row['meaning']}."
        for row in summary["errors"]
        if row["key"] == "training"
    )
    return [
        "### How good the model was on plates whose truth is known",
        _prose(f"Measured on {summary['trained_on']} data; recall of each class in %. {training}"),
        table(["split", "balanced error", *CLASS_ABBREVIATIONS], rows),
    ]


def _shares(summary: dict[str, Any]) -> list[str]:
    rows = [
        [share["name"], f"{share['predicted']:.1%}", f"{share['corrected']:.1%}"]
        for share in summary["shares"]
    ]
    return ["## Which classes the model found", table(["class", "predicted", "corrected"], rows)]


def _moves(moves: dict[str, Any] | None) -> list[str]:
    if moves is None:
        return []
    said = f"{len(moves['moved'])} of {len(moves['rows'])} figures moved"
    rows = [
        [row["figure"], row["words"], f"{row['z']:.1f}", "moved" if row["moved"] else ""]
        for row in moves["rows"]
    ]
    return [
        "## What moved in the raw images",
        _prose(f"{moves['plate']}: {said} by {moves['at']} robust deviations or more."),
        table(["figure", "change", "robust z", ""], rows),
    ]


def _effects(effects: dict[str, Any] | None) -> list[str]:
    if effects is None:
        return []
    rows = [
        [_short(r["title"], _MOST_TITLE), *(v["text"] for v in r["values"])]
        for r in effects["rows"]
    ]
    headings = ["effect size", *(value["title"] for value in effects["rows"][0]["values"])]
    note = "Of each split, the median of up to three plates."
    return ["## Effect sizes, cell by cell", _prose(note), table(headings, rows)]


def _provenance(rows: Sequence[tuple[str, str]]) -> list[str]:
    lines = [
        textwrap.fill(
            f"- {escaped(name)}: {escaped(value)}", WIDTH, subsequent_indent="  ",
            break_on_hyphens=False,
        )
        for name, value in rows
    ]  # fmt: skip
    return ["## How this was made", "\n".join(lines)]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns, the first to the left, others to the right."""
    cells = [[escaped(cell).replace("–", "-") for cell in row] for row in [headings, *rows]]
    widths = [max(3, *(len(row[n]) for row in cells)) for n in range(len(headings))]
    lines = [
        "| " + " | ".join(_aligned(cell, widths[n], n) for n, cell in enumerate(row)) + " |"
        for row in cells
    ]
    rule = [("-" * width) if n == 0 else "-" * (width - 1) + ":" for n, width in enumerate(widths)]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def _short(text: str, most: int = _MOST_NAME) -> str:
    """Shorten a text to what takes `most` characters once it is escaped."""
    while len(escaped(text)) > most:
        text = text[:-2] + "…"
    return text


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _prose(text: str) -> str:
    return _wrapped(escaped(text))


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def escaped(text: str) -> str:
    """Return a text in which nothing is Markdown, HTML or a control character."""
    return _SPECIAL.sub(r"\\\1", without_controls(text))
