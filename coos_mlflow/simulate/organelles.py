"""Compartments as geometry: filaments and vesicles, and `draw_protein` for any class.

Compartments that fill space are in `diffuse`. Lengths in `OrganelleShape` are pixels, amounts are
expected photons per cell. Widths are those of the structures; the microscope's blur is added later.
Textbook orders of size (Alberts et al., Molecular Biology of the Cell, chapters 12 to 14):
mitochondria are about 0.5 um wide and some um long, peroxisomes 0.1 to 1 um, early endosomes some
tenths of a um, and the Golgi lies beside the nucleus. The exact figures, spreads, shares and angles
below are chosen.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from coos_mlflow.simulate.classes import (
    CYTOSOL,
    ENDOSOME,
    GOLGI,
    IMM,
    PEROXISOME,
    PROTEIN_CLASSES,
    ProteinClass,
)
from coos_mlflow.simulate.diffuse import fill, tubule_mesh
from coos_mlflow.simulate.tissue import Cells, Maps, OrganelleShape, radius_at

_TWO_PI = 2.0 * math.pi

POOL_SPREAD = 0.35
"""Standard deviation of the log of the unbound share between cells of a well; chosen."""


@njit(cache=True, nogil=True)
def _spot(canvas: np.ndarray, y: float, x: float, sigma: float, amount: float) -> None:
    """Add a Gaussian spot that sums to `amount`."""
    size = canvas.shape[0]
    reach = int(3.0 * sigma) + 1
    peak = amount / (_TWO_PI * sigma * sigma)
    inverse = -0.5 / (sigma * sigma)
    row, column = round(y), round(x)
    for v in range(max(0, row - reach), min(size, row + reach + 1)):
        part = peak * math.exp(inverse * (v - y) ** 2)
        for u in range(max(0, column - reach), min(size, column + reach + 1)):
            canvas[v, u] += part * math.exp(inverse * (u - x) ** 2)


@njit(cache=True, nogil=True)
def _vesicle(canvas: np.ndarray, y: float, x: float, radius: float, amount: float) -> None:
    """Add a vesicle with a labelled membrane: a small ring, or a spot below the resolution."""
    if radius < 1.3:
        _spot(canvas, y, x, max(0.6 * radius, 0.45), amount)
        return
    count = 8
    turn = 0.7 * (y + x)
    for k in range(count):
        angle = turn + k * _TWO_PI / count
        _spot(
            canvas,
            y + 0.75 * radius * math.sin(angle),
            x + 0.75 * radius * math.cos(angle),
            0.4 * radius,
            amount / count,
        )


@njit(cache=True, nogil=True)
def _in_cytoplasm(maps: Maps, cell: int, y: float, x: float) -> bool:
    """Return whether a point is in this cell's cytoplasm."""
    size = maps.owner.shape[0]
    row, column = round(y), round(x)
    if row < 0 or column < 0 or row >= size or column >= size:
        return False
    return (
        maps.owner[row, column] == cell
        and maps.rim[row, column] > 0.3
        and maps.body[row, column] > 0.12
    )


@njit(cache=True, nogil=True)
def _random_point(
    rng: np.random.Generator, cells: Cells, maps: Maps, cell: int, decay: float, point: np.ndarray
) -> bool:
    """Write a random point of the cytoplasm to `point`; return False after 30 failed trials.

    The density of points falls as exp(-distance from the nucleus / decay).
    """
    size = maps.owner.shape[0]
    for _ in range(30):
        angle = rng.random() * _TWO_PI
        radius = math.sqrt(rng.random()) * radius_at(cells.outline[cell], angle)
        y = cells.centre[cell, 0] + radius * math.sin(angle)
        x = cells.centre[cell, 1] + radius * math.cos(angle)
        chance = rng.random()
        row, column = round(y), round(x)
        if row < 0 or column < 0 or row >= size or column >= size:
            continue
        if _in_cytoplasm(maps, cell, y, x) and chance < math.exp(-maps.rim[row, column] / decay):
            point[0], point[1] = y, x
            return True
    return False


