"""Plates as folders of TIFF images and back, losslessly; the only file that imports tifffile."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC

from coos_mlflow._utils.files import new_folder
from coos_mlflow.errors import CoosError, DataError, OutputError
from coos_mlflow.plates.cells_csv import CELLS_CSV, FIELDS, FILE_FIELD, SIMULATED_FIELD
from coos_mlflow.plates.copies import CopyFinder, cell_digests
from coos_mlflow.plates.flags import COPY, check_images
from coos_mlflow.plates.reader import Plate, PlateWriter
from coos_mlflow.plates.schema import CHANNELS, IMAGE_SIZE, CellBatch
from coos_mlflow.plates.tiff_pairs import CellPairs

UNLABELLED = "unlabelled"
"""Folder of cells whose class is not known."""

_PACK_CELLS = 256

_ALONE = {"is_ome": False, "is_mmstack": False, "is_ndtiff": False}
"""Not to be read as kinds that name other files: tifffile would open those, wherever they lie."""

_CHANNELS = re.compile(r'\bSizeC="([0-9]{1,6})"|^channels=([0-9]{1,6})$', re.MULTILINE)
"""Number of channels in the descriptions of OME and of ImageJ."""

_SIGNED = re.compile(r"^c0=-32768(?:\.0)?$", re.MULTILINE)
"""What ImageJ says of signed numbers, which it stores with 32,768 added."""

_HALF_RANGE = 32768


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
    with _unpacked_folder(out) as folder, _new_table(folder) as file:
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
) -> int:
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
    int
        How many cells are, pixel by pixel, copies of earlier ones.

    Raises
    ------
    DataError
        For images that are not 64x64 and of one channel, colours, dtypes that differ, counts
        without a dark background, and all that `check_images` refuses.
    OutputError
        Where `out` is there already or cannot be written.
    """
    if rescale is not None and not 1 < rescale <= 65535:
        raise DataError(f"rescale {rescale:g} asked for, expected a number above 1, up to 65535.")
    stored = _read_image(pairs.paths[0][0]).dtype
    dtype = np.dtype(np.float32 if stored.kind == "f" and rescale is None else np.uint16)
    attrs = {SIMULATED_FIELD: True} if pairs.simulated else None
    finder, n_copies = CopyFinder(), 0
    with PlateWriter(out, len(pairs.stems), dtype=dtype, attrs=attrs, force=force) as writer:
        for first in range(0, len(pairs.stems), _PACK_CELLS):
            rows = range(first, min(first + _PACK_CELLS, len(pairs.stems)))
            cells = np.stack([_read_cell(pairs, index, stored, rescale) for index in rows])
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
def _unpacked_folder(out: Path) -> Iterator[Path]:
    """Give a folder to fill that takes the name `out` when all went well."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: is there already and not empty, expected a new folder.")
    try:
        with new_folder(out) as partial:
            yield partial
    except CoosError:
        raise
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error}).") from error


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


def _check_offset(cells: np.ndarray, pairs: CellPairs) -> None:
    """Refuse counts to which half the range was added, as some instruments do."""
    for name, lowest, path in zip(CHANNELS, cells.min(axis=(0, 2, 3)), pairs.paths[0], strict=True):
        if lowest >= _HALF_RANGE:
            raise DataError(
                f"{path}: no count of the first {len(cells):,} {name} images is below "
                f"{lowest:,.6g}, expected a dark background; subtract {_HALF_RANGE:,} if the "
                "instrument added it (in ImageJ: Process > Math > Subtract), or invert the image "
                "(Edit > Invert) if it is inverted."
            )


def _multiply(cell: np.ndarray, rescale: float, where: str) -> np.ndarray:
    outside = ~((cell >= 0) & (cell <= 1))
    if outside.any():
        raise DataError(
            f"{where}: {cell[outside][0]:g} found, expected values in [0, 1] to multiply by "
            f"{rescale:g}; raw counts need no rescaling."
        )
    return np.rint(cell.astype(np.float64) * rescale).astype(np.uint16)


def _read_image(path: Path) -> np.ndarray:
    """Read the counts of a TIFF of one image, 64x64 real numbers, in native byte order."""
    try:
        with tifffile.TiffFile(path, **_ALONE) as tiff:
            _check_one_channel(path, tiff)
            image = _counts(path, tiff.pages[0])
    except CoosError:
        raise
    # A damaged TIFF makes tifffile raise whatever the damaged field breaks first.
    except Exception as error:
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise DataError(f"{path}: cannot be read as a TIFF image ({reason}).") from error
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def _check_one_channel(path: Path, tiff: Any) -> None:
    """Refuse files of several channels, depths or times, and sizes that are no cell's."""
    page = tiff.pages[0]
    # A stack may have one page alone, whose description says how many images follow it.
    n_images = sum(series.size for series in tiff.series) // page.size
    n_images *= page.samplesperpixel
    if n_images > 1:
        raise DataError(
            f"{path}: {_stack(n_images, page)} found, expected one image of one channel; "
            "save each channel as a file of its own."
        )
    if page.shape != (IMAGE_SIZE, IMAGE_SIZE):
        raise DataError(
            f"{path}: shape {page.shape} found, expected ({IMAGE_SIZE}, {IMAGE_SIZE}): one cell, "
            "cut out of its field."
        )
    if page.dtype is None or page.dtype.kind not in "uif":
        raise DataError(f"{path}: dtype {page.dtype} found, expected uint16 or float32.")


