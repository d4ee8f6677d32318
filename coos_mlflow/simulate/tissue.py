"""A patch of cultured cells: positions, outlines and stained nuclei.

Lengths are pixels of the patch. Callers convert from micrometres, so that another pixel size shows
the same tissue with another sampling. Figures without a source are chosen.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

OUTLINE_ANGLES = 64
"""Number of directions in which an outline's radius is tabulated; must be a power of two."""

MARGIN_PX = 30
"""Cells are also placed within this distance of the patch, so that its border is as crowded as its
middle."""

_TWO_PI = 2.0 * math.pi


class TissueShape(NamedTuple):
    """Morphology of the cells of one well, in pixels and fractions (see `population.EFFECTS`)."""

    spacing: float
    cell_radius: float
    nucleus_radius: float
    elongation: float
    ruffle: float
    chromocentres: float
    chromatin_contrast: float


class OrganelleShape(NamedTuple):
    """Morphology of the compartments of one well (see `population.EFFECTS`).

    `scale` is pixels per micrometre. `number`, `width` and `length` multiply the figures of a
    class. `gather` divides the distances of organelles from the nucleus or from one another.
    `fragments` is the share of ribbons or filaments in pieces, `pool` the share of unbound protein.
    `exclusion` is the degree to which the cytosol's protein avoids the nucleus.
    """

    scale: float
    number: float
    width: float
    length: float
    gather: float
    fragments: float
    pool: float
    exclusion: float


class Cells(NamedTuple):
    """The cells of a patch.

    `centre` (n, 2) is y, x. `outline` and `nucleus` (n, OUTLINE_ANGLES) are radii around it.
    `polarity` (n,) is the direction of the Golgi, `level` (n,) the expression relative to the
    well's mean.
    """

    centre: np.ndarray
    outline: np.ndarray
    nucleus: np.ndarray
    polarity: np.ndarray
    level: np.ndarray


class Maps(NamedTuple):
    """The cell at each pixel, all of shape (height, width).

    `owner` is the index of the cell or -1, `body` its thickness from 0 outside to 1, and `rim` the
    signed distance to its nuclear envelope in pixels, negative inside the nucleus.
    """

    owner: np.ndarray
    body: np.ndarray
    rim: np.ndarray


