"""Convert a plate to a folder of TIFF images (`unpack`) and back (`pack`), without loss."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import tifffile

from coos_mlflow._utils.files import new_folder
from coos_mlflow.errors import CoosError, DataError, OutputError
from coos_mlflow.plates.cells_csv import CELLS_CSV, FIELDS, FILE_FIELD, SIMULATED_FIELD
from coos_mlflow.plates.copies import CopyFinder, cell_digests
from coos_mlflow.plates.file_names import as_file_name
from coos_mlflow.plates.flags import COPY, check_images
from coos_mlflow.plates.reader import Plate, PlateWriter
from coos_mlflow.plates.schema import (
    CHANNELS,
    MAX_CROP,
    MIN_CROP,
    UNLABELLED,
    UNLABELLED_WORD,
    CellBatch,
)
from coos_mlflow.plates.tiff_pages import check_dark, open_tiff, page_counts, photometric
from coos_mlflow.plates.tiff_pairs import CellPairs

_PACK_CELLS = 256

_CHANNELS = re.compile(r'\bSizeC="([0-9]{1,6})"|^channels=([0-9]{1,6})$', re.MULTILINE)
"""Number of channels in the descriptions of OME and of ImageJ."""


def unpack(plate: Plate, out: str | Path, on_progress: Callable[[int], None] | None = None) -> Path:
    """Write a plate as the folder of TIFF images that COOS-7's authors' script makes.

    Parameters
    ----------
    plate : Plate
    out : path
        New folder. It is left complete, or not at all on failure. Cell i of class c becomes
        ``c/COOSv1cell_i_protein.tif`` and ``c/COOSv1cell_i_nucleus.tif``. ``cells.csv`` holds
        plate, well, date and microscope, which the names do not contain.
    on_progress : callable or None
        Called with the number of cells written since its last call.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        When the folder exists already and is not empty, or cannot be written.
    """
    out = Path(out)
    with _unpacked_folder(out) as folder, _new_table(folder) as file:
        fields = [name for name, column in FIELDS.items() if getattr(plate, column) is not None]
        table = csv.writer(file, lineterminator="\n")
        marks = [SIMULATED_FIELD] if plate.simulated else []
        table.writerow([FILE_FIELD, *fields, *marks])
        for batch in plate.batches(_PACK_CELLS):
            groups = None if batch.labels is None else _spelled(plate, batch, "labels")
            stems = _write_images(folder, batch, groups)
            columns = [_spelled(plate, batch, FIELDS[name]) for name in fields]
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
) -> int:
    """Write pairs of TIFF images as a plate file.

    Parameters
    ----------
    pairs : CellPairs
        From `find_pairs`.
    out : path
        The HDF5 file. It is left complete, or not at all on failure.
    rescale : float or None
        Number by which the images were divided, such as 4095 (12 bit). The images are multiplied
        by it and rounded to uint16.
    force : bool
        Replace an existing file.
    on_progress : callable or None
        Called with the number of cells written since its last call.

    Returns
    -------
    int
        Number of cells that are, pixel by pixel, copies of earlier ones.

    Raises
    ------
    DataError
        For images that are not square with one channel, different sizes or dtypes, colours, counts
        without a dark background, and everything that `check_images` refuses.
    OutputError
        When `out` exists already or cannot be written.
    """
    if rescale is not None and not 1 < rescale <= 65535:
        raise DataError(f"rescale {rescale:g} asked for, expected a number above 1, up to 65535.")
    example = read_image(pairs.paths[0][0])
    stored = example.dtype
    dtype = np.dtype(np.float32 if stored.kind == "f" and rescale is None else np.uint16)
    attrs = {SIMULATED_FIELD: True} if pairs.simulated else None
    finder, n_copies = CopyFinder(), 0
    n_cells, crop = len(pairs.stems), len(example)
    with PlateWriter(out, n_cells, crop=crop, dtype=dtype, attrs=attrs, force=force) as writer:
        for first in range(0, len(pairs.stems), _PACK_CELLS):
            rows = range(first, min(first + _PACK_CELLS, len(pairs.stems)))
            cells = np.stack([_read_cell(pairs, index, example, rescale) for index in rows])
            if first == 0:
                _check_offset(cells, pairs)
            columns = {
                name: values[rows.start : rows.stop] for name, values in pairs.columns.items()
            }
            writer.append(cells.astype(dtype, copy=False), **columns)
            flags = finder.flagged(np.zeros(len(cells), np.int8), cell_digests(cells))
            n_copies += int((flags == COPY).sum())
            if on_progress:
                on_progress(len(cells))
    return n_copies


def _new_table(folder: Path) -> TextIO:
    return (folder / CELLS_CSV).open("w", newline="", encoding="utf-8")


def _spelled(plate: Plate, batch: CellBatch, column: str) -> list[str]:
    """Return a column as text; labels by name where the file names them, "" for none."""
    values = getattr(batch, column).tolist()
    if column != "labels":
        return values
    names = plate.class_names
    return [
        "" if label == UNLABELLED else str(label) if names is None else names[label]
        for label in values
    ]


def _write_images(folder: Path, batch: CellBatch, groups: list[str] | None) -> list[str]:
    stems = []
    for offset, cell in enumerate(batch.images):
        group = UNLABELLED_WORD if groups is None else groups[offset] or UNLABELLED_WORD
        # The name of a class may be "..", or begin with the dot of a hidden file.
        group = as_file_name(group)
        stem = f"{group}/COOSv1cell_{batch.start + offset}"
        (folder / group).mkdir(exist_ok=True)
        for channel, image in zip(CHANNELS, cell, strict=True):
            path = folder / f"{stem}_{channel}.tif"
            tifffile.imwrite(path, image, photometric="minisblack", metadata=None)
        stems.append(stem)
    return stems


@contextmanager
def _unpacked_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder; rename it to `out` if the block ends without an exception."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: is there already and not empty, expected a new folder.")
    try:
        with new_folder(out) as partial:
            yield partial
    except CoosError:
        raise
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error}).") from error


def _read_cell(
    pairs: CellPairs, index: int, example: np.ndarray, rescale: float | None
) -> np.ndarray:
    """Read both channels of a cell, shape (2, crop, crop), and check them."""
    images = [read_image(path) for path in pairs.paths[index]]
    for image, path in zip(images, pairs.paths[index], strict=True):
        for what in ("dtype", "shape"):
            found, expected = getattr(image, what), getattr(example, what)
            if found != expected:
                raise DataError(
                    f"{path}: {what} {found} found, expected {expected} as in "
                    f"{pairs.paths[0][0]}; all images of a plate have one {what}."
                )
    cell = np.stack(images)
    where = f"{pairs.paths[index][0].parent}: {pairs.stems[index]!r}"
    if rescale is not None:
        cell = _multiply(cell, rescale, where)
    check_images(cell[np.newaxis], where, index)
    return cell


def _check_offset(cells: np.ndarray, pairs: CellPairs) -> None:
    """Refuse counts with half the 16-bit range added, which some instruments do."""
    for name, lowest, path in zip(CHANNELS, cells.min(axis=(0, 2, 3)), pairs.paths[0], strict=True):
        check_dark(lowest, f"{path}: no count of the first {len(cells):,} {name} images")


def _multiply(cell: np.ndarray, rescale: float, where: str) -> np.ndarray:
    outside = ~((cell >= 0) & (cell <= 1))
    if outside.any():
        raise DataError(
            f"{where}: {cell[outside][0]:g} found, expected values in [0, 1] to multiply by "
            f"{rescale:g}; raw counts need no rescaling."
        )
    return np.rint(cell.astype(np.float64) * rescale).astype(np.uint16)


def read_image(path: Path) -> np.ndarray:
    """Read the counts of a TIFF of one square image, real numbers, in native byte order."""
    with open_tiff(path) as tiff:
        _check_one_channel(path, tiff)
        image = page_counts(path, tiff.pages[0])
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def _check_one_channel(path: Path, tiff: Any) -> None:
    """Refuse files with several channels, depths or times, and images that are no crops."""
    page = tiff.pages[0]
    # A stack may have a single page; its description then gives the number of images after it.
    n_images = sum(series.size for series in tiff.series) // page.size
    n_images *= page.samplesperpixel
    if n_images > 1:
        raise DataError(
            f"{path}: {_stack(n_images, page)} found, expected one image of one channel; "
            "save each channel as a file of its own."
        )
    sides = {*page.shape}
    if len(page.shape) != 2 or len(sides) != 1 or not MIN_CROP <= min(sides) <= MAX_CROP:
        raise DataError(
            f"{path}: shape {page.shape} found, expected a square of {MIN_CROP} to {MAX_CROP} "
            "pixels: one cell, cut out of its field."
        )
    if page.dtype is None or page.dtype.kind not in "uif":
        raise DataError(f"{path}: dtype {page.dtype} found, expected uint16 or float32.")


def _stack(n_images: int, page: Any) -> str:
    if page.samplesperpixel > 1:
        return f"{page.samplesperpixel} channels in each pixel ({photometric(page).name})"
    described = _CHANNELS.search(page.description)
    n_channels = int(described[1] or described[2]) if described else 1
    if n_channels == n_images:
        return f"{n_channels} channels"
    return f"{n_images} images" + (f" ({n_channels} channels)" if n_channels > 1 else "")
