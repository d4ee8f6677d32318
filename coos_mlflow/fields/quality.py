"""Figures of the quality of fields and wells, and the rules that warn of them.

Open this to change a threshold, or to add a figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from coos_mlflow.fields.cells import FieldCells
from coos_mlflow.fields.settings import CropSettings


class Rule(NamedTuple):
    """A limit of a figure.

    Parameters
    ----------
    key : str
        Such as ``"out_of_focus"``, which stands in ``flags``.
    title : str
        For readers, such as ``"out of focus"``.
    figure : str
        Key of the figure.
    meaning : str
        What the figure measures, with its unit, and where the limit is from.
    limit : float
    above : bool
        Whether values above the limit are bad, or those below it.
    """

    key: str
    title: str
    figure: str
    meaning: str
    limit: float
    above: bool


FIELD_RULES: tuple[Rule, ...] = ()
WELL_RULES: tuple[Rule, ...] = ()


def field_figures(
    counts: np.ndarray, labels: np.ndarray, cells: FieldCells, settings: CropSettings
) -> dict[str, float]:
    """Return the figures of one field, by key; NaN where one cannot be measured.

    Parameters
    ----------
    counts : ndarray, shape (2, height, width)
    labels : ndarray of int32, shape (height, width)
    cells : FieldCells
    settings : CropSettings
    """
    raise NotImplementedError


def well_figures(fields: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the figures of a well from the entries of its fields in fields.json."""
    raise NotImplementedError


def flags(figures: dict[str, float], rules: Sequence[Rule]) -> list[str]:
    """Return the keys of the rules that the figures break, in order; NaN breaks none."""
    return [
        rule.key
        for rule in rules
        if (value := figures.get(rule.figure)) is not None
        and (value > rule.limit if rule.above else value < rule.limit)
    ]