@njit(cache=True, nogil=True)
def smoothstep(value: float) -> float:
    """Return 0 below 0, 1 above 1, and a smooth ramp between."""
    t = min(max(value, 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, nogil=True)
def radius_at(outline: np.ndarray, angle: float) -> float:
    """Return the outline's radius in a direction, interpolated between tabulated ones."""
    return _radius_between(outline, (angle % _TWO_PI) / _TWO_PI * OUTLINE_ANGLES)


@njit(cache=True, nogil=True)
def _radius_between(outline: np.ndarray, position: float) -> float:
    """Return the radius at a position 0..OUTLINE_ANGLES of the periodic table."""
    low = int(position)
    part = position - low
    low &= OUTLINE_ANGLES - 1
    return outline[low] * (1.0 - part) + outline[(low + 1) & (OUTLINE_ANGLES - 1)] * part


@njit(cache=True, nogil=True)
def _table_position(dy: float, dx: float) -> float:
    """Return the position of a direction in an outline's table, at a third of atan2's cost.

    The arctangent is the polynomial of Abramowitz and Stegun 1964, 4.4.49, with an error below
    1e-5 rad.
    """
    across, along = abs(dy), abs(dx)
    high, low = max(across, along), min(across, along)
    if high == 0.0:
        return 0.0
    t = low / high
    square = t * t
    angle = t * (
        0.9998660
        + square * (-0.3302995 + square * (0.1801410 + square * (-0.0851330 + square * 0.0208351)))
    )
    if across > along:
        angle = 0.5 * math.pi - angle
    if dx < 0.0:
        angle = math.pi - angle
    if dy < 0.0:
        angle = _TWO_PI - angle
    return angle * (OUTLINE_ANGLES / _TWO_PI)


@njit(cache=True, nogil=True)
def value_noise(grid: np.ndarray, y: float, x: float) -> float:
    """Return a periodic `grid` at a position in grid units, interpolated bilinearly."""
    y0, x0 = math.floor(y), math.floor(x)
    fy, fx = y - y0, x - x0
    rows, columns = grid.shape
    a, b = int(y0) % rows, int(x0) % columns
    c, d = (a + 1) % rows, (b + 1) % columns
    top = grid[a, b] * (1.0 - fx) + grid[a, d] * fx
    bottom = grid[c, b] * (1.0 - fx) + grid[c, d] * fx
    return top * (1.0 - fy) + bottom * fy


def _outlines(
    rng: np.random.Generator,
    radius: np.ndarray,
    stretch: np.ndarray,
    tilt: np.ndarray,
    ruffle: float,
) -> np.ndarray:
    """Return radii (n, OUTLINE_ANGLES) of ellipses with waves of harmonics 2 to 4."""
    angles = np.arange(OUTLINE_ANGLES) * _TWO_PI / OUTLINE_ANGLES
    wave = np.ones((len(radius), OUTLINE_ANGLES))
    for k in range(3):
        amplitude = ruffle * rng.standard_normal(len(radius)) / (k + 1)
        phase = _TWO_PI * rng.random(len(radius))
        wave += amplitude[:, None] * np.cos((2 + k) * angles + phase[:, None])
    turned = angles - tilt[:, None]
    long, short = radius * np.sqrt(stretch), radius / np.sqrt(stretch)
    ellipse = np.hypot(np.cos(turned) / long[:, None], np.sin(turned) / short[:, None])
    return np.maximum(wave, 0.4) / ellipse


def _random_centres(
    rng: np.random.Generator, size: int, spacing: float, minimum: float
) -> np.ndarray:
    """Draw random cell centres (n, 2) with distances of at least `minimum`."""
    side = size + 2.0 * MARGIN_PX
    n_points = int(side * side / (spacing * spacing)) + 1
    candidates = side * rng.random((25 * n_points, 2)) - MARGIN_PX
    return _select_apart(candidates, n_points, minimum)


@njit(cache=True, nogil=True)
def _select_apart(candidates: np.ndarray, n_points: int, minimum: float) -> np.ndarray:
    """Return the first `n_points` candidates at least `minimum` away from all selected before."""
    points = np.empty((n_points, 2))
    count = 0
    for i in range(len(candidates)):
        y, x = candidates[i, 0], candidates[i, 1]
        free = True
        for j in range(count):
            if (points[j, 0] - y) ** 2 + (points[j, 1] - x) ** 2 < minimum * minimum:
                free = False
                break
        if free:
            points[count, 0], points[count, 1] = y, x
            count += 1
            if count == n_points:
                break
    return points[:count]


SIZE_SPREAD, NUCLEUS_SPREAD, NUCLEUS_RUFFLE = 0.12, 0.09, 0.035
"""Standard deviations of the log sizes of a well's cells and nuclei, and the amplitude of the
nuclei's waves; chosen."""


CLOSEST_RADII = 2.15
"""Smallest distance of two nuclei's centres, in radii of a nucleus; chosen."""


def grow_cells(
    rng: np.random.Generator,
    size: int,
    shape: TissueShape,
    level_spread: float,
    closest: float = CLOSEST_RADII,
) -> Cells:
    """Place cells on a patch of `size` x `size` pixels and draw their outlines.

    The centres of nuclei are at least `closest` of their radii apart. Expression is log-normal
    between cells, with standard deviation `level_spread` of the log (for the causes see Raj and van
    Oudenaarden 2008, Cell 135:216).
    """
    minimum = max(closest * shape.nucleus_radius, 0.65 * shape.spacing)
    centre = _random_centres(rng, size, shape.spacing, minimum)
    count = len(centre)
    grown = np.exp(SIZE_SPREAD * rng.standard_normal(count))
    nuclear = np.sqrt(grown) * np.exp(NUCLEUS_SPREAD * rng.standard_normal(count))
    tilt = math.pi * rng.random(count)
    stretch = np.exp(shape.elongation * np.abs(rng.standard_normal(count)))
    nuclear_stretch = np.exp(0.6 * shape.elongation * np.abs(rng.standard_normal(count)))
    nuclear_tilt = tilt + 0.3 * rng.standard_normal(count)
    return Cells(
        centre=centre,
        outline=_outlines(rng, shape.cell_radius * grown, stretch, tilt, shape.ruffle),
        nucleus=_outlines(
            rng, shape.nucleus_radius * nuclear, nuclear_stretch, nuclear_tilt, NUCLEUS_RUFFLE
        ),
        polarity=_TWO_PI * rng.random(count),
        level=np.exp(level_spread * rng.standard_normal(count)),
    )


@njit(cache=True, nogil=True)
def divide(cells: Cells, size: int) -> Maps:
    """Assign each pixel to the cell in whose outline it lies deepest, so that neighbours touch."""
    nearest = np.full((size, size), 9.0, np.float32)
    second = np.full((size, size), 9.0, np.float32)
    owner = np.full((size, size), -1, np.int32)
    rim = np.full((size, size), 99.0, np.float32)
    edge = np.zeros((size, size), np.float32)
    for i in range(len(cells.centre)):
        cy, cx = cells.centre[i, 0], cells.centre[i, 1]
        outline, nucleus = cells.outline[i], cells.nucleus[i]
        reach = outline.max() + 1.0
        for y in range(max(0, int(cy - reach)), min(size, int(cy + reach) + 2)):
            for x in range(max(0, int(cx - reach)), min(size, int(cx + reach) + 2)):
                distance = math.sqrt((y - cy) ** 2 + (x - cx) ** 2)
                if distance > reach:
                    continue
                position = _table_position(y - cy, x - cx)
                radius = _radius_between(outline, position)
                depth = distance / radius
                if depth < nearest[y, x]:
                    second[y, x] = nearest[y, x]
                    nearest[y, x] = depth
                    owner[y, x] = i
                    rim[y, x] = distance - _radius_between(nucleus, position)
                    edge[y, x] = radius
                elif depth < second[y, x]:
                    second[y, x] = depth
    return Maps(owner, _thickness(nearest, second, edge, owner), rim)


@njit(cache=True, nogil=True)
def _thickness(
    nearest: np.ndarray, second: np.ndarray, edge: np.ndarray, owner: np.ndarray
) -> np.ndarray:
    """Return the thickness of the cell in the focal slice; cells are thin at a free margin.

    Pixels outside all outlines get the owner -1, in place.
    """
    size = nearest.shape[0]
    body = np.zeros((size, size), np.float32)
    for y in range(size):
        for x in range(size):
            depth = nearest[y, x]
            if depth >= 1.0:
                owner[y, x] = -1
                continue
            margin = smoothstep((1.0 - depth) * edge[y, x] / 3.0)
            contact = smoothstep(0.25 + (second[y, x] - depth) * edge[y, x] / 2.5)
            body[y, x] = margin * contact * (1.0 - 0.55 * depth * depth)
    return body


STAIN_SPREAD = 0.22
"""Standard deviation of the log of the dye's brightness between nuclei; chosen."""


def draw_nuclei(
    rng: np.random.Generator, cells: Cells, maps: Maps, shape: TissueShape, canvas: np.ndarray
) -> None:
    """Add the DNA dye: chromatin, bright chromocentres as in mouse cells, and dark nucleoli."""
    count = len(cells.centre)
    stain = np.exp(STAIN_SPREAD * rng.standard_normal(count))
    bright = rng.poisson(shape.chromocentres, count)
    _draw_chromatin(rng, cells, maps, shape, stain, bright, canvas)


@njit(cache=True, nogil=True)
def _draw_chromatin(
    rng: np.random.Generator,
    cells: Cells,
    maps: Maps,
    shape: TissueShape,
    stain: np.ndarray,
    bright: np.ndarray,
    canvas: np.ndarray,
) -> None:
    """Add the dye to each nucleus, with `bright` chromocentres (n,)."""
    size = canvas.shape[0]
    for i in range(len(cells.centre)):
        cy, cx = cells.centre[i, 0], cells.centre[i, 1]
        spots = _chromatin_spots(rng, cells.nucleus[i], shape, bright[i])
        grid = rng.random((16, 16))
        reach = cells.nucleus[i].max() + 2.0
        for y in range(max(0, int(cy - reach)), min(size, int(cy + reach) + 2)):
            for x in range(max(0, int(cx - reach)), min(size, int(cx + reach) + 2)):
                if maps.owner[y, x] != i or maps.rim[y, x] > 1.0:
                    continue
                inside = smoothstep((0.8 - maps.rim[y, x]) / 2.6)
                texture = 1.0 + shape.chromatin_contrast * (
                    value_noise(grid, y / 2.8, x / 2.8) - 0.5
                )
                for k in range(len(spots)):
                    squared = (y - cy - spots[k, 0]) ** 2 + (x - cx - spots[k, 1]) ** 2
                    if squared < 9.0 * spots[k, 2] ** 2:
                        texture += spots[k, 3] * math.exp(-0.5 * squared / spots[k, 2] ** 2)
                canvas[y, x] += stain[i] * inside * max(texture, 0.15)


@njit(cache=True, nogil=True)
def _chromatin_spots(
    rng: np.random.Generator, nucleus: np.ndarray, shape: TissueShape, bright: int
) -> np.ndarray:
    """Return spots (n, 4) of y, x, width and strength: chromocentres, then 1 to 3 nucleoli."""
    dark = 1 + int(3.0 * rng.random())
    spots = np.empty((bright + dark, 4))
    for k in range(bright + dark):
        angle = rng.random() * _TWO_PI
        radius = 0.85 * math.sqrt(rng.random()) * radius_at(nucleus, angle)
        spots[k, 0], spots[k, 1] = radius * math.sin(angle), radius * math.cos(angle)
        if k < bright:
            spots[k, 2] = shape.nucleus_radius * (0.06 + 0.05 * rng.random())
            spots[k, 3] = shape.chromatin_contrast * (0.5 + 1.2 * rng.random())
        else:
            spots[k, 2] = shape.nucleus_radius * (0.12 + 0.06 * rng.random())
            spots[k, 3] = -0.8 * shape.chromatin_contrast
    return spots
