"""What a cell is: two channels of 64x64 raw counts, one of seven classes, one of five splits."""

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
    "test3": "other plates, in most classes months later",
    "test4": "another plate on another microscope",
}
"""What tells them apart, for reports and figures (Lu et al. 2019, section 2.2 and Table 2)."""


@dataclass(frozen=True)
class Origins:
    """Where consecutive cells of a plate file come from.

    Parameters
    ----------
    start : int
        Index of the first cell in its file.
    n_cells : int
    plates, wells : ndarray of str, shape (n_cells,), or None
        The ids as the file spells them; None where it has none.
    """

    start: int
    n_cells: int
    plates: np.ndarray | None
    wells: np.ndarray | None

    def __len__(self) -> int:
        """Return the number of cells."""
        return self.n_cells


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
        Classes 0..6 where the file has them.
    plates, wells, dates, microscopes : ndarray of str, shape (n,), or None
        The ids as the file spells them; None where it has none.
    """

    start: int
    images: np.ndarray
    labels: np.ndarray | None = None
    plates: np.ndarray | None = None
    wells: np.ndarray | None = None
    dates: np.ndarray | None = None
    microscopes: np.ndarray | None = None

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.images)

    @property
    def origins(self) -> Origins:
        """Where the cells come from."""
        return Origins(self.start, len(self), self.plates, self.wells)


def check_images(images: np.ndarray, where: str, start: int = 0) -> None:
    """Refuse cells that no model of this package may score.

    The rules hold cell by cell, so a plate is judged alike in whatever batches it is read.

    Parameters
    ----------
    images : ndarray, shape (n, 2, 64, 64)
        Raw counts, any real dtype.
    where : str
        What to name in the message, such as ``"plate.h5:/data"`` or ``"the request"``.
    start : int
        Index of the first cell, for the message.

    Raises
    ------
    DataError
        For a wrong shape, NaN, infinite or negative values, counts above the 16-bit range,
        cells scaled to [0, 1], and channels in which all pixels are equal.
    """
    check_shape(images.shape, images.dtype, where)
    flat = images.reshape(len(images), len(CHANNELS), -1)
    low, high = flat.min(axis=2).astype(np.float64), flat.max(axis=2).astype(np.float64)
    finite = np.isfinite(low) & np.isfinite(high)
    odd = np.where(np.isfinite(low), high, low)
    _refuse(~finite, odd, "is not a finite number; raw camera counts are", where, start)
    _refuse(low < 0, low, "is negative; raw camera counts start at 0", where, start)
    _refuse(high > 65535, high, "is above 65535, the largest 16-bit count", where, start)
    _refuse(
        (high <= 1.0) & (high > low),
        high,
        "is the maximum, as if scaled to [0, 1]; raw camera counts are needed "
        "(`coos pack --rescale 4095` restores images that were divided)",
        where,
        start,
    )
    _refuse(high == low, high, "stands in every pixel; a constant image is no cell", where, start)


def check_shape(shape: tuple[int, ...], dtype: np.dtype, where: str) -> None:
    """Refuse an array that is not (n, 2, 64, 64) real numbers, naming the likely cause.

    Raises
    ------
    DataError
        With the shape or dtype found and the one expected.
    """
    expected = "expected (N, 2, 64, 64): cells, [protein, nucleus], height, width"
    if dtype.kind not in "uif":
        found = str(dtype)[:60]
        raise DataError(f"{where}: dtype {found} found, expected uint16 or float32 raw counts.")
    if len(shape) != 4:
        raise DataError(f"{where}: shape {shape} has {len(shape)} axes, {expected}.")
    if shape[1:] == (IMAGE_SIZE, IMAGE_SIZE, len(CHANNELS)):
        raise DataError(f"{where}: shape {shape} has its channels last, {expected}.")
    if shape[1] == 1:
        raise DataError(f"{where}: shape {shape} has one channel, {expected}.")
    if shape[1:] != CELL_SHAPE:
        raise DataError(f"{where}: shape {shape} found, {expected}.")
    if shape[0] == 0:
        raise DataError(f"{where}: no cells found, expected at least one.")


def _refuse(bad: np.ndarray, value: np.ndarray, problem: str, where: str, start: int) -> None:
    """Raise for the first True of `bad`, an array (n, channels) or (n, 1)."""
    if not bad.any():
        return
    cell, channel = np.argwhere(bad)[0]
    count = int(bad.any(axis=1).sum())
    more = f" ({count} such cells among {len(bad)})" if count > 1 else ""
    raise DataError(
        f"{where}: cell {start + cell}, channel {channel} ({CHANNELS[channel]}): "
        f"{value[cell, channel]:g} {problem}{more}."
    )
