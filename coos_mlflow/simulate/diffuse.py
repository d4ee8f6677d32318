"""Compartments that fill space: ER, cytosol, nuclear envelope and unbound protein.

A density is computed for each pixel from the maps of a patch and scaled to a cell's photons.
The figures in the densities are chosen.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from coos_mlflow.simulate.classes import CYTOSOL, ENVELOPE, ER
from coos_mlflow.simulate.tissue import Cells, Maps, OrganelleShape, smoothstep, value_noise

MESH_TILE = 128
"""Side of the tile of ER network that the cells of a patch share at random offsets (chosen)."""

MESH_UM, TUBULE_UM = 1.6, 0.3
"""Distance and half width of the ER's tubules. Most meshes of the peripheral network are 1 to 3 um
wide; the tubules' true width of 0.1 um is below the resolution. The values are chosen."""

LUMP_UM = 1.1
"""Length over which densities vary within a compartment; chosen."""


class Variation(NamedTuple):
    """Random parameters of one cell, lengths in pixels."""

    scale: float
    decay: float
    width: float
    exclusion: float
    fold: float
    fold_angle: float
    fold_offset: float


@njit(cache=True, nogil=True)
def tubule_mesh(rng: np.random.Generator, shape: OrganelleShape) -> np.ndarray:
    """Return a periodic tile of polygonal mesh, near 1 on its lines and near 0 between.

    The lines are the borders of the Voronoi cells of random points. They give three-way junctions
    of straight tubules, as in the peripheral ER.
    """
    spacing, width = MESH_UM * shape.scale * shape.length, TUBULE_UM * shape.scale * shape.width
    side = max(round(MESH_TILE / spacing), 3)
    points = rng.random((side, side, 2))
    unit = MESH_TILE / side
    tile = np.empty((MESH_TILE, MESH_TILE), np.float32)
    for y in range(MESH_TILE):
        for x in range(MESH_TILE):
            border = 0.5 * unit / width * _border_distance(points, y / unit, x / unit)
            tile[y, x] = math.exp(-border * border)
    return tile


@njit(cache=True, nogil=True)
def _border_distance(points: np.ndarray, v: float, u: float) -> float:
    """Return the distance to the second-nearest point minus that to the nearest, in grid units."""
    row, column = int(v), int(u)
    side = points.shape[0]
    first, second = 9.0, 9.0
    for i in range(row - 1, row + 2):
        for j in range(column - 1, column + 2):
            dy = i + points[i % side, j % side, 0] - v
            dx = j + points[i % side, j % side, 1] - u
            distance = dy * dy + dx * dx
            if distance < first:
                first, second = distance, first
            elif distance < second:
                second = distance
    return math.sqrt(second) - math.sqrt(first)


@njit(cache=True, nogil=True)
def _draw_variation(
    rng: np.random.Generator, shape: OrganelleShape, nuclear_radius: float
) -> Variation:
    """Draw one cell's variation; a third of the envelopes have a visible fold (chosen)."""
    return Variation(
        scale=shape.scale,
        decay=2.6 * shape.scale / shape.gather * math.exp(0.2 * rng.normal()),
        width=0.24 * shape.scale * shape.width * math.exp(0.1 * rng.normal()),
        exclusion=min(max(shape.exclusion * math.exp(0.2 * rng.normal()), 0.05), 0.95),
        fold=max(1.2 * rng.random() - 0.8, 0.0),
        fold_angle=rng.random() * math.pi,
        fold_offset=0.4 * nuclear_radius * rng.normal(),
    )


@njit(cache=True, nogil=True)
def _rim_at(rim: float, width: float) -> float:
    """Return the envelope's relative density at a signed distance from it, 1 at distance 0."""
    return math.exp(-0.5 * (rim / width) ** 2)


@njit(cache=True, nogil=True)
def _reticulum_at(rim: float, body: float, lump: float, mesh: float, variation: Variation) -> float:
    """Return the ER's density: a network, denser near the nucleus and continuous with its rim."""
    if rim < 0.0:
        base = 0.16 + 0.1 * lump
    else:
        near = math.exp(-rim / variation.decay)
        sheet = 0.5 * near * lump
        base = (0.18 + near) * (sheet + (0.12 + 1.3 * mesh) * (0.4 + 1.2 * lump))
    return body * (base + 0.75 * _rim_at(rim, 1.3 * variation.width))


@njit(cache=True, nogil=True)
def _cytosol_at(rim: float, body: float, lump: float, fine: float, variation: Variation) -> float:
    """Return the cytosol's density: lower over the nucleus and where organelles exclude it."""
    nucleus = smoothstep((0.7 * variation.scale - rim) / (1.2 * variation.scale))
    shadow = 0.45 * smoothstep((fine - 0.7) / 0.2) * (1.0 - nucleus)
    return body * (0.75 + 0.5 * lump) * (1.0 - variation.exclusion * nucleus) * (1.0 - shadow)