@njit(cache=True, nogil=True)
def _filament(
    rng: np.random.Generator,
    canvas: np.ndarray,
    maps: Maps,
    cell: int,
    point: np.ndarray,
    angle: float,
    length: float,
    bend: float,
    sigma: float,
    amount: float,
) -> None:
    """Draw a curved filament as a random walk that turns at the cytoplasm's border."""
    step = max(0.9 * sigma, 0.6)
    steps = max(int(length / step), 1)
    y, x = point[0], point[1]
    curl = 0.08 * rng.normal()
    for _ in range(steps):
        _spot(canvas, y, x, sigma, amount / steps)
        for _ in range(4):
            angle += curl * step + bend * math.sqrt(step) * rng.normal()
            if _in_cytoplasm(maps, cell, y + step * math.sin(angle), x + step * math.cos(angle)):
                y, x = y + step * math.sin(angle), x + step * math.cos(angle)
                break
            angle += 0.9 if curl > 0 else -0.9


@njit(cache=True, nogil=True)
def _mitochondria(
    rng: np.random.Generator,
    canvas: np.ndarray,
    cells: Cells,
    maps: Maps,
    shape: OrganelleShape,
    amounts: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Draw curved filaments around the nucleus, 1 to 6 um long and 0.4 um wide."""
    for cell in range(len(amounts)):
        if amounts[cell] <= 0.0:
            continue
        point = np.empty(2)
        decay = 3.6 * shape.scale / shape.gather
        pieces = min(max(shape.fragments * math.exp(0.5 * rng.normal()), 0.0), 0.95)
        for _ in range(counts[cell]):
            if not _random_point(rng, cells, maps, cell, decay, point):
                continue
            length = 2.6 * shape.length * math.exp(0.5 * rng.normal())
            if rng.random() < pieces:
                length = 0.5 + 0.4 * rng.random()
            radial = math.atan2(point[0] - cells.centre[cell, 0], point[1] - cells.centre[cell, 1])
            heading = radial + 0.5 * math.pi + 0.75 * rng.normal()
            sigma = 0.17 * shape.width * shape.scale * math.exp(0.12 * rng.normal())
            amount = amounts[cell] * (0.35 + 0.25 * length) * math.exp(0.3 * rng.normal())
            _filament(
                rng, canvas, maps, cell, point, heading, length * shape.scale, 0.16, sigma, amount
            )


@njit(cache=True, nogil=True)
def _golgi(
    rng: np.random.Generator,
    canvas: np.ndarray,
    cells: Cells,
    maps: Maps,
    shape: OrganelleShape,
    amounts: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Draw a ribbon of stacks along one side of the nucleus, with a few pieces elsewhere."""
    for cell in range(len(amounts)):
        if amounts[cell] <= 0.0:
            continue
        point = np.empty(2)
        arc = 0.48 / shape.gather * math.exp(0.35 * rng.normal())
        away = (0.9 + 0.9 * rng.random()) * shape.scale
        thick = 0.75 * shape.scale / shape.gather
        pieces = min(max(shape.fragments * math.exp(0.8 * rng.normal()), 0.0), 0.9)
        for _ in range(counts[cell]):
            sigma = 0.2 * shape.width * shape.scale * math.exp(0.2 * rng.normal())
            amount = amounts[cell] * math.exp(0.5 * rng.normal())
            if rng.random() < pieces:
                if _random_point(rng, cells, maps, cell, 3.5 * shape.scale, point):
                    _spot(canvas, point[0], point[1], sigma, 0.7 * amount)
                continue
            angle = cells.polarity[cell] + arc * rng.normal()
            radius = radius_at(cells.nucleus[cell], angle) + max(
                0.3 * shape.scale, away + thick * rng.normal()
            )
            point[0] = cells.centre[cell, 0] + radius * math.sin(angle)
            point[1] = cells.centre[cell, 1] + radius * math.cos(angle)
            if not _in_cytoplasm(maps, cell, point[0], point[1]):
                continue
            length = 2.2 * shape.length * shape.scale * math.exp(0.4 * rng.normal())
            heading = angle + 0.5 * math.pi + 0.5 * rng.normal()
            _filament(rng, canvas, maps, cell, point, heading, length, 0.25, sigma, amount)


@njit(cache=True, nogil=True)
def _peroxisomes(
    rng: np.random.Generator,
    canvas: np.ndarray,
    cells: Cells,
    maps: Maps,
    shape: OrganelleShape,
    amounts: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Draw small dots, below the resolution, in the whole cytoplasm."""
    for cell in range(len(amounts)):
        if amounts[cell] <= 0.0:
            continue
        point = np.empty(2)
        for _ in range(counts[cell]):
            if not _random_point(rng, cells, maps, cell, 14.0 * shape.scale / shape.gather, point):
                continue
            sigma = 0.13 * shape.width * shape.scale * math.exp(0.2 * rng.normal())
            amount = amounts[cell] * math.exp(0.5 * rng.normal())
            if rng.random() < 0.2:
                heading = rng.random() * _TWO_PI
                _filament(rng, canvas, maps, cell, point, heading, 3.5 * sigma, 0.1, sigma, amount)
            else:
                _spot(canvas, point[0], point[1], sigma, amount)


@njit(cache=True, nogil=True)
def _endosomes(
    rng: np.random.Generator,
    canvas: np.ndarray,
    cells: Cells,
    maps: Maps,
    shape: OrganelleShape,
    amounts: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Draw fewer, larger vesicles near the nucleus, mostly on the side of the Golgi."""
    for cell in range(len(amounts)):
        if amounts[cell] <= 0.0:
            continue
        point = np.empty(2)
        trial = np.empty(2)
        decay = 2.1 * shape.scale / shape.gather
        for _ in range(counts[cell]):
            if not _random_point(rng, cells, maps, cell, decay, point):
                continue
            side = math.atan2(point[0] - cells.centre[cell, 0], point[1] - cells.centre[cell, 1])
            if math.cos(side - cells.polarity[cell]) < 2.0 * rng.random() - 1.3 and _random_point(
                rng, cells, maps, cell, decay, trial
            ):
                point[0], point[1] = trial[0], trial[1]
            radius = 0.42 * shape.width * shape.scale * math.exp(0.35 * rng.normal())
            amount = amounts[cell] * (radius / shape.scale / 0.4) ** 1.5
            _vesicle(canvas, point[0], point[1], radius, amount * math.exp(0.3 * rng.normal()))


_DRAWERS = {
    IMM: _mitochondria,
    GOLGI: _golgi,
    PEROXISOME: _peroxisomes,
    ENDOSOME: _endosomes,
}


def draw_protein(
    rng: np.random.Generator,
    cells: Cells,
    maps: Maps,
    protein: ProteinClass,
    shape: OrganelleShape,
    photons: float,
    canvas: np.ndarray,
) -> None:
    """Add the protein of one class in every cell of a patch.

    Parameters
    ----------
    rng : numpy.random.Generator
    cells, maps : Cells, Maps
        The patch.
    protein : ProteinClass
    shape : OrganelleShape
        The well's morphology.
    photons : float
        Photons expected from a cell of the well's mean expression.
    canvas : ndarray of float32, shape (size, size)
        Added to in place, photons per pixel before blur.
    """
    own = shape._replace(
        width=shape.width * protein.width,
        length=shape.length * protein.length,
        gather=shape.gather * protein.gather,
    )
    amounts = photons * cells.level * _touching(cells, canvas.shape[0])
    pool = shape.pool * np.exp(POOL_SPREAD * rng.standard_normal(len(amounts)))
    pool = np.zeros_like(pool) if protein.compartment == CYTOSOL else np.clip(pool, 0.0, 0.9)
    tile = tubule_mesh(rng, own)
    bound = (1.0 - pool) * amounts
    first = (1.0 - protein.second_share) * bound
    _draw_compartment(rng, cells, maps, protein, own, tile, first, canvas)
    if protein.second is not None:
        second = PROTEIN_CLASSES[protein.second]
        share = protein.second_share * bound
        _draw_compartment(rng, cells, maps, second, shape, tile, share, canvas)
    fill(rng, canvas, cells, maps, protein.pool_pattern, own, tile, pool * amounts)


def _draw_compartment(
    rng: np.random.Generator,
    cells: Cells,
    maps: Maps,
    protein: ProteinClass,
    shape: OrganelleShape,
    tile: np.ndarray,
    amounts: np.ndarray,
    canvas: np.ndarray,
) -> None:
    """Add the protein in a class's own compartment, `amounts` (cells,) of photons."""
    if protein.compartment not in _DRAWERS:
        fill(rng, canvas, cells, maps, protein.compartment, shape, tile, amounts)
        return
    noise = np.exp(protein.organelles_spread * rng.standard_normal(len(amounts)))
    expected = protein.organelles * shape.number * noise
    counts = rng.poisson(expected)
    each = amounts / expected
    _DRAWERS[protein.compartment](rng, canvas, cells, maps, shape, each, counts)


def _touching(cells: Cells, size: int) -> np.ndarray:
    """Return for each cell whether its bounding square overlaps the patch."""
    reach = cells.outline.max(axis=1)[:, None]
    return ((cells.centre > -reach) & (cells.centre < size + reach)).all(axis=1)
