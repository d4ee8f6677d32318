"""The raw-image figures measure what their names say."""

from __future__ import annotations

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


def test_brightness_adds_and_leaves_focus_alone(random_cells):
    images = random_cells(20)
    before, after = raw_figures(images), raw_figures(images * np.uint16(4))
    for column, name in enumerate(RAW_FIGURES):
        if "focus" in name or "correlation" in name or "saturation" in name:
            expected = np.zeros(20)
        else:
            expected = np.full(20, np.log(4))
        np.testing.assert_allclose(after[:, column] - before[:, column], expected, atol=0.01)


def test_clipping_shows_as_saturation_at_any_count(random_cells):
    images = random_cells(10)
    clipped = np.minimum(images, np.percentile(images, 90, axis=(2, 3), keepdims=True))
    name = "nucleus saturation (pixels at the maximum)"
    assert (figure(images, name) < np.log(20)).all()
    assert (figure(clipped.astype(np.uint16), name) > np.log(300)).all()


def test_blur_lowers_focus(random_cells):
    images = random_cells(10).astype(np.float32)
    blurred = gaussian_filter(images, (0, 0, 1.5, 1.5))
    name = "protein focus (gradient energy over variance)"
    assert (figure(blurred, name) < figure(images, name) - 0.2).all()


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
