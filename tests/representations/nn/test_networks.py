"""Inference in batches: the same output as at once, in the same memory for all crops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coos_mlflow.plates.dataset import coos7
from coos_mlflow.representations import create
from coos_mlflow.representations.nn.inference import CELLS_AT_A_TIME
from coos_mlflow.representations.nn.networks import apply_in_batches, best_device, same_pixels


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((64, 64), 16), ((9, 2, 64, 64), 16), ((32, 32), 64), ((48, 48), 28), ((256, 256), 1)],
)
def test_images_with_the_pixels_of_sixteen_cells(shape, expected):
    assert same_pixels(16, shape) == expected


@given(st.integers(1, 1024), st.integers(1, 300), st.integers(1, 300))
def test_as_many_images_as_fit_and_at_least_one(images, height, width):
    found, pixels = same_pixels(images, (height, width)), images * 64 * 64
    assert found >= 1 and (found == 1 or found * height * width <= pixels)
    assert (found + 1) * height * width > pixels


@pytest.mark.parametrize("n", [0, 1, 3, 4, 11])
def test_batches_together_are_the_whole(n):
    images = np.random.default_rng(0).random((n, 5), np.float32)
    sizes = []

    def compute(batch):
        sizes.append(len(batch))
        return {"double": 2 * batch.double(), "first": batch[:, :1]}

    found = apply_in_batches(images, compute, 4)
    assert sum(sizes) == n and max(sizes) <= 4
    assert found["double"].dtype == np.float32
    np.testing.assert_array_equal(found["double"], 2 * images)
    np.testing.assert_array_equal(found["first"], images[:, :1])


@pytest.mark.parametrize("crop", [32, 64, 100, 256])
@pytest.mark.parametrize(
    ("key", "settings", "part"),
    [
        ("deeploc", {"width": 0.02}, "convolutions"),
        ("pci", {"width": 0.02}, "convolutions.conv1"),
        ("vgg16", {"weights": "random", "layers": ["conv1_1"]}, "features.0"),
    ],
)
def test_convolutions_get_no_more_pixels_at_once_than_of_small_cells(key, settings, part, crop):
    made = create(key, dataset=coos7().model_copy(update={"crop": crop}), **settings)
    if made.trainable:
        made._use(made._build().state_dict(), "random weights")
    made.prepare("fp32")
    given = []
    made._inference_network.get_submodule(part).register_forward_pre_hook(
        lambda _, images: given.append(images[0][:, 0].numel())
    )
    made.transform(np.zeros((20, 2, crop, crop), np.uint16))
    crops = 5 if key == "deeploc" and best_device().type != "cpu" else 1
    assert max(given) <= crops * CELLS_AT_A_TIME[best_device().type] * 64 * 64
