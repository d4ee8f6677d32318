"""Turn what a user asks for into a `CropJob`: open images, choose channels, check settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from coos_mlflow.cropping.job import CropJob
from coos_mlflow.errors import DataError
from coos_mlflow.fields.channels import choose_channels
from coos_mlflow.fields.plate_images import PlateImages
from coos_mlflow.fields.segmenters import NucleusSize, segmenter
from coos_mlflow.fields.segmenters.base import DEFAULT_SIZE
from coos_mlflow.fields.settings import ALL, FOCUS, GOOD, MAX, CropSettings
from coos_mlflow.fields.sources import check_pixel_size, open_images
from coos_mlflow.plates.reader import PIXEL_SIZE_TOLERANCE
from coos_mlflow.plates.schema import MAX_CROP, MIN_CROP

MAX_RESAMPLING = 4.0
"""Largest factor between the pixels of images and of crops: more is taken for a mistake; chosen."""


_AT_ADDRESS = (
    "Whether the images at an address have changed is not checked; --force cuts cells out anew."
)

DEFAULT_SEGMENTER = "threshold"

_OF_CENTRES = "labels"
"""Segmenter that takes the label images of a table of centres."""


@dataclass(frozen=True)
class CropOptions:
    """What a user can choose of a cropping; None is left to this package.

    Parameters
    ----------
    source, pattern : str or None
        See `coos_mlflow.fields.sources.open_images`.
    pixel_size : float or None
        Of the images in micrometres, where they do not give it or give a wrong one.
    protein, nucleus : str or None
        Name or number, from 1, of each channel.
    z : str
        ``"max"``, ``"focus"`` or a depth from 1.
    illumination : bool
    segmenter : str
    nucleus_size : str or None
        Smallest and largest diameter in micrometres, such as ``"4-30"``.
    keep : str
        ``"all"`` or ``"good"``.
    centres : str or None
        Table of nuclei that were found elsewhere (`coos_mlflow.fields.centres`), in place of a
        segmenter.
    crop_pixel_size : float or None
        Of the crops in micrometres, where the data set does not give it.
    """

    source: str | None = None
    pattern: str | None = None
    pixel_size: float | None = None
    protein: str | None = None
    nucleus: str | None = None
    z: str = MAX
    illumination: bool = False
    segmenter: str = DEFAULT_SEGMENTER
    nucleus_size: str | None = None
    keep: str = ALL
    centres: str | None = None
    crop_pixel_size: float | None = None


@dataclass(frozen=True)
class CellShape:
    """What the crops of a data set are like.

    Parameters
    ----------
    dataset : str
        Name of the data set.
    crop : int
        Height and width in pixels.
    pixel_size_um : float or None
        None where the data set does not give it.
    """

    dataset: str
    crop: int
    pixel_size_um: float | None


class OpenedImages(NamedTuple):
    """The images of a plate, and the channels to use.

    Parameters
    ----------
    images : PlateImages
    protein, nucleus : int
        Places of the channels, from 0.
    notes : tuple of str
        Sentences on channels that were guessed.
    """

    images: PlateImages
    protein: int
    nucleus: int
    notes: tuple[str, ...]


def open_plate_images(location: str, options: CropOptions) -> OpenedImages:
    """Open the images of a plate, and choose channels.

    Raises
    ------
    DataError
        For images that cannot be opened (`open_images`), and channels that cannot be chosen.
    """
    images = open_images(
        location,
        options.source,
        pattern=options.pattern,
        pixel_size_um=options.pixel_size,
    )
    if options.centres is not None:
        # Imported here, since SciPy takes long and hardly any plate needs it.
        from coos_mlflow.fields.centres import with_centres

        images = with_centres(images, options.centres)
    try:
        return OpenedImages(
            images, *choose_channels(images.channels, options.protein, options.nucleus)
        )
    except DataError as error:
        raise DataError(f"{location}: {error}") from error


def plan(
    opened: OpenedImages,
    out: Path,
    cells: CellShape,
    options: CropOptions,
    *,
    force: bool = False,
    keep_going: bool = False,
) -> CropJob:
    """Decide how the cells of a plate are found and cut out.

    Parameters
    ----------
    opened : OpenedImages
        From `open_plate_images`.
    out : Path
        The plate file to write.
    cells : CellShape
    options : CropOptions
    force, keep_going
        See `CropJob`.

    Raises
    ------
    DataError
        For a missing pixel size, and settings that do not fit.
    """
    images = opened.images
    settings = CropSettings(
        protein=opened.protein,
        nucleus=opened.nucleus,
        crop=_crop(cells.crop),
        image_pixel_um=_image_pixel(images),
        crop_pixel_um=check_pixel_size("--crop-pixel-size", options.crop_pixel_size)
        or cells.pixel_size_um,
        z=_z(options.z),
        illumination=options.illumination,
        segmenter=options.segmenter if options.centres is None else _OF_CENTRES,
        size=_size(options.nucleus_size),
        keep=_one_of("--keep", options.keep, (ALL, GOOD)),
    )
    if options.centres is not None and options.segmenter not in (DEFAULT_SEGMENTER, _OF_CENTRES):
        raise DataError(
            f"--segmenter {options.segmenter} found with --centres, which takes its place; leave "
            "one out."
        )
    segmenter(settings.segmenter).facts()
    _check_resampling(settings, images.location)
    return CropJob(
        images,
        settings,
        out,
        cells.dataset,
        notes=(*opened.notes, *([_AT_ADDRESS] if images.is_remote else [])),
        warnings=_warnings(settings, cells),
        force=force,
        keep_going=keep_going,
    )


def _image_pixel(images: PlateImages) -> float:
    if images.pixel_size_um is None:
        raise DataError(
            f"{images.location}: the images do not give the size of their pixels; give it in "
            "micrometres by --pixel-size, such as --pixel-size 0.325."
        )
    return images.pixel_size_um


def _check_resampling(settings: CropSettings, location: str) -> None:
    factor = settings.image_pixel_um / (settings.crop_pixel_um or settings.image_pixel_um)
    if not 1 / MAX_RESAMPLING <= factor <= MAX_RESAMPLING:
        raise DataError(
            f"{location}: pixels of {settings.image_pixel_um:.4g} micrometres found, expected "
            f"{settings.crop_pixel_um:.4g} within a factor of {MAX_RESAMPLING:g}; check "
            "--pixel-size and --crop-pixel-size."
        )


def _warnings(settings: CropSettings, cells: CellShape) -> tuple[str, ...]:
    if settings.crop_pixel_um is None:
        return (
            f"{cells.dataset} does not give the size of its pixels, so cells keep those of the "
            f"images ({settings.image_pixel_um:.4g} micrometres); if the model was trained on "
            "others, give theirs by --crop-pixel-size.",
        )
    factor = settings.image_pixel_um / settings.crop_pixel_um
    if factor > 1 + PIXEL_SIZE_TOLERANCE:
        return (
            f"The images have pixels of {settings.image_pixel_um:.4g} micrometres and are enlarged "
            f"{factor:.2g} times to those of {cells.dataset}; finer details than the images show "
            "are missing in the cells.",
        )
    return ()


def _crop(crop: int) -> int:
    if not MIN_CROP <= crop <= MAX_CROP:
        raise DataError(f"--crop {crop} found, expected {MIN_CROP} to {MAX_CROP} pixels.")
    return crop


def _one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise DataError(f"{option} {value!r} found, expected {' or '.join(known)}.")
    return value


def _z(z: str) -> str:
    if z not in (MAX, FOCUS) and not (z.isdecimal() and int(z) > 0):
        raise DataError(f"--z {z!r} found, expected {MAX}, {FOCUS} or a number from 1.")
    return z


def _size(text: str | None) -> NucleusSize:
    if text is None:
        return DEFAULT_SIZE
    parts = text.split("-")
    try:
        smallest, largest = map(float, parts)
    except ValueError:
        smallest = largest = 0.0
    if not 0 < smallest < largest < 1000:
        raise DataError(
            f"--nucleus-size {text!r} found, expected the smallest and the largest diameter in "
            "micrometres, such as 4-30."
        )
    return NucleusSize(smallest, largest)
