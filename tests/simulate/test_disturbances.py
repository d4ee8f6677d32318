"""What wild plates alone have, compared with the physics that each disturbance stands for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coos_mlflow.simulate.disturbances import (
    KINDS,
    BleedThrough,
    CoarseSteps,
    ColumnGain,
    Debris,
    Misregistration,
    MotionBlur,
    UnevenField,
)
from coos_mlflow.simulate.microscope import FIELD_SHAPE, MAX_COUNT, PIXEL_UM, Instrument

INSTRUMENT = Instrument(
    pixel_um=PIXEL_UM,
    blur=1.0,
    defocus_um=0.0,
    haze=0.0,
    falloff=0.0,
    background=0.0,
    offset=100.0,
    gain=1.6,
    read_noise=8.0,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def points(size: int = 41) -> np.ndarray:
    """A point of light in the middle of both channels."""
    photons = np.zeros((2, size, size), np.float32)
    photons[:, size // 2, size // 2] = 1000.0
    return photons


def mean_and_spread(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean place (y, x) of the light, and its covariance."""
    places = np.indices(image.shape).reshape(2, -1)
    return np.average(places, 1, image.ravel()), np.cov(places, ddof=0, aweights=image.ravel())


@pytest.mark.parametrize("kind", KINDS)
def test_shape_and_type_stay_and_something_changes(kind, rng):
    one = kind.draw(rng)
    photons = rng.gamma(2.0, 30.0, (2, 120, 110)).astype(np.float32)
    lit = one.light(rng, photons, INSTRUMENT)
    assert (lit.shape, lit.dtype) == (photons.shape, np.float32)
    assert lit.min() >= 0
    counts = rng.integers(0, MAX_COUNT + 1, (5, 2, 64, 64)).astype(np.uint16)
    counts[0, :, ::2], counts[0, :, 1::2] = 0, MAX_COUNT
    taken = one.camera(rng, counts, INSTRUMENT)
    assert (taken.shape, taken.dtype) == (counts.shape, np.uint16)
    assert (lit is photons) == (kind in (ColumnGain, CoarseSteps))
    assert (lit is photons) or (np.abs(lit - photons).mean() > 0.5)
    assert (taken is counts) == (kind not in (ColumnGain, CoarseSteps))
    assert (taken is counts) or (taken != counts).mean() > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_random_strength_depends_on_the_generator_alone(kind):
    drawn = [kind.draw(np.random.default_rng(seed)) for seed in (0, 0, 1, 2, 3, 4, 5)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 2


def test_bleed_through_adds_a_share_and_correlates_the_channels(rng):
    photons = (100.0 + rng.standard_normal((2, 300, 300))).astype(np.float32)
    lit = BleedThrough(0.25, 0.1).light(rng, photons, INSTRUMENT)
    np.testing.assert_allclose(lit[0], photons[0] + 0.25 * photons[1], rtol=1e-6)
    np.testing.assert_allclose(lit[1], photons[1] + 0.1 * photons[0], rtol=1e-6)
    # Covariance (0.25 + 0.1) over the root of the variances 1 + 0.25^2 and 1 + 0.1^2.
    expected = 0.35 / math.sqrt((1 + 0.25**2) * (1 + 0.1**2))
    assert np.corrcoef(*lit.reshape(2, -1))[0, 1] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2, 4.0])
def test_motion_makes_a_line_of_its_length(rng, angle):
    before = points()
    lit = MotionBlur(3.0, angle).light(rng, before, INSTRUMENT)
    np.testing.assert_allclose(lit.sum(axis=(1, 2)), before.sum(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(lit[0], lit[1])
    mean, spread = mean_and_spread(lit[0])
    np.testing.assert_allclose(mean, [20, 20], atol=1e-3)
    along = np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-along[1], along[0]])
    length = 3.0 / PIXEL_UM
    # A line of even light has the variance length^2 / 12; pixels add the same to both directions.
    widened = along @ spread @ along - across @ spread @ across
    assert widened == pytest.approx(length**2 / 12, rel=0.06)
    assert across @ spread @ across < 0.3


def test_misregistration_moves_the_protein_alone(rng):
    lit = Misregistration(2.5, math.pi / 6).light(rng, points(), INSTRUMENT)
    np.testing.assert_array_equal(lit[1], points()[1])
    mean, _ = mean_and_spread(lit[0])
    step = [2.5 * math.cos(math.pi / 6), 2.5 * math.sin(math.pi / 6)]
    np.testing.assert_allclose(mean - 20, step, atol=1e-3)
    assert lit[0].sum() == pytest.approx(1000.0, rel=1e-5)


