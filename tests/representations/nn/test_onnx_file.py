"""ONNX files, encoded by hand: their float tensors by name, and nothing else."""

import numpy as np
from vgg16_files import onnx_model

from coos_mlflow.representations.nn.onnx_file import read_initialisers


def test_float_tensors_are_read_by_name_and_others_left_out():
    kernel = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    stored = {"kernel:0": kernel, "b": np.float32([0.5]), "axes": np.array([2, 3], np.int64)}
    found = read_initialisers(onnx_model(stored))
    assert list(found) == ["kernel:0", "b"]
    np.testing.assert_array_equal(found["kernel:0"], kernel)
    np.testing.assert_array_equal(found["b"], [0.5])


def test_a_model_without_tensors_has_none():
    assert read_initialisers(onnx_model({})) == {}
