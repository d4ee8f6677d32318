"""What representations that are networks share: their weights, and how they answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic

import numpy as np
import torch

from coos_mlflow.errors import DataError
from coos_mlflow.representations.base import Range, Representation
from coos_mlflow.representations.nn.inference import CELLS_AT_A_TIME, Network, answering_form
from coos_mlflow.representations.nn.networks import (
    Tensors,
    best_device,
    digest_of,
    in_batches,
    load_weights,
    place,
    read_tensors,
    uses_bf16,
    write_tensors,
)
from coos_mlflow.representations.nn.precision import BF16, FP32, check_precision

Width = Annotated[float, Range(above=0, most=10)]
"""At 10 a hundred times the weights: a thousand million for DeepLoc, 4.4 GB."""

Rate = Annotated[float, Range(above=0, most=1_000_000)]
"""Far beyond a rate at which anything is learnt, and fit for float32."""

Count = Annotated[int, Range(1)]


class Networked(Representation, Generic[Network]):
    """A representation by one network, whose weights are kept in one file."""

    packages: ClassVar[tuple[str, ...]] = ("safetensors", "torch")

    file: ClassVar[str]
    """Name of the file that `save` writes."""

    beside: ClassVar[tuple[str, ...]] = ()
    """Tensors that are kept with the weights and are none."""

    def __init__(self) -> None:
        self._tensors: Tensors = {}
        self._beside: Tensors = {}
        self._digest = ""
        self._facts: dict[str, Any] = {}
        self._network: Network | None = None
        self._answering: Network | None = None
        self._forms: dict[str, Network] = {}

    @abstractmethod
    def _build(self) -> Network:
        """Return the network of these settings, whatever its weights."""

    def _load(self) -> None:
        """Put weights into use where there are none yet, or refuse."""
        raise DataError(f"{self.title} has learnt nothing yet; call fit or restore first.")

    @property
    def digest(self) -> str:
        """SHA-256 of the network's weights, once it has any."""
        return self._digest

    def prepare(self, precision: str = FP32) -> str:
        """Bring the network into the form in which it answers; see `Representation.prepare`."""
        check_precision(precision)
        network = self._loaded()
        bf16 = uses_bf16(precision, best_device())
        chosen = BF16 if bf16 else FP32
        if chosen not in self._forms:
            self._forms[chosen] = answering_form(network, bf16)
        self._answering = self._forms[chosen]
        return chosen

    def save(self, folder: Path) -> None:
        """Write the weights, and what there is to say of them."""
        self._loaded()
        write_tensors(folder / self.file, self._tensors | self._beside, self._facts)

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote; no other weights are looked for."""
        tensors, self._facts = read_tensors(folder / self.file)
        self._beside = {name: tensors.pop(name) for name in self.beside if name in tensors}
        self._use(tensors, str(folder / self.file))

    def _use(self, tensors: Tensors, where: str) -> None:
        network = self._build()
        load_weights(network, tensors, where)
        place(network, best_device())
        self._tensors, self._digest = tensors, digest_of(tensors)
        self._network = self._answering = network.eval()
        self._forms = {}

    def _loaded(self) -> Network:
        if self._network is None:
            self._load()
        assert self._network is not None
        return self._network

    def _answers(
        self, prepared: np.ndarray, compute: Callable[[Network, torch.Tensor], Tensors]
    ) -> dict[str, np.ndarray]:
        """Apply the network, as it was prepared, to cells: some at a time, on its device."""
        self._loaded()
        network, device = self._answering, best_device()
        assert network is not None
        return in_batches(
            prepared,
            lambda cells: compute(network, cells.to(device)),
            CELLS_AT_A_TIME[device.type],
        )
