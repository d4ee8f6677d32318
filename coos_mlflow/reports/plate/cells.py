"""The example cells of a report, grouped by class and role, and fewer where they do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coos_mlflow.drift.example_cells import ROLES, WELL_ROLES
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.reports.plate.dataset import class_names, splits
from coos_mlflow.reports.plate.wording import plate_words, shown

ROLE_TITLES = {
    "typical": "Most typical",
    "doubtful": "Least confident",
    "farthest": "Farthest from the reference",
}

TRAINING_CELLS, REFERENCE_CELLS = 4, 1
"""Reference cells shown beside those of each class, of Training and of each other split."""


@dataclass(frozen=True)
class ReferencePicture:
    """A reference cell: its true class, where it comes from, and its picture as WebP."""

    picture: bytes
    label: int
    split: str
    plate: str


@dataclass(frozen=True)
class Pictures:
    """The pictures of a page; drift.json holds everything else.

    Parameters
    ----------
    cells : dict of bytes
        WebP pictures of the cells of drift.json, by their ``index``.
    reference : sequence of ReferencePicture
        In the order in which to show them.
    """

    cells: dict[int, bytes]
    reference: Sequence[ReferencePicture]


def class_groups(drift: dict[str, Any], pictures: Pictures) -> list[dict[str, Any]]:
    """Group the cells of drift.json by class, the commonest first, and by role.

    Returns
    -------
    list of dict
        ``name``, ``share``, ``roles`` (each with ``title`` and ``cells``), ``by_well`` (one list
        of cells for each of `WELL_ROLES`) and ``reference``.
    """
    numbers = {(well["plate"], well["well"]): n for n, well in enumerate(drift["wells"])}
    predicted = drift["class_shares"]["predicted"]
    names, titles = class_names(drift), {k: s["title"] for k, s in splits(drift).items()}
    groups = []
    for label in sorted(range(len(names)), key=lambda label: -predicted[label]):
        own = [cell for cell in drift["cells"] if cell["label"] == label]
        own = [cell for cell in own if cell["index"] in pictures.cells]
        if own:
            groups.append(
                {
                    "name": names[label],
                    "share": predicted[label],
                    "roles": [
                        {
                            "role": role,
                            "title": ROLE_TITLES[role],
                            "cells": _of_role(own, role, numbers, pictures),
                        }
                        for role in ROLES
                    ],
                    "by_well": [_of_role(own, role, numbers, pictures) for role in WELL_ROLES],
                    "reference": _reference(pictures.reference, label, titles),
                }
            )
    return groups


def _of_role(
    cells: list[dict[str, Any]],
    role: str,
    numbers: dict[tuple[str, str], int],
    pictures: Pictures,
) -> list[dict[str, Any]]:
    return [
        _cell(cell, numbers) | {"picture": pictures.cells[cell["index"]]}
        for cell in cells
        if cell["role"] == role
    ]


def _cell(cell: dict[str, Any], numbers: dict[tuple[str, str], int]) -> dict[str, Any]:
    words = []
    if cell["role"] in WELL_ROLES:
        words.append(f"{ROLE_TITLES[ROLES[WELL_ROLES.index(cell['role'])]].lower()} of its well")
    if "plate" in cell:
        words.append(plate_words(cell["plate"]))
    if "well" in cell:
        words.append(f"well {shown(cell['well'])}")
    words.append(f"cell {cell['index']}")
    words.append(f"confidence {cell['confidence']:.0%}")
    words.append(f"distance {cell['distance']:.1f}")
    return {
        "index": cell["index"],
        "well": numbers.get((cell.get("plate", ""), cell.get("well", ""))),
        "well_name": shown(cell.get("well", ""))[:8],
        "words": ", ".join(words),
        "caption": f"{cell['confidence']:.0%}",
    }


def _reference(
    cells: Sequence[ReferencePicture], label: int, titles: dict[str, str]
) -> list[dict[str, Any]]:
    """Return the reference cells of a class, a few of each split in the order of `titles`."""
    return [
        {
            "picture": cell.picture,
            "words": f"{title}, {plate_words(cell.plate)}",
            "caption": title,
        }
        for split, title in titles.items()
        for cell in [c for c in cells if c.label == label and c.split == split][
            : TRAINING_CELLS if split == TRAINING else REFERENCE_CELLS
        ]
    ]


def trimmed(
    groups: list[dict[str, Any]], wells: set[int], per_role: int, per_well: int
) -> list[dict[str, Any]]:
    """Return the groups with fewer cells. A cell shown in a role is not repeated for its well.

    Parameters
    ----------
    groups : list of dict
        What `class_groups` returned.
    wells : set of int
        Numbers of the wells on the page's maps. Cells of other wells could not be chosen.
    per_role : int
        Cells of each class in each role.
    per_well : int
        Roles in which cells of each well are shown, 0 to 3.
    """
    kept = []
    for group in groups:
        roles = [role | {"cells": role["cells"][:per_role]} for role in group["roles"]]
        seen = {cell["index"] for role in roles for cell in role["cells"]}
        by_well = []
        for cell in [cell for cells in group["by_well"][:per_well] for cell in cells]:
            if cell["well"] in wells and cell["index"] not in seen:
                seen.add(cell["index"])
                by_well.append(cell)
        by_well.sort(key=lambda cell: cell["well"])
        if by_well or any(role["cells"] for role in roles):
            kept.append(group | {"roles": roles, "by_well": by_well})
    return kept
