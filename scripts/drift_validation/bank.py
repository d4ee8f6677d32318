"""The bank of simulated plates, each described once for all models with the same representation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow._utils.files import whole_file
from coos_mlflow.drift.image_quality import raw_figures
from coos_mlflow.plates.wells import well_names
from coos_mlflow.representations import Representation
from drift_validation import digests, kinds
from drift_validation.kinds import Entry
from drift_validation.sizes import Size


@dataclass(frozen=True)
class Described:
    """The cells of a plate without their images.

    Parameters
    ----------
    features : dict of ndarray of float32, shape (n, D)
        By layer.
    raw : ndarray of float32, shape (n, len(RAW_FIGURES))
    labels : ndarray of int64, shape (n,)
        True classes, `kinds.UNSEEN` for a protein that no model knows.
    wells : ndarray of str, shape (n,)
    """

    features: dict[str, np.ndarray]
    raw: np.ndarray
    labels: np.ndarray
    wells: np.ndarray


class Bank:
    """Described plates on disk, one file each.

    Parameters
    ----------
    work : Path
    representation : Representation
    layers : sequence of str
        Layers that are kept.
    size : Size
    of_model : str
        Id of the model whose representation it is, if that was trained; else empty.
    """

    def __init__(
        self,
        work: Path,
        representation: Representation,
        layers: Sequence[str],
        size: Size,
        of_model: str = "",
    ) -> None:
        self._representation, self._layers, self._size = representation, tuple(layers), size
        numbers = (size.wells, size.cells, size.base_wells, size.base_cells)
        parts = [representation.key, representation.version, of_model, "-".join(map(str, numbers))]
        name = "_".join(str(part) for part in (*parts, digests.of_plates()) if part)
        self._folder = work / "plates" / name

    def missing(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the plates that are still to be made."""
        return [entry for entry in entries if not self._path(entry).exists()]

    def make(self, entry: Entry) -> int:
        """Simulate and describe a plate, and return its number of cells."""
        self._folder.mkdir(parents=True, exist_ok=True)
        cells = kinds.simulate(entry, self._size)
        features = self._representation.transform(cells["images"], self._layers)
        arrays: dict[str, Any] = {f"layer {name}": features[name] for name in self._layers}
        with whole_file(self._path(entry)) as partial, partial.open("wb") as file:
            np.savez(
                file,
                raw=raw_figures(cells["images"]),
                labels=cells["labels"],
                wells=well_names(cells["wells"]),
                **arrays,
            )
        return len(cells["labels"])

    def load(self, entry: Entry) -> Described:
        """Return a plate that was made."""
        with np.load(self._path(entry)) as arrays:
            features = {name: arrays[f"layer {name}"] for name in self._layers}
            return Described(features, arrays["raw"], arrays["labels"], arrays["wells"])

    def _path(self, entry: Entry) -> Path:
        return self._folder / f"{entry.name}.npz"
