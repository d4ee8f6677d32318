"""Flags of cells: usable, unusable for one of three reasons, or a copy of an earlier cell.

Open this module to change which cells are scored, and which plates are refused.
"""

from __future__ import annotations

import numpy as np

from coos_mlflow.errors import DataError, UnusableCellsError
from coos_mlflow.plates.schema import CHANNELS, CellBatch, check_shape

USABLE, CONSTANT, IDENTICAL, NOT_FINITE, COPY = range(5)
"""Flag of a cell. `FLAGS` has the words for each value."""

FLAGS = (
    "",
    "constant channel",
    "identical channels",
    "not a finite number",
    "copy of an earlier cell",
)
"""Words for each flag. Cells with one of the three flags in the middle cannot be scored. A copy is
scored, but it does not count in addition to the cell that it repeats."""

MAX_UNUSABLE = 0.05
"""Largest share of a plate's cells that may be unusable. It equals the share that a verdict may
leave unjudged (`coos_mlflow.drift.verdict.MAX_UNJUDGED_SHARE`)."""


def check_images(images: np.ndarray, where: str, start: int = 0, crop: int | None = None) -> None:
    """Refuse cells that no model of this package may score.

    Each cell is checked on its own, so the size of the batches does not change the result.

    Parameters
    ----------
    images : ndarray, shape (n, 2, crop, crop)
        Raw counts, any real dtype.
    where : str
        Name of the source for the message, such as ``"plate.h5:/data"`` or ``"the request"``.
    start : int
        Index of the first cell, for the message.
    crop : int, optional
        Height and width; by default any.

    Raises
    ------
    DataError
        For a wrong shape, NaN, infinite or negative values, counts above the 16-bit range,
        cells scaled to [0, 1], channels in which all pixels are equal, and a nucleus channel that
        equals the protein channel.
    """
    check_shape(images.shape, images.dtype, where, crop)
    refuse_unusable(images, flag_unusable(images, where, start), where, start)


def refuse_unusable(images: np.ndarray, flags: np.ndarray, where: str, start: int = 0) -> None:
    """Refuse cells that `flag_unusable` has flagged; see `check_images`.

    Raises
    ------
    UnusableCellsError
        The message names the first of them.
    """
    if flags.any():
        count = int((flags != USABLE).sum())
        more = f" ({count} such cells among {len(flags)})" if count > 1 else ""
        raise UnusableCellsError(f"{where}: {_first_unusable(images, flags, start)}{more}.")


def _first_unusable(images: np.ndarray, flags: np.ndarray, start: int) -> str:
    """Return the part of a message that names the first unusable cell and its problem."""
    cell = int(np.argmax(flags != USABLE))
    low, high = (ends[0] for ends in _extremes(images[cell : cell + 1]))
    odd = np.where(np.isfinite(low), high, low)
    wrong = {NOT_FINITE: ~np.isfinite(odd), CONSTANT: low == high, IDENTICAL: [True]}
    channel = int(np.argmax(wrong[flags[cell]]))
    problem = _PROBLEMS[flags[cell]]
    return (
        f"cell {start + cell}, channel {channel} ({CHANNELS[channel]}): {odd[channel]:g} {problem}"
    )


def flag_unusable(images: np.ndarray, where: str, start: int = 0) -> np.ndarray:
    """Flag cells that cannot be scored, and refuse values that are not raw counts.

    A constant channel, a missing value or a copied channel can be the fault of a single cell: a
    crop at the edge of a field, a failed export. Negative values, values above the 16-bit range and
    values scaled to [0, 1] show that the whole plate was processed.

    Parameters
    ----------
    images, where, start
        See `check_images`.

    Returns
    -------
    ndarray of int8, shape (n,)
        `USABLE`, `CONSTANT`, `IDENTICAL` or `NOT_FINITE`.

    Raises
    ------
    DataError
        For a wrong shape, and for values that are not raw counts.
    """
    check_shape(images.shape, images.dtype, where)
    low, high = _extremes(images)
    flags = np.zeros(len(images), np.int8)
    # Images with different extremes differ. Only the others are compared pixel by pixel.
    alike = np.flatnonzero((low[:, 0] == low[:, 1]) & (high[:, 0] == high[:, 1]))
    same = (images[alike, 0] == images[alike, 1]).all(axis=(1, 2))
    flags[alike[same]] = IDENTICAL
    flags[(high == low).any(axis=1)] = CONSTANT
    flags[~(np.isfinite(low) & np.isfinite(high)).all(axis=1)] = NOT_FINITE
    known = (flags != NOT_FINITE)[:, None]
    _refuse(known & (low < 0), low, "is negative; raw camera counts start at 0", where, start)
    _refuse(known & (high > 65535), high, "is above 65535, the largest 16-bit count", where, start)
    _refuse(
        known & (high <= 1.0) & (high > low),
        high,
        "is the maximum, as if scaled to [0, 1]; raw camera counts are needed "
        "(`coos pack --rescale 4095` restores images that were divided)",
        where,
        start,
    )
    return flags


