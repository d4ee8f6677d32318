"""Plates as folders of TIFF images and back, losslessly; the only file that imports tifffile."""

from __future__ import annotations

import csv
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import tifffile

from coos_mlflow.data.cells import CHANNELS, IMAGE_SIZE, CellBatch, check_images
from coos_mlflow.data.cells_csv import CELLS_CSV, FIELDS, FILE_FIELD, SIMULATED_FIELD
from coos_mlflow.data.pairs import CellPairs
from coos_mlflow.data.plate import Plate, PlateWriter
from coos_mlflow.errors import CoosError, DataError, OutputError

UNLABELLED = "unlabelled"
"""Folder of cells whose class is not known."""

_PACK_CELLS = 256


def unpack(plate: Plate, out: str | Path, on_progress: Callable[[int], None] | None = None) -> Path:
    """Write a plate as the folder of TIFF images that COOS-7's authors' script makes.

    Parameters
    ----------
    plate : Plate
    out : path
        New folder; it appears whole or not at all. Cell i of class c becomes
        ``c/COOSv1cell_i_protein.tif`` and ``c/COOSv1cell_i_nucleus.tif``, and ``cells.csv``
        keeps what the names do not say: plate, well, date, microscope.
    on_progress : callable or None
        Told the cells written since its last call.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        Where the folder is there already and not empty, or cannot be written.
    """
    out = Path(out)
    with _new_folder(out) as folder, _new_table(folder) as file:
        fields = [name for name, column in FIELDS.items() if getattr(plate, column) is not None]
        table = csv.writer(file, lineterminator="\n")
        marks = [SIMULATED_FIELD] if plate.simulated else []
        table.writerow([FILE_FIELD, *fields, *marks])
        for batch in plate.batches(_PACK_CELLS):
            stems = _write_images(folder, batch)
            columns = [getattr(batch, FIELDS[name]).tolist() for name in fields]
            rows = zip(stems, *columns, *[["true"] * len(batch)] * len(marks), strict=True)
            table.writerows(rows)
            if on_progress:
                on_progress(len(batch))
    return out


def pack(
    pairs: CellPairs,
    out: str | Path,
    *,
    rescale: float | None = None,
    force: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Path:
    """Write pairs of TIFF images as a plate file.

    Parameters
    ----------
    pairs : CellPairs
        From `find_pairs`.
    out : path
        The HDF5 file; it appears whole or not at all.
    rescale : float or None
        What somebody divided the images by, such as 4095 (12 bit): they are multiplied by it
        and rounded to uint16.
    force : bool
        Replace a file that is already there.
    on_progress : callable or None
        Told the cells written since its last call.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DataError
        For images that are not 64x64 and of one page, dtypes that differ, and all that
        `check_images` refuses.
    OutputError
        Where `out` is there already or cannot be written.
    """
    if rescale is not None and not 1 < rescale <= 65535:
        raise DataError(f"rescale {rescale:g} asked for, expected a number above 1, up to 65535.")
    stored = _read_image(pairs.paths[0][0]).dtype
    dtype = np.dtype(np.float32 if stored.kind == "f" and rescale is None else np.uint16)
    attrs = {SIMULATED_FIELD: True} if pairs.simulated else None
    with PlateWriter(out, len(pairs.stems), dtype=dtype, attrs=attrs, force=force) as writer:
        for first in range(0, len(pairs.stems), _PACK_CELLS):
            rows = range(first, min(first + _PACK_CELLS, len(pairs.stems)))
            cells = [_read_cell(pairs, index, stored, rescale) for index in rows]
            columns = {
                name: values[rows.start : rows.stop] for name, values in pairs.columns.items()
            }
            writer.append(np.stack(cells).astype(dtype, copy=False), **columns)
            if on_progress:
                on_progress(len(cells))
    return Path(out)


def _new_table(folder: Path) -> TextIO:
    return (folder / CELLS_CSV).open("w", newline="", encoding="utf-8")


def _write_images(folder: Path, batch: CellBatch) -> list[str]:
    stems = []
    for offset, cell in enumerate(batch.images):
        group = UNLABELLED if batch.labels is None else str(batch.labels[offset])
        stem = f"{group}/COOSv1cell_{batch.start + offset}"
        (folder / group).mkdir(exist_ok=True)
        for channel, image in zip(CHANNELS, cell, strict=True):
            path = folder / f"{stem}_{channel}.tif"
            tifffile.imwrite(path, image, photometric="minisblack", metadata=None)
        stems.append(stem)
    return stems


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Give a folder to fill that takes the name `out` when all went well."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: is there already and not empty, expected a new folder.")
    partial = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.mkdir()
        yield partial
        partial.replace(out)
    except CoosError:
        raise
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _read_cell(pairs: CellPairs, index: int, stored: np.dtype, rescale: float | None) -> np.ndarray:
    """Read both channels of a cell, shape (2, 64, 64), and check them."""
    images = [_read_image(path) for path in pairs.paths[index]]
    for image, path in zip(images, pairs.paths[index], strict=True):
        if image.dtype != stored:
            raise DataError(
                f"{path}: dtype {image.dtype} found, expected {stored} as in "
                f"{pairs.paths[0][0]}; all images of a plate have one dtype."
            )
    cell = np.stack(images)
    where = f"{pairs.paths[index][0].parent}: {pairs.stems[index]!r}"
    if rescale is not None:
        cell = _multiply(cell, rescale, where)
    check_images(cell[np.newaxis], where, index)
    return cell


def _multiply(cell: np.ndarray, rescale: float, where: str) -> np.ndarray:
    outside = ~((cell >= 0) & (cell <= 1))
    if outside.any():
        raise DataError(
            f"{where}: {cell[outside][0]:g} found, expected values in [0, 1] to multiply by "
            f"{rescale:g}; raw counts need no rescaling."
        )
    return np.rint(cell.astype(np.float64) * rescale).astype(np.uint16)


def _read_image(path: Path) -> np.ndarray:
    """Read a TIFF of one page, 64x64 real numbers, in native byte order."""
    try:
        with tifffile.TiffFile(path) as tiff:
            _check_page(path, len(tiff.pages), tiff.pages[0])
            image = tiff.pages[0].asarray()
    except CoosError:
        raise
    # A damaged TIFF makes tifffile raise whatever the damaged field breaks first.
    except Exception as error:
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise DataError(f"{path}: cannot be read as a TIFF image ({reason}).") from error
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def _check_page(path: Path, n_pages: int, page: Any) -> None:
    if n_pages != 1:
        raise DataError(f"{path}: {n_pages} pages found, expected one image a file.")
    if page.shape != (IMAGE_SIZE, IMAGE_SIZE):
        raise DataError(f"{path}: shape {page.shape} found, expected ({IMAGE_SIZE}, {IMAGE_SIZE}).")
    if page.dtype is None or page.dtype.kind not in "uif":
        raise DataError(f"{path}: dtype {page.dtype} found, expected uint16 or float32.")
