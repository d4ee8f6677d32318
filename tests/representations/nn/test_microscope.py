"""The augmentation by microscopes: what each part does, and that the random numbers decide all."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coos_mlflow.representations.nn import microscope as scope
from coos_mlflow.representations.nn.deeploc_network import STRETCH, stretch
from coos_mlflow.simulate import simulate_plate_cells

NONE, CHANNELS = np.zeros((3, 2)), (3, 2)


@pytest.fixture(scope="module")
def raw():
    return simulate_plate_cells(seed=5, wells_per_class=1, cells_per_well=3)["images"]


@pytest.fixture(scope="module")
def cells(raw):
    return torch.from_numpy(stretch(raw))


def turned(quarters, flip=1.0):
    """Matrices of quarter turns, as `Settings.matrices`."""
    cosine, sine = np.cos(quarters * np.pi / 2), np.sin(quarters * np.pi / 2)
    return np.tile([[cosine * flip, -sine, 0], [sine * flip, cosine, 0]], (3, 1, 1))


def test_without_strength_nothing_changes(cells):
    found = scope.photographed(cells, scope.neutral(len(cells)))
    torch.testing.assert_close(found, cells.clamp(min=0), atol=2e-6, rtol=0)


def test_its_stretch_is_that_of_the_cells(raw, cells):
    assert scope.STRETCH == STRETCH
    counts = torch.from_numpy(raw.astype(np.float32))
    torch.testing.assert_close(scope.restretched(counts), cells, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("gain", "offset"), [(0.25, 0), (7.5, 130), (1, -40)])
def test_gain_and_offset_need_no_augmentation(raw, cells, gain, offset):
    """They cancel in the stretch, before the augmentation and after it."""
    found = torch.from_numpy(stretch(gain * raw.astype(np.float32) + offset))
    torch.testing.assert_close(found, cells, atol=1e-4, rtol=0)
    once, again = (scope.restretched(image) for image in (cells, gain * cells + offset))
    torch.testing.assert_close(again, once, atol=1e-4, rtol=0)
    # A second stretch lies within 1 %, since the brightest thousandth is clipped by the first one.
    torch.testing.assert_close(once, cells, atol=0.01, rtol=0)


@pytest.mark.parametrize("side", [33, 64, 80])
@given(width=st.floats(0, 4), share=st.floats(0, 1), wide=st.floats(4, 20))
def test_blur_and_haze_keep_all_light(side, width, share, wide):
    images = torch.from_numpy(np.random.default_rng(side).random((3, 2, side, side), np.float32))
    each = (np.full(CHANNELS, value) for value in (width, share, wide))
    found = scope.blurred(images, *each)
    torch.testing.assert_close(found.sum((2, 3)), images.sum((2, 3)), rtol=1e-5, atol=0)


def test_blur_of_a_point_is_a_gaussian():
    images = torch.zeros(3, 2, 65, 65)
    images[:, :, 32, 32] = 1
    found = scope.blurred(images, np.full(CHANNELS, 2.0), NONE, NONE + 1)
    r2 = (torch.arange(65) - 32) ** 2
    expected = torch.exp(-(r2[:, None] + r2) / 8) / (8 * np.pi)
    torch.testing.assert_close(found[1, 1], expected, atol=1e-6, rtol=0)
    hazy = scope.blurred(images, NONE, np.full(CHANNELS, 0.25), np.full(CHANNELS, 2.0))
    torch.testing.assert_close(hazy, 0.75 * images + 0.25 * found, atol=1e-6, rtol=0)


def test_each_image_has_its_own_blur():
    images = torch.rand(3, 2, 64, 64)
    width = np.arange(6).reshape(CHANNELS) / 2
    found = scope.blurred(images, width, NONE, NONE + 1)
    alone = scope.blurred(images, np.full(CHANNELS, width[2, 1]), NONE, NONE + 1)
    torch.testing.assert_close(found[2, 1], alone[2, 1], atol=1e-5, rtol=0)
    assert not torch.allclose(found[0, 1], alone[0, 1], atol=0.1)


@pytest.mark.parametrize("side", [33, 64])
@pytest.mark.parametrize("quarters", range(4))
def test_quarter_turns_are_exact(side, quarters):
    images = torch.rand(3, 2, side, side)
    found = scope.moved(images, turned(quarters))
    torch.testing.assert_close(found, images.rot90(quarters, (2, 3)), atol=1e-4, rtol=0)
    mirrored = scope.moved(images, turned(0, flip=-1.0))
    torch.testing.assert_close(mirrored, images.flip(3), atol=1e-4, rtol=0)


def test_a_scale_of_two_makes_an_image_of_half_the_size():
    images = torch.zeros(3, 2, 64, 64)
    images[:, :, 16:48, 16:48] = 1
    found = scope.moved(images, 2 * turned(0))
    assert found[0, 0, 16:48, 16:48].sum() == pytest.approx(16 * 16, rel=1e-3)
    # Mirror images of the edges are dark next to the cell, as the edges are.
    assert found[0, 0, 24:40, 24:40].min() == 1 and found[0, 0, 14:18, 14:18].max() == 0


def test_a_shift_is_in_half_sides():
    images = torch.rand(3, 2, 64, 64)
    still = turned(0)
    still[:, 0, 2] = 2 / 32
    found = scope.moved(images, still)
    torch.testing.assert_close(found[..., :60], images[..., 2:62], atol=1e-4, rtol=0)


def test_light_and_cross_talk_by_hand():
    images = torch.ones(3, 2, 64, 64)
    images[:, 1] = 0.5
    slope = np.tile([0.1, 0.0], (3, 1))
    lit = scope.photographed(images, replace(scope.neutral(3), slope=slope))
    torch.testing.assert_close(lit.mean((2, 3)), images.mean((2, 3)))
    # The last pixel's centre lies half a pixel, 1/64 of half a side, within the edge.
    assert float(lit[0, 0, 5, -1]) == pytest.approx(1 + 0.1 * 63 / 64, abs=1e-5)
    mixed = scope.photographed(
        images, replace(scope.neutral(3), cross_talk=np.tile([0.1, 0.2], (3, 1)))
    )
    torch.testing.assert_close(mixed[:, 0], torch.full((3, 64, 64), 1.05))
    torch.testing.assert_close(mixed[:, 1], torch.full((3, 64, 64), 0.7))


def test_noise_has_the_deviation_of_photons_and_reading():
    images = torch.full((3, 2, 64, 64), 0.5)
    settings = replace(
        scope.neutral(3),
        shot=np.full(CHANNELS, 100**-0.5),
        read=np.full(CHANNELS, 0.02),
        places=np.arange(6).reshape(CHANNELS) * 5000,
    )
    found = scope.photographed(images, settings)
    # The square root of 0.5 / 100 photons and 0.02 squared.
    np.testing.assert_allclose(found.std((2, 3)), (0.005 + 0.0004) ** 0.5, rtol=0.05)
    np.testing.assert_allclose(found.mean((2, 3)), 0.5, atol=0.005)
    assert not torch.allclose(found[0], found[1], atol=0.01)


def test_gamma_by_hand():
    images = torch.full((3, 2, 64, 64), 0.25)
    found = scope.photographed(images, replace(scope.neutral(3), gamma=np.full(CHANNELS, 0.5)))
    torch.testing.assert_close(found, torch.full_like(found, 0.5))


def test_the_random_numbers_decide_all(cells):
    first, again, other = (
        scope.microscope(cells, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=0.1)
    assert first.shape == cells.shape and torch.isfinite(first).all()
    assert float(first.min()) > -0.5 and float(first.max()) <= 1


def test_how_many_cells_are_worked_on_at_a_time_changes_nothing(cells, monkeypatch):
    found = scope.microscope(cells, np.random.default_rng(1))
    monkeypatch.setattr(scope, "_AT_A_TIME", 5)
    again = scope.microscope(cells, np.random.default_rng(1))
    torch.testing.assert_close(found, again, atol=1e-5, rtol=0)


@given(st.integers(0, 2**32 - 1), st.sampled_from([32, 64, 256]), st.floats(0.1, 0.8))
def test_settings_stay_in_their_ranges(seed, side, pixel_size):
    drawn = scope.drawn(50, side, np.random.default_rng(seed), pixel_size)
    factor = np.sqrt(np.abs(np.linalg.det(drawn.matrices[:, :, :2])))
    assert (factor <= scope.SCALE + 1e-9).all() and (factor >= 1 / scope.SCALE - 1e-9).all()
    shift = drawn.matrices[:, :, 2] * side / 2 * pixel_size
    assert np.abs(shift).max() <= scope.SHIFT
    widest = (scope.DEFOCUS + scope.CHROMATIC) * scope.BLUR_PER_DEFOCUS / pixel_size
    assert drawn.blur.min() >= 0 and drawn.blur.max() <= widest
    assert drawn.shot.max() <= 0.1 and drawn.gamma.max() <= scope.GAMMA
    assert all(len(getattr(drawn, field.name)) == 50 for field in fields(drawn))


def test_a_flat_image_is_no_trouble():
    found = scope.microscope(torch.zeros(3, 2, 64, 64), np.random.default_rng(0))
    assert torch.isfinite(found).all()
