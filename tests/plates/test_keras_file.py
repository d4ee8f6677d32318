"""Keras' HDF5: what is found of a network's convolutions, and what is refused."""

import h5py
import numpy as np
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.plates.keras_file import read_convolutions

KERNEL = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
BIAS = np.arange(5, dtype=np.float32)


@pytest.fixture
def keras_file(tmp_path):
    """Write an HDF5 file of these datasets, and return it."""

    def write(**datasets):
        with h5py.File(tmp_path / "network.h5", "w") as file:
            for place, values in datasets.items():
                file[place] = values
        return tmp_path / "network.h5"

    return write


def test_kernels_and_biases_come_as_they_are_stored(keras_file):
    file = keras_file(**{"b/b/kernel:0": KERNEL, "b/b/bias:0": BIAS, "bb/bb/bias:0": BIAS + 1})
    found = read_convolutions(file, ["b", "c"])
    np.testing.assert_array_equal(found["b"]["weight"], KERNEL)
    np.testing.assert_array_equal(found["b"]["bias"], BIAS)
    assert found["c"] == {}


def test_counted_layers_are_taken_in_their_order(keras_file):
    biases = {f"layers/conv2d_{i}/vars/1": BIAS + i for i in range(1, 12)}
    file = keras_file(**{"layers/conv2d/vars/0": KERNEL}, **biases)
    found = read_convolutions(file, [f"layer{i}" for i in range(12)])
    assert list(found["layer0"]) == ["weight"]
    assert [found[f"layer{i}"]["bias"][0] for i in range(1, 12)] == list(range(1, 12))


def test_numbers_that_are_no_floats_are_refused(keras_file):
    file = keras_file(**{"b/b/bias:0": np.arange(5)})
    with pytest.raises(DataError, match=r"network\.h5:/b/b/bias:0: dtype int64 found, expected fl"):
        read_convolutions(file, ["b"])


def test_scalars_and_matrices_of_a_layer_are_left_out(keras_file):
    file = keras_file(**{"b/b/rate": np.float32(1), "b/b/matrix": KERNEL[0, 0]})
    assert read_convolutions(file, ["b"]) == {"b": {}}


def test_other_files_are_not_read(keras_file, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["bias"] = BIAS
    file = keras_file(**{"b/b/other": np.float32(1)})
    with h5py.File(file, "a") as opened:
        opened["b/b/bias:0"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "bias")
    assert read_convolutions(file, ["b"]) == {"b": {}}
    layout = h5py.VirtualLayout((5,), np.float32)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "bias", (5,))
    with h5py.File(file, "a") as opened:
        opened.create_virtual_dataset("b/b/virtual", layout)
    with pytest.raises(DataError, match="virtual dataset and so would read other files"):
        read_convolutions(file, ["b"])


def test_a_kernel_packed_too_well_is_refused(tmp_path):
    with h5py.File(tmp_path / "network.h5", "w") as file:
        shape, chunks = (3, 3, 512, 512), (3, 3, 512, 512)
        values = np.zeros(shape, np.float32)
        file.create_dataset("b/kernel:0", data=values, chunks=chunks, compression="gzip")
    with pytest.raises(DataError, match=r"b/kernel:0: .* packed into"):
        read_convolutions(tmp_path / "network.h5", ["b"])
