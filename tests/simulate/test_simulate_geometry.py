"""Each compartment's defining geometry, measured on scenes without optics and noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from coos_mlflow.simulate.classes import (
    CYTOSOL,
    ENDOSOME,
    ENVELOPE,
    ER,
    GOLGI,
    IMM,
    PEROXISOME,
    PROTEIN_CLASSES,
)
from coos_mlflow.simulate.organelles import draw_protein
from coos_mlflow.simulate.population import mean_shift, well_state
from coos_mlflow.simulate.tissue import Cells, Maps, divide, draw_nuclei, grow_cells, radius_at

SIZE = 320


class Scene(NamedTuple):
    protein: np.ndarray
    nucleus: np.ndarray
    cells: Cells
    maps: Maps


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """One patch of each class in the mean state of Training, all protein bound."""
    drawn = []
    for label in range(7):
        rng = np.random.default_rng(10 + label)
        state = well_state(PROTEIN_CLASSES[label], mean_shift({}))
        cells = grow_cells(rng, SIZE, state.tissue, 0.0)
        maps = divide(cells, SIZE)
        protein, nucleus = np.zeros((2, SIZE, SIZE), np.float32)
        shape = state.organelles._replace(pool=0.0, fragments=0.0)
        draw_protein(rng, cells, maps, PROTEIN_CLASSES[label], shape, 1000.0, protein)
        draw_nuclei(rng, cells, maps, state.tissue, nucleus)
        drawn.append(Scene(protein, nucleus, cells, maps))
    return drawn


def whole_cells(scene: Scene) -> list[int]:
    inside = (scene.cells.centre > 45) & (scene.cells.centre < SIZE - 45)
    return np.flatnonzero(inside.all(axis=1)).tolist()


def mean_by_rim(scene: Scene, low: float, high: float) -> float:
    """Mean protein of all pixels whose distance to the nuclear envelope is in a range."""
    ring = (scene.maps.owner >= 0) & (scene.maps.rim >= low) & (scene.maps.rim < high)
    return float(scene.protein[ring].mean())


def offset_from_nucleus(scene: Scene) -> np.ndarray:
    """Vectors from each nucleus to its cell's protein centroid."""
    y, x = np.mgrid[:SIZE, :SIZE]
    vectors = []
    for cell in whole_cells(scene):
        weight = scene.protein * (scene.maps.owner == cell)
        centroid = np.array([(weight * y).sum(), (weight * x).sum()]) / weight.sum()
        vectors.append(centroid - scene.cells.centre[cell])
    return np.array(vectors)


def spread(scene: Scene) -> float:
    """Mean distance of a cell's protein from its own centroid."""
    y, x = np.mgrid[:SIZE, :SIZE]
    values = []
    for cell in whole_cells(scene):
        weight = scene.protein * (scene.maps.owner == cell)
        total = weight.sum()
        my, mx = (weight * y).sum() / total, (weight * x).sum() / total
        values.append(np.sqrt((weight * ((y - my) ** 2 + (x - mx) ** 2)).sum() / total))
    return float(np.mean(values))


def share_in_brightest(scene: Scene, fraction: float) -> float:
    """Share of the protein that the brightest part of the cells' pixels holds."""
    values = np.sort(scene.protein[scene.maps.owner >= 0])[::-1]
    return float(values[: int(fraction * len(values))].sum() / values.sum())


def test_patch_has_cells_that_touch_and_do_not_overlap_nuclei(scenes):
    scene = scenes[0]
    centre = scene.cells.centre
    gaps = np.linalg.norm(centre[:, None] - centre, axis=-1) + 1e9 * np.eye(len(centre))
    assert gaps.min() > 1.9 * scene.cells.nucleus.mean()
    owner = scene.maps.owner
    sideways = (owner[:, 1:] != owner[:, :-1]) & (owner[:, 1:] >= 0) & (owner[:, :-1] >= 0)
    assert sideways.sum() > 100


def test_nucleus_dye_lies_in_nuclei(scenes):
    for scene in scenes:
        inside = scene.nucleus[scene.maps.rim < 0].sum()
        assert inside / scene.nucleus.sum() > 0.9


def test_nuclei_have_the_radius_asked_for(scenes):
    state = well_state(PROTEIN_CLASSES[ER], mean_shift({}))
    for scene in scenes:
        assert scene.cells.nucleus.mean() == pytest.approx(state.tissue.nucleus_radius, rel=0.08)


def test_envelope_peaks_at_the_rim(scenes):
    scene = scenes[ENVELOPE]
    profile = [mean_by_rim(scene, d, d + 1) for d in range(-8, 8)]
    assert int(np.argmax(profile)) in (7, 8)
    assert max(profile) > 4 * mean_by_rim(scene, -8, -4)
    assert max(profile) > 6 * mean_by_rim(scene, 4, 8)


def test_cytosol_is_dimmer_over_the_nucleus_and_diffuse(scenes):
    scene = scenes[CYTOSOL]
    assert 0.3 < mean_by_rim(scene, -20, -4) / mean_by_rim(scene, 3, 8) < 0.8
    assert share_in_brightest(scene, 0.1) < 0.3


def test_reticulum_is_denser_near_the_nucleus_and_joins_its_rim(scenes):
    scene = scenes[ER]
    near, middle, far = (mean_by_rim(scene, *r) for r in ((2, 5), (5, 9), (9, 14)))
    assert near > 1.25 * middle > 1.25 * 1.25 * far
    assert mean_by_rim(scene, -1, 1) > near
    assert mean_by_rim(scene, -20, -4) < 0.4 * near


