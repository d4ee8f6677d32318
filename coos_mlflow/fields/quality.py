"""Figures of the quality of fields and wells, and the rules that warn of them.

Open this to change a threshold, or to add a figure. A field's figures are measured on the field
alone, but for those of `RELATIVE`, which `compared` adds once all fields of a plate are measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from coos_mlflow.fields import focus
from coos_mlflow.fields.cells import EDGE, LARGE, MARGIN_PX, SMALL, FieldCells
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


FOCUS_LIMIT = 0.15
"""Sharpness below which a field is out of focus; its rule says where it is from."""

HARDLY_ANY = 20.0
"""Nuclei per mm2 below which a field or well is empty, though debris was found there. `threshold`
finds up to 2 per mm2 in simulated empty wells, and up to 13 at 3 um out of focus. Sparse simulated
wells have 900, a sparse real field of ImageXpress 120, and a nearly empty one of Phenix 10."""

FIELD_RULES: tuple[Rule, ...] = (
    Rule(
        "no_nuclei",
        "hardly any nuclei",
        "nuclei_per_mm2",
        "nuclei of ordinary size per mm2, also those too near the edge for a cell; the limit lies "
        "above the debris found in simulated empty wells (2, and 13 out of focus), and far below "
        "sparse wells (120 and more)",
        HARDLY_ANY,
        above=False,
    ),
    Rule(
        "small_nuclei",
        "nuclei smaller than the plate's",
        "relative_area",
        "median area of the field's cells over the median of the plate's fields; debris in "
        "simulated fields has 0.4 of the area of nuclei; the limit is chosen",
        0.5,
        above=False,
    ),
    Rule(
        "out_of_focus",
        "out of focus",
        "focus",
        "sharpness around nuclei: energy of second differences over that of first ones, without "
        "noise, 1 / (2 s^2) for edges of s pixels; the limit, 1.8 pixels, lies below sharp fields "
        "of four real instruments (0.165 and more) and above these fields blurred by 2 pixels",
        FOCUS_LIMIT,
        above=False,
    ),
    Rule(
        "less_sharp",
        "less sharp than the plate",
        "relative_focus",
        "sharpness over the median of the plate's fields; simulated ordinary fields vary from "
        "0.79 to 1.16, and at 3 times the usual distance from the focus from 0.43 to 0.71 (40x)",
        0.75,
        above=False,
    ),
    Rule(
        "saturated_protein",
        "protein saturated",
        "saturated_protein",
        "share of pixels at the largest count of the protein channel; the limit is chosen",
        0.001,
        above=True,
    ),
    Rule(
        "saturated_nucleus",
        "nucleus saturated",
        "saturated_nucleus",
        "share of pixels at the largest count of the nucleus channel; the limit is chosen",
        0.001,
        above=True,
    ),
    Rule(
        "debris",
        "debris",
        "debris",
        "share of objects that are smaller or larger than nuclei; the limit is chosen",
        0.5,
        above=True,
    ),
    Rule(
        "overgrown",
        "overgrown",
        "coverage",
        "share of the field that nuclei cover; simulated fields of ordinary wells have 0.19 to "
        "0.32, of dense ones up to 0.46, and of overgrown ones 0.42 to 0.58",
        0.48,
        above=True,
    ),
    Rule(
        "uneven",
        "background uneven",
        "unevenness",
        "difference of the background of the nucleus channel between parts of the field (95 % of "
        "them), over the brightness of the nuclei; the limit is chosen",
        0.5,
        above=True,
    ),
)

WELL_RULES: tuple[Rule, ...] = (
    Rule(
        "empty",
        "empty",
        "nuclei_per_mm2",
        "nuclei of ordinary size per mm2, mean of the fields of the well; the limit is that of a "
        "field with hardly any nuclei",
        HARDLY_ANY,
        above=False,
    ),
    Rule(
        "few_nuclei",
        "few nuclei beside the plate",
        "relative_nuclei",
        "nuclei of a field over the median of the plate's fields, mean of the fields of the well; "
        "plates with sparse and overgrown wells vary from 0.25 to 2.3; the limit is chosen",
        0.1,
        above=False,
    ),
    Rule(
        "few_cells",
        "few cells",
        "cells",
        "cells of the well; estimates of a well with fewer are uncertain; the limit is chosen",
        30,
        above=False,
    ),
    Rule(
        "mostly_out_of_focus",
        "most fields out of focus",
        "share_out_of_focus",
        "share of the fields that are out of focus or less sharp than the plate",
        0.5,
        above=True,
    ),
    Rule(
        "mostly_flagged",
        "most fields with a warning",
        "share_flagged",
        "share of the fields with any warning",
        0.5,
        above=True,
    ),
    Rule(
        "unreadable",
        "fields unreadable",
        "unreadable",
        "fields of the well that could not be read",
        0,
        above=True,
    ),
)

RELATIVE_FOCUS, RELATIVE_NUCLEI, RELATIVE_AREA = (
    "relative_focus",
    "relative_nuclei",
    "relative_area",
)

RELATIVE = {RELATIVE_FOCUS: "focus", RELATIVE_NUCLEI: "nuclei", RELATIVE_AREA: "cell_area_um2"}
"""Figures relative to the plate, with the figure of the field that each is from."""

FEWEST_FIELDS = 5
"""Fewest fields of a plate whose median says what is usual; chosen."""

LEAST_CLIPPED = 255
"""No camera clips below the largest count of 8 bits."""

MOST_FOCUS_ERROR = 0.2
"""Largest standard error of a sharpness that is given, relative to it or to its limit; chosen."""

BACKGROUND_PARTS = 8
"""Rows and columns of parts of a field whose backgrounds are compared; chosen."""


def field_figures(
    counts: np.ndarray,
    labels: np.ndarray,
    cells: FieldCells,
    settings: CropSettings,
    *,
    corrected: np.ndarray | None = None,
) -> dict[str, float]:
    """Return the figures of one field, by key; NaN where one cannot be measured.

    No figure depends on the camera's gain or offset.

    Parameters
    ----------
    counts : ndarray, shape (2, height, width)
        As read: dividing uneven light out changes the largest counts, so that saturation could not
        be told.
    labels : ndarray of int32, shape (height, width)
    cells : FieldCells
    settings : CropSettings
    corrected : ndarray, shape (2, height, width), or None
        The counts that cells are cut from, where uneven light was divided out.
    """
    odd = cells.left_out[SMALL] + cells.left_out[LARGE]
    nuclei = len(cells) + cells.left_out[EDGE]
    nucleus = (counts if corrected is None else corrected)[1]
    area_mm2 = labels.size * (settings.image_pixel_um / 1000.0) ** 2
    return {
        "nuclei": float(nuclei),
        "nuclei_per_mm2": nuclei / area_mm2,
        "cell_area_um2": float(np.median(cells.columns["area_um2"])) if len(cells) else np.nan,
        "focus": _focus(nucleus, labels) if nuclei else np.nan,
        "saturated_protein": _saturated(counts[0]),
        "saturated_nucleus": _saturated(counts[1]),
        "debris": odd / (odd + nuclei) if odd + nuclei else np.nan,
        "coverage": float((labels > 0).mean()),
        "unevenness": _unevenness(nucleus, labels),
    }


def compared(figures: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """Add the figures relative to the plate, `RELATIVE`, to the figures of its fields.

    Parameters
    ----------
    figures : sequence of dict
        Of all fields of one plate; ``{}`` for a field that could not be read.

    Returns
    -------
    list of dict
        In the same order. Each new figure is the field's over the median of the plate. It is NaN in
        plates of fewer than `FEWEST_FIELDS` fields whose figure is known.
    """
    relative = {
        name: _over_median([one.get(figure, np.nan) for one in figures])
        for name, figure in RELATIVE.items()
    }
    return [
        one | {name: float(values[place]) for name, values in relative.items()} if one else one
        for place, one in enumerate(figures)
    ]


def well_figures(fields: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the figures of a well from the entries of its fields in fields.json.

    Parameters
    ----------
    fields : sequence of dict
        Each with ``n_cells``, ``figures``, ``flags`` and ``error``.
    """
    read = [one for one in fields if one["error"] is None]
    blurred = {"out_of_focus", "less_sharp"}
    n = len(read) or np.nan
    return {
        "nuclei": float(sum(one["figures"]["nuclei"] for one in read)) if read else np.nan,
        "cells": float(sum(one["n_cells"] for one in read)) if read else np.nan,
        "nuclei_per_mm2": _mean(read, "nuclei_per_mm2"),
        RELATIVE_NUCLEI: _mean(read, RELATIVE_NUCLEI),
        "share_out_of_focus": sum(bool(blurred & {*one["flags"]}) for one in read) / n,
        "share_flagged": sum(bool(one["flags"]) for one in read) / n,
        "unreadable": float(len(fields) - len(read)),
    }


