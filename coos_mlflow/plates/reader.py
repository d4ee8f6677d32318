"""Open a plate of cells in an HDF5 file, verify its structure, and read it in batches.

Start here to see how a plate file is read: `open_plate` gives a `Plate`, `Plate.batches` its cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from coos_mlflow._utils.files import on_failure
from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import ID_DATASETS, MEASUREMENTS, shown
from coos_mlflow.plates.flags import flag_unusable, refuse_unusable
from coos_mlflow.plates.hdf5 import open_file
from coos_mlflow.plates.hdf5.chunks import Entries
from coos_mlflow.plates.labels import check_label_dtype, read_labels
from coos_mlflow.plates.schema import CHANNELS, NUCLEUS, PROTEIN, CellBatch, Origins, check_shape
from coos_mlflow.plates.wells import WellIds, read_wells
from coos_mlflow.plates.writer import PlateWriter

if TYPE_CHECKING:
    from coos_mlflow.plates.dataset import Dataset

__all__ = ["Plate", "PlateWriter", "file_digest", "open_plate"]

PIXEL_SIZE = "pixel_size_um"
"""Attribute of a file: height and width of a pixel in micrometres."""

PIXEL_SIZE_TOLERANCE = 0.05
"""Largest relative difference between the pixel sizes of a data set and of a plate; chosen."""

_CHANNELS_ATTRIBUTE = "channels"
"""Attribute of a file: the names of its channels, with commas. It goes before `dataset.yaml`."""

_AXES = 4
_MOST_OTHERS = 62
"""Further channels that a file may have, far more than any microscope records."""

_DIGEST_BYTES = 2**22


class Plate:
    """A plate file that is open for reading; use `open_plate`.

    Opening the file checks everything except the pixels. Pixels are checked as batches are read.
    Counts may be stored as any integer or float type, in either byte order. Integers are returned
    as uint16. Floats (half, single, double) are returned as float32.

    Parameters
    ----------
    path : Path
        The HDF5 file.
    dataset : Dataset, optional
        The data set that the cells must fit: its crop, channels, classes and pixel size. Without
        it, any crop and any labels are taken.
    channels : sequence of str or None
        Names of the file's channels where neither the file nor a data set gives them. None takes
        any number of them, and the first two for protein and nucleus.
    check_labels : bool
        Whether labels must be those of the data set. Scoring does not look at them.

    Attributes
    ----------
    n_cells : int
    crop : int
        Height and width of the cells in pixels.
    channel_names : tuple of str
        Of the channels in the file, of which protein and nucleus are read.
    pixel_size : float or None
        Micrometres, from the attribute ``pixel_size_um``.
    dtype : numpy.dtype
        Dtype of the batches: uint16 or float32.
    stored_dtype : numpy.dtype
        Dtype in the file, in native byte order.
    chunks : tuple of int, or None
    compression : str
        Names of the filters, such as ``"shuffle, deflate"``; ``"none"`` where there are none.
    attrs : dict
        Attributes of the file that are numbers, text of fixed length or short lists.
    simulated : bool
        Whether the file is marked as simulated.
    labels : ndarray of int64, shape (n_cells,), or None
    class_names : tuple of str, or None
        See `coos_mlflow.plates.labels.Labels`.
    plates, wells, dates, microscopes : ndarray of str, shape (n_cells,), or None
        Ids from `clean_ids`, ``""`` for a cell without one.
    """

    def __init__(
        self,
        path: Path,
        dataset: Dataset | None = None,
        *,
        channels: Sequence[str] | None = CHANNELS,
        check_labels: bool = True,
    ) -> None:
        self.path, self.dataset = path, dataset
        self._channels = channels if dataset is None else dataset.channels
        self._check_labels = check_labels
        self._file = open_file.open_file(path)
        with on_failure(self.close), open_file.reading(path):
            self._read_structure()

    def _read_structure(self) -> None:
        if not open_file.has(self._file, "data"):
            names = ", ".join(shown(name, 60) for name in sorted(self._file)[:10]) or "nothing"
            raise DataError(
                f"{self.path}: no dataset /data with the cells found, only {names[:200]}; "
                "expected (N, 2, crop, crop) raw counts."
            )
        self.attrs = open_file.plain_attributes(self._file)
        data = open_file.own_dataset(self._file, "data")
        where = f"{self.path}:/data"
        channels = self.channel_names = self._named_channels(data)
        crop = None if self.dataset is None else self.dataset.crop
        check_shape(data.shape or (), data.dtype, where, crop, channels)
        self.crop = int(data.shape[2])
        self._read_channels = [channels.index(PROTEIN), channels.index(NUCLEUS)]
        self._selects = self._read_channels != [*range(data.shape[1])]
        self.pixel_size = self._checked_pixel_size()
        self._entries = Entries(data, where, self.path.stat().st_size)
        self._entries.check_packing()
        self.n_cells = int(data.shape[0])
        self.stored_dtype: np.dtype = data.dtype.newbyteorder("=")
        self.dtype = np.dtype(np.float32 if data.dtype.kind == "f" else np.uint16)
        self.chunks: tuple[int, ...] | None = data.chunks
        self.compression = open_file.filters(data)
        self.simulated = self.attrs.get("simulated") in (True, 1, "true", "True")
        self.labels, self.class_names = self._read_labels()
        ids = {name: self._ids(dataset) for name, dataset in ID_DATASETS.items()}
        self.plates, self.wells = ids["plates"], ids["wells"]
        self.dates, self.microscopes = ids["dates"], ids["microscopes"]

    @property
    def missing(self) -> tuple[str, ...]:
        """HDF5 names of the optional columns that the file does not have."""
        columns = {"labels": self.labels}
        columns |= {dataset: getattr(self, name) for name, dataset in ID_DATASETS.items()}
        return tuple(dataset for dataset, column in columns.items() if column is None)

    def batches(
        self,
        size: int = 1024,
        start: int = 0,
        stop: int | None = None,
        *,
        keep_unusable: bool = False,
    ) -> Iterator[CellBatch]:
        """Read cells in order, one batch at a time.

        Parameters
        ----------
        size : int
            Cells in a batch; the last one may be shorter.
        start, stop : int
            Range of cells; the whole plate by default.
        keep_unusable : bool
            Flag cells that cannot be scored instead of refusing them (`flag_unusable`).

        Yields
        ------
        CellBatch
            Its images have `dtype` and are raw counts.

        Raises
        ------
        DataError
            For pixels that cannot be read, and for values that `flag_unusable` refuses. Also for
            unusable cells, unless `keep_unusable` is true.
        """
        where = f"{self.path}:/data"
        end = self.n_cells if stop is None else min(stop, self.n_cells)
        for first in range(start, end, size):
            rows = slice(first, min(first + size, end))
            with open_file.reading(self.path, f"/data, cells {rows.start} to {rows.stop - 1},"):
                raw = self._entries.read(rows.start, rows.stop)
            if self._selects:
                raw = raw[:, self._read_channels]
            raw = raw.astype(self.stored_dtype, copy=False)
            images = raw.astype(self.dtype, copy=False)
            flags = flag_unusable(raw, where, first)
            # Rounding to single precision can make an image constant.
            if raw.dtype == np.float64:
                flags = np.maximum(flags, flag_unusable(images, where, first))
            if not keep_unusable:
                refuse_unusable(images, flags, where, first)
            columns = {
                name: None if (column := getattr(self, name)) is None else column[rows]
                for name in ("labels", *ID_DATASETS)
            }
            yield CellBatch(first, images, flags=flags, **columns)

    def origins(self, start: int, stop: int) -> Origins:
        """Return plates and wells of the cells `start` to `stop` - 1, without their images."""
        rows = slice(start, stop)
        plates = None if self.plates is None else self.plates[rows]
        wells = None if self.well_ids is None else self.well_ids.names[rows]
        return Origins(np.arange(start, stop), plates, wells)

    @cached_property
    def well_ids(self) -> WellIds | None:
        """Well ids and their meaning, read from all ids of the file; None where it has none."""
        return None if self.wells is None else read_wells(self.wells)

    @cached_property
    def measurements(self) -> dict[str, np.ndarray]:
        """Columns of `MEASUREMENTS` that the file has, each of shape (n_cells,)."""
        found = {}
        for name, dtype in MEASUREMENTS.items():
            with open_file.reading(self.path, f"/{name}"):
                column = self._column(name)
                if column is None:
                    continue
                stored, entries, where = column
                if stored.dtype.kind not in "uif":
                    raise DataError(f"{where}: dtype {stored.dtype} found, expected numbers.")
                found[name] = entries.read(0, self.n_cells).ravel().astype(dtype)
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Plate:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _named_channels(self, data: h5py.Dataset) -> tuple[str, ...]:
        """Return the names of the file's channels, from the file itself or the data set."""
        own = str(self.attrs.get(_CHANNELS_ATTRIBUTE, "")).split(",")
        names = tuple(name.strip() for name in own)
        if {PROTEIN, NUCLEUS} <= set(names):
            return names
        if self._channels is not None:
            return tuple(self._channels)
        shape: tuple[int, ...] = data.shape or ()
        others = shape[1] - len(CHANNELS) if len(shape) == _AXES else 0
        return (*CHANNELS, *(f"other {number + 1}" for number in range(min(others, _MOST_OTHERS))))

    def _checked_pixel_size(self) -> float | None:
        """Return the pixel size, and refuse one that is not the data set's."""
        size = self.attrs.get(PIXEL_SIZE)
        if not isinstance(size, int | float) or not size > 0:
            return None
        expected = None if self.dataset is None else self.dataset.pixel_size
        if expected and abs(size / expected - 1) > PIXEL_SIZE_TOLERANCE:
            raise DataError(
                f"{self.path}: pixels of {size:g} micrometres found ({PIXEL_SIZE}), expected "
                f"{expected:g} as in {self.dataset.name if self.dataset else ''}; scale the images "
                f"by {size / expected:.3g} and cut crops of {self.crop} x {self.crop} pixels anew."
            )
        return float(size)

    def _read_labels(self) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
        column = self._column("labels")
        if column is None:
            return None, None
        stored, entries, where = column
        check_label_dtype(stored.dtype, where)
        raw = entries.read(0, self.n_cells).ravel()
        dataset = self.dataset if self._check_labels else None
        return read_labels(raw.astype(raw.dtype.newbyteorder("=")), where, dataset)

    def _ids(self, name: str) -> np.ndarray | None:
        column = self._column(name)
        return None if column is None else open_file.read_ids(*column)

    def _column(self, name: str) -> tuple[h5py.Dataset, Entries, str] | None:
        """Return a column's dataset, its entries and its place; None where there is none."""
        if not open_file.has(self._file, name):
            return None
        dataset = open_file.own_dataset(self._file, name)
        where = f"{self.path}:/{name}"
        if dataset.shape not in ((self.n_cells,), (self.n_cells, 1)):
            raise DataError(
                f"{where}: shape {dataset.shape} found, expected ({self.n_cells},), "
                "one entry for each cell of /data."
            )
        return dataset, Entries(dataset, where, self.path.stat().st_size), where


