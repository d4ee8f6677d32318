"""What the page shows at its end: the measured error, and the labels beside the model's."""

from __future__ import annotations

from typing import Any

import numpy as np

from coos_mlflow.audit.labels_file import NONE_WORDS
from coos_mlflow.labelling.session import Session
from coos_mlflow.metrics import confusion_matrix
from coos_mlflow.plates.layout import NONE
from coos_mlflow.reports.plate.labelled import first_error, sentences
from coos_mlflow.scoring.audited import judged_rows


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
        ``title``, ``value`` and ``range`` of the balanced error and further ``facts``, in words;
        ``confusion``.
    """
    if drift["audit"] is None:
        found = {
            "title": "Balanced error",
            "value": "Cannot tell",
            "range": "No labelled cell could be judged.",
            "facts": [],
        }
    else:
        error = first_error(drift)
        found = {
            "title": f"Balanced error, {error['how_words']}",
            "value": error["value_words"],
            "range": error["range_words"] and f"95 % range: {error['range_words']}",
            "facts": sentences(drift),
        }
    return found | {"confusion": confusion(session)}


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
    rows, truths = judged_rows(session.frame, session.said, names)
    people = np.where(truths == NONE, len(names), truths)
    counts = confusion_matrix(people, session.frame.labels[rows], len(names) + 1)
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
