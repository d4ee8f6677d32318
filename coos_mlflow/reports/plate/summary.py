"""Collects what a report shows, from drift.json and pictures, into one plain dict.

The HTML and the Markdown templates take their variables from it. Open it to add a value to a page.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coos_mlflow.drift import CANNOT_TELL, SHIFTED
from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.reports.plate import sensitivity, wording
from coos_mlflow.reports.plate.cells import Pictures, class_groups
from coos_mlflow.reports.plate.controls import controls_section
from coos_mlflow.reports.plate.dataset import class_names, class_styles, short_names, splits
from coos_mlflow.reports.plate.doubts import MIN_SHARE, compared_classes, not_judged_words
from coos_mlflow.reports.plate.estimates import error_figures, record, split_errors
from coos_mlflow.reports.plate.headline import far_outside, headline
from coos_mlflow.reports.plate.labelled import first_error, labelled_section
from coos_mlflow.reports.plate.moves import effects, raw_moves
from coos_mlflow.reports.plate.wells import plate_maps
from coos_mlflow.reports.plate.wording import shown

VIEW_TITLES = {
    "softmax": "What the model answers",
    "features": "What the model sees",
    "raw": "What the camera recorded",
}

VIEW_MEANINGS = {
    "softmax": "probabilities of the classes",
    "features": "main axes of the representation",
    "raw": "brightness, contrast, sharpness and so on",
}

MAX_PLATES = 50
"""Largest number of plates that a page lists; the farthest come first."""

MAX_MAPS = 4
"""Largest number of plates whose maps are drawn; the farthest come first."""


def summarise(drift: dict[str, Any], pictures: Pictures) -> dict[str, Any]:
    """Collect all that a report shows. Every number in it is a number of drift.json.

    Parameters
    ----------
    drift : dict
        The content of drift.json, schema 6.
    pictures : Pictures
        Of the cells of drift.json and of reference cells.

    Returns
    -------
    dict
        Plain values, except pictures, which are bytes.
    """
    plates = farthest_first(drift["plates"])
    return {
        "title": shown(drift["plate_file"]["name"]),
        "headline": headline(drift),
        "simulated": wording.simulated(**drift["simulated"]),
        "key_figures": _key_figures(drift),
        "notes": wording.notes(drift),
        "model": {key: shown(drift["model"][key]) for key in ("name", "version")},
        "trained_on": shown(drift["model"]["trained_on"]),
        "class_names": class_names(drift),
        "class_short": short_names(drift),
        "class_styles": class_styles([one["colour"] for one in drift["dataset"]["classes"]]),
        "plates": [_plate_row(plate, short_names(drift)) for plate in plates[:MAX_PLATES]],
        "plates_left_out": max(0, len(plates) - MAX_PLATES),
        "several": len(plates) > 1,
        "far_outside": far_outside(drift),
        "comparison": _comparison(drift, plates[:MAX_PLATES]),
        "compared": _compared(drift),
        "by_class": _by_class(drift),
        "sensitivity": _sensitivity(drift),
        "controls": controls_section(drift),
        "first": first_error(drift),
        "labelled": labelled_section(drift),
        "error": error_figures(drift),
        "record": record(drift),
        "errors": split_errors(drift),
        "shares": _shares(drift),
        "maps": plate_maps(drift, [plate["plate"] for plate in plates[:MAX_MAPS]]),
        "n_plates": len(plates),
        "cells": class_groups(drift, pictures),
        "moves": raw_moves(drift, plates),
        "effects": effects(drift, plates),
        "provenance": _provenance(drift),
    }


def farthest_first(plates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort plates of drift.json: the farthest first, those without a distance last."""
    return sorted(plates, key=lambda plate: np.inf if plate["score"] is None else -plate["score"])


def _key_figures(drift: dict[str, Any]) -> list[dict[str, str]]:
    plates, reference = drift["plates"], drift["reference"]
    figures = [("cells", f"{drift['n_cells']:,}")]
    if drift["has_well_ids"]:
        figures.append(("wells", f"{len(drift['wells']):,}"))
    if len(plates) > 1:
        shifted = sum(plate["verdict"] == SHIFTED for plate in plates)
        named = sum(plate["plate"] != "" for plate in plates)
        figures.insert(0, ("plates", f"{named}"))
        figures.append(("plates shifted", f"{shifted}"))
    elif plates[0]["verdict"] != CANNOT_TELL:
        # m ranks give no p below `smallest_p`; a smaller one rests on an assumed distribution.
        p, least = plates[0]["t_p"], plates[0]["smallest_p"]
        words = f"{p:.2g}" if p >= least else f"≤ {least:.2g}"
        figures.append(("p of the verdict", words))
    figures.append(("reference plates, m", f"{reference['m']}"))
    figures.append(("smallest possible p", f"{reference['smallest_p']:.2g}"))
    return [{"label": label, "value": value} for label, value in figures]


