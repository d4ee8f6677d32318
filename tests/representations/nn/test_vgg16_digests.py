"""The published digests against ImageNet's tensors, and these against published values."""

import hashlib

import numpy as np
import pytest
from safetensors.numpy import load_file
from vgg16_files import write_keras, write_pth

from coos_mlflow.representations import create, vgg16
from coos_mlflow.representations.nn.vgg16_weights import DIGESTS

PUBLISHED_VALUES = {
    "features.0.weight": {(0, 2, 0, 0): 0.42947057},
    "features.0.bias": {25: 0.7446502},
    "features.2.weight": {(63, 63, 2, 2): 0.016082443},
    "features.5.bias": {1: 0.06440781},
    "features.24.weight": {(269, 63, 1, 0): -0.011236359},
    "features.26.bias": {510: 0.23517226},
    "features.28.weight": {(400, 0, 0, 2): -0.008714244},
}
"""Asserted by a TensorFlow SSD of what it loads; there conv1_1's channel 0 is blue, here 2 is."""

FIRST_KERNEL = [
    *(0.42947057, 0.373467, -0.061360113, 0.27476987, 0.038680777, -0.36722335),
    *(-0.05746817, -0.26224968, -0.35009676, 0.55037946),
]
FIRST_BIASES = [
    *(0.73429835, 0.093403675, 0.06775674, 0.8862966, 0.25994542, 0.66426694),
    *(-0.015828926, 0.3249065, 0.68600726, 0.062479325),
]
"""conv1_1 in devincody/CS179final_project, src/h5_utils.cpp: blue, then the first of green."""


@pytest.fixture(scope="module")
def real_file(request):
    path = request.path.parents[4] / "shared" / "real" / "weights" / "vgg16_features.safetensors"
    if not path.exists():
        pytest.skip("ImageNet's weights are not beside the repository (../shared/real/weights)")
    return path


@pytest.fixture(scope="module")
def real_tensors(real_file):
    return load_file(real_file)


def test_the_digests_are_those_of_the_tensors(real_tensors):
    for key, digest in DIGESTS.items():
        values = real_tensors[key]
        described = f"{key}{values.shape}torch.float32".encode()
        assert hashlib.sha256(described + values.tobytes()).hexdigest() == digest


def test_the_tensors_have_the_published_values(real_tensors):
    for key, values in PUBLISHED_VALUES.items():
        for place, value in values.items():
            assert real_tensors[key][place] == np.float32(value)
    blue_to_red = real_tensors["features.0.weight"][0, ::-1]
    np.testing.assert_array_equal(blue_to_red.ravel()[:10], np.float32(FIRST_KERNEL))
    np.testing.assert_array_equal(real_tensors["features.0.bias"][:10], np.float32(FIRST_BIASES))


@pytest.mark.slow
def test_features_are_the_same_out_of_every_container(
    real_file, tmp_path, monkeypatch, random_cells
):
    from safetensors.torch import load_file as load_torch

    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "cache"))
    tensors, cells = load_torch(real_file), random_cells(2)
    found = []
    for file in (
        real_file,
        write_pth(tmp_path / "same.pth", tensors),
        write_keras(tmp_path / "same.h5", tensors),
    ):
        vgg16.cache_weights(file)
        model = create("vgg16", layers=["conv1_2", "conv5_3"])
        found.append(model.transform(cells))
        assert file.name in model.origin
    for features in found:
        for layer, values in features.items():
            assert np.isfinite(values).all() and values.std() > 0
            np.testing.assert_array_equal(values, found[0][layer])