def test_reticulum_is_a_network_and_the_cytosol_is_not(scenes):
    def roughness(scene: Scene) -> float:
        band = (scene.maps.rim > 3) & (scene.maps.rim < 9) & (scene.maps.body > 0.4)
        steps = np.abs(np.diff(scene.protein, axis=1))[:, :][band[:, 1:] & band[:, :-1]]
        return float(steps.mean() / scene.protein[band].mean())

    assert roughness(scenes[ER]) > 2 * roughness(scenes[CYTOSOL])


def test_golgi_lies_on_the_side_of_its_cell_that_was_asked_for(scenes):
    scene = scenes[GOLGI]
    vectors = offset_from_nucleus(scene)
    sides = scene.cells.polarity[whole_cells(scene)]
    along = vectors[:, 0] * np.sin(sides) + vectors[:, 1] * np.cos(sides)
    lengths = np.linalg.norm(vectors, axis=1)
    radius = scene.cells.nucleus.mean()
    assert np.median(along) > 0.7 * radius
    assert np.median(along / lengths) > 0.9
    for label in (ER, IMM, PEROXISOME, CYTOSOL, ENVELOPE):
        others = np.linalg.norm(offset_from_nucleus(scenes[label]), axis=1)
        assert np.median(others) < 0.5 * np.median(lengths)


def test_peroxisomes_spread_farther_than_golgi_and_endosomes(scenes):
    assert spread(scenes[PEROXISOME]) > 1.5 * spread(scenes[GOLGI])
    assert spread(scenes[PEROXISOME]) > 1.05 * spread(scenes[ENDOSOME])


def test_vesicles_and_filaments_are_sparse(scenes):
    for label in (GOLGI, PEROXISOME, ENDOSOME):
        assert share_in_brightest(scenes[label], 0.1) > 0.75
    assert 0.5 < share_in_brightest(scenes[IMM], 0.1) < share_in_brightest(scenes[PEROXISOME], 0.1)


def test_organelles_stay_out_of_the_nucleus(scenes):
    for label in (IMM, GOLGI, PEROXISOME, ENDOSOME):
        scene = scenes[label]
        deep = scene.protein[scene.maps.rim < -3].sum()
        assert deep / scene.protein.sum() < 0.03


def test_endosomes_are_larger_than_peroxisomes_and_nearer_to_the_nucleus(scenes):
    def correlation_length(image: np.ndarray) -> float:
        power = np.abs(np.fft.rfft2(image - image.mean())) ** 2
        auto = np.fft.irfft2(power)
        return float(auto[0, 2] / auto[0, 0])

    assert correlation_length(scenes[ENDOSOME].protein) > 1.4 * correlation_length(
        scenes[PEROXISOME].protein
    )

    def mean_rim(scene: Scene) -> float:
        own = scene.maps.owner >= 0
        return float(np.average(scene.maps.rim[own], weights=scene.protein[own]))

    assert mean_rim(scenes[ENDOSOME]) < 0.85 * mean_rim(scenes[PEROXISOME])


def test_mitochondria_are_elongated(scenes):
    """Around its brightest points a filament has one long axis, a dot has none."""

    def elongation(image: np.ndarray) -> float:
        gy, gx = np.gradient(image)
        values = []
        inner = image[12:-12, 12:-12]
        for index in np.argsort(inner, axis=None)[::-40][:60]:
            y, x = np.unravel_index(index, inner.shape)
            window = np.s_[y + 8 : y + 17, x + 8 : x + 17]
            a, b = gy[window].ravel(), gx[window].ravel()
            low, high = np.linalg.eigvalsh([[a @ a, a @ b], [a @ b, b @ b]])
            values.append(low / high)
        return float(np.median(values))

    assert elongation(scenes[IMM].protein) < 0.8 * elongation(scenes[PEROXISOME].protein)


def test_every_class_sends_about_the_photons_asked_for(scenes):
    for scene in scenes:
        sums = [scene.protein[scene.maps.owner == cell].sum() for cell in whole_cells(scene)]
        assert 550 < np.mean(sums) < 1500


def test_unbound_protein_lies_in_the_er_of_endosomal_and_in_the_cytosol_of_peroxisomal_cells():
    ratios = {}
    for label in (ENDOSOME, PEROXISOME):
        rng = np.random.default_rng(5)
        state = well_state(PROTEIN_CLASSES[label], mean_shift({}))
        cells = grow_cells(rng, SIZE, state.tissue, 0.0)
        maps = divide(cells, SIZE)
        canvas = np.zeros((SIZE, SIZE), np.float32)
        shape = state.organelles._replace(pool=50.0, number=1e-9)
        draw_protein(rng, cells, maps, PROTEIN_CLASSES[label], shape, 1000.0, canvas)
        scene = Scene(canvas, canvas, cells, maps)
        ratios[label] = np.median(canvas[maps.rim < -4]) / np.median(
            canvas[(maps.rim > 2) & (maps.rim < 6) & (maps.owner >= 0)]
        )
        assert scene.protein.min() >= 0
    assert ratios[ENDOSOME] < 0.5 < ratios[PEROXISOME]


def test_outline_is_read_at_any_angle_and_closes_on_itself():
    outline = np.linspace(10.0, 20.0, 64)
    assert radius_at(outline, 0.0) == 10.0
    assert radius_at(outline, 2 * np.pi * 63 / 64) == pytest.approx(20.0)
    assert radius_at(outline, 2 * np.pi * 63.5 / 64) == pytest.approx(15.0)
    assert radius_at(outline, -np.pi / 2) == pytest.approx(radius_at(outline, 1.5 * np.pi))
