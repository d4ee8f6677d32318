"""The raw-image figures measure what their names say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from coos_mlflow.drift.image_quality import RAW_FIGURE_TABLE, RAW_FIGURES, raw_figures


def figure(images: np.ndarray, name: str) -> np.ndarray:
    return raw_figures(images)[:, RAW_FIGURES.index(name)]


def test_one_column_for_each_name(random_cells):
    figures = raw_figures(random_cells(5))
    assert figures.shape == (5, len(RAW_FIGURES))
    assert figures.dtype == np.float32
    assert np.isfinite(figures).all()
    assert len(set(RAW_FIGURES)) == len(RAW_FIGURES) == len(RAW_FIGURE_TABLE)


def test_a_ramp_has_its_percentiles():
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    images = np.stack([ramp, ramp[::-1]])[None]
    assert figure(images, "protein background (1st percentile)")[0] == pytest.approx(np.log(41))
    assert figure(images, "protein median")[0] == pytest.approx(np.log(2048))
    assert figure(images, "nucleus mean")[0] == pytest.approx(np.log(2048.5))
    spread = np.sqrt((4096**2 - 1) / 12)
    contrast = figure(images, "protein contrast (standard deviation)")[0]
    assert contrast == pytest.approx(np.log(spread + 1), rel=1e-5)
    # A ramp down the rows, upside down: rows are reversed, columns are not.
    assert figure(images, "correlation of the channels")[0] == pytest.approx(-1, abs=0.01)


def test_brightness_adds_and_leaves_sharpness_alone(random_cells):
    images = random_cells(20)
    before, after = raw_figures(images), raw_figures(images * np.uint16(4))
    for column, name in enumerate(RAW_FIGURES):
        if "sharpness" in name or "correlation" in name or "saturation" in name:
            expected = np.zeros(20)
        else:
            expected = np.full(20, np.log(4))
        # 1 is added to counts before logarithms, which is not nothing beside the noise.
        atol = 0.05 if "noise" in name else 0.01
        np.testing.assert_allclose(after[:, column] - before[:, column], expected, atol=atol)


def test_clipping_shows_as_saturation_at_any_count(random_cells):
    images = random_cells(10)
    clipped = np.minimum(images, np.percentile(images, 90, axis=(2, 3), keepdims=True))
    name = "nucleus saturation (pixels at the maximum)"
    assert (figure(images, name) < np.log(20)).all()
    assert (figure(clipped.astype(np.uint16), name) > np.log(300)).all()


SHARPNESS = "protein sharpness (fine over coarse detail)"
NOISE = "protein noise (grain of single pixels)"


def smooth_cells(n: int = 12, seed: int = 0) -> np.ndarray:
    """Detail of a microscope: drawn points, widened by an optical resolution of about a pixel."""
    points = np.random.default_rng(seed).random((n, 2, 64, 64)) ** 20
    return 300 + 4000 * gaussian_filter(points, (0, 0, 1.2, 1.2)) / points.mean() / 10


def with_noise(images: np.ndarray, deviation: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, deviation, images.shape)
    return (images + noise).astype(np.float32)


def blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(images, (0, 0, sigma, sigma))


def test_sharpness_falls_with_blur():
    images = smooth_cells()
    by_blur = [
        figure(with_noise(blurred(images, sigma), 5), SHARPNESS) for sigma in (0, 0.7, 1.2, 2, 3)
    ]
    for sharper, duller in pairwise(by_blur):
        assert (duller < sharper - 0.1).all()


@pytest.mark.parametrize("change", [lambda x: 0.25 * x, lambda x: 6 * x, lambda x: x + 500])
def test_gain_and_offset_leave_sharpness(change):
    images = smooth_cells()
    np.testing.assert_allclose(
        figure(change(images).astype(np.float32), SHARPNESS),
        figure(images.astype(np.float32), SHARPNESS),
        atol=1e-3,
    )


@pytest.mark.parametrize("deviation", [10, 30, 60])
def test_camera_noise_leaves_sharpness_and_its_order(deviation):
    """Noise of a third of the contrast moves it by less than a blur of 0.7 pixels."""
    images = smooth_cells()
    clean = figure(images.astype(np.float32), SHARPNESS)
    noisy = figure(with_noise(images, deviation), SHARPNESS)
    blur = figure(blurred(images, 0.7).astype(np.float32), SHARPNESS)
    assert np.abs(np.mean(noisy - clean)) < 0.05
    assert np.abs(noisy - clean).max() < 0.5 * (clean - blur).min()


@pytest.mark.parametrize("deviation", [20, 50, 150])
@pytest.mark.parametrize("blur", [0, 1, 3])
def test_noise_is_what_was_added(deviation, blur):
    """Squares add: what sharp detail has of single pixels, and what the camera adds."""
    images = blurred(smooth_cells(), blur)
    clean, noisy = (
        np.exp(figure(one.astype(np.float32), NOISE)) - 1
        for one in (images, with_noise(images, deviation))
    )
    added = np.sqrt(noisy**2 - clean**2)
    assert added.mean() == pytest.approx(deviation, rel=0.05)
    assert (noisy > clean + 1).all()


@pytest.mark.parametrize("deviation", [5, 50])
def test_noise_of_an_image_out_of_focus_is_the_camera_s(deviation):
    images = with_noise(blurred(smooth_cells(), 4), deviation)
    assert np.exp(figure(images, NOISE)).mean() - 1 == pytest.approx(deviation, rel=0.15)


def test_images_without_detail_are_finite():
    for counts in (0, 400, 65_535):
        assert np.isfinite(raw_figures(np.full((2, 2, 64, 64), counts, dtype=np.uint16))).all()


@pytest.mark.parametrize("divide", [1, 3])
def test_floats_and_integers_agree(random_cells, divide):
    images = random_cells(8)
    floats = (images / divide).astype(np.float32)
    wanted = raw_figures(images) if divide == 1 else raw_figures(floats.astype(np.float64))
    np.testing.assert_allclose(raw_figures(floats), wanted, rtol=1e-4, atol=1e-5)


def test_each_cell_stands_alone(random_cells):
    images = random_cells(9)
    one_by_one = np.concatenate([raw_figures(images[i : i + 1]) for i in range(9)])
    np.testing.assert_allclose(raw_figures(images), one_by_one, rtol=1e-5, atol=1e-5)
