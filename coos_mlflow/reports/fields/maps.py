"""The wells of the maps: their positions, what they say, and the quantities that colour them."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median_low
from typing import Any

from coos_mlflow.plates.wells import plate_size
from coos_mlflow.reports.fields.words import capital, figure, figure_name, limit
from coos_mlflow.reports.plate.wording import counted, plate_words, shown

CELLS, WARNED = "cells", "warned"
"""Quantities of every page: cells of a well, and share of its fields with a warning."""


def well_numbers(facts: dict[str, Any]) -> dict[tuple[str, str], int]:
    """Return the place of each plate and well among the wells of fields.json."""
    return {(well["plate"], well["well"]): n for n, well in enumerate(facts["wells"])}


def fields_by_well(facts: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the fields of each well, in the order of the wells of fields.json."""
    numbers = well_numbers(facts)
    grouped: list[list[dict[str, Any]]] = [[] for _ in facts["wells"]]
    for field in facts["fields"]:
        grouped[numbers[field["plate"], field["well"]]].append(field)
    return grouped


def is_warned(field: dict[str, Any]) -> bool:
    """Return whether a field has a warning or could not be read."""
    return bool(field["flags"]) or field["error"] is not None


def quantities(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the maps can show, each with its value for every well.

    Returns
    -------
    list of dict
        ``key``, ``title``, ``note``, ``low`` and ``high`` (the ends of the colours, in words),
        ``values`` (None where a well has none) and ``positions`` (0 to 1).
    """
    grouped = fields_by_well(facts)
    cells = [float(well["n_cells"]) for well in facts["wells"]]
    shares = [sum(map(is_warned, fields)) / max(len(fields), 1) for fields in grouped]
    drawn = [
        _quantity(CELLS, "Cells of the well", "", cells, 0, max([*cells, 1])),
        _quantity(WARNED, "Fields with a warning", "", list(shares), 0, 1)
        | {"low": "none", "high": "all"},
    ]
    for key, rules in rules_by_figure(facts["rules"]["field"]).items():
        values = [_middle(key, fields) for fields in grouped]
        known = [value for value in values if value is not None]
        if known:
            limits = ", ".join(f"{limit(rule)}: {shown(rule['title'])}" for rule in rules)
            note = f"Middle value of the fields; {limits}"
            title = capital(figure_name(key))
            # With the limits in the range, wells that differ little look alike.
            known += [rule["limit"] for rule in rules]
            drawn.append(_quantity(key, title, note, values, min(known), max(known)))
    return drawn


def rules_by_figure(rules: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rules by the key of their figure, in order."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for rule in rules:
        grouped.setdefault(rule["figure"], []).append(rule)
    return grouped


def _middle(key: str, fields: list[dict[str, Any]]) -> float | None:
    values = [v for field in fields if (v := field["figures"].get(key)) is not None]
    return median_low(values) if values else None


def _quantity(
    key: str, title: str, note: str, values: list[Any], low: float, high: float
) -> dict[str, Any]:
    span = high - low
    positions = [
        None if value is None else (value - low) / span if span else 0.5 for value in values
    ]
    return {
        "key": key,
        "title": title,
        "note": note,
        "low": figure(low),
        "high": figure(high),
        "positions": positions,
    }


def plate_maps(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the map of each plate: its size, and its wells with what they say."""
    told = list(_wells(facts))
    maps = []
    for plate in dict.fromkeys(well["plate"] for well in facts["wells"]):
        wells = [well for well in told if well["plate"] == plate]
        placed = all(well["row"] is not None for well in wells)
        rows, columns = _size(wells, facts["shape"]) if placed else (0, 0)
        maps.append(
            {
                "title": capital(plate_words(plate)),
                "wells": wells,
                "placed": placed,
                "rows": rows,
                "columns": columns,
            }
        )
    return maps


def _size(wells: list[dict[str, Any]], shape: list[int] | None) -> tuple[int, int]:
    """Return rows and columns to draw: those of the plate, or of the smallest that holds all."""
    rows = max(well["row"] for well in wells)
    columns = max(well["column"] for well in wells)
    if shape and rows <= shape[0] and columns <= shape[1]:
        return shape[0], shape[1]
    return plate_size(rows, columns) or (rows, columns)


def _wells(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    several = len({well["plate"] for well in facts["wells"]}) > 1
    titles = rule_titles(facts)
    for number, (well, fields) in enumerate(
        zip(facts["wells"], fields_by_well(facts), strict=True)
    ):
        name = shown(well["well"])
        warned = sum(map(is_warned, fields))
        parts = [f"{counted(well['n_cells'], 'cell')} in {counted(well['n_fields'], 'field')}"]
        parts += [titles[flag] for flag in well["flags"]]
        parts += [f"{counted(well['n_failed'], 'field')} could not be read"] * bool(
            well["n_failed"]
        )
        parts += [f"{counted(warned, 'field')} with a warning"] * bool(warned)
        parts += [
            f"{figure_name(key)} {figure(value)}"
            for key, value in well["figures"].items()
            if value is not None
        ]
        yield {
            "id": number,
            "plate": well["plate"],
            "row": well["row"],
            "column": well["column"],
            "name": f"Well {name}" + (f" of {plate_words(well['plate'])}" if several else ""),
            "words": f"{name}: {'; '.join(parts)}",
            "empty": well["n_cells"] == 0,
            "warned": bool(well["flags"]) or well["n_failed"] > 0 or warned == len(fields) > 0,
        }


def rule_titles(facts: dict[str, Any]) -> dict[str, str]:
    """Return the title of each rule by its key."""
    rules = facts["rules"]
    return {rule["key"]: shown(rule["title"]) for rule in rules["field"] + rules["well"]}
