"""Single causes by which a plate goes wrong: in its cells, its stain, its optics and its camera.

A cause either changes one factor of the simulator for all wells of a plate (`FACTORS`), or changes
the finished images (`IMAGE_CAUSES`). Strengths are chosen such that true errors rise by about 2 to
more than 40 points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from coos_mlflow.simulate import microscope, population

FACTORS: dict[str, tuple[float, ...]] = {
    "defocus_um": (1.6, 2.5, 4.0),
    "blur": (1.25, 1.6),
    "haze": (1.3, 1.6, 2.5),
    "pool": (1.6, 2.5),
    "number": (0.6, 1.6),
    "fragments": (2.0, 4.0),
    "photons": (0.5, 0.7, 2.0),
    "nucleus_photons": (0.5,),
    "width": (1.3,),
    "gather": (0.6,),
    "pixel_um": (0.9, 1.1),
    "read_noise": (2.5,),
    "background": (3.0,),
}
"""Factors of `population.EFFECTS`, and by how much they are multiplied."""

Images = np.ndarray
ImageCause = Callable[[np.random.Generator, Images, float], Images]


@dataclass(frozen=True)
class Cause:
    """One cause at one strength."""

    name: str
    strength: float

    @property
    def title(self) -> str:
        """Name and strength, as in the table."""
        return f"{self.name.replace('_', ' ')} {self.strength:g}"

    @property
    def shift(self) -> population.Logs:
        """The shift of the log of every factor; 0 where the images are changed instead."""
        changed = math.log(self.strength) if self.name in FACTORS else 0.0
        return {name: changed * (name == self.name) for name in population.EFFECTS}

    def apply(self, rng: np.random.Generator, images: Images) -> Images:
        """Return the images as the cause leaves them, uint16 (n, 2, crop, crop)."""
        cause = IMAGE_CAUSES.get(self.name)
        return images if cause is None else cause[0](rng, images, self.strength)


def _counts(values: np.ndarray) -> Images:
    return np.clip(np.rint(values), 0, microscope.MAX_COUNT).astype(np.uint16)


def _signal(images: Images) -> np.ndarray:
    """Return electrons above the camera's offset, float32."""
    return (images.astype(np.float32) - microscope.OFFSET_COUNTS) / microscope.COUNTS_PER_E


def _gain(rng: np.random.Generator, images: Images, factor: float) -> Images:
    return _counts(images * np.float32(factor))


def _noise(rng: np.random.Generator, images: Images, counts: float) -> Images:
    return _counts(images + counts * rng.standard_normal(images.shape, dtype=np.float32))


def _camera_blur(rng: np.random.Generator, images: Images, sigma: float) -> Images:
    return _counts(ndimage.gaussian_filter(images.astype(np.float32), (0, 0, sigma, sigma)))


def _cross_talk(rng: np.random.Generator, images: Images, share: float) -> Images:
    """Add a share of the nuclear stain's light to the protein channel."""
    changed = images.astype(np.float32)
    changed[:, 0] += share * np.maximum(_signal(images)[:, 1], 0) * microscope.COUNTS_PER_E
    return _counts(changed)


def _saturation(rng: np.random.Generator, images: Images, share: float) -> Images:
    """Clip the brightest share of the protein channel's pixels."""
    changed = images.copy()
    changed[:, 0] = np.minimum(changed[:, 0], np.quantile(images[:, 0], 1 - share))
    return changed


def _swapped(rng: np.random.Generator, images: Images, strength: float) -> Images:
    return np.ascontiguousarray(images[:, ::-1])


def _some(rng: np.random.Generator, images: Images, share: float) -> np.ndarray:
    return np.flatnonzero(rng.random(len(images)) < share)


DEAD_NUCLEUS_UM, DEAD_CELL_UM, DEAD_STAIN = 2.4, 4.6, 3.0
"""A dying cell: radius of its condensed nucleus and of its rounded body, and the brightness of its
nucleus relative to a living one; chosen."""


