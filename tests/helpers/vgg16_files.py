"""Files of VGG16's first convolutions, or all, as several programs write them."""

import hashlib
import zipfile

import h5py
import numpy as np
import torch
from safetensors.torch import save_file

from coos_mlflow.representations.nn.networks import digest_of
from coos_mlflow.representations.nn.vgg16_containers import ONNX_IN_WHEEL
from coos_mlflow.representations.nn.vgg16_download import PublishedFile
from coos_mlflow.representations.nn.vgg16_network import convolutions_up_to, random_weights
from coos_mlflow.representations.nn.vgg16_weights import PUBLISHED, Published

LAYERS = ["conv1_1", "conv1_2"]

KERAS_LAYERS = {
    "features.0": "block1_conv1",
    "features.2": "block1_conv2",
    "features.5": "block2_conv1",
    "features.7": "block2_conv2",
    "features.10": "block3_conv1",
    "features.12": "block3_conv2",
    "features.14": "block3_conv3",
    "features.17": "block4_conv1",
    "features.19": "block4_conv2",
    "features.21": "block4_conv3",
    "features.24": "block5_conv1",
    "features.26": "block5_conv2",
    "features.28": "block5_conv3",
}
"""Keras' names (keras.applications.vgg16) by torchvision's."""

NOWHERE = "http://127.0.0.1:9"


def small_tensors(seed=7):
    tensors = random_weights(convolutions_up_to(LAYERS), seed)
    drawn = torch.Generator().manual_seed(seed)
    for name in ("features.0.bias", "features.2.bias"):
        tensors[name] = torch.randn(64, generator=drawn)
    return tensors


def small_published(tensors, site=NOWHERE, file=b"", wheel=b""):
    """What is known of small weights whose two published files hold these bytes."""
    return Published(
        key=PUBLISHED.key,
        title=PUBLISHED.title,
        licence=PUBLISHED.licence,
        citation=PUBLISHED.citation,
        convolutions=tuple(convolutions_up_to(LAYERS)),
        digests={key: digest_of({key: tensor}) for key, tensor in tensors.items()},
        file=PublishedFile("the file", "", f"{site}/vgg16.pth", sha256(file)[:8], 1),
        wheel=PublishedFile("the wheel", "MIT", f"{site}/vgg16.whl", sha256(wheel), 1),
    )


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def keras_tensors(tensors):
    """Kernels (height, width, inputs, outputs), the first for blue, green, red; biases."""
    for layer, name in KERAS_LAYERS.items():
        if f"{layer}.weight" not in tensors:
            return
        kernel = tensors[f"{layer}.weight"].numpy()
        kernel = kernel[:, ::-1] if layer == "features.0" else kernel
        yield name, np.moveaxis(kernel, [0, 1], [3, 2]), tensors[f"{layer}.bias"].numpy()


def write_safetensors(path, tensors):
    save_file(tensors, path)
    return path


def write_pth(path, tensors):
    torch.save(tensors, path)
    return path


def write_keras(path, tensors, places="{0}/{0}/kernel:0 {0}/{0}/bias:0", **options):
    """Write HDF5; `places` may hold the name of the layer and, as {1}, its number."""
    with h5py.File(path, "w") as file:
        for number, (name, kernel, bias) in enumerate(keras_tensors(tensors)):
            counted = f"_{number}" if number else ""
            for place, values in zip(places.split(), (kernel, bias), strict=True):
                file.create_dataset(place.format(name, counted), data=values, **options)
    return path


def write_wheel(path, tensors):
    stored = {}
    for name, kernel, bias in keras_tensors(tensors):
        of_onnx = f"functional_1/{name}_1"
        stored[f"{of_onnx}/convolution/ReadVariableOp:0"] = np.moveaxis(kernel, [3, 2], [0, 1])
        stored[f"{of_onnx}/Squeeze:0"] = bias
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(ONNX_IN_WHEEL, onnx_model(stored))
    return path


def onnx_model(tensors):
    """Encode an ONNX model by hand; numbers of fields are those of onnx.proto."""
    initialisers = b"".join(_field(5, _onnx_tensor(*item)) for item in tensors.items())
    ir_version, opset = _field(1, 8), _field(8, _field(2, 17))
    return ir_version + _field(7, _field(2, b"graph") + initialisers) + opset


def _onnx_tensor(name, values):
    kind = {"float32": 1, "int64": 7}[str(values.dtype)]
    dims = b"".join(_field(1, side) for side in values.shape)
    return dims + _field(2, kind) + _field(8, name.encode()) + _field(9, values.tobytes())


def _field(number, value):
    """A number, or bytes behind their length, in the wire format of Protocol Buffers."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value):
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])
