"""The interface of a segmenter, and the lookup by key.

To add a segmenter, add a file to this folder that declares ``SEGMENTER = Segmenter(...)``.
``coos crop --segmenter NAME`` then has it, and ``tests/fields/test_segmenters.py`` runs over it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import NamedTuple

import numpy as np

from coos_mlflow._utils.plugins import plugin_names
from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Field


class NucleusSize(NamedTuple):
    """Diameters of a circle of the nucleus' area, in micrometres.

    Parameters
    ----------
    smallest, largest : float
        Smaller and larger objects are no nuclei, and are left out.
    """

    smallest: float = 4.0
    largest: float = 30.0


DEFAULT_SIZE = NucleusSize()
"""From a small yeast or lymphocyte nucleus to a large nucleus of a cultured cell; chosen."""


class Segmenter(NamedTuple):
    """A way to find nuclei.

    Parameters
    ----------
    title : str
        For ``--help`` and messages.
    segment : callable
        ``segment(nucleus, pixel_size_um, size, field)`` takes the counts of the nucleus channel
        (float32, shape (height, width)), the size of a pixel in micrometres, a `NucleusSize` and
        the `Field`. It returns a label image (int32, same shape): 0 is background, and each nucleus
        has a number from 1 of its own. Objects at the border and of any size may be among them,
        since `coos_mlflow.fields.cells` judges both. The same input must give the same labels.
    facts : callable
        ``facts()`` returns what else its labels depend on, such as the digest of its weights, as
        a dict of text that can become JSON. It raises a `DataError` that says what to install
        where a package or weights are missing.
    """

    title: str
    segment: Callable[[np.ndarray, float, NucleusSize, Field], np.ndarray]
    facts: Callable[[], dict[str, str]]


def segmenter_keys() -> tuple[str, ...]:
    """Return the keys of all segmenters, the stems of their files, without importing them."""
    return plugin_names(__package__)


@cache
def segmenter(key: str) -> Segmenter:
    """Return a segmenter by its key.

    Raises
    ------
    DataError
        For an unknown key.
    """
    if key not in segmenter_keys():
        raise DataError(
            f"--segmenter {key!r} found, expected one of {', '.join(segmenter_keys())}."
        )
    return import_module(f"{__package__}.{key}").SEGMENTER