def open_plate(
    path: str | Path,
    dataset: Dataset | None = None,
    *,
    channels: Sequence[str] | None = CHANNELS,
    check_labels: bool = True,
) -> Plate:
    """Open a plate file and verify its structure.

    Parameters
    ----------
    path : path
        HDF5 in COOS-7's layout: ``data`` (N, 2, crop, crop), and optionally ``labels``,
        ``plateIDs``, ``wellIDs``, ``dateIDs``, ``microscopeIDs``, each of shape (N,) or (N, 1).
    dataset, channels, check_labels
        See `Plate`.

    Returns
    -------
    Plate
        A context manager.

    Raises
    ------
    DataError
        The message has the file, the HDF5 path, the value found and the one expected.

    Examples
    --------
    >>> with coos_mlflow.open_plate("new_plate.h5") as plate:  # doctest: +SKIP
    ...     cells = next(plate.batches(100))
    >>> cells.images.shape  # doctest: +SKIP
    (100, 2, 64, 64)
    """
    return Plate(Path(path), dataset, channels=channels, check_labels=check_labels)


def file_digest(path: str | Path, on_progress: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a whole file, as hexadecimal digits.

    Parameters
    ----------
    path : path
    on_progress : callable or None
        Called with the bytes read since its last call.

    Raises
    ------
    DataError
        When the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(_DIGEST_BYTES):
                digest.update(block)
                if on_progress:
                    on_progress(len(block))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    return digest.hexdigest()
