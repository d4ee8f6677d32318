"""Uneven light is found from the fields of a plate, and divided out without the offset."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from planes import a_field, some_images
from scipy import ndimage

from coos_mlflow.errors import DataError
from coos_mlflow.fields.illumination import GRID, Light, correct, estimate
from coos_mlflow.fields.plate_images import PlateImages
from coos_mlflow.fields.settings import CropSettings

SETTINGS = CropSettings(protein=0, nucleus=1, crop=32, image_pixel_um=0.5)
OFFSET = 100
SHAPE = (192, 256)


def vignette(loss: float, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Light that is lost with the squared distance from a point beside the middle; mean 1."""
    y, x = np.mgrid[: shape[0], : shape[1]] / np.array(shape)[:, None, None] - 0.45
    light = 1 - 2 * loss * (y**2 + x**2)
    return light / light.mean()


@cache
def plate(loss: float, n_fields: int = 100, shape: tuple[int, int] = SHAPE) -> PlateImages:
    """Fields of cells with Poisson noise, some of them empty, under a vignette."""
    rng = np.random.default_rng(7)
    fields = []
    margin = 20  # Cells stand across the edges too.
    around = tuple(side + 2 * margin for side in shape)
    for number in range(n_fields):
        image = np.zeros((2, *around))
        n_cells = 0 if number % 12 == 0 else rng.poisson(200)
        image[:, rng.integers(0, around[0], n_cells), rng.integers(0, around[1], n_cells)] = 40_000
        image = ndimage.gaussian_filter(image, (0, 5, 5))[:, margin:-margin, margin:-margin]
        counts = rng.poisson((image + 30) * vignette(loss, shape)) + OFFSET
        fields.append(a_field(*counts.astype(np.uint16), number=number))
    return some_images(fields)


def relative_error(light: Light, loss: float) -> np.ndarray:
    middles = (np.arange(GRID) + 0.5) / GRID
    rows, columns = ((middles * side).astype(int) for side in SHAPE)
    return light.profile / vignette(loss)[np.ix_(rows, columns)] - 1


@pytest.mark.parametrize("loss", [0.0, 0.3, 0.6])
def test_a_simulated_vignette_is_found_within_a_few_percent(loss: float) -> None:
    light = estimate(plate(loss), SETTINGS)
    assert light.profile.shape == (2, GRID, GRID)
    np.testing.assert_allclose(light.profile.mean(axis=(1, 2)), 1, rtol=1e-5)
    error = relative_error(light, loss)
    assert np.sqrt((error**2).mean()) < 0.03
    assert np.abs(error).max() < 0.15


def test_the_offset_of_the_camera_is_found_where_light_is_uneven() -> None:
    light = estimate(plate(0.6), SETTINGS)
    np.testing.assert_allclose(light.offset, OFFSET, atol=12)


def test_corrected_fields_are_even() -> None:
    images = plate(0.6)
    light = estimate(images, SETTINGS)
    empty = np.stack([plane.read() for plane in images.fields[0].planes.values()])
    corrected = correct(empty, light)
    assert corrected.dtype == np.uint16
    for before, after in zip(empty, corrected, strict=True):
        assert corner_over_middle(before) < 0.65
        assert corner_over_middle(after) == pytest.approx(1, abs=0.1)


def corner_over_middle(image: np.ndarray) -> float:
    light = image.astype(float) - OFFSET
    return light[-30:, -30:].mean() / light[80:110, 100:130].mean()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_the_offset_is_not_scaled_and_light_is(dtype: type) -> None:
    profile = np.full((2, GRID, GRID), 0.5, np.float32)
    light = Light(profile, np.array([100, 200], np.float32))
    counts = np.full((2, 40, 50), 300, dtype)
    corrected = correct(counts, light)
    assert corrected.dtype == dtype
    np.testing.assert_array_equal(corrected[0], 100 + (300 - 100) / 0.5)
    np.testing.assert_array_equal(corrected[1], 200 + (300 - 200) / 0.5)


def test_corrected_counts_stay_within_16_bits() -> None:
    light = Light(np.full((2, GRID, GRID), 0.5, np.float32), np.array([100, 100], np.float32))
    counts = np.zeros((2, 40, 40), np.uint16)
    counts[:, 20:] = 65535
    assert set(np.unique(correct(counts, light))) == {0, 65535}


def test_the_same_plate_gives_the_same_light_and_progress_is_told() -> None:
    told: list[int] = []
    first, second = estimate(plate(0.3), SETTINGS, told.append), estimate(plate(0.3), SETTINGS)
    assert sum(told) == 100
    np.testing.assert_array_equal(first.profile, second.profile)


def test_fields_that_cannot_be_read_are_left_out_and_too_few_are_refused() -> None:
    good = plate(0.3).fields[:30]
    bad = a_field(np.full(SHAPE, -1), np.full(SHAPE, -1), number=999)
    with_bad = estimate(some_images([*good, bad]), SETTINGS)
    np.testing.assert_array_equal(
        with_bad.profile, estimate(some_images([*good]), SETTINGS).profile
    )
    with pytest.raises(DataError, match="plate: 9 fields found that can be read, expected at lea"):
        estimate(some_images([*good[:9], bad]), SETTINGS)


def test_several_plates_are_refused_before_any_is_read() -> None:
    fields = plate(0.3).fields[:30]
    three = some_images([replace(one, plate=f"P{n % 3}") for n, one in enumerate(fields)])
    told: list[int] = []
    with pytest.raises(DataError, match="plate: found 3 plates, expected one for --illumination; "):
        estimate(three, SETTINGS, told.append)
    assert told == []


@pytest.mark.parametrize("shape", [(20, 300), (192, 256)])
def test_fields_without_any_light_stay_as_they_are(shape: tuple[int, int]) -> None:
    dark = np.full(shape, OFFSET, np.uint16)
    light = estimate(some_images([a_field(dark, dark, number=n) for n in range(12)]), SETTINGS)
    counts = np.stack([dark, dark + 7])
    np.testing.assert_array_equal(correct(counts, light), counts)
