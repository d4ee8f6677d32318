"""Open TIFF files and read the raw counts of their pages.

Open this to change which TIFFs are read. No other module but `tiff`, which writes them, and the
sources and writers of `coos_mlflow.fields` import tifffile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC

from coos_mlflow.errors import CoosError, DataError

MAX_PIXELS = 2**28
"""Most pixels of a page, those of 16,384 x 16,384. Larger numbers are taken for damage."""

_HALF_RANGE = 32768
"""Some instruments add half the 16-bit range to all counts."""

_ALONE = {"is_ome": False, "is_mmstack": False, "is_ndtiff": False}
"""Options that keep tifffile to one file. In these formats a file can name other files, which
tifffile would open from any folder."""

_SIGNED = re.compile(r"^c0=-32768(?:\.0)?$", re.MULTILINE)
"""Mark by which ImageJ describes signed numbers. It stores them with 32,768 added."""


@contextmanager
def open_tiff(path: Path) -> Iterator[Any]:
    """Yield an open `tifffile.TiffFile`, and report what is wrong with it in one sentence.

    Raises
    ------
    DataError
        When the file cannot be read, now or inside the block.
    """
    try:
        with tifffile.TiffFile(path, **_ALONE) as tiff:
            yield tiff
    except CoosError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file, expected a TIFF image.") from error
    # tifffile raises many types of exceptions for a damaged TIFF.
    except Exception as error:
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise DataError(f"{path}: cannot be read as a TIFF image ({reason}).") from error


def read_page(path: Path, number: int = 0, sample: int | None = None) -> np.ndarray:
    """Read the counts of one page of a TIFF.

    Parameters
    ----------
    path : Path
    number : int
        Of the page, from 0.
    sample : int or None
        Which of several channels in each pixel, from 0; None where a pixel has one.

    Returns
    -------
    ndarray, shape (height, width), unsigned or signed integers or floats in native byte order

    Raises
    ------
    DataError
    """
    with open_tiff(path) as tiff:
        if number >= len(tiff.pages):
            raise DataError(
                f"{path}: page {number + 1} is missing, {len(tiff.pages)} are there; the file is "
                "cut short, or its description is of another."
            )
        page = tiff.pages[number]
        check_page(path, page)
        image = page_counts(path, page) if sample is None else _sample(page, sample)
        if image.ndim != 2:
            raise DataError(f"{path}: shape {image.shape} found, expected height and width.")
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def check_page(path: Path, page: Any) -> None:
    """Refuse a page that claims more pixels than memory or the file could hold.

    Raises
    ------
    DataError
    """
    height, width = int(page.imagelength), int(page.imagewidth)
    if height * width > MAX_PIXELS:
        raise DataError(
            f"{path}: {height:,} x {width:,} pixels claimed, expected at most {MAX_PIXELS:,} in "
            "all; the file is damaged or no camera image."
        )
    if page.dtype is None or page.dtype.kind not in "uif":
        raise DataError(f"{path}: dtype {page.dtype} found, expected whole or real numbers.")


def check_dark(lowest: float, what: str) -> None:
    """Refuse counts with half the 16-bit range added, which some instruments do.

    Parameters
    ----------
    lowest : float
        Lowest count of a channel.
    what : str
        Begins the sentence, such as ``"a.tif: no count of the nucleus channel"``.

    Raises
    ------
    DataError
    """
    if lowest >= _HALF_RANGE:
        raise DataError(
            f"{what} is below {lowest:,.6g}, expected a dark background; subtract "
            f"{_HALF_RANGE:,} if the instrument added it (in ImageJ: Process > Math > Subtract), "
            "or invert the image (Edit > Invert) if it is inverted."
        )


def page_counts(path: Path, page: Any) -> np.ndarray:
    """Return the raw counts of a page with one channel.

    Raises
    ------
    DataError
        For colours, and for inverted images whose counts are not known.
    """
    meaning = photometric(page)
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


def photometric(page: Any) -> PHOTOMETRIC:
    """Return the photometric interpretation of a page; without the tag, 0 is black."""
    tagged = "PhotometricInterpretation" in page.tags
    return PHOTOMETRIC(page.photometric) if tagged else PHOTOMETRIC.MINISBLACK


def _sample(page: Any, sample: int) -> np.ndarray:
    """Return one channel of a page with several channels in each pixel."""
    image = page.asarray()
    return np.take(image, sample, axis=page.axes.index("S"))


def _is_grey(colours: np.ndarray) -> bool:
    """Return whether a colour table, shape (3, n), uint16, shows n counts as n greys in order."""
    n_colours = colours.shape[1]
    return bool((colours // (65536 // n_colours) == np.arange(n_colours)).all())


def _from_white(path: Path, page: Any) -> np.ndarray:
    """Return the counts of an image in which the largest number is black."""
    if page.is_imagej:
        # ImageJ writes this tag for an image shown inverted, without inverting its counts.
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
