"""The first words of the page: how many cells, and the warnings, the gravest first."""

from __future__ import annotations

from typing import Any

from coos_mlflow.reports.fields.words import sentence, shown
from coos_mlflow.reports.plate.wording import counted

GRAVE = 0.1
"""Share of wells or fields from which on a warning gives the page the colour of one; chosen."""

LOOK = "Only your eyes can tell whether the outlines below follow the nuclei."


def headline(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the first words of the page.

    Returns
    -------
    dict
        ``key`` is ``"in-range"``, ``"shifted"`` or ``"cannot-tell"`` as the style sheet calls its
        colours: no warning, grave ones, others. ``title``, ``trust`` (one sentence) and
        ``reasons`` (the further sentences).
    """
    totals, wells = facts["totals"], facts["wells"]
    full = sum(well["n_cells"] > 0 for well in wells)
    found = warnings(facts)
    sentences = [words for _, words in found] + [sentence(words) for words in facts["warnings"]]
    grave = totals["cells"] == 0 or any(share >= GRAVE for share, _ in found)
    return {
        "key": "shifted" if grave else "cannot-tell" if sentences else "in-range",
        "title": f"{counted(totals['cells'], 'cell')} in {full:,} of {counted(len(wells), 'well')}",
        "trust": sentences[0] if sentences else "No well and no field breaks a limit.",
        "reasons": sentences[1:],
        "look": LOOK,
    }


def warnings(facts: dict[str, Any]) -> list[tuple[float, str]]:
    """Return each kind of warning with its share of wells or fields, the gravest first."""
    wells, fields = facts["wells"], facts["fields"]
    failed = sum(field["error"] is not None for field in fields)
    empty = {number for number, well in enumerate(wells) if well["n_cells"] == 0}
    lines = []
    if failed:
        lines.append(
            (failed / len(fields), f"{_of(failed, len(fields), 'field')} could not be read.")
        )
    if empty:
        have = "has" if len(empty) == 1 else "have"
        lines.append(
            (len(empty) / len(wells), f"{_of(len(empty), len(wells), 'well')} {have} no cells.")
        )
    for kind, noun, entries in (("well", "well", wells), ("field", "field", fields)):
        for rule in facts["rules"][kind]:
            broken = {n for n, entry in enumerate(entries) if rule["key"] in entry["flags"]}
            # A rule on wells without cells would say the same as the line above.
            if broken and not (kind == "well" and broken == empty):
                words = f"{_of(len(broken), len(entries), noun)}: {shown(rule['title'])}."
                lines.append((len(broken) / len(entries), words))
    return sorted(lines, key=lambda line: -line[0])


def _of(number: int, total: int, noun: str) -> str:
    return f"{number:,} of {counted(total, noun)}"