def _plate_row(plate: dict[str, Any], shorts: list[str]) -> dict[str, Any]:
    names = ", ".join(shorts[label] for label in plate["classes"])
    left = not_judged_words(plate, shorts, set(range(len(shorts))))
    keep = ("verdict", "reason", "n_cells", "n_wells", "distances")
    judged = plate["verdict"] != CANNOT_TELL
    return {
        "plate": shown(plate["plate"]) or "no name",
        "classes": (names or "none") + (f"; not judged: {left}" if left else ""),
        "standing": wording.standing(plate),
        "error": wording.estimate(plate["error"]),
        "p": plate["p"] if judged else None,
        "view_p": plate["view_p"] if judged else dict.fromkeys(VIEWS),
        **{key: plate[key] for key in keep},
    }


def _compared(drift: dict[str, Any]) -> str:
    """Return which classes of a single plate were compared, and its rank; empty for several."""
    if len(drift["plates"]) > 1:
        return ""
    (plate,) = drift["plates"]
    known = compared_classes(drift)
    shares = enumerate(plate["class_shares"]["predicted"])
    others = [n for n, share in shares if share >= MIN_SHARE and n not in plate["classes"]]
    names = class_names(drift)
    groups = {
        "Compared": ", ".join(names[label] for label in plate["classes"]),
        "Not judged, too few cells": not_judged_words(plate, names, known),
        "On too few Training plates to compare": ", ".join(
            names[label] for label in others if label not in known
        ),
    }
    words = [f"{title}: {listed}." for title, listed in groups.items() if listed]
    if plate["verdict"] != CANNOT_TELL:
        words.append(
            f"Rank p among the {drift['reference']['m']} Training plates: {plate['p']:.2g}."
        )
    return " ".join(words)


def _by_class(drift: dict[str, Any]) -> list[dict[str, Any]]:
    """Return how far each class of a single judged plate is; empty for several plates."""
    plate, *others = drift["plates"]
    if others or not plate["judged"]:
        return []
    names = class_names(drift)
    keep = ("n_cells", "score", "limit", "shifted")
    return [
        {
            "name": names[one["class"]],
            "view": VIEW_TITLES[one["view"]],
            **{key: one[key] for key in keep},
        }
        for one in plate["by_class"]
    ]


def _sensitivity(drift: dict[str, Any]) -> list[str]:
    titles = {key: split["title"] for key, split in splits(drift).items()}
    return sensitivity.sentences(drift["reference"]["sensitivity"], titles)


def _comparison(drift: dict[str, Any], plates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each view its title, usual limit and rows of marks: plates first, then splits."""
    placed = [plate for plate in plates if plate["score"] is not None]
    single = placed[0] if len(placed) == 1 else None
    judged = single if single and single["verdict"] != CANNOT_TELL else None
    ladder = drift["reference"]["ladder"]
    title = "This plate" if len(plates) == 1 else "These plates"
    views = []
    for view in VIEWS:
        rows = [{"key": "new", "title": title, "marks": _marks(placed, view)}]
        rows += [
            {"key": split["mark"], "title": split["title"], "marks": _marks(ladder[key], view)}
            for key, split in splits(drift).items()
            if ladder.get(key)
        ]
        views.append(
            {
                "view": view,
                "title": VIEW_TITLES[view],
                "meaning": VIEW_MEANINGS[view],
                "usual": min((plate["usual"][view] for plate in placed), default=None),
                "p": judged["view_p"][view] if judged else None,
                "distance": single["distances"][view] if single else None,
                "rows": rows,
            }
        )
    return views


def _marks(plates: list[dict[str, Any]], view: str) -> list[dict[str, Any]]:
    return [
        {
            "words": wording.plate_words(plate["plate"]),
            "distance": plate["distances"][view],
            "text": f"{plate['distances'][view]:.2f}",
        }
        for plate in plates
        if plate["distances"][view] is not None
    ]


def _shares(drift: dict[str, Any]) -> list[dict[str, Any]]:
    shares = drift["class_shares"]
    columns = zip(class_names(drift), shares["predicted"], shares["corrected"], strict=True)
    return [
        {"label": label, "name": name, "predicted": predicted, "corrected": corrected}
        for label, (name, predicted, corrected) in enumerate(columns)
    ]


def _provenance(drift: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and values of the files, versions and settings behind a report."""
    keys = (
        "plate_file",
        "layout",
        "model",
        "mixed_wells",
        "versions",
        "seed",
        "settings",
        "schema_version",
        "command",
    )
    effects = {
        one["plate"] or drift["plate_file"]["name"]: f"{one['size']:.1f} times the usual distance"
        for one in drift.get("plate_effects") or []
    }
    return _flat({key: drift[key] for key in keys if key in drift} | {"plate moved": effects})


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return names and values of nested dicts as pairs of text."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            rows += _flat(value, f"{name}: ")
        elif value is not None:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)[:1000]
            rows.append((wording.without_controls(name), wording.without_controls(text)))
    return rows
