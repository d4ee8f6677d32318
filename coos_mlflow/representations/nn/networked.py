"""`NetworkRepresentation`, the base class of representations that are networks.

It holds their weights, reads and writes the file of weights, and runs inference.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic

import numpy as np
import torch

from coos_mlflow.errors import DataError
from coos_mlflow.representations.base import Range, Representation
from coos_mlflow.representations.nn.inference import CELLS_AT_A_TIME, Network, inference_network
from coos_mlflow.representations.nn.networks import (
    Tensors,
    apply_in_batches,
    best_device,
    digest_of,
    load_weights,
    read_tensors,
    same_pixels,
    to_device,
    uses_bf16,
    write_tensors,
)
from coos_mlflow.representations.nn.precision import BF16, FP32, check_precision

Width = Annotated[float, Range(above=0, most=10)]
"""A width of 10 has a hundred times the weights. DeepLoc for cells of 64 pixels then has a thousand
million, 4.4 GB."""

Rate = Annotated[float, Range(above=0, most=1_000_000)]
"""The limit is far above any useful learning rate and within float32."""

Count = Annotated[int, Range(1)]


class NetworkRepresentation(Representation, Generic[Network]):
    """A representation by one network, whose weights are in one file."""

    packages: tuple[str, ...] = ("safetensors", "torch")

    file: ClassVar[str]
    """Name of the file that `save` writes."""

    extra_tensors: ClassVar[tuple[str, ...]] = ()
    """Names of tensors that are stored with the weights without being weights."""

    def __init__(self) -> None:
        self._tensors: Tensors = {}
        self._extra_tensors: Tensors = {}
        self._digest = ""
        self._facts: dict[str, Any] = {}
        self._network: Network | None = None  # as trained, in single precision
        self._inference_network: Network | None = None  # the one in use
        self._prepared_networks: dict[str, Network] = {}  # by precision

    @abstractmethod
    def _build(self) -> Network:
        """Return a network of these settings, with any weights."""

    def _load(self) -> None:
        """Load weights on first use, where a subclass can; by default there are none to load."""
        raise DataError(f"{self.title} is not trained yet; call fit or restore first.")

    def _settings(self) -> dict[str, Any]:
        """Return the settings that the constructor stored under their own names."""
        return {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and name not in ("dataset", "title")
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the network's weights; empty before there are any."""
        return self._digest

    def prepare(self, precision: str = FP32) -> str:
        """Build the network for inference; see `Representation.prepare`."""
        check_precision(precision)
        network = self._loaded()
        bf16 = uses_bf16(precision, best_device())
        chosen = BF16 if bf16 else FP32
        if chosen not in self._prepared_networks:
            self._prepared_networks[chosen] = inference_network(network, bf16)
        self._inference_network = self._prepared_networks[chosen]
        return chosen

    def save(self, folder: Path) -> None:
        """Write the weights and the facts about them."""
        self._loaded()
        write_tensors(folder / self.file, self._tensors | self._extra_tensors, self._facts)

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote; weights from other sources are not tried."""
        tensors, self._facts = read_tensors(folder / self.file)
        self._extra_tensors = {
            name: tensors.pop(name) for name in self.extra_tensors if name in tensors
        }
        self._use(tensors, str(folder / self.file))

    def _use(self, tensors: Tensors, source: str) -> None:
        """Build the network with these weights; `source` names them in an error message."""
        network = self._build()
        load_weights(network, tensors, source)
        to_device(network, best_device())
        self._tensors, self._digest = tensors, digest_of(tensors)
        self._network = self._inference_network = network.eval()
        self._prepared_networks = {}

    def _loaded(self) -> Network:
        if self._network is None:
            self._load()
        assert self._network is not None
        return self._network

    def _infer(
        self, prepared: np.ndarray, compute: Callable[[Network, torch.Tensor], Tensors]
    ) -> dict[str, np.ndarray]:
        """Apply the prepared network to cells, in batches, on its device."""
        self._loaded()
        network, device = self._inference_network, best_device()
        assert network is not None
        return apply_in_batches(
            prepared,
            lambda cells: compute(network, cells.to(device)),
            same_pixels(CELLS_AT_A_TIME[device.type], prepared.shape),
        )
