"""VGG16: activations of a network that has learnt from photographs, and nothing from cells.

Lu et al. 2019, section 3.1: "a pre-trained VGG16 model", the first channel "converted and rescaled
[...] to 8-bit RGB", features "from all layers (max-pooling convolutional layers)", the top three
reported. Weights and preprocessing are those of Keras; see `PUBLISHED` and `zero_centred`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from coos_mlflow.errors import MissingWeightsError, RegistryError
from coos_mlflow.representations.base import Seed, in_order
from coos_mlflow.representations.nn import vgg16_weights as published_weights
from coos_mlflow.representations.nn.networked import Networked
from coos_mlflow.representations.nn.networks import Tensors, read_tensors, write_tensors
from coos_mlflow.representations.nn.vgg16_network import (
    CONVOLUTIONS,
    PUBLISHED,
    Vgg16Network,
    eight_bit,
    random_weights,
    shapes_of,
    up_to,
    zero_centred,
)

REPORTED = ("conv3_3", "conv4_1", "conv4_2")
"""The layers of the paper's Table 3, of the ten up to conv4_3 that its authors extracted."""

Source = Literal["imagenet", "random"]

IMAGENET, RANDOM = get_args(Source)

FILE = "vgg16.safetensors"

_TERMS = {
    "source": PUBLISHED.url,
    "licence": PUBLISHED.licence,
    "citation": PUBLISHED.citation,
}
"""What the licence asks to be said wherever the weights go."""


class VGG16(Networked[Vgg16Network]):
    """The paper's pre-trained baseline.

    Parameters
    ----------
    layers : sequence of str
        Some of conv1_1 ... conv5_3.
    weights : {"imagenet", "random"}
        "random" is the same architecture with weights that nobody has trained: a control, and
        what tests use.
    seed : int
        Of random weights.
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
        self.layers = in_order("VGG16", layers, CONVOLUTIONS)
        self.weights = weights
        self.seed = seed
        if weights == RANDOM:
            self.title = "VGG16 architecture, random weights"

    @property
    def name(self) -> str:
        """Keeps models on random weights apart from VGG16."""
        return self.key if self.weights == IMAGENET else f"{self.key}-{self.weights}"

    def params(self) -> dict[str, Any]:
        """Return layers and weights, and the seed where weights are drawn."""
        drawn = {"seed": self.seed} if self.weights == RANDOM else {}
        return {"layers": list(self.layers), "weights": self.weights} | drawn

    def feature_names(self, layer: str) -> tuple[str, ...]:
        """Return Conv3_3 1, Conv3_3 2, ..., one for each filter."""
        return tuple(
            f"{self.layer_titles[layer]} {i + 1}" for i in range(CONVOLUTIONS[layer].outputs)
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the weights that the layers need."""
        self._loaded()
        return self._digest

    def require(self) -> None:
        """Refuse to go on without sound weights; see `Representation.require`."""
        self._loaded()

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        """Bring the protein, the only channel that is looked at, to 8 bit; see `eight_bit`."""
        return eight_bit(images[:, 0])

    def compute(
        self, prepared: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Compute the greatest activation of each filter; see `Representation.compute`."""
        asked = self.asked_for(layers)
        return self._answers(prepared, lambda network, cells: network(zero_centred(cells), asked))

    def _build(self) -> Vgg16Network:
        return Vgg16Network(self.layers)

    def _load(self) -> None:
        needed = up_to(self.layers)
        if self.weights == RANDOM:
            self._use(random_weights(needed, self.seed), "random weights")
            return
        kept = kept_weights()
        self._use({key: kept[key] for key in shapes_of(needed)}, str(kept_at()))
        self._facts = dict(_TERMS)


def kept_at() -> Path:
    """Return where the ImageNet weights are kept on this machine."""
    # Imported here: a served model carries its weights and looks for no cache.
    from coos_mlflow._utils.cache import cache_home

    return cache_home() / "weights" / FILE


def kept_weights() -> Tensors:
    """Return the thirteen convolutions that `keep_weights` has kept.

    Raises
    ------
    MissingWeightsError
        When there are none, or they are damaged.
    """
    path = kept_at()
    if not path.exists():
        raise MissingWeightsError(
            f"{path}: {PUBLISHED.title}'s weights are not on this machine; `coos weights "
            f"{PUBLISHED.key}` fetches them ({PUBLISHED.megabytes} MB), or where there is no "
            f"network `coos weights {PUBLISHED.key} --from FILE` takes a copy of {PUBLISHED.url}."
        )
    try:
        return read_tensors(path)[0]
    except RegistryError as error:
        raise MissingWeightsError(
            f"{path}: {PUBLISHED.title}'s weights are damaged; "
            f"`coos weights {PUBLISHED.key} --force` replaces them."
        ) from error


def keep_weights(
    file: Path | None = None, on_progress: Callable[[int], None] | None = None
) -> None:
    """Fetch the ImageNet weights, or take them from a copy, and keep the convolutions.

    Raises
    ------
    DataError, DownloadError, OutputError
        As `coos_mlflow.representations.nn.vgg16_weights.obtain`; weights kept before stay.
    """
    from coos_mlflow._utils.cache import make_cache_home

    make_cache_home()
    path = kept_at()
    tensors = published_weights.obtain(PUBLISHED, path.parent, file, on_progress)
    write_tensors(path, tensors, _TERMS)


REPRESENTATION = VGG16
