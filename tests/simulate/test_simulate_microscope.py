"""The simulated microscope compared with optics and the photon transfer line."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coos_mlflow.simulate import microscope
from coos_mlflow.simulate.microscope import (
    FIELD_SHAPE,
    PROTEIN_EMISSION_UM,
    Instrument,
    expose,
    illumination,
    optical_image,
    psf_sigma_px,
)

INSTRUMENT = Instrument(
    pixel_um=0.3225,
    blur=1.0,
    defocus_um=0.0,
    haze=0.0,
    falloff=0.2,
    background=0.0,
    offset=100.0,
    gain=1.6,
    read_noise=8.0,
)


def width_of(image: np.ndarray) -> float:
    """Standard deviation along x of a single blurred point."""
    profile = image.sum(axis=0)
    x = np.arange(len(profile))
    mean = (profile * x).sum() / profile.sum()
    return math.sqrt((profile * (x - mean) ** 2).sum() / profile.sum())


def point_source(size: int = 129) -> np.ndarray:
    scene = np.zeros((size, size), np.float32)
    scene[size // 2, size // 2] = 1000.0
    return scene


def test_pixel_is_6_45_um_binned_twice_at_40x():
    assert pytest.approx(0.3225) == microscope.PIXEL_UM


def test_width_in_focus_is_the_published_one():
    # Zhang et al. 2007: 0.225 wavelength / NA = 0.1276 um at 510 nm, NA 0.9.
    assert microscope.focal_sigma_um(0.510) == pytest.approx(0.1276, abs=2e-4)
    assert psf_sigma_px(INSTRUMENT, 0.510) == pytest.approx(0.1276 / 0.3225, abs=1e-3)


def test_one_rayleigh_length_out_of_focus_widens_by_root_two():
    sigma = microscope.focal_sigma_um(0.510)
    rayleigh = 4 * math.pi * 1.333 * sigma**2 / 0.510
    away = INSTRUMENT._replace(defocus_um=rayleigh)
    ratio = psf_sigma_px(away, 0.510) / psf_sigma_px(INSTRUMENT, 0.510)
    assert ratio == pytest.approx(math.sqrt(2))


def test_point_source_is_as_wide_as_the_point_spread():
    blurred = INSTRUMENT._replace(defocus_um=1.0)
    image = optical_image(point_source(), blurred, PROTEIN_EMISSION_UM)
    assert width_of(image) == pytest.approx(psf_sigma_px(blurred, PROTEIN_EMISSION_UM), rel=0.03)
    assert image.sum() == pytest.approx(1000.0, rel=1e-3)


def test_haze_keeps_the_light_and_lies_wide():
    hazy = INSTRUMENT._replace(haze=0.4)
    image = optical_image(point_source(), hazy, PROTEIN_EMISSION_UM)
    assert image.sum() == pytest.approx(1000.0, rel=0.01)
    centre = image[62:67, 62:67].sum()
    # The sharp part lies within 5 x 5 pixels, and that much of the wide Gaussian with it.
    wide = microscope.HAZE_SIGMA_UM / 0.3225
    within = math.erf(2.5 / (wide * math.sqrt(2))) ** 2
    assert centre == pytest.approx(600.0 + 400.0 * within, rel=0.005)
    assert width_of(image) == pytest.approx(math.sqrt(0.4) * wide, rel=0.03)


def test_uniform_scene_stays_uniform_in_any_size():
    for size in (68, 101, 130):
        image = optical_image(
            np.full((size, size), 7.0, np.float32),
            INSTRUMENT._replace(haze=0.5, defocus_um=0.5),
            PROTEIN_EMISSION_UM,
        )
        np.testing.assert_allclose(image, 7.0, rtol=1e-4)


def test_illumination_falls_from_the_centre_to_the_corner():
    height, width = FIELD_SHAPE
    whole = illumination(0, 0, height, INSTRUMENT)
    centre = illumination(height // 2, width // 2, 1, INSTRUMENT)[0, 0]
    assert centre == pytest.approx(1.0)
    assert whole[0, 0] == pytest.approx(1 - INSTRUMENT.falloff)
    assert whole[0, 0] < whole[0, width // 4] < whole[height // 2, width // 4] < centre


def test_photon_transfer_line_gives_back_gain_and_read_noise():
    rng = np.random.default_rng(1)
    means, variances = [], []
    for photons in (0.0, 50.0, 200.0, 800.0, 2000.0):
        flat = expose(rng, np.full((400, 400), photons), INSTRUMENT).astype(float)
        means.append(flat.mean() - INSTRUMENT.offset)
        variances.append(flat.var())
    gain, dark = np.polyfit(means, variances, 1)
    assert gain == pytest.approx(1.6, rel=0.02)
    # Rounding to whole counts adds 1/12.
    assert math.sqrt(dark - 1 / 12) / gain == pytest.approx(8.0, rel=0.08)
    assert means[2] == pytest.approx(200 * 1.6, rel=0.01)


def test_background_light_brings_its_own_shot_noise():
    rng = np.random.default_rng(2)
    lit = INSTRUMENT._replace(background=300.0, read_noise=0.0, gain=1.0)
    flat = expose(rng, np.zeros((300, 300)), lit).astype(float)
    assert flat.mean() == pytest.approx(400.0, rel=0.01)
    assert flat.var() == pytest.approx(300.0, rel=0.05)


def test_counts_are_clipped_to_16_bit():
    rng = np.random.default_rng(3)
    assert expose(rng, np.full((4, 4), 1e6), INSTRUMENT).min() == 65535
    low = INSTRUMENT._replace(offset=0.0, read_noise=50.0)
    dark = expose(rng, np.zeros((50, 50)), low)
    assert dark.dtype == np.uint16
    assert dark.min() == 0
    assert dark.max() < 1000
