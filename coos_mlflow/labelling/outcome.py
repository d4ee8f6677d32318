"""What is shown once labelling ends: the measured error, and the labels beside the model's."""

from __future__ import annotations

from typing import Any

import numpy as np

from coos_mlflow.audit.labels_file import CANNOT_SEE, NONE_WORDS
from coos_mlflow.labelling.session import Session
from coos_mlflow.reports.plate.wording import counted, percent

UNKNOWN = "Cannot tell"


def outcome(session: Session, drift: dict[str, Any]) -> dict[str, Any]:
    """Return the end of the page.

    Parameters
    ----------
    session : Session
    drift : dict
        Content of drift.json, published with the session's labels.

    Returns
    -------
    dict
        ``value`` and ``range`` of the balanced error and further ``facts``, in words;
        ``confusion`` (`confusion`).
    """
    audit = drift["audit"]
    if audit is None or audit["balanced_error"] is None:
        value, spread = UNKNOWN, "No labelled cell is of a class that the model knows."
    else:
        value = percent(audit["balanced_error"])
        spread = f"95 % range: {_range(audit['low'], audit['high'])}"
    return {
        "value": value,
        "range": spread,
        "facts": [] if audit is None else facts(audit, session.labeller),
        "confusion": confusion(session),
    }


def facts(audit: dict[str, Any], labeller: str) -> list[str]:
    """Return sentences on a measured error, ``audit`` of drift.json."""
    found = [
        f"Measured on {counted(audit['n_cells'], 'cell')}"
        + (f" labelled by {audit['labeller']}" if audit["labeller"] != labeller else "")
        + (f"; {audit['cannot_see']} could not be seen." if audit["cannot_see"] else "."),
        f"Wrong labels: {percent(audit['wrong_labels'])} of all cells "
        f"({_range(audit['wrong_low'], audit['wrong_high'])}).",
    ]
    if audit["off"] is not None:
        found.append(
            f"Without labels the error was estimated at {percent(audit['estimated'])}, "
            f"{_off(audit['off'])}."
        )
    none = audit["none"]
    if none["share"] > 0:
        low, high = 100 * none["low"], 100 * none["high"]
        found.append(
            f"{percent(100 * none['share'])} ({_range(low, high)}) of the cells are of no class "
            "that the model knows."
        )
    if audit["agreement"] is not None:
        found.append(_agreement(audit["agreement"]))
    return found


def _off(points: float) -> str:
    """Return how far an estimate was off, in points of %."""
    if abs(points) < 0.05:
        return "which is what the labels say"
    return f"{abs(points):.1f} points too {'high' if points > 0 else 'low'}"


def _agreement(found: dict[str, Any]) -> str:
    kappa = "" if found["kappa"] is None else f" (Cohen's kappa {found['kappa']:.2f})"
    return (
        f"Two people labelled {counted(found['n_cells'], 'cell')} alike in "
        f"{percent(100 * found['agree'])} of them{kappa}."
    )


def _range(low: float, high: float) -> str:
    return f"{percent(low).split()[0]} to {percent(high)}"


def confusion(session: Session) -> dict[str, Any]:
    """Return how often each label of the person met each label of the model.

    Returns
    -------
    dict
        ``columns``, the classes that the model gave or the person said; ``rows``, each with
        ``label`` (None for no class), ``name`` and ``cells``, the counts. Cells that could not be
        seen have no row.
    """
    names = session.dataset.class_names
    numbers = {name: label for label, name in enumerate(names)} | {NONE_WORDS: len(names)}
    said = {cell: numbers[one] for cell, one in session.said.items() if one != CANNOT_SEE}
    rows = np.flatnonzero(np.isin(session.frame.cells, list(said)))
    counts = np.zeros((len(names) + 1, len(names)), np.int64)
    people = [said[cell] for cell in session.frame.cells[rows].tolist()]
    np.add.at(counts, (people, session.frame.labels[rows]), 1)
    shown = [k for k in range(len(names)) if counts[k].any() or counts[:, k].any()]
    lines = [(k, names[k]) for k in shown] + [(None, NONE_WORDS)] * bool(counts[-1].any())
    return {
        "columns": shown,
        "rows": [
            {
                "label": label,
                "name": name,
                "cells": counts[len(names) if label is None else label, shown].tolist(),
            }
            for label, name in lines
        ],
    }
