"""The co-occurrence kernel compared with mahotas, and the 69 features."""

import mahotas
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.representations import create
from coos_mlflow.representations._haralick import FEATURES, haralick
from coos_mlflow.representations.texture import block_mean, quantise

DISTANCES = np.array([1, 2, 3, 4, 8, 16, 31, 63])


def random_images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 64, 64), dtype=np.uint8)


def smooth_images() -> np.ndarray:
    rng = np.random.default_rng(1)
    noise = [gaussian_filter(rng.standard_normal((64, 64)), s) for s in (0.5, 1, 2, 4)]
    return quantise(np.stack(noise))


def two_valued_images() -> np.ndarray:
    checkerboard = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    return np.concatenate([(smooth_images() > 128).astype(np.uint8) * 255, checkerboard[None]])


def constant_images() -> np.ndarray:
    return np.stack([np.full((64, 64), v, np.uint8) for v in (0, 7, 255)])


def simulated_images() -> np.ndarray:
    from coos_mlflow.simulate import simulate_plate_cells

    return quantise(simulate_plate_cells(seed=3, cells_per_well=1)["images"][:16, 0])


@pytest.mark.parametrize(
    "make",
    [random_images, smooth_images, two_valued_images, constant_images, simulated_images],
)
@threadpool_limits.wrap(limits=1)  # mahotas multiplies vectors; threads only get in its way
def test_kernel_equals_mahotas(make):
    images = make()
    ours = haralick(images, DISTANCES)
    for image, features in zip(images, ours, strict=True):
        for distance, row in zip(DISTANCES, features, strict=True):
            expected = mahotas.features.haralick(image, distance=int(distance), return_mean=True)
            # Correlation and the two information measures are differences of nearly equal numbers
            # where pixels are independent; there mahotas itself carries a rounding error of 1e-9.
            for name, got, wanted in zip(FEATURES, row, expected, strict=True):
                floor = 1e-9 if "correlation" in name else 0.0
                assert got == pytest.approx(wanted, rel=1e-9, abs=floor), (name, distance)


def test_kernel_on_an_image_worked_by_hand():
    """Two columns of pairs (0, 3): every horizontal pair differs, the matrix has two entries."""
    image = np.tile(np.array([0, 3], np.uint8), (1, 2, 1))
    contrast = haralick(image, np.array([1]))[0, 0, FEATURES.index("contrast")]
    # horizontal and both diagonals: every pair differs by 3; vertical: no pair differs
    assert contrast == pytest.approx((9 + 9 + 0 + 9) / 4)


def test_kernel_is_the_same_after_any_other_image():
    images = np.concatenate([random_images(), constant_images(), smooth_images()])
    alone = np.stack([haralick(image[None], DISTANCES)[0] for image in images])
    np.testing.assert_array_equal(haralick(images, DISTANCES), alone)


@pytest.mark.parametrize("distance", [0, 64])
def test_kernel_refuses_distances_that_do_not_fit(distance):
    with pytest.raises(ValueError, match="do not fit"):
        haralick(random_images(), np.array([distance]))


@pytest.fixture
def cells() -> np.ndarray:
    rng = np.random.default_rng(2)
    smooth = gaussian_filter(rng.standard_normal((70, 2, 64, 64)), (0, 0, 3, 3))
    return (1000 + 5000 * smooth - 5000 * smooth.min()).astype(np.uint16)


@pytest.mark.parametrize("reading", ["distance", "downsample"])
def test_there_are_69_named_finite_features(cells, reading):
    texture = create("texture", reading=reading)
    (features,) = texture.transform(cells).values()
    names = texture.feature_names()
    assert features.shape == (70, 69) and features.dtype == np.float32
    assert len(set(names)) == 69
    assert np.isfinite(features).all()


def test_features_do_not_depend_on_offset_gain_or_quarter_turns(cells):
    texture = create("texture")
    (plain,) = texture.transform(cells).values()
    (brighter,) = texture.transform(cells.astype(np.float32) * 3 + 200).values()
    (turned,) = texture.transform(np.rot90(cells, axes=(2, 3))).values()
    np.testing.assert_allclose(brighter, plain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(turned, plain, rtol=1e-4, atol=1e-6)


def test_intensities_are_those_of_the_rescaled_protein(cells):
    (features,) = create("texture").transform(cells[:3]).values()
    protein = rescaled(cells[:3, 0])
    correlation = [np.corrcoef(c[0].ravel(), c[1].ravel())[0, 1] for c in cells[:3]]
    np.testing.assert_allclose(features[:, 65], protein.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(features[:, 66], protein.sum(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(features[:, 67], protein.std(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(features[:, 68], correlation, rtol=1e-5)


def rescaled(images: np.ndarray) -> np.ndarray:
    low = images.min(axis=(1, 2), keepdims=True).astype(np.float64)
    return (images - low) / (images.max(axis=(1, 2), keepdims=True) - low)


def test_quantised_images_are_rescaled_and_rounded(cells):
    for images in (cells[:, 0], cells[:, 1].astype(np.float32) / 7):
        np.testing.assert_array_equal(quantise(images), np.rint(255 * rescaled(images)))
    assert (quantise(np.full((1, 4, 4), 9.0)) == 0).all()


def test_blocks_are_averaged_and_a_rest_is_dropped():
    image = np.arange(25, dtype=np.float64).reshape(1, 5, 5)
    np.testing.assert_array_equal(block_mean(image, 2), [[[3, 5], [13, 15]]])


def test_scales_up_to_half_a_crop_are_taken():
    for crop in (32, 64, 256):
        dataset = coos7().model_copy(update={"crop": crop})
        half = create("texture", dataset=dataset, scales=[1, crop // 2])
        downsampled = create("texture", dataset=dataset, scales=[crop // 2], reading="downsample")
        images = np.random.default_rng(0).integers(0, 999, (2, 2, crop, crop)).astype(np.uint16)
        for made in (half, downsampled):
            assert np.isfinite(made.transform(images)["haralick"]).all()
        with pytest.raises(DataError, match=f"from 1 to {crop // 2}"):
            create("texture", dataset=dataset, scales=[1, crop // 2 + 1])


def test_kernel_equals_mahotas_on_the_largest_crop():
    image = np.random.default_rng(0).integers(0, 256, (1, 256, 256), dtype=np.uint8)
    image[0, :, :200] //= 64  # some entries of the matrix count tens of thousands of pairs
    for distance in (1, 128):
        expected = mahotas.features.haralick(image[0], distance=distance, return_mean=True)
        found = haralick(image, np.array([distance]))[0, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


def test_unknown_names_list_the_live_choices():
    with pytest.raises(DataError, match="texture"):
        create("textures")
    with pytest.raises(DataError, match="downsample"):
        create("texture", reading="pyramid")
