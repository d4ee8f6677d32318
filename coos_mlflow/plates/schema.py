"""The cell: two channels of raw counts, cut out as a square, and what is known of its origin.

Open this module for `CellBatch` and `Origins`, and for the check of a shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coos_mlflow.errors import DataError

PROTEIN, NUCLEUS = "protein", "nucleus"
CHANNELS = (PROTEIN, NUCLEUS)
"""Order of the channel axis of all cells in memory (Lu et al. 2019, section 2.1)."""

MIN_CROP, MAX_CROP = 32, 256
"""Smallest and largest height and width of a crop, in pixels."""

UNLABELLED, UNLABELLED_WORD = -1, "unlabelled"
"""Label of a cell whose class is not known, and the name of its folder of images."""


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
    images : ndarray, shape (n, 2, crop, crop), uint16 or float32
        Raw camera counts of `CHANNELS`.
    labels : ndarray of int64, shape (n,), or None
        Classes from 0, `UNLABELLED` for a cell without one; None where the file has none.
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


def concatenated(batches: Sequence[CellBatch]) -> CellBatch:
    """Return the cells of several batches, such as those of several files, as one.

    A column that some batches lack is empty for their cells: "" for ids, `UNLABELLED` for labels.
    """
    if len(batches) == 1:
        return batches[0]
    columns: dict[str, np.ndarray | None] = {}
    for name in ("labels", "plates", "wells", "dates", "microscopes"):
        parts = [getattr(batch, name) for batch in batches]
        missing: int | str = UNLABELLED if name == "labels" else ""
        columns[name] = None
        if any(part is not None for part in parts):
            filled = [
                np.full(len(batch), missing) if part is None else part
                for batch, part in zip(batches, parts, strict=True)
            ]
            columns[name] = np.concatenate(filled)
    images = np.concatenate([batch.images for batch in batches])
    flags = np.concatenate([batch.flags for batch in batches])
    return CellBatch(0, images, flags=flags, **columns)


def check_shape(
    shape: tuple[int, ...],
    dtype: np.dtype,
    where: str,
    crop: int | None = None,
    channels: Sequence[str] = CHANNELS,
) -> None:
    """Refuse an array that is not (n, channels, crop, crop) real numbers, and name the cause.

    Parameters
    ----------
    shape, dtype
        Of the array.
    where : str
        Name of the source for the message.
    crop : int, optional
        Height and width; by default any from `MIN_CROP` to `MAX_CROP`.
    channels : sequence of str
        Names of the channels in their order.

    Raises
    ------
    DataError
        The message has the shape or dtype found and the one expected.
    """
    side = "crop" if crop is None else str(crop)
    expected = (
        f"expected (N, {len(channels)}, {side}, {side}): cells, [{', '.join(channels)}], height, "
        "width" + (f", with a crop of {MIN_CROP} to {MAX_CROP} pixels" if crop is None else "")
    )
    if dtype.kind not in "uif":
        name = str(dtype)[:60]
        raise DataError(f"{where}: dtype {name} found, expected uint16 or float32 raw counts.")
    if len(shape) != 4:
        raise DataError(f"{where}: shape {shape} has {len(shape)} axes, {expected}.")
    if shape[3] == len(channels) and shape[1] == shape[2] != len(channels):
        raise DataError(f"{where}: shape {shape} has its channels last, {expected}.")
    if shape[1] == 1:
        raise DataError(f"{where}: shape {shape} has one channel, {expected}.")
    if shape[1] > len(channels):
        raise DataError(
            f"{where}: shape {shape} has {shape[1]} channels, {expected}; the attribute `channels` "
            "of the file, such as `nucleus,actin,protein`, says which are protein and nucleus."
        )
    fits = MIN_CROP <= shape[2] <= MAX_CROP if crop is None else shape[2] == crop
    if shape[1] == len(channels) and shape[2] == shape[3] and crop is not None and not fits:
        raise DataError(
            f"{where}: shape {shape} has crops of {shape[2]} pixels, {expected}; cut crops of "
            f"{crop} x {crop} pixels around the same cells anew."
        )
    if shape[1] != len(channels) or shape[2] != shape[3] or not fits:
        raise DataError(f"{where}: shape {shape} found, {expected}.")
    if shape[0] == 0:
        raise DataError(f"{where}: no cells found, expected at least one.")