_PROBLEMS = {
    NOT_FINITE: "is not a finite number; raw camera counts are",
    CONSTANT: "stands in every pixel; a constant image is no cell",
    IDENTICAL: "is the brightest pixel of both channels, which are the same image; expected a "
    "protein and a nucleus image of the cell",
}


def _extremes(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and the largest value of each channel, float64, shape (n, 2)."""
    flat = images.reshape(len(images), len(CHANNELS), -1)
    return flat.min(axis=2).astype(np.float64), flat.max(axis=2).astype(np.float64)


def with_stand_ins(images: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Replace the images of unusable cells by a fixed pattern.

    Results computed from the pattern must be discarded. The replacement keeps the size of a batch,
    because the last digits of a network's output depend on that size.

    Parameters
    ----------
    images : ndarray, shape (n, 2, crop, crop)
    flags : ndarray of int8, shape (n,)
        From `flag_unusable`.
    """
    if not flags.any():
        return images
    replaced = images.copy()
    cell = images.shape[1:]
    replaced[flags != USABLE] = (np.arange(np.prod(cell)) % 2**16).reshape(cell)
    return replaced


class FlagCounter:
    """Count the flags of a plate's cells, and refuse the plate once too many are unusable.

    Parameters
    ----------
    n_cells : int
        Number of cells in the plate.
    where : str
        Name of the source for the message.

    Attributes
    ----------
    counts : ndarray of int64, shape (5,)
        Number of cells with each flag of `FLAGS`, among the cells added so far.
    """

    def __init__(self, n_cells: int, where: str) -> None:
        self.counts = np.zeros(len(FLAGS), np.int64)
        self._n_cells, self._where = n_cells, where

    def add(self, flags: np.ndarray, seen: CellBatch | None = None) -> None:
        """Count some more cells.

        Parameters
        ----------
        flags : ndarray of int8
        seen : CellBatch, optional
            The cells themselves; if given, the message names one of them.

        Raises
        ------
        DataError
            When more than `MAX_UNUSABLE` of the plate's cells are unusable.
        """
        self.counts += np.bincount(flags, minlength=len(FLAGS))
        bad = sum(self.unusable.values())
        if bad > MAX_UNUSABLE * self._n_cells:
            more = "at least " if self.counts.sum() < self._n_cells else ""
            such = f"{_first_unusable(seen.images, seen.flags, seen.start)}; " if seen else ""
            raise DataError(
                f"{self._where}: {such}{more}{bad:,} of {self._n_cells:,} cells cannot be used: "
                f"{kinds_words(self.unusable)}; expected at most {100 * MAX_UNUSABLE:g} %; look at "
                "how the images were exported."
            )

    @property
    def unusable(self) -> dict[str, int]:
        """Number of unusable cells by reason, in words; only reasons that occur."""
        counts = (
            (FLAGS[flag], int(self.counts[flag])) for flag in (CONSTANT, IDENTICAL, NOT_FINITE)
        )
        return {words: count for words, count in counts if count}

    @property
    def copies(self) -> int:
        """Number of cells that are copies of earlier ones."""
        return int(self.counts[COPY])


def kinds_words(kinds: dict[str, int]) -> str:
    """Format numbers of cells as part of a sentence, such as "constant channel (3)"."""
    return ", ".join(f"{words} ({count:,})" for words, count in kinds.items())


def left_out_sentences(kinds: dict[str, int], copies: int, n_cells: int) -> list[str]:
    """Return a sentence on unusable cells and a sentence on copies, for those that occur.

    Parameters
    ----------
    kinds : dict of str to int
        `FlagCounter.unusable`.
    copies : int
        Cells that repeat an earlier one.
    n_cells : int
        Number of cells in the file.
    """
    sentences = []
    if kinds:
        bad = sum(kinds.values())
        sentences.append(
            f"{bad:,} of {n_cells:,} cells cannot be scored and get no label: {kinds_words(kinds)}."
        )
    if copies:
        sentences.append(
            f"{copies:,} of {n_cells:,} cells are copies of earlier cells, pixel by pixel; each "
            "image counts once."
        )
    return sentences


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
