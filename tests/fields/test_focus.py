"""The measure of sharpness sees edges, and neither noise, brightness nor offset."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from coos_mlflow.fields.focus import depth_score, energy, sharpest, sharpness


def discs(seed: int, side: int = 256, n: int = 12) -> np.ndarray:
    """Discs of 400 photons on a background of 20."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    image = np.full((side, side), 20.0)
    for cy, cx in rng.uniform(20, side - 20, (n, 2)):
        image[np.hypot(y - cy, x - cx) < rng.uniform(7, 12)] = 420.0
    return image


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(image, sigma)


def exposed(photons: np.ndarray, seed: int, brightness: float = 1.0) -> np.ndarray:
    """Counts with Poisson noise and an offset; brightness is that of lamp and dye."""
    return np.random.default_rng(seed).poisson(photons * brightness) + 100


def sharp(image: np.ndarray) -> float:
    return sharpness(energy(image)).value


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 3.0])
def test_an_edge_blurred_by_a_gaussian_has_the_sharpness_of_the_formula(sigma: float) -> None:
    # For a Gaussian of s pixels the energies of second and first differences differ by 1 / (2 s^2).
    step = np.zeros((40, 80))
    step[:, 40:] = 1000.0
    found = sharp(ndimage.gaussian_filter1d(step, sigma, axis=1))
    # A difference of neighbours is itself an average over a pixel, of variance 1 / 12.
    assert found == pytest.approx(1 / (2 * (sigma**2 + 1 / 12)), rel=0.05)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5, 2.2, 4.0])
def test_noise_moves_sharpness_by_its_standard_error_alone(seed: int, sigma: float) -> None:
    image = blurred(discs(seed), sigma)
    found = sharpness(energy(exposed(image, seed)))
    assert abs(found.value - sharp(image)) < 5 * found.error


@pytest.mark.parametrize("seed", range(4))
def test_sharpness_falls_with_blur(seed: int) -> None:
    found = [sharp(blurred(discs(seed), sigma)) for sigma in (0.5, 0.7, 1, 1.5, 2.2, 4)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("seed", range(4))
def test_gain_and_offset_do_not_matter_at_all_and_brightness_by_noise_alone(seed: int) -> None:
    image = blurred(discs(seed), 1.0)
    counts = exposed(image, seed)
    usual = sharp(counts)
    assert sharp(4 * counts + 4096) == pytest.approx(usual, rel=1e-3)
    assert sharp(exposed(image, seed, 5)) == pytest.approx(usual, rel=0.15)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("brightness", [0.1, 1.0, 10.0])
def test_neither_a_brighter_nor_a_noisier_blurred_depth_wins(seed: int, brightness: float) -> None:
    image = discs(seed)
    depths = [
        exposed(blurred(image, 6), seed, 10 * brightness),
        exposed(blurred(image, 1), seed + 50, brightness),
        exposed(blurred(image, 3), seed + 60, 0.3 * brightness),
        exposed(np.full_like(image, 50), seed + 70, brightness),
    ]
    # Camera noise five times as strong.
    rng = np.random.default_rng(seed)
    depths.append(exposed(blurred(image, 4), seed, brightness) + rng.normal(0, 30, image.shape))
    assert sharpest([depth_score(depth) for depth in depths]) == 1


def test_depths_of_noise_alone_give_the_middle_one() -> None:
    depths = [exposed(np.full((128, 128), 50.0), seed) for seed in range(5)]
    assert sharpest([depth_score(depth) for depth in depths]) == 2
    black = np.zeros((64, 64), np.uint16)
    assert sharpest([depth_score(black)] * 3) == 1


def test_a_tiny_image_has_no_sharpness() -> None:
    assert depth_score(np.zeros((3, 3))) == (0.0, 0.0, 0.0)


def test_a_turned_image_is_as_sharp() -> None:
    image = exposed(blurred(discs(3), 1), 3)
    assert sharp(image.T) == pytest.approx(sharp(image), rel=1e-5)
