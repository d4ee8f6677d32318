"""All that the page says, from fields.json and the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coos_mlflow.reports.fields import provenance
from coos_mlflow.reports.fields.headline import headline
from coos_mlflow.reports.fields.maps import (
    CELLS,
    WARNED,
    plate_maps,
    quantities,
    rule_titles,
    well_numbers,
)
from coos_mlflow.reports.fields.tables import (
    field_rows,
    limits_table,
    nuclei_bars,
    warned_fields,
    wells_table,
)
from coos_mlflow.reports.fields.words import (
    field_name,
    figure,
    figure_name,
    left_out,
    limit,
    sentence,
)
from coos_mlflow.reports.plate.wording import counted, plates_words, shown

Place = tuple[str, str, int, int]
"""Plate, well, field and time."""

KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}
"""First bytes of the pictures' file types."""


def summarise(facts: dict[str, Any], pictures: Mapping[Place, bytes]) -> dict[str, Any]:
    """Return the variables of the page.

    Parameters
    ----------
    facts : dict
        The content of fields.json.
    pictures : mapping
        The picture of each overlay, by plate, well, field and time.
    """
    drawn = quantities(facts)
    return {
        "title": _title(facts["location"]),
        "plates": plates_words([{"plate": plate} for plate in facts["plates"]]),
        "several": len(facts["plates"]) > 1,
        "simulated": "Simulated data: these images are not microscopy."
        if facts["simulated"]
        else None,
        "headline": headline(facts),
        "totals": facts["totals"],
        "left_out": left_out(facts["totals"]["left_out"]),
        "key_figures": _key_figures(facts),
        "notes": [sentence(note) for note in facts["notes"]],
        "overlays": _overlays(facts, pictures),
        "channels": provenance.channels(facts),
        "segmenter": shown(facts["settings"]["segmenter"]),
        "size": {key: figure(value) for key, value in facts["settings"]["size"].items()},
        "quantities": drawn,
        "third": _third(drawn),
        "maps": plate_maps(facts),
        "wells": wells_table(facts),
        "warned": warned_fields(facts),
        "limits": limits_table(facts),
        "nuclei": nuclei_bars(facts),
        "field_rows": field_rows(facts),
        "provenance": provenance.provenance(facts),
        "versions": provenance.versions(facts),
    }


def _title(location: str) -> str:
    """Return the last part of a path or address."""
    return shown(location.replace("\\", "/").rstrip("/").rpartition("/")[2])


def _third(drawn: list[dict[str, Any]]) -> str | None:
    """Return the figure whose map is shown first: that of focus, or the first there is."""
    keys = [quantity["key"] for quantity in drawn if quantity["key"] not in (CELLS, WARNED)]
    return next((key for key in keys if "focus" in key), keys[0] if keys else None)


def _key_figures(facts: dict[str, Any]) -> list[dict[str, str]]:
    totals = facts["totals"]
    plates = [("plates", len(facts["plates"]))] if len(facts["plates"]) > 1 else []
    figures = [
        *plates,
        ("wells", totals["wells"]),
        ("fields", totals["fields"]),
        ("fields that could not be read", totals["failed"]),
        ("nuclei found", totals["nuclei"]),
        ("cells", totals["cells"]),
        ("of them touching another", totals["touching"]),
        ("of them dividing", totals["dividing"]),
    ]
    return [{"label": label, "value": f"{value:,}"} for label, value in figures]


def _overlays(facts: dict[str, Any], pictures: Mapping[Place, bytes]) -> list[dict[str, Any]]:
    """Return the fields to look at: typical ones, and those with a warning."""
    fields = {place_of(field): field for field in facts["fields"]}
    numbers, titles = well_numbers(facts), rule_titles(facts)
    rules = {rule["key"]: rule for rule in facts["rules"]["field"]}
    several = len(facts["plates"]) > 1
    drawn = [(o["why"], place_of(o)) for o in facts["overlays"] if place_of(o) in pictures]
    entries = [
        {
            "id": numbers[place[:2]],
            "name": field_name(fields[place], several=several),
            "words": _field_words(fields[place]),
            "why": titles.get(why),
            "figure": _why(rules.get(why), fields[place]),
            "kind": next(
                kind for start, kind in KINDS.items() if pictures[place].startswith(start)
            ),
            "picture": pictures[place],
        }
        for why, place in drawn
    ]
    groups = {
        "Typical fields": [entry for entry in entries if entry["why"] is None],
        "Fields with a warning": [entry for entry in entries if entry["why"] is not None],
    }
    return [{"title": title, "fields": shown} for title, shown in groups.items() if shown]


def place_of(entry: dict[str, Any]) -> Place:
    """Return plate, well, field and time of an entry of fields.json."""
    return entry["plate"], entry["well"], entry["field"], entry["time"]


def _field_words(field: dict[str, Any]) -> str:
    words = left_out(field["left_out"])
    return counted(field["n_cells"], "cell") + (f"; left out: {words}" if words else "")


def _why(rule: dict[str, Any] | None, field: dict[str, Any]) -> str:
    """Return the figure for which a field is shown, and the limit that it breaks."""
    if rule is None:
        return ""
    value = figure(field["figures"].get(rule["figure"]))
    return f"{figure_name(rule['figure'])} {value}, warned of {limit(rule)}"
