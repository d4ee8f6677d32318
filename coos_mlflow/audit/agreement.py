"""How far two people agree on the same cells."""

from __future__ import annotations

from typing import Any

from sklearn.metrics import cohen_kappa_score

from coos_mlflow.audit.labels_file import CANNOT_SEE, Label


def agreement(labels: list[Label], labeller: str) -> dict[str, Any] | None:
    """Compare the labels of one person with those of the others for the same cells.

    Cells that one of the two could not see are left out.

    Parameters
    ----------
    labels : list of Label
        Of everyone.
    labeller : str
        Whose labels are compared.

    Returns
    -------
    dict or None
        ``n_cells``, the number of comparisons; ``agree``, the share with the same label; and
        ``kappa`` (Cohen 1960, Educ. Psychol. Meas. 20, 37-46), None where all labels are one.
        None without a common cell.
    """
    seen = [label for label in labels if label.label != CANNOT_SEE]
    own = {label.cell: label.label for label in seen if label.labeller == labeller}
    pairs = [
        (own[label.cell], label.label)
        for label in seen
        if label.labeller != labeller and label.cell in own
    ]
    if not pairs:
        return None
    first, second = zip(*pairs, strict=True)
    known = len({*first, *second}) > 1
    return {
        "n_cells": len(pairs),
        "agree": sum(a == b for a, b in pairs) / len(pairs),
        "kappa": float(cohen_kappa_score(first, second)) if known else None,
    }
