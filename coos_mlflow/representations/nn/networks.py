"""Functions for all networks: device, precision, inference in batches, files of weights.

Weights are stored as safetensors with a digest; nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from coos_mlflow._utils.files import whole_file
from coos_mlflow.errors import OutputError, RegistryError
from coos_mlflow.representations.nn.precision import AUTO, BF16

Tensors = dict[str, torch.Tensor]

_DIGEST = "sha256"
"""Key of the digest in the metadata of a file of weights."""


def best_device() -> torch.device:
    """Return CUDA where available, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def scaled(channels: int, width: float) -> int:
    """Return a layer's number of channels in a network of another width, at least 1."""
    return max(1, round(channels * width))


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Return whether a precision means bfloat16 on a device.

    "auto" means bfloat16 where the device has instructions for it. Elsewhere bfloat16 is emulated
    and slower than float32. torch before 2.6 cannot query a processor; "auto" is float32 there.
    """
    if precision != AUTO:
        return precision == BF16
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)


def autocast(device: torch.device, bf16: bool) -> AbstractContextManager[Any]:
    """Return a context in which convolutions and products run in bfloat16, or in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def to_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, in channels-last memory, the fastest for convolutions."""
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def same_pixels(images: int, shape: Sequence[int]) -> int:
    """Return how many images have as many pixels as a number of images of 64x64 pixels.

    It keeps the memory of a batch the same for all crops.

    Parameters
    ----------
    images : int
        Number of images of 64x64 pixels.
    shape : sequence of int
        Shape that ends with height and width, in pixels.

    Returns
    -------
    int
        At least 1.
    """
    height, width = shape[-2:]
    return max(1, images * 64 * 64 // (height * width))


def apply_in_batches(
    images: np.ndarray, compute: Callable[[torch.Tensor], Tensors], batch: int
) -> dict[str, np.ndarray]:
    """Apply a network to images in batches, without gradients.

    Parameters
    ----------
    images : ndarray, shape (n, ...)
    compute : callable
        Takes a batch as a tensor on the CPU, returns named tensors with as many rows.
    batch : int
        Images in a batch.

    Returns
    -------
    dict of str to ndarray of float32
    """
    found: dict[str, np.ndarray] = {}
    # TF32 has ten bits: with it a GPU's output would differ from a processor's.
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), exact:
        # At least one batch, if empty, so that the output has its names and columns.
        for start in range(0, max(len(images), 1), batch):
            block = np.ascontiguousarray(images[start : start + batch])
            for name, tensor in compute(torch.from_numpy(block)).items():
                if name not in found:
                    # Outputs kept batch by batch would lie between feature maps in memory, so
                    # that the memory of the maps could not be used again.
                    found[name] = np.empty((len(images), *tensor.shape[1:]), np.float32)
                found[name][start : start + batch] = tensor.float().cpu()
    return found


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def digest_of(tensors: Tensors) -> str:
    """Return the SHA-256 of the tensors' names, shapes, dtypes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Tensors, facts: dict[str, Any]) -> None:
    """Write tensors, their digest and JSON-ready facts into one file, atomically.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"facts": json.dumps(facts, sort_keys=True), _DIGEST: digest_of(plain)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            save_file(plain, partial, metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path}: cannot be written ({error}).") from error


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises
    ------
    RegistryError
        Where the file is missing, cut, changed or of another kind.
    """
    try:
        with safe_open(path, "pt") as file:
            # Copies, because the file is mapped into memory and might be changed or cut later.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        facts = json.loads(metadata["facts"])
        if metadata[_DIGEST] != digest_of(tensors):
            raise ValueError("they are not what was written")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RegistryError(
            f"{path}: expected the weights of a network, but they cannot be read ({error})."
        ) from error
    return tensors, facts


def load_weights(network: nn.Module, tensors: Tensors, source: str) -> None:
    """Load tensors into a network; names and shapes must be exactly the network's.

    Raises
    ------
    RegistryError
        Naming `source` and the first tensor that is missing, surplus or of another shape.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted(expected.keys() | shapes.keys()):
        if expected.get(name) != shapes.get(name):
            raise RegistryError(
                f"{source}: {name} is {shapes.get(name, 'missing')}, "
                f"expected {expected.get(name, 'no such tensor')}."
            )
    network.load_state_dict(tensors)
