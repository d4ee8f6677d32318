"""The cell: two channels of 64x64 raw counts, one of seven classes, one of five splits.

Open this module for names of channels, classes and splits, and for `CellBatch` and `Origins`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coos_mlflow.errors import DataError

CHANNELS = ("protein", "nucleus")
"""Order of the channel axis (Lu et al. 2019, section 2.1)."""

IMAGE_SIZE = 64
"""Height and width of a crop in pixels."""

CELL_SHAPE = (len(CHANNELS), IMAGE_SIZE, IMAGE_SIZE)

CLASSES = (
    "Endoplasmic Reticulum",
    "Inner Mitochondrial Membrane",
    "Golgi",
    "Peroxisomes",
    "Early Endosome",
    "Cytosol",
    "Nuclear Envelope",
)
"""Names by label 0..6 (Lu et al. 2019, Table 1)."""

CLASS_ABBREVIATIONS = ("ER", "IMM", "Golgi", "Perox", "Endosome", "Cytosol", "NE")
"""Names by label where space is short: axes, terminal tables."""

SPLITS = ("training", "test1", "test2", "test3", "test4")
"""Keys of the five splits, in the order of growing covariate shift (Lu et al. 2019, Table 2)."""

SPLIT_TITLES = {
    "training": "Training",
    "test1": "Test1",
    "test2": "Test2",
    "test3": "Test3",
    "test4": "Test4",
}

SPLIT_MEANINGS = {
    "training": "four plates for each class",
    "test1": "held-out cells of the Training wells",
    "test2": "other wells of the Training plates",
    "test3": "other plates, mostly months later",
    "test4": "another plate on another microscope",
}
"""Meaning of each split, for reports and figures (Lu et al. 2019, section 2.2 and Table 2)."""


@dataclass(frozen=True)
class Origins:
    """Indices, plates and wells of cells of a plate file.

    Parameters
    ----------
    indices : ndarray of int64, shape (n,)
        Index of each cell in its file.
    plates, wells : ndarray of str, shape (n,), or None
        Ids of plates and names of wells (`wells.read_wells`), ``""`` for a cell without one; None
        where the file has none.
    """

    indices: np.ndarray
    plates: np.ndarray | None
    wells: np.ndarray | None

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.indices)

    def select(self, rows: np.ndarray) -> Origins:
        """Return the origins of some of the cells."""
        plates, wells = (None if ids is None else ids[rows] for ids in (self.plates, self.wells))
        return Origins(self.indices[rows], plates, wells)


@dataclass(frozen=True)
class CellBatch:
    """Consecutive cells of a plate file.

    Parameters
    ----------
    start : int
        Index of the first cell in its file.
    images : ndarray, shape (n, 2, 64, 64), uint16 or float32
        Raw camera counts, channels first.
    labels : ndarray of int64, shape (n,), or None
        Classes 0..6; None where the file has none.
    plates, wells, dates, microscopes : ndarray of str, shape (n,), or None
        The ids as the file spells them, ``""`` for a cell without one; None where it has none.
    flags : ndarray of int8, shape (n,)
        From `coos_mlflow.plates.flags.flag_unusable`. By default all cells are usable.
    """

    start: int
    images: np.ndarray
    labels: np.ndarray | None = None
    plates: np.ndarray | None = None
    wells: np.ndarray | None = None
    dates: np.ndarray | None = None
    microscopes: np.ndarray | None = None
    flags: np.ndarray = None  # type: ignore[assignment] # replaced in `__post_init__`

    def __post_init__(self) -> None:
        if self.flags is None:
            object.__setattr__(self, "flags", np.zeros(len(self.images), np.int8))

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.images)


def check_shape(shape: tuple[int, ...], dtype: np.dtype, where: str) -> None:
    """Refuse an array that is not (n, 2, 64, 64) real numbers, and name the likely cause.

    Raises
    ------
    DataError
        The message has the shape or dtype found and the one expected.
    """
    expected = "expected (N, 2, 64, 64): cells, [protein, nucleus], height, width"
    if dtype.kind not in "uif":
        name = str(dtype)[:60]
        raise DataError(f"{where}: dtype {name} found, expected uint16 or float32 raw counts.")
    if len(shape) != 4:
        raise DataError(f"{where}: shape {shape} has {len(shape)} axes, {expected}.")
    if shape[1:] == (IMAGE_SIZE, IMAGE_SIZE, len(CHANNELS)):
        raise DataError(f"{where}: shape {shape} has its channels last, {expected}.")
    if shape[1] == 1:
        raise DataError(f"{where}: shape {shape} has one channel, {expected}.")
    if shape[1] != len(CHANNELS) or shape[2] != shape[3] or not 32 <= shape[2] <= 256:
        raise DataError(f"{where}: shape {shape} found, {expected}.")
    if shape[0] == 0:
        raise DataError(f"{where}: no cells found, expected at least one.")
