"""The interface of a writer, and what several writers share.

To add a format, add a file to this folder that declares ``WRITER = Writer(...)``. `write_plate`
then has it, and ``tests/fields/test_writers.py`` runs over it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Channel
from coos_mlflow.plates.wells import Well, parse_well, row_letters


class WrittenField(NamedTuple):
    """A field to be written.

    Parameters
    ----------
    plate : str
    well : str
        Name such as ``"B03"``.
    number : int
        Of the field in its well, from 1.
    counts : ndarray of uint16, shape (channels, height, width)
    labels : ndarray of int, shape (height, width), or None
        0 is background, each nucleus has a number of its own.
    """

    plate: str
    well: str
    number: int
    counts: np.ndarray
    labels: np.ndarray | None = None


class PlateFacts(NamedTuple):
    """What all fields of a plate share.

    Parameters
    ----------
    name : str
    channels : tuple of Channel
    pixel_size_um : float
        Height and width of a pixel in micrometres.
    shape : (int, int)
        Rows and columns of wells.
    simulated : bool
    """

    name: str
    channels: tuple[Channel, ...]
    pixel_size_um: float
    shape: tuple[int, int]
    simulated: bool


class Writer(NamedTuple):
    """A format in which plates of fields are written.

    Parameters
    ----------
    title : str
        For ``--help`` and messages.
    names : Pattern
        Names of the files and folders that it writes into the folder of a plate. A folder with
        others is not replaced.
    write : callable
        ``write(folder, fields, facts)`` writes the fields, an iterable of `WrittenField`, into an
        empty folder. It takes one field at a time.
    """

    title: str
    names: re.Pattern[str]
    write: Callable[[Path, Iterable[WrittenField], PlateFacts], None]


def position(well: str) -> Well:
    """Return row and column of a well.

    Raises
    ------
    DataError
        When the name gives none.
    """
    found = parse_well(well)
    if found is None:
        raise DataError(f"well {well!r} found, expected a row and a column, such as 'B03'.")
    return found


def row_names(rows: int) -> list[str]:
    """Return the letters of the rows of a plate, in order."""
    return [row_letters(row) for row in range(1, rows + 1)]
