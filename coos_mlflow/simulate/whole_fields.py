"""Whole fields of view, with the label images of their nuclei.

Open this to change what a simulated field shows beside its cells, or how crowded wells are. Cells
are drawn and imaged as in `render`.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from scipy import ndimage

from coos_mlflow.errors import DataError
from coos_mlflow.simulate import microscope
from coos_mlflow.simulate.coos7_experiment import ALL_CLASSES
from coos_mlflow.simulate.coos7_layout import plan_plate
from coos_mlflow.simulate.disturbances import add_spot
from coos_mlflow.simulate.experiment import state_of
from coos_mlflow.simulate.layout import FIELD, WellPlan, stream
from coos_mlflow.simulate.organelles import draw_protein
from coos_mlflow.simulate.population import WellState
from coos_mlflow.simulate.render import FIELD_DEFOCUS
from coos_mlflow.simulate.tissue import (
    CLOSEST_RADII,
    MARGIN_PX,
    divide,
    draw_nuclei,
    grow_cells,
)

SPARSE, ORDINARY, DENSE, OVERGROWN = 0.25, 1.0, 1.6, 2.3
"""Usual densities: cells in an area, relative to a plate of COOS-7; chosen. In an overgrown well
most nuclei touch or overlap others."""

MAX_DENSITY = 3.0
"""More cells do not fit."""

PIXEL_RANGE_UM = (0.1, 1.5)
"""Pixels from those of a 63x objective to those of a 10x objective with binning."""

MIN_SIZE, MAX_SIZE = 64, 4096
"""Height and width of a field in pixels; the largest fits in memory when it is drawn."""

DEBRIS_PER_MM2 = 60.0
"""Pieces of debris in an area; chosen. A field of 1080 pixels at 40x has 7."""

DEBRIS_RADIUS_UM = (0.3, 1.0)
"""Smallest and largest standard deviation of a fragment of debris, smaller than any nucleus;
chosen."""


@dataclass(frozen=True)
class WholeField:
    """A field of view with the truth about its nuclei.

    Parameters
    ----------
    plate : str
    row, column : int
        Of the well, from 1.
    number : int
        Of the field in its well, from 1.
    counts : ndarray of uint16, shape (2, height, width)
        Protein and nucleus.
    labels : ndarray of int32, shape (height, width)
        0 is background; nuclei have the numbers from 1 to n.
    classes : ndarray of int64, shape (n,)
        Label of each nucleus' class, in the order of the numbers.
    centres : ndarray of float64, shape (n, 2)
        y and x of the middle of what the field shows of each nucleus, in pixels; 0 is in the middle
        of the first pixel.
    pixel_size_um : float
    """

    plate: str
    row: int
    column: int
    number: int
    counts: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    centres: np.ndarray
    pixel_size_um: float

    @property
    def well(self) -> str:
        """Name such as ``"B03"``."""
        return f"{chr(64 + self.row)}{self.column:02d}"

    def own_crops(self, crop: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """Return the cells that segmentation without errors would give.

        Returns
        -------
        images : ndarray of uint16, shape (n, 2, crop, crop)
            Cut around the true centres, from the nuclei whose crops lie wholly on the field.
        numbers : ndarray of int64, shape (n,)
            Their numbers in `labels`.
        """
        corners = np.floor(self.centres + 0.5).astype(int) - crop // 2
        inside = ((corners >= 0) & (corners + crop <= self.labels.shape)).all(axis=1)
        images = np.empty((int(inside.sum()), 2, crop, crop), np.uint16)
        for image, (top, left) in zip(images, corners[inside], strict=True):
            image[:] = self.counts[:, top : top + crop, left : left + crop]
        return images, np.flatnonzero(inside) + 1


@dataclass(frozen=True)
class _View:
    """What all fields of a plate share."""

    size: tuple[int, int]
    pixel_size_um: float
    defocus_um: float
    unevenness: float
    debris: float
    seed: int

    @property
    def binning(self) -> int:
        """Number of drawn pixels on a side of a camera pixel.

        Organelles are drawn with pixels about as fine as COOS-7's, so that they look the same with
        any magnification.
        """
        return max(1, round(self.pixel_size_um / microscope.PIXEL_UM))


def simulate_fields(
    *,
    like: str = "training",
    classes: Sequence[int] = ALL_CLASSES,
    wells_per_class: int = 2,
    fields_per_well: int = 2,
    size: tuple[int, int] = (1080, 1080),
    pixel_size_um: float = microscope.PIXEL_UM,
    density: float | Sequence[float] = ORDINARY,
    defocus_um: float = 0.0,
    unevenness: float = 1.0,
    debris: float = 1.0,
    shift: float = 1.0,
    seed: int = 0,
    jobs: int | None = None,
) -> Iterator[WholeField]:
    """Yield the fields of one new plate of a population.

    Wells lie where those of `simulate_plate` with the same seed lie, and have the same effects.

    Parameters
    ----------
    like, classes, wells_per_class, shift
        As in `simulate_plate`.
    fields_per_well : int
    size : (int, int)
        Height and width of a field in pixels.
    pixel_size_um : float
        Height and width of a pixel: 0.3225 with the 40x objective of COOS-7, 0.645 with 20x.
    density : float or sequence of float
        Cells in an area, relative to COOS-7, such as `SPARSE` or `OVERGROWN`; 0 is an empty well.
        Wells take several values in turn.
    defocus_um : float
        Added to the distance of each well from the focal plane.
    unevenness : float
        Factor on the loss of light in the field's corners, which is 18 % on plates like Training.
    debris : float
        Factor on `DEBRIS_PER_MM2`.
    seed : int
        The same seed gives the same fields.
    jobs : int or None
        Number of threads; None for one per core. The fields do not depend on it.

    Yields
    ------
    WholeField
        Well by well, in the order of the fields' numbers.

    Raises
    ------
    DataError
        For an unknown population or classes, more wells than a plate has, and sizes or densities
        that cannot be drawn.
    """
    densities = np.atleast_1d(np.asarray(density, float)).tolist()
    _check(fields_per_well, size, pixel_size_um, densities)
    view = _View((int(size[0]), int(size[1])), pixel_size_um, defocus_um, unevenness, debris, seed)
    plans = plan_plate(like, classes, seed, wells_per_class, 1, shift)
    return _in_parallel(plans, densities, fields_per_well, view, jobs or os.cpu_count() or 1)


def _check(
    fields_per_well: int, size: tuple[int, int], pixel_size_um: float, densities: list[float]
) -> None:
    """Refuse what cannot be drawn."""
    if fields_per_well < 1:
        raise DataError(f"{fields_per_well} fields a well asked for, expected at least 1.")
    if not all(MIN_SIZE <= side <= MAX_SIZE for side in size):
        raise DataError(
            f"fields of {size[0]} x {size[1]} pixels asked for, expected sides from {MIN_SIZE} to "
            f"{MAX_SIZE}."
        )
    low, high = PIXEL_RANGE_UM
    if not low <= pixel_size_um <= high:
        raise DataError(
            f"pixel size {pixel_size_um:g} found, expected {low:g} to {high:g} micrometres."
        )
    wrong = [value for value in densities if not 0.0 <= value <= MAX_DENSITY]
    if wrong or not densities:
        raise DataError(
            f"density {wrong[0] if wrong else 'of no well'} found, expected 0 (empty) to "
            f"{MAX_DENSITY:g}; 1 is as dense as COOS-7."
        )


def _in_parallel(
    plans: Sequence[WellPlan],
    densities: Sequence[float],
    fields_per_well: int,
    view: _View,
    jobs: int,
) -> Iterator[WholeField]:
    """Yield the fields in order, several computed at a time."""
    pending: deque[Future[WholeField]] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        for place, plan in enumerate(plans):
            density = densities[place % len(densities)]
            for number in range(1, fields_per_well + 1):
                pending.append(pool.submit(_simulate_field, plan, density, number, view))
                if len(pending) > 2 * jobs:  # bounds the memory
                    yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _simulate_field(plan: WellPlan, density: float, number: int, view: _View) -> WholeField:
    """Return a field; it depends only on the arguments."""
    key = (*plan.stream, plan.number, plan.row, plan.column, number)
    rng = stream(view.seed, FIELD, *key)
    state = _state(plan, density, view)
    defocus = state.instrument.defocus_um * math.exp(FIELD_DEFOCUS * rng.standard_normal())
    instrument = state.instrument._replace(
        defocus_um=defocus + view.defocus_um,
        falloff=min(view.unevenness * state.instrument.falloff, 1.0),
    )
    scene, numbered = _draw(rng, plan, state, density, view)
    electrons = _image(scene, instrument, view)
    # A camera pixel collects the background of all drawn pixels in it.
    camera = instrument._replace(
        background=instrument.background * view.binning**2, pixel_um=view.pixel_size_um
    )
    for one in plan.disturbances:
        electrons = one.light(rng, electrons, camera)
    counts = microscope.expose(rng, electrons, camera)
    for one in plan.disturbances:
        counts = one.camera(rng, counts, camera)
    labels, centres = _truth(numbered, view)
    return WholeField(
        plate=plan.plate,
        row=plan.row,
        column=plan.column,
        number=number,
        counts=counts,
        labels=labels,
        classes=np.full(len(centres), plan.label, np.int64),
        centres=centres,
        pixel_size_um=view.pixel_size_um,
    )


def _state(plan: WellPlan, density: float, view: _View) -> WellState:
    """Return the state of a well with the pixels that are drawn and its own density."""
    drawn_um = view.pixel_size_um / view.binning
    shift = plan.shift | {"pixel_um": math.log(drawn_um / microscope.PIXEL_UM)}
    state = state_of(replace(plan, shift=shift), view.seed)
    spacing = state.tissue.spacing / math.sqrt(density or 1.0)
    return state._replace(tissue=state.tissue._replace(spacing=spacing))


def _draw(
    rng: np.random.Generator, plan: WellPlan, state: WellState, density: float, view: _View
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a field without optics.

    Returns
    -------
    scene : ndarray of float32, shape (2, side, side)
        Photons per drawn pixel.
    numbered : ndarray of int32, shape (side, side)
        The nucleus at each drawn pixel, from 1; 0 between nuclei.
    """
    # Cells reach into the field from further away than the margin where pixels are fine.
    pad = max(0, math.ceil(2.0 * state.tissue.cell_radius) - MARGIN_PX)
    side = max(view.size) * view.binning + 2 * pad
    scene = np.zeros((2, side, side), np.float32)
    numbered = np.zeros((side, side), np.int32)
    if density > 0.0:
        # Nuclei of a crowded well lie closer together than outlines of this size allow.
        closest = CLOSEST_RADII / max(density, 1.0) ** (1.0 / 3.0)
        cells = grow_cells(rng, side, state.tissue, state.level_spread, closest)
        maps = divide(cells, side)
        draw_protein(rng, cells, maps, plan.protein, state.organelles, state.cell_photons, scene[0])
        draw_nuclei(rng, cells, maps, state.tissue, scene[1])
        scene[1] *= state.nucleus_photons
        numbered = np.where((maps.rim < 0.0) & (maps.owner >= 0), maps.owner + 1, 0)
    _add_debris(rng, scene, state, view)
    height, width = (view.binning * side for side in view.size)
    inside = np.s_[..., pad : pad + height, pad : pad + width]
    return scene[inside], numbered[inside].astype(np.int32)


