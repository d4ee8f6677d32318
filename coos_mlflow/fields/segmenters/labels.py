"""Nuclei that another program has found: a label image beside the field.

OME-Zarr plates hold label images. `coos_mlflow.fields.centres` makes one from a table of centres.
"""

from __future__ import annotations

import numpy as np
from skimage import measure

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Field, Plane
from coos_mlflow.fields.segmenters.base import NucleusSize, Segmenter

NAMES = ("nuclei", "nucleus")
"""Names of the label image to take where a field has several."""


def segment(
    nucleus: np.ndarray, pixel_size_um: float, size: NucleusSize, field: Field
) -> np.ndarray:
    """Return the label image of a field; see `Segmenter.segment`.

    In an image of one number beside 0, which is a mask, each connected part is a nucleus. One part
    alone keeps its number.

    Raises
    ------
    DataError
        For no label image, several without the name of nuclei, another shape than the field's, and
        values that are no numbers of nuclei.
    """
    plane = _plane(field)
    try:
        labels = plane.read()
    except DataError as error:
        raise DataError(f"{field}: {error}") from error
    where = f"{field}: {plane.place}"
    if labels.shape != nucleus.shape:
        raise DataError(
            f"{where}: labels of shape {labels.shape} found, expected {nucleus.shape} as the field."
        )
    if labels.dtype.kind not in "biuf" or not _are_numbers(labels):
        raise DataError(
            f"{where}: values found that are no numbers of nuclei, expected whole numbers from 0."
        )
    labels = labels.astype(np.int32)
    inside = labels[labels > 0]
    if inside.size and inside.min() == inside.max():
        parts = measure.label(labels > 0).astype(np.int32)
        return parts if parts.max() > 1 else labels
    return labels


def _plane(field: Field) -> Plane:
    named = {name.lower(): plane for name, plane in field.labels.items()}
    if len(named) == 1:
        return next(iter(named.values()))
    for name in NAMES:
        if name in named:
            return named[name]
    found = ", ".join(map(repr, field.labels)) or "none"
    raise DataError(
        f"{field}: {found} found as label images, expected one, or one named {' or '.join(NAMES)}; "
        "choose another --segmenter."
    )


def _are_numbers(labels: np.ndarray) -> bool:
    low, high = labels.min(initial=0), labels.max(initial=0)
    in_range = low >= 0 and high <= np.iinfo(np.int32).max
    return bool(in_range and (labels.dtype.kind != "f" or np.array_equal(labels, labels.round())))


SEGMENTER = Segmenter("label images that are there", segment, lambda: {})
