"""Images of one well: patches of tissue are drawn, imaged and cut into cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coos_mlflow.simulate import microscope
from coos_mlflow.simulate.classes import ProteinClass
from coos_mlflow.simulate.disturbances import Disturbance
from coos_mlflow.simulate.organelles import draw_protein
from coos_mlflow.simulate.population import WellState
from coos_mlflow.simulate.tissue import Cells, divide, draw_nuclei, grow_cells

CENTRING_PX = 1.0
"""Standard deviation of a crop's centre around the nucleus, as an error of segmentation; chosen."""

FIELD_DEFOCUS = 0.25
"""Standard deviation of the log of defocus between the fields of a well; chosen."""


def draw_scene(
    rng: np.random.Generator, protein: ProteinClass, state: WellState, size: int
) -> tuple[np.ndarray, Cells]:
    """Draw a patch of tissue without optics and without noise.

    Returns
    -------
    scene : ndarray of float32, shape (2, size, size)
        Photons per pixel of protein and nucleus dye.
    cells : Cells
        The cells of the scene.
    """
    cells = grow_cells(rng, size, state.tissue, state.level_spread)
    maps = divide(cells, size)
    scene = np.zeros((2, size, size), np.float32)
    draw_protein(rng, cells, maps, protein, state.organelles, state.cell_photons, scene[0])
    draw_nuclei(rng, cells, maps, state.tissue, scene[1])
    scene[1] *= state.nucleus_photons
    return scene, cells


def image_scene(
    rng: np.random.Generator, scene: np.ndarray, instrument: microscope.Instrument
) -> np.ndarray:
    """Return the expected photo-electrons of a scene at a random position of the field.

    Returns
    -------
    ndarray of float32, shape (2, size, size)
    """
    size = scene.shape[1]
    height, width = microscope.FIELD_SHAPE
    top = int(rng.integers(0, max(height - size, 1)))
    left = int(rng.integers(0, max(width - size, 1)))
    light = microscope.illumination(top, left, size, instrument)
    wavelengths = (microscope.PROTEIN_EMISSION_UM, microscope.NUCLEUS_EMISSION_UM)
    images = [
        microscope.optical_image(channel, instrument, wavelength) * light
        for channel, wavelength in zip(scene, wavelengths, strict=True)
    ]
    return np.stack(images)


def render_field(
    rng: np.random.Generator,
    protein: ProteinClass,
    state: WellState,
    n_cells: int,
    crop: int,
    disturbances: Sequence[Disturbance] = (),
) -> np.ndarray:
    """Return `n_cells` cells of one field, each with the neighbours on its crop.

    Returns
    -------
    ndarray of uint16, shape (n_cells, 2, crop, crop)
    """
    jitter = np.exp(FIELD_DEFOCUS * rng.standard_normal())
    instrument = state.instrument._replace(defocus_um=state.instrument.defocus_um * jitter)
    crops: list[np.ndarray] = []
    while len(crops) < n_cells:
        # A patch slightly larger than the missing cells need on average.
        side = state.tissue.spacing * np.sqrt(1.12 * (n_cells - len(crops)) + 2.0)
        size = min(crop + 4 + int(side), microscope.FIELD_SHAPE[0])
        scene, cells = draw_scene(rng, protein, state, size)
        electrons = image_scene(rng, scene, instrument)
        for one in disturbances:
            electrons = one.light(rng, electrons, instrument)
        crops += _crops(rng, electrons, cells.centre, crop)
    photons = np.stack(crops[:n_cells])
    counts = microscope.expose(rng, photons, instrument)
    for one in disturbances:
        counts = one.camera(rng, counts, instrument)
    return counts


def _crops(
    rng: np.random.Generator, image: np.ndarray, centres: np.ndarray, crop: int
) -> list[np.ndarray]:
    """Return the crops of all cells that lie wholly on the patch, in random order."""
    corners = np.rint(centres + CENTRING_PX * rng.standard_normal(centres.shape)).astype(int)
    corners = rng.permutation(corners - crop // 2)
    inside = ((corners >= 0) & (corners <= image.shape[1] - crop)).all(axis=1)
    return [image[:, top : top + crop, left : left + crop] for top, left in corners[inside]]


def render_well(
    rng: np.random.Generator,
    protein: ProteinClass,
    state: WellState,
    per_field: list[int],
    crop: int,
    disturbances: Sequence[Disturbance] = (),
) -> np.ndarray:
    """Return the cells of a well, field by field.

    Parameters
    ----------
    rng : numpy.random.Generator
        The well's own generator, so that its cells do not depend on other wells.
    protein : ProteinClass
    state : WellState
    per_field : list of int
        Number of cells of each field.
    crop : int
        Height and width of a cell's image in pixels.
    disturbances : sequence of Disturbance
        In the order in which they happen.

    Returns
    -------
    ndarray of uint16, shape (sum(per_field), 2, crop, crop)
    """
    images = np.empty((sum(per_field), 2, crop, crop), np.uint16)
    start = 0
    for n_cells in per_field:
        field = render_field(rng, protein, state, n_cells, crop, disturbances)
        images[start : start + n_cells] = field
        start += n_cells
    return images