def _add_debris(rng: np.random.Generator, scene: np.ndarray, state: WellState, view: _View) -> None:
    """Add bright fragments of dead cells to both channels, in place."""
    scale = state.organelles.scale
    area_mm2 = (scene.shape[1] / scale / 1000.0) ** 2
    for _ in range(rng.poisson(view.debris * DEBRIS_PER_MM2 * area_mm2)):
        middle = scene.shape[1] * rng.random(2)
        brightness = state.nucleus_photons * rng.uniform(0.5, 4.0)
        for _ in range(rng.integers(1, 4)):
            centre = middle + scale * rng.standard_normal(2)
            sigma = scale * rng.uniform(*DEBRIS_RADIUS_UM)
            for channel, share in zip(scene, (0.2, 1.0), strict=True):
                add_spot(channel, centre, sigma, share * brightness)


def _image(scene: np.ndarray, instrument: microscope.Instrument, view: _View) -> np.ndarray:
    """Return the expected photo-electrons of each camera pixel, shape (2, height, width)."""
    height, width = scene.shape[1:]
    light = microscope.illumination(0, 0, max(height, width), instrument, (height, width))
    wavelengths = (microscope.PROTEIN_EMISSION_UM, microscope.NUCLEUS_EMISSION_UM)
    images = []
    for channel, wavelength in zip(scene, wavelengths, strict=True):
        image = microscope.optical_image(channel, instrument, wavelength)
        image *= light[:height, :width]
        images.append(_binned(image, view.binning))
    return np.stack(images)


