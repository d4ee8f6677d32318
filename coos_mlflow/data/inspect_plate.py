"""What a plate file holds, found by reading every cell of it once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coos_mlflow.data.cells import CHANNELS, CLASSES
from coos_mlflow.data.columns import ID_DATASETS
from coos_mlflow.data.plate import Plate, open_plate
from coos_mlflow.data.wells import WellIds

PERCENTILES = (0.1, 50.0, 99.9)
SAMPLE_CELLS = 512
"""Evenly spaced cells that the percentiles are taken from: 2 million pixels a channel."""

CAMERA_MAXIMA = tuple(2**bits - 1 for bits in (8, 10, 11, 12, 14, 16))
"""Largest counts of the analogue-to-digital converters in use."""


@dataclass(frozen=True)
class ChannelSummary:
    """Intensities of one channel, in raw counts.

    Parameters
    ----------
    name : str
    minimum, maximum : float
        Over all pixels.
    percentiles : dict of float to float
        Of a sample of cells, evenly spaced over the file.
    saturated : float
        Share of pixels at `maximum` where that is the largest count of a camera; else 0.
    """

    name: str
    minimum: float
    maximum: float
    percentiles: dict[float, float]
    saturated: float


@dataclass(frozen=True)
class PlateSummary:
    """What a plate file holds.

    Parameters
    ----------
    path : Path
    file_bytes, n_cells : int
    dtype : str
        As stored, in native byte order.
    chunks : tuple of int, or None
    compression : str
    simulated : bool
    classes : dict of str to int, or None
        Cells of each of the seven classes.
    plates, dates, microscopes : dict of str to int, or None
        Cells of each id; those without one are in none of them.
    n_wells : int or None
        Distinct pairs of plate and well, where cells have both.
    well_ids : WellIds or None
        How the well ids were read.
    channels : list of ChannelSummary
    missing : tuple of str
        HDF5 names of the optional columns that are not there.
    """

    path: Path
    file_bytes: int
    n_cells: int
    dtype: str
    chunks: tuple[int, ...] | None
    compression: str
    simulated: bool
    classes: dict[str, int] | None
    plates: dict[str, int] | None
    dates: dict[str, int] | None
    microscopes: dict[str, int] | None
    n_wells: int | None
    well_ids: WellIds | None
    channels: list[ChannelSummary]
    missing: tuple[str, ...]


def inspect(path: str | Path, on_progress: Callable[[int], None] | None = None) -> PlateSummary:
    """Read a whole plate and say what it holds.

    Parameters
    ----------
    path : path
    on_progress : callable or None
        Told the cells read since its last call.

    Returns
    -------
    PlateSummary

    Raises
    ------
    DataError
        For all that `open_plate` and `check_images` refuse.
    """
    with open_plate(path) as plate:
        counts = {name: _counts(getattr(plate, name)) for name in ID_DATASETS if name != "wells"}
        return PlateSummary(
            path=plate.path,
            file_bytes=plate.path.stat().st_size,
            n_cells=plate.n_cells,
            dtype=str(plate.stored_dtype),
            chunks=plate.chunks,
            compression=plate.compression,
            simulated=plate.simulated,
            classes=_class_counts(plate.labels),
            plates=counts["plates"],
            dates=counts["dates"],
            microscopes=counts["microscopes"],
            n_wells=_count_wells(plate),
            well_ids=plate.well_ids,
            channels=_read_intensities(plate, on_progress),
            missing=plate.missing,
        )


def _counts(ids: np.ndarray | None) -> dict[str, int] | None:
    if ids is None:
        return None
    names, counts = np.unique(ids[ids != ""], return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _class_counts(labels: np.ndarray | None) -> dict[str, int] | None:
    if labels is None:
        return None
    counts = np.bincount(labels, minlength=len(CLASSES))
    return dict(zip(CLASSES, counts.tolist(), strict=True))


def _count_wells(plate: Plate) -> int | None:
    if plate.well_ids is None:
        return None
    wells = plate.well_ids.names.tolist()
    if plate.plates is None:
        return len(set(wells) - {""})
    pairs = zip(plate.plates.tolist(), wells, strict=True)
    return len({(on, well) for on, well in pairs if on and well})


def _read_intensities(
    plate: Plate, on_progress: Callable[[int], None] | None
) -> list[ChannelSummary]:
    n_sampled = min(SAMPLE_CELLS, plate.n_cells)
    chosen = np.linspace(0, plate.n_cells - 1, n_sampled).astype(np.int64)
    sample = []
    low = np.full(len(CHANNELS), np.inf)
    high = np.full(len(CHANNELS), -np.inf)
    at_high = np.zeros(len(CHANNELS), dtype=np.int64)
    for batch in plate.batches():
        images = batch.images
        low = np.minimum(low, images.min(axis=(0, 2, 3)))
        batch_high = images.max(axis=(0, 2, 3)).astype(np.float64)
        at_high[batch_high > high] = 0
        high = np.maximum(high, batch_high)
        for channel in np.flatnonzero(batch_high == high):
            at_high[channel] += np.count_nonzero(images[:, channel] == batch_high[channel])
        inside = chosen[(chosen >= batch.start) & (chosen < batch.start + len(batch))]
        sample.append(images[inside - batch.start])
        if on_progress:
            on_progress(len(batch))
    levels = np.percentile(np.concatenate(sample), PERCENTILES, axis=(0, 2, 3))
    pixels = plate.n_cells * images[0, 0].size
    return [
        ChannelSummary(
            name=name,
            minimum=float(low[channel]),
            maximum=float(high[channel]),
            percentiles=dict(zip(PERCENTILES, levels[:, channel].tolist(), strict=True)),
            saturated=at_high[channel] / pixels if high[channel] in CAMERA_MAXIMA else 0.0,
        )
        for channel, name in enumerate(CHANNELS)
    ]
