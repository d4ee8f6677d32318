"""The tables of the page: wells, fields, limits, and what became of the nuclei."""

from __future__ import annotations

from typing import Any

from coos_mlflow.reports.fields.maps import (
    fields_by_well,
    is_warned,
    rule_titles,
    rules_by_figure,
    well_numbers,
)
from coos_mlflow.reports.fields.words import figure, figure_name, left_out, limit, sentence
from coos_mlflow.reports.plate.wording import counted, shown

MAX_ROWS = 1000
"""Largest number of fields with a warning that the page lists; fields.json has all."""

Cell = str | list[str]
"""Text of a table's cell; in a list where its figure breaks a limit."""


def wells_table(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the table of wells: those with warnings first."""
    rules = rules_by_figure(facts["rules"]["well"])
    titles = rule_titles(facts)
    rows = [
        {
            "id": number,
            "plate": shown(well["plate"]) or "no name",
            "well": shown(well["well"]),
            "n_cells": f"{well['n_cells']:,}",
            "n_fields": f"{well['n_fields']:,}",
            "n_warned": f"{sum(map(is_warned, fields)):,}",
            "n_failed": f"{well['n_failed']:,}",
            "figures": _figures(well, rules),
            "flags": [titles[flag] for flag in well["flags"]],
            "warned": bool(well["flags"]) or well["n_cells"] == 0 or well["n_failed"] > 0,
        }
        for number, (well, fields) in enumerate(
            zip(facts["wells"], fields_by_well(facts), strict=True)
        )
    ]
    return {"figures": _heads(rules), "rows": sorted(rows, key=lambda row: not row["warned"])}


def warned_fields(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the table of fields with a warning and of those that could not be read."""
    rules = rules_by_figure(facts["rules"]["field"])
    titles, numbers = rule_titles(facts), well_numbers(facts)
    warned = [field for field in facts["fields"] if is_warned(field)]
    warned.sort(key=lambda field: field["error"] is None)
    rows = [
        {
            "id": numbers[field["plate"], field["well"]],
            "plate": shown(field["plate"]) or "no name",
            "well": shown(field["well"]),
            "number": _number(field),
            "n_cells": f"{field['n_cells']:,}",
            "figures": _figures(field, rules),
            "flags": [titles[flag] for flag in field["flags"]],
            "kept": field["kept"],
            "error": None if field["error"] is None else sentence(field["error"]),
        }
        for field in warned[:MAX_ROWS]
    ]
    return {
        "figures": _heads(rules),
        "rows": rows,
        "n": len(warned),
        "n_fields": len(facts["fields"]),
    }


def field_rows(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of each well as the page's script shows them.

    Returns
    -------
    dict
        ``heads``, ``numbers`` (whether each column holds numbers), and ``rows``: by the number of
        the well, a list of `Cell` for each of its fields.
    """
    rules = rules_by_figure(facts["rules"]["field"])
    titles = rule_titles(facts)
    heads = ["Field", "Cells", "Nuclei left out", *(figure_name(key) for key in rules), "Warnings"]
    return {
        "heads": heads,
        "numbers": [False, True, False, *(True for _ in rules), False],
        "rows": {
            str(number): [_field_row(field, rules, titles) for field in fields]
            for number, fields in enumerate(fields_by_well(facts))
        },
    }


def _field_row(
    field: dict[str, Any], rules: dict[str, list[dict[str, Any]]], titles: dict[str, str]
) -> list[Cell]:
    said = [titles[flag] for flag in field["flags"]]
    said += [sentence(field["error"])] if field["error"] is not None else []
    said += ["not used"] if not field["kept"] and field["error"] is None else []
    figures: list[Cell] = [
        [one["text"]] if one["broken"] else one["text"] for one in _figures(field, rules)
    ]
    start = [_number(field), f"{field['n_cells']:,}", left_out(field["left_out"]) or "none"]
    return [*start, *figures, ", ".join(said)]


def _number(field: dict[str, Any]) -> str:
    return f"{field['field']}" + (f", time {field['time']}" if field["time"] > 1 else "")


def _heads(rules: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {"name": figure_name(key), "limits": [limit(rule) for rule in broken_by]}
        for key, broken_by in rules.items()
    ]


def _figures(entry: dict[str, Any], rules: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the figures of a field or well as text, and whether a rule warns of them."""
    return [
        {
            "text": figure(entry["figures"].get(key)),
            "broken": any(rule["key"] in entry["flags"] for rule in broken_by),
        }
        for key, broken_by in rules.items()
    ]


def limits_table(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each rule with its meaning, its limit, and how many break it."""
    return [
        {
            "title": shown(rule["title"]),
            "meaning": sentence(rule["meaning"]),
            "limit": f"{figure_name(rule['figure'])} {limit(rule)}",
            "n": f"{sum(rule['key'] in entry['flags'] for entry in facts[noun]):,}",
            "total": counted(len(facts[noun]), kind),
        }
        for noun, kind in (("fields", "field"), ("wells", "well"))
        for rule in facts["rules"][kind]
    ]


def nuclei_bars(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what became of the nuclei: for each outcome its number, share and reason."""
    totals, settings = facts["totals"], facts["settings"]
    size = settings["size"]
    reasons = {
        "edge": "The crop around them would reach over the edge of the field.",
        "small": f"They measure less than {figure(size['smallest'])} µm across: often debris.",
        "large": f"They measure more than {figure(size['largest'])} µm across: often clumps.",
        "field": "They lie in fields that were left out because of a warning.",
    }
    names = {
        "edge": "Left out: at the edge",
        "small": "Left out: too small",
        "large": "Left out: too large",
        "field": "Left out: whole field",
    }
    entries = [("Became cells", totals["cells"], "Each gave one crop.")]
    entries += [
        (names.get(key, shown(key)), n, reasons.get(key, ""))
        for key, n in totals["left_out"].items()
    ]
    return [
        {"name": name, "n": f"{n:,}", "share": n / max(totals["nuclei"], 1), "reason": reason}
        for name, n, reason in entries
    ]
