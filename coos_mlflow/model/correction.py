"""The change that adapting a model to one plate makes to the answers of its classifier.

A version that `coos adapt` registered holds a correction beside its classifier. The classifier
stays as it was trained.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from scipy.special import softmax

from coos_mlflow.errors import RegistryError

CORRECTION = "correction.npz"
"""File of a correction in a bundle."""

FLOOR = 1e-6
"""Least probability that is corrected. Forests and neighbours give exact zeros, of which no
correction could make anything; chosen on development plates."""


@dataclass(frozen=True)
class Correction:
    """A shift of the features, and weights that change the probabilities.

    The corrected probabilities are softmax(log p + weights z + bias), where p are the classifier's
    for shifted features, and z the unshifted features on the axes of the model's reference.

    Parameters
    ----------
    offset : ndarray of float32, shape (d,)
        Added to the layer's features before the classifier.
    weights : ndarray of float64, shape (classes, dims)
        By class and axis of the reference's projection.
    bias : ndarray of float64, shape (classes,)
    """

    offset: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    @classmethod
    def nothing(cls, d: int, dims: int, n_classes: int) -> Correction:
        """Return the correction that changes no label."""
        return cls(np.zeros(d, np.float32), np.zeros((n_classes, dims)), np.zeros(n_classes))

    @property
    def shifts(self) -> bool:
        """Whether it shifts the features."""
        return bool(self.offset.any())

    def apply(self, probabilities: np.ndarray, projected: np.ndarray) -> np.ndarray:
        """Return corrected probabilities, float64, shape (n, classes).

        Parameters
        ----------
        probabilities : ndarray, shape (n, classes)
            The classifier's, for shifted features.
        projected : ndarray, shape (n, dims)
            Unshifted features (`Projection.project`).
        """
        scores = np.log(np.maximum(probabilities, FLOOR)) + projected @ self.weights.T + self.bias
        corrected: np.ndarray = softmax(scores, axis=1)
        return corrected

    def save(self, folder: Path) -> None:
        """Write it into a bundle."""
        np.savez(folder / CORRECTION, **vars(self))

    @classmethod
    def load(cls, folder: Path, d: int, dims: int, n_classes: int) -> Correction | None:
        """Read the correction of a bundle, None where it has none.

        Parameters
        ----------
        d, dims, n_classes : int
            Numbers of features, axes and classes of its model.

        Raises
        ------
        RegistryError
            When it is damaged, or of another model.
        """
        path = folder / CORRECTION
        if not path.exists():
            return None
        expected = {"offset": (d,), "weights": (n_classes, dims), "bias": (n_classes,)}
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in expected}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise RegistryError(
                f"{path}: cannot be read ({error}); adapt the model again."
            ) from error
        for name, array in arrays.items():
            if array.shape != expected[name] or array.dtype.kind != "f":
                raise RegistryError(
                    f"{path}: {name} is {array.dtype} {array.shape}, expected floats "
                    f"{expected[name]}; adapt the model again."
                )
        return cls(**arrays)