def _dead_cells(rng: np.random.Generator, images: Images, share: float) -> Images:
    """Replace a share of the cells by rounded ones with condensed nuclei."""
    instrument = microscope.Instrument(
        **{name: population.EFFECTS[name].base for name in microscope.Instrument._fields}
    )
    changed = images.copy()
    size = images.shape[-1]
    y, x = np.indices((size, size)) - (size - 1) / 2
    wavelengths = (microscope.PROTEIN_EMISSION_UM, microscope.NUCLEUS_EMISSION_UM)
    for cell in _some(rng, images, share):
        around = np.percentile(_signal(images[cell]), 20, axis=(1, 2))
        total = np.maximum(_signal(images[cell]) - around[:, None, None], 0).sum(axis=(1, 2))
        scene = np.zeros((2, size, size), np.float32)
        dy, dx = rng.normal(0, 1.5, 2)
        stretch = math.exp(0.15 * rng.standard_normal())
        radii = np.array([DEAD_CELL_UM, DEAD_NUCLEUS_UM]) * math.exp(0.15 * rng.standard_normal())
        for channel, radius in enumerate(radii / microscope.PIXEL_UM):
            depth = np.hypot((y - dy) * stretch, (x - dx) / stretch) / radius
            scene[channel] = np.clip((1 - depth) * 4, 0, 1)
        light = np.array([0.5, 0.3 * DEAD_STAIN]) * total * np.exp(0.4 * rng.standard_normal(2))
        for channel in (0, 1):
            scene[channel] *= light[channel] / scene[channel].sum()
            scene[channel] = microscope.optical_image(
                scene[channel], instrument, wavelengths[channel]
            )
        level = np.maximum(around - instrument.background, 0)[:, None, None]
        changed[cell] = microscope.expose(rng, scene + level, instrument)
    return changed


DEBRIS_UM, DEBRIS_PHOTONS, DEBRIS_PIECES = (0.4, 1.6), 6000.0, 3.0
"""Pieces of debris on a crop: radii, mean light and mean number; chosen."""


def _debris(rng: np.random.Generator, images: Images, share: float) -> Images:
    """Add bright specks to both channels of a share of the cells."""
    changed = images.copy()
    size = images.shape[-1]
    y, x = np.indices((size, size))
    for cell in _some(rng, images, share):
        for _ in range(1 + rng.poisson(DEBRIS_PIECES - 1)):
            sigma = rng.uniform(*DEBRIS_UM) / microscope.PIXEL_UM
            top, left = rng.uniform(0, size, 2)
            spot = np.exp(-((y - top) ** 2 + (x - left) ** 2) / (2 * sigma**2))
            photons = DEBRIS_PHOTONS * rng.exponential() * spot / spot.sum()
            light = np.stack([photons, 0.3 * photons])
            added = microscope.COUNTS_PER_E * rng.poisson(light)
            changed[cell] = _counts(changed[cell].astype(np.float64) + added)
    return changed


DOUBLET_UM = (4.0, 8.0)
"""Distances of the two cells of a doublet; chosen."""


def _doublets(rng: np.random.Generator, images: Images, share: float) -> Images:
    """Lay another cell of the plate over a share of the cells, as two cells found as one."""
    changed = images.astype(np.float32)
    for cell in _some(rng, images, share):
        # A neighbour in the list is of the same well.
        other = images[cell + 1 if cell + 1 < len(images) else cell - 1].astype(np.float32)
        distance = rng.uniform(*DOUBLET_UM) / microscope.PIXEL_UM
        angle = rng.uniform(0, 2 * math.pi)
        step = np.rint(distance * np.array([math.sin(angle), math.cos(angle)])).astype(int)
        moved = np.roll(other, step, axis=(1, 2))
        background = np.percentile(moved, 5, axis=(1, 2), keepdims=True)
        changed[cell] += np.maximum(moved - background, 0)
    return _counts(changed)


IMAGE_CAUSES: dict[str, tuple[ImageCause, tuple[float, ...]]] = {
    "gain": (_gain, (0.5, 2.0)),
    "added_noise": (_noise, (30.0,)),
    "camera_blur": (_camera_blur, (0.7,)),
    "cross_talk": (_cross_talk, (0.05, 0.15, 0.4)),
    "saturation": (_saturation, (0.02,)),
    "swapped_channels": (_swapped, (1.0,)),
    "dead_cells": (_dead_cells, (0.1, 0.3)),
    "debris": (_debris, (0.1, 0.3)),
    "doublets": (_doublets, (0.15, 0.3)),
}
"""Causes that change the finished images, with their strengths: factors, counts, pixels, shares."""


def causes() -> list[Cause]:
    """Return every cause at every strength."""
    strengths = FACTORS | {name: values for name, (_, values) in IMAGE_CAUSES.items()}
    return [Cause(name, value) for name, values in strengths.items() for value in values]
