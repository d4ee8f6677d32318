"""Write plate files. `PlateWriter` leaves a complete file, or none when writing fails."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow._utils.files import on_failure
from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.plates.columns import ID_DATASETS, MEASUREMENTS, clean_ids
from coos_mlflow.plates.flags import check_images
from coos_mlflow.plates.hdf5.chunks import MAX_CELLS
from coos_mlflow.plates.hdf5.write import NewFile, set_attributes, writing
from coos_mlflow.plates.labels import read_labels
from coos_mlflow.plates.schema import CHANNELS

_CHUNK_PIXELS = 64 * 64**2
"""Pixels of each channel in one chunk, those of 64 cells of COOS-7: 1 MiB of uint16."""


class PlateWriter:
    """Write a plate file; a context manager that leaves a complete file, or none on failure.

    Cells are stored in chunks of 1 MiB with shuffle and gzip level 1. On camera-like counts this
    takes 0.6 of the size, and one core writes 4,300 cells/s of 64 pixels and reads 26,000. Any HDF5
    library opens gzip, while lzf needs h5py. The same cells give the same bytes.

    Parameters
    ----------
    path : path
        The file to write. Until it is complete it has another name in the same folder.
    n_cells : int
        Number of cells that will be appended.
    crop : int
        Height and width of the cells in pixels.
    dtype : "uint16" or "float32"
    attrs : dict or None
        Numbers, text and short lists of numbers, such as ``{"simulated": True}``.
    force : bool
        Replace an existing file.

    Raises
    ------
    OutputError
        When the file exists already, or cannot be written.

    Examples
    --------
    >>> with coos_mlflow.PlateWriter("new_plate.h5", 100) as writer:  # doctest: +SKIP
    ...     writer.append(images, plates=plates, wells=wells)
    """

    def __init__(
        self,
        path: str | Path,
        n_cells: int,
        *,
        crop: int = 64,
        dtype: str | np.dtype = "uint16",
        attrs: dict[str, Any] | None = None,
        force: bool = False,
    ) -> None:
        self.path, self.n_cells, self.dtype = Path(path), n_cells, np.dtype(dtype)
        self.crop = crop
        self._attrs, self._force = attrs or {}, force
        self._written = 0
        self._columns: dict[str, list[np.ndarray]] = {}
        if self.dtype not in (np.dtype(np.uint16), np.dtype(np.float32)):
            raise DataError(f"{path}: dtype {dtype} asked for, expected uint16 or float32.")
        if not 1 <= n_cells <= MAX_CELLS:
            raise DataError(f"{path}: {n_cells:,} cells asked for, expected 1 to {MAX_CELLS:,}.")

    def __enter__(self) -> PlateWriter:
        self._refuse_existing()
        self._partial = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}.partial")
        with on_failure(self._discard), writing(self.path):
            self._file = NewFile(self._partial)
            set_attributes(self._file.h5, self._attrs)
            cell = (len(CHANNELS), self.crop, self.crop)
            chunk_cells = max(1, _CHUNK_PIXELS // self.crop**2)
            self._data = self._file.h5.create_dataset(
                "data",
                (self.n_cells, *cell),
                self.dtype,
                chunks=(min(chunk_cells, self.n_cells), *cell),
                compression="gzip",
                compression_opts=1,
                shuffle=True,
            )
        return self

    def append(self, images: np.ndarray, **columns: np.ndarray | None) -> None:
        """Append cells to those already written.

        Parameters
        ----------
        images : ndarray, shape (n, 2, crop, crop), of the writer's dtype
        **columns : ndarray, shape (n,), or None
            ``labels`` (whole numbers from 0, -1 for none; or names), ``plates``, ``wells``,
            ``dates``, ``microscopes``, and those of `MEASUREMENTS`. Every call must give the same
            columns.

        Raises
        ------
        DataError
            For cells that `check_images` refuses, columns of a wrong shape, and too many cells.
        """
        where = f"cells for {self.path}"
        if images.dtype != self.dtype:
            raise DataError(f"{where}: dtype {images.dtype} found, expected {self.dtype}.")
        check_images(images, where, self._written, self.crop)
        end = self._written + len(images)
        if end > self.n_cells:
            raise DataError(f"{where}: {end:,} cells found, expected {self.n_cells:,}.")
        self._keep_columns({k: v for k, v in columns.items() if v is not None}, len(images))
        with writing(self.path):
            self._data[self._written : end] = images
            self._file.check()
        self._written = end

    def _keep_columns(self, columns: dict[str, np.ndarray], n: int) -> None:
        where = f"cells for {self.path}"
        if unknown := set(columns) - {"labels", *ID_DATASETS, *MEASUREMENTS}:
            raise TypeError(f"no such column: {', '.join(sorted(unknown))}")
        if self._written and set(columns) != set(self._columns):
            raise DataError(
                f"{where}: columns {sorted(columns)} found, expected {sorted(self._columns)} "
                "as with the cells before."
            )
        for name, values in columns.items():
            column = np.asarray(values)
            if column.shape != (n,):
                raise DataError(f"{where}: {name} of shape {column.shape}, expected ({n},).")
            if name in MEASUREMENTS:
                self._columns.setdefault(name, []).append(column.astype(MEASUREMENTS[name]))
                continue
            as_text = name != "labels" or column.dtype.kind not in "uif"
            cleaned = (
                clean_ids(column.tolist(), f"{where}: {name}", self._written)
                if as_text
                else read_labels(column, f"{where}: labels").values
            )
            self._columns.setdefault(name, []).append(cleaned)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._discard()
            return
        with on_failure(self._discard):
            self._finish()

    def _finish(self) -> None:
        if self._written != self.n_cells:
            raise DataError(
                f"{self.path}: {self._written:,} cells were written, expected {self.n_cells:,}."
            )
        with writing(self.path):
            for name, parts in self._columns.items():
                column = np.concatenate(parts)
                if column.dtype.kind == "U":
                    column = np.char.encode(column, "utf-8")
                dataset = ID_DATASETS.get(name, name)
                self._file.h5.create_dataset(dataset, data=column, compression="gzip", shuffle=True)
            self._file.close()
            self._refuse_existing()
            self._partial.replace(self.path)

    def _refuse_existing(self) -> None:
        if self.path.is_dir():
            raise OutputError(f"{self.path}: is a folder, expected the name of a file to write.")
        if self.path.exists() and not self._force:
            raise OutputError(f"{self.path}: is there already; --force replaces it.")

    def _discard(self) -> None:
        if not hasattr(self, "_file"):
            return  # creating the file failed
        try:
            with writing(self.path):
                self._file.close()
        except OutputError:
            pass  # a full disk makes closing fail too
        finally:
            self._partial.unlink(missing_ok=True)
