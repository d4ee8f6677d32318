"""Summarise a plate file (counts, ids, intensities) by reading every cell once.

Open this module to change the contents of a summary; `inspect` computes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coos_mlflow.plates.columns import ID_DATASETS
from coos_mlflow.plates.copies import CopyFinder, cell_digests
from coos_mlflow.plates.flags import USABLE, FlagCounter, left_out_sentences
from coos_mlflow.plates.reader import Plate, open_plate
from coos_mlflow.plates.schema import CHANNELS, UNLABELLED, CellBatch
from coos_mlflow.plates.wells import WellIds

if TYPE_CHECKING:
    from coos_mlflow.plates.dataset import Dataset

PERCENTILES = (0.1, 50.0, 99.9)
SAMPLE_CELLS = 512
"""Number of evenly spaced cells for the percentiles: 2 million pixels a channel at 64 pixels."""

CAMERA_MAXIMA = tuple(2**bits - 1 for bits in (8, 10, 11, 12, 14, 16))
"""Largest counts of the analogue-to-digital converters in use."""


@dataclass(frozen=True)
class ChannelSummary:
    """Intensities of one channel, in raw counts.

    Parameters
    ----------
    name : str
    minimum, maximum : float
        Smallest and largest count of all pixels.
    percentiles : dict of float to float
        Percentiles of a sample of cells, evenly spaced over the file.
    saturated : float
        Share of pixels at `maximum`, if `maximum` is the largest count of a camera; else 0.
    """

    name: str
    minimum: float
    maximum: float
    percentiles: dict[float, float]
    saturated: float


@dataclass(frozen=True)
class PlateSummary:
    """Contents of a plate file.

    Parameters
    ----------
    path : Path
    file_bytes, n_cells : int
    dtype : str
        Dtype in the file, in native byte order.
    chunks : tuple of int, or None
    compression : str
    simulated : bool
    classes : dict of str to int, or None
        Number of cells of each class.
    dataset : str
        Name of the data set that the file was checked against; empty where there was none.
    crop : int
        Height and width of the cells in pixels.
    pixel_size : float or None
        Micrometres.
    channel_names : tuple of str
        Of the channels in the file.
    unlabelled : int
        Number of cells without a label, in a file that has labels.
    plates, dates, microscopes : dict of str to int, or None
        Number of cells of each id. Cells without an id are not counted.
    n_wells : int or None
        Distinct pairs of plate and well, among cells that have both.
    well_ids : WellIds or None
        Well ids and their meaning.
    channels : list of ChannelSummary
    missing : tuple of str
        HDF5 names of the optional columns that the file lacks.
    unusable : dict of str to int
        Number of cells that cannot be scored, by reason.
    copies : int
        Number of cells that are, pixel by pixel, copies of earlier ones.
    """

    path: Path
    file_bytes: int
    n_cells: int
    dtype: str
    chunks: tuple[int, ...] | None
    compression: str
    simulated: bool
    dataset: str
    crop: int
    pixel_size: float | None
    channel_names: tuple[str, ...]
    classes: dict[str, int] | None
    unlabelled: int
    plates: dict[str, int] | None
    dates: dict[str, int] | None
    microscopes: dict[str, int] | None
    n_wells: int | None
    well_ids: WellIds | None
    channels: list[ChannelSummary]
    missing: tuple[str, ...]
    unusable: dict[str, int]
    copies: int

    @property
    def cell_notes(self) -> list[str]:
        """Sentences on unusable cells and on copies, for those that occur."""
        return left_out_sentences(self.unusable, self.copies, self.n_cells)


def inspect(
    path: str | Path,
    on_progress: Callable[[int], None] | None = None,
    dataset: Dataset | None = None,
) -> PlateSummary:
    """Read a whole plate and summarise it.

    Parameters
    ----------
    path : path
    on_progress : callable or None
        Called with the number of cells read since its last call.
    dataset : Dataset, optional
        The data set that the plate must fit.

    Returns
    -------
    PlateSummary

    Raises
    ------
    DataError
        For everything that `open_plate` and scoring refuse, such as too many unusable cells.
    """
    with open_plate(path, dataset) as plate:
        counter, channels = _read_cells(plate, on_progress)
        counts = {name: _counts(getattr(plate, name)) for name in ID_DATASETS if name != "wells"}
        return PlateSummary(
            path=plate.path,
            file_bytes=plate.path.stat().st_size,
            n_cells=plate.n_cells,
            dtype=str(plate.stored_dtype),
            chunks=plate.chunks,
            compression=plate.compression,
            simulated=plate.simulated,
            dataset="" if dataset is None else dataset.name,
            crop=plate.crop,
            pixel_size=plate.pixel_size,
            channel_names=plate.channel_names,
            classes=_class_counts(plate),
            unlabelled=0 if plate.labels is None else int((plate.labels == UNLABELLED).sum()),
            plates=counts["plates"],
            dates=counts["dates"],
            microscopes=counts["microscopes"],
            n_wells=_count_wells(plate),
            well_ids=plate.well_ids,
            channels=channels,
            missing=plate.missing,
            unusable=counter.unusable,
            copies=counter.copies,
        )


def _counts(ids: np.ndarray | None) -> dict[str, int] | None:
    if ids is None:
        return None
    names, counts = np.unique(ids[ids != ""], return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _class_counts(plate: Plate) -> dict[str, int] | None:
    """Return the number of cells of each class, by its name or else by its label."""
    if plate.labels is None:
        return None
    labels, counts = np.unique(plate.labels[plate.labels != UNLABELLED], return_counts=True)
    if plate.class_names is None:
        return {f"label {label}": int(n) for label, n in zip(labels, counts, strict=True)}
    by_label = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    return {name: by_label.get(label, 0) for label, name in enumerate(plate.class_names)}


def _count_wells(plate: Plate) -> int | None:
    if plate.well_ids is None:
        return None
    wells = plate.well_ids.names.tolist()
    if plate.plates is None:
        return len(set(wells) - {""})
    pairs = zip(plate.plates.tolist(), wells, strict=True)
    return len({(on, well) for on, well in pairs if on and well})


def _read_cells(
    plate: Plate, on_progress: Callable[[int], None] | None
) -> tuple[FlagCounter, list[ChannelSummary]]:
    """Return the number of cells with each flag, and the intensities of usable cells."""
    finder, counter = CopyFinder(), FlagCounter(plate.n_cells, f"{plate.path}:/data")
    intensities = _Intensities(plate.n_cells)
    for batch in plate.batches(keep_unusable=True):
        counter.add(finder.flagged(batch.flags, cell_digests(batch.images)), batch)
        intensities.add(batch)
        if on_progress:
            on_progress(len(batch))
    return counter, intensities.summaries()


class _Intensities:
    """Collect the intensities of a plate's usable cells, batch by batch.

    Parameters
    ----------
    n_cells : int
        Number of cells in the plate.
    """

    def __init__(self, n_cells: int) -> None:
        sampled = min(SAMPLE_CELLS, n_cells)
        self._chosen = np.linspace(0, n_cells - 1, sampled).astype(np.int64)
        self._sample: list[np.ndarray] = []
        self._low = np.full(len(CHANNELS), np.inf)
        self._high = np.full(len(CHANNELS), -np.inf)
        self._at_high = np.zeros(len(CHANNELS), dtype=np.int64)
        self._pixels = 0

    def add(self, batch: CellBatch) -> None:
        """Add the next cells."""
        rows = np.flatnonzero(batch.flags == USABLE)
        if not len(rows):
            return
        images = batch.images if len(rows) == len(batch) else batch.images[rows]
        self._low = np.minimum(self._low, images.min(axis=(0, 2, 3)))
        batch_high = images.max(axis=(0, 2, 3)).astype(np.float64)
        self._at_high[batch_high > self._high] = 0
        self._high = np.maximum(self._high, batch_high)
        for channel in np.flatnonzero(batch_high == self._high):
            self._at_high[channel] += np.count_nonzero(images[:, channel] == batch_high[channel])
        self._sample.append(images[np.isin(batch.start + rows, self._chosen)])
        self._pixels += images[:, 0].size

    def summaries(self) -> list[ChannelSummary]:
        """Return the summary of each channel."""
        sample = np.concatenate(self._sample)
        levels = np.percentile(sample, PERCENTILES, axis=(0, 2, 3))
        shares = np.where(np.isin(self._high, CAMERA_MAXIMA), self._at_high / self._pixels, 0.0)
        return [
            ChannelSummary(
                name=name,
                minimum=float(self._low[channel]),
                maximum=float(self._high[channel]),
                percentiles=dict(zip(PERCENTILES, levels[:, channel].tolist(), strict=True)),
                saturated=float(shares[channel]),
            )
            for channel, name in enumerate(CHANNELS)
        ]