def flags(figures: Mapping[str, float | None], rules: Sequence[Rule]) -> list[str]:
    """Return the keys of the rules that the figures break, in order; None and NaN break none."""
    return [
        rule.key
        for rule in rules
        if (value := figures.get(rule.figure)) is not None
        and (value > rule.limit if rule.above else value < rule.limit)
    ]


def _over_median(values: Sequence[float]) -> np.ndarray:
    """Return the values over the median of those that are known."""
    known = np.isfinite(values)
    usual = np.median(np.asarray(values)[known]) if known.sum() >= FEWEST_FIELDS else np.nan
    return np.asarray(values) / usual if usual > 0 else np.full(len(values), np.nan)


def _mean(fields: Sequence[dict[str, Any]], figure: str) -> float:
    """Return the mean of a figure over the fields where it is known."""
    values = [one["figures"][figure] for one in fields if one["figures"][figure] is not None]
    return float(np.mean(values)) if values else np.nan


def _focus(nucleus: np.ndarray, labels: np.ndarray) -> float:
    """Return the sharpness of the pixels in and around nuclei."""
    if min(nucleus.shape) < focus.SMALLEST_SIDE:
        return np.nan
    near = ndimage.maximum_filter(labels > 0, 2 * MARGIN_PX + 1)[1:-1, 1:-1]
    found = focus.sharpness(focus.Energy(*(part[near] for part in focus.energy(nucleus))))
    is_known = found.error <= MOST_FOCUS_ERROR * max(found.value, FOCUS_LIMIT)
    return found.value if is_known else np.nan


def _saturated(image: np.ndarray) -> float:
    """Return the share of pixels at the largest count, at whatever count the camera clipped."""
    largest = image.max()
    share = float((image == largest).mean())
    return share if largest >= LEAST_CLIPPED and largest > image.min() else 0.0


def _unevenness(nucleus: np.ndarray, labels: np.ndarray) -> float:
    """Return how far the background varies over the field, in brightnesses of nuclei."""
    inside = labels > 0
    if not inside.any() or inside.all():
        return np.nan
    open_pixels = np.where(inside, np.nan, nucleus)
    parts = [
        part[np.isfinite(part)]
        for rows in np.array_split(open_pixels, BACKGROUND_PARTS)
        for part in np.array_split(rows, BACKGROUND_PARTS, axis=1)
    ]
    medians = [float(np.median(part)) for part in parts if part.size]
    low, usual, high = np.quantile(medians, (0.025, 0.5, 0.975))
    brightness = float(np.median(nucleus[inside])) - usual
    return float((high - low) / brightness) if brightness > 0 else np.nan