@pytest.mark.parametrize("angle", [0.0, 1.0, 2.5, 4.0, 6.0])
def test_an_uneven_field_is_a_plane_from_1_to_its_loss(rng, angle):
    light = UnevenField(0.6, angle).light(rng, np.ones((2, *FIELD_SHAPE), np.float32), INSTRUMENT)
    np.testing.assert_array_equal(light[0], light[1])
    assert light.max() == pytest.approx(1.0, abs=0.002)
    assert light.min() == pytest.approx(0.4, abs=0.002)
    steps = np.gradient(light[0].astype(float))
    for step in steps:
        np.testing.assert_allclose(step, step.mean(), atol=1e-5)
    fall = -np.array([step.mean() * side for step, side in zip(steps, FIELD_SHAPE, strict=True)])
    assert math.atan2(fall[1], fall[0]) % (2 * math.pi) == pytest.approx(angle, abs=1e-3)


def test_patches_lie_anywhere_on_an_uneven_field(rng):
    field = UnevenField(0.6, 1.0)
    patch = np.ones((2, 60, 60), np.float32)
    means = [field.light(rng, patch, INSTRUMENT).mean() for _ in range(400)]
    assert np.mean(means) == pytest.approx(1 - 0.6 / 2, abs=0.02)
    assert min(means) < 0.55
    assert max(means) > 0.85


def test_dark_debris_absorbs_what_its_pieces_take(rng):
    photons = np.full((2, 1000, 1000), 50.0, np.float32)
    lit = Debris(5000.0, glowing=0.0).light(rng, photons, INSTRUMENT)
    np.testing.assert_array_equal(lit[0], lit[1])
    assert (lit <= photons).all()
    # Absorbance of all pieces: their number, times the mean peak, times 2 pi sigma^2.
    (low, high), (small, large) = Debris.ABSORBANCE, Debris.SIGMA_UM
    mean_square_um2 = (large**3 - small**3) / (3 * (large - small))
    of_piece_um2 = (low + high) / 2 * 2 * math.pi * mean_square_um2
    expected = 5000.0 / 1e6 * of_piece_um2
    assert -np.log(lit[0] / 50.0).mean() == pytest.approx(expected, rel=0.2)


def test_glowing_debris_adds_the_same_light_to_both_channels(rng):
    photons = rng.gamma(2.0, 30.0, (2, 300, 300)).astype(np.float32)
    added = Debris(1000.0, glowing=1.0).light(rng, photons, INSTRUMENT) - photons
    assert added.min() > -1e-3
    np.testing.assert_allclose(added[0], added[1], atol=1e-3)
    assert added.max() > Debris.GLOW_PHOTONS[0]


def test_columns_have_gains_and_rows_have_not(rng):
    camera = ColumnGain(0.05, pattern=3)
    gains = camera.gains()
    assert gains.std() == pytest.approx(0.05, rel=0.1)
    even = np.full((30, 2, 64, 64), 10_100, np.uint16)
    counts = camera.camera(rng, even, INSTRUMENT).astype(float) - INSTRUMENT.offset
    np.testing.assert_array_equal(counts[:, :, :1].repeat(64, axis=2), counts)
    found = counts.mean(axis=(1, 2)) / 10_000
    for cell in found:
        places = [np.roll(gains, -first)[:64] for first in range(camera.COLUMNS)]
        assert np.abs(places - cell).max(axis=1).min() < 1e-4
    assert len(np.unique(found[:, 0])) > 20
    dark = np.full((30, 2, 64, 64), 100, np.uint16)
    np.testing.assert_array_equal(camera.camera(rng, dark, INSTRUMENT), dark)


def test_a_field_wider_than_the_chip_repeats_its_columns(rng):
    counts = np.full((2, 4, 3000), 1000, np.uint16)
    taken = ColumnGain(0.1, pattern=3).camera(rng, counts, INSTRUMENT)
    np.testing.assert_array_equal(taken[..., :900], taken[..., 2048:2948])


def test_few_bits_are_whole_steps_below(rng):
    counts = rng.integers(0, MAX_COUNT + 1, (3, 2, 64, 64)).astype(np.uint16)
    taken = CoarseSteps(64).camera(rng, counts, INSTRUMENT)
    assert (taken % 64 == 0).all()
    lost = counts.astype(int) - taken
    assert (lost >= 0).all()
    assert lost.mean() == pytest.approx(31.5, abs=0.5)