def _stack(n_images: int, page: Any) -> str:
    if page.samplesperpixel > 1:
        return f"{page.samplesperpixel} channels in each pixel ({_photometric(page).name})"
    said = _CHANNELS.search(page.description)
    n_channels = int(said[1] or said[2]) if said else 1
    if n_channels == n_images:
        return f"{n_channels} channels"
    return f"{n_images} images" + (f" ({n_channels} channels)" if n_channels > 1 else "")


def _counts(path: Path, page: Any) -> np.ndarray:
    """Return the counts that the pixels of a page stand for."""
    meaning = _photometric(page)
    if meaning is PHOTOMETRIC.MINISWHITE:
        return _from_white(path, page)
    grey = meaning is PHOTOMETRIC.PALETTE and _is_grey(page.colormap)
    if meaning is not PHOTOMETRIC.MINISBLACK and not grey:
        raise DataError(
            f"{path}: pixels of the kind {meaning.name} found, expected grey counts; save the "
            "image without colours (in ImageJ: Image > Lookup Tables > Grays)."
        )
    image = page.asarray()
    if image.dtype == np.uint16 and page.is_imagej and _SIGNED.search(page.description):
        return (image ^ 0x8000).view(np.int16)
    return image


def _is_grey(colours: np.ndarray) -> bool:
    """Whether a table of colours, shape (3, n), uint16, shows n counts as n greys in order."""
    n_colours = colours.shape[1]
    return bool((colours // (65536 // n_colours) == np.arange(n_colours)).all())


def _from_white(path: Path, page: Any) -> np.ndarray:
    """Return the counts of an image whose largest number is black."""
    if page.is_imagej:
        # ImageJ writes this for whatever is shown inverted, and leaves its counts as they are.
        raise DataError(
            f"{path}: shown inverted by ImageJ, which does not say whether its counts are; "
            "choose Image > Lookup Tables > Invert LUT and save it again."
        )
    if page.dtype.kind != "u":
        raise DataError(
            f"{path}: {page.dtype} with 0 as white (MINISWHITE) found, expected counts with 0 as "
            "black (MINISBLACK)."
        )
    image = page.asarray()
    return image.dtype.type(2**page.bitspersample - 1) - image


def _photometric(page: Any) -> PHOTOMETRIC:
    """Return what the numbers of a page mean; without a word, 0 is black."""
    said = "PhotometricInterpretation" in page.tags
    return PHOTOMETRIC(page.photometric) if said else PHOTOMETRIC.MINISBLACK