def _binned(image: np.ndarray, binning: int) -> np.ndarray:
    """Return the sums of squares of pixels."""
    height, width = image.shape
    squares = image.reshape(height // binning, binning, width // binning, binning)
    return squares.sum(axis=(1, 3))


def _truth(numbered: np.ndarray, view: _View) -> tuple[np.ndarray, np.ndarray]:
    """Return the label image with numbers 1 to n, and the nuclei's centres (n, 2)."""
    coarse = _most_frequent(numbered, view.binning)
    found = np.unique(coarse)
    found = found[found > 0]
    renumbered = np.zeros(int(numbered.max()) + 1, np.int32)
    renumbered[found] = np.arange(1, len(found) + 1)
    centres = np.empty((len(found), 2))
    if len(found):
        drawn = np.array(ndimage.center_of_mass(numbered > 0, numbered, found))
        centres[:] = (drawn + 0.5) / view.binning - 0.5
    return renumbered[coarse], centres


@njit(cache=True, nogil=True)
def _most_frequent(numbered: np.ndarray, binning: int) -> np.ndarray:
    """Return for each square of pixels the number that most of its pixels have."""
    height, width = numbered.shape[0] // binning, numbered.shape[1] // binning
    coarse = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            square = numbered[y * binning : (y + 1) * binning, x * binning : (x + 1) * binning]
            best = 0
            for one in square.flat:
                count = 0
                for other in square.flat:
                    count += one == other
                if count > best or (count == best and one > coarse[y, x]):
                    best, coarse[y, x] = count, one
    return coarse