@njit(cache=True, nogil=True)
def _envelope_at(
    rim: float, body: float, lump: float, dy: float, dx: float, variation: Variation
) -> float:
    """Return the envelope's density: grainy rim, top and bottom of the nucleus, folds, some ER."""
    inner = smoothstep(-rim / (0.5 * variation.scale))
    across = dy * math.cos(variation.fold_angle) + dx * math.sin(variation.fold_angle)
    crease = variation.fold * _rim_at(across - variation.fold_offset, 1.2 * variation.width)
    outside = 0.22 * body * math.exp(-max(rim, 0.0) / variation.decay) * (1.0 - inner)
    return _rim_at(rim, variation.width) * (0.4 + 1.2 * lump) + inner * (0.17 + crease) + outside


@njit(cache=True, nogil=True)
def _free_at(rim: float, body: float, lump: float, variation: Variation) -> float:
    """Return the density of soluble protein, which partly enters the nucleus."""
    nucleus = smoothstep(-rim / (0.5 * variation.scale))
    return body * (0.8 + 0.4 * lump) * (1.0 - 0.35 * nucleus)


@njit(cache=True, nogil=True)
def _expected_sum(
    compartment: int, outline: np.ndarray, nucleus: np.ndarray, variation: Variation
) -> float:
    """Return the approximate sum of a density over a whole, isolated cell.

    The photons are divided by this expected sum and not by the sum over the drawn pixels, so that a
    cell that is cut by the patch's border or covered by neighbours keeps its brightness.
    """
    radius, nuclear = outline.mean(), nucleus.mean()
    if compartment == ENVELOPE:
        rim = math.sqrt(2.0 * math.pi) * variation.width * 2.0 * math.pi * nuclear
        return rim + 0.19 * math.pi * nuclear**2 + 0.5 * nuclear * variation.decay
    return (0.33 if compartment == ER else 0.55) * math.pi * radius**2


@njit(cache=True, nogil=True)
def fill(
    rng: np.random.Generator,
    canvas: np.ndarray,
    cells: Cells,
    maps: Maps,
    compartment: int,
    shape: OrganelleShape,
    tile: np.ndarray,
    amounts: np.ndarray,
) -> None:
    """Add a compartment that fills space, or free protein, to every cell.

    Parameters
    ----------
    rng : numpy.random.Generator
    canvas : ndarray of float32, shape (size, size)
        Added to in place.
    cells, maps : Cells, Maps
    compartment : int
        `classes.ER`, `CYTOSOL`, `ENVELOPE` or `FREE`.
    shape : OrganelleShape
    tile : ndarray of float32, shape (MESH_TILE, MESH_TILE)
        Output of `tubule_mesh`.
    amounts : ndarray, shape (cells,)
        Expected photons of each whole cell; a cell with 0 is skipped.
    """
    size = canvas.shape[0]
    for cell in range(len(amounts)):
        if amounts[cell] <= 0.0:
            continue
        cy, cx = cells.centre[cell, 0], cells.centre[cell, 1]
        reach = cells.outline[cell].max() + 1.0
        turn_y, turn_x = int(MESH_TILE * rng.random()), int(MESH_TILE * rng.random())
        lumps = rng.random((16, 16))
        variation = _draw_variation(rng, shape, cells.nucleus[cell].mean())
        factor = amounts[cell] / _expected_sum(
            compartment, cells.outline[cell], cells.nucleus[cell], variation
        )
        coarse, finer = 1.0 / (LUMP_UM * shape.scale), 2.2 / (LUMP_UM * shape.scale)
        for y in range(max(0, int(cy - reach)), min(size, int(cy + reach) + 2)):
            for x in range(max(0, int(cx - reach)), min(size, int(cx + reach) + 2)):
                if maps.owner[y, x] != cell:
                    continue
                body, rim = maps.body[y, x], maps.rim[y, x]
                lump = value_noise(lumps, y * coarse, x * coarse)
                if compartment == ER:
                    mesh = tile[(y + turn_y) % MESH_TILE, (x + turn_x) % MESH_TILE]
                    value = _reticulum_at(rim, body, lump, mesh, variation)
                elif compartment == CYTOSOL:
                    fine = value_noise(lumps, y * finer, x * finer)
                    value = _cytosol_at(rim, body, lump, fine, variation)
                elif compartment == ENVELOPE:
                    value = _envelope_at(rim, body, lump, y - cy, x - cx, variation)
                else:
                    value = _free_at(rim, body, lump, variation)
                canvas[y, x] += factor * value
