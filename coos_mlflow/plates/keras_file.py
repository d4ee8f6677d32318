"""Read the convolutions of a network that Keras has stored in HDF5.

Open this module for another layout of Keras. `coos weights` uses it to take published weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import shown
from coos_mlflow.plates.hdf5.chunks import Entries
from coos_mlflow.plates.hdf5.open_file import open_file, own_dataset, reading

_KERNEL_AXES, _BIAS_AXES = 4, 1


def read_convolutions(path: Path, layers: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """Read kernels and biases of the convolutions of a network.

    Keras 1 and 2 keep them below the layer's name, as ``block1_conv1/block1_conv1/kernel:0``, in
    files of weights and, below ``model_weights``, in those of whole models. Keras 3 counts the
    layers of a class in its ``.weights.h5``: ``layers/conv2d_3/vars/0`` is of the fourth.

    Parameters
    ----------
    path : Path
    layers : sequence of str
        Names of all the network's convolutions, from the first to the last.

    Returns
    -------
    dict of dict of ndarray
        For each layer its ``weight``, shape (height, width, inputs, outputs), and its ``bias``,
        shape (outputs,). What the file lacks is left out.

    Raises
    ------
    DataError
        Where the file or a tensor cannot be read, or a tensor does not hold floats.
    """
    with open_file(path) as file, reading(path):
        places: list[str] = []
        file.visit(places.append)
        return {
            layer: _tensors(file, path, _places_of(layer, number, places))
            for number, layer in enumerate(layers)
        }


def _places_of(layer: str, number: int, places: list[str]) -> list[str]:
    """Return where the tensors of a layer may lie in the file, without those of an optimiser."""
    counted = ["layers", f"conv2d_{number}" if number else "conv2d", "vars"]
    folders = {place: place.split("/")[:-1] for place in places}
    own = {place: path for place, path in folders.items() if not place.startswith("optimizer")}
    named = [place for place, path in own.items() if layer in path]
    return named or [place for place, path in own.items() if path[-3:] == counted]


def _tensors(file: h5py.File, path: Path, places: list[str]) -> dict[str, np.ndarray]:
    kinds = {_KERNEL_AXES: "weight", _BIAS_AXES: "bias"}
    found = {}
    for place in places:
        if isinstance(file[place], h5py.Dataset) and (kind := kinds.get(file[place].ndim)):
            found[kind] = _values(own_dataset(file, place), f"{path}:/{shown(place)}", path)
    return found


def _values(dataset: h5py.Dataset, where: str, path: Path) -> np.ndarray:
    if dataset.dtype.kind != "f":
        raise DataError(f"{where}: dtype {shown(dataset.dtype)} found, expected floats.")
    entries = Entries(dataset, where, path.stat().st_size)
    entries.check_packing()
    return entries.read(0, dataset.shape[0])
