"""Linear discriminants with a random offset of each plate: cells of a new plate are moved back.

Focus, light and staining move all cells of a plate alike. How far plates of Training lie apart
tells in which directions, and how far, a new plate may have moved. The offset of a plate is
estimated from its cells without labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.covariance import ledoit_wolf

MAX_AXES = 96
"""Principal axes of Training that are kept; each takes four bytes a cell of a plate while it is
scored. All 69 of texture are kept; chosen."""

NO_VARIANCE = 1e-7
"""Axes with less than this share of the largest variance are constant up to rounding."""

STEPS = 30
"""Steps of the estimation. Errors of left-out plates are the same with 100 (chosen on simulated
development data)."""

CELLS_OF_WELL = 5.0
"""A well says as much about its class as at most so many independent cells, since its cells share
what is special about the well. Errors of left-out plates are the same from 1 to 20 (chosen on
simulated development data)."""

PRIOR_COUNT = 0.2
"""Wells, or cells, that each class has before any is seen; chosen, so that none is impossible."""


@dataclass(frozen=True)
class Offset:
    """How the cells of one plate are moved and how common its classes are.

    Parameters
    ----------
    shift : ndarray of float64, shape (axes,)
        By which the plate's cells lie off Training's, on the axes of `PlateOffsets.project`.
    log_priors : ndarray of float64, shape (classes of the fit,)
        Logarithm of the share of each class on the plate.
    size : float
        Root mean square of the shift in standard deviations of Training plates: 1 is ordinary.
        0 where Training has no plates to compare.
    """

    shift: np.ndarray
    log_priors: np.ndarray
    size: float


class PlateOffsets(ClassifierMixin, BaseEstimator):
    """Linear discriminant analysis with plates as random effects.

    A cell of class c on plate p is ``mean_c + offset_p + noise``, with normal offsets and noise.
    The covariance of the noise is that within plates and classes, shrunk as by Ledoit and Wolf
    (2004, J. Multivar. Anal. 88, 365-411). The covariance of the offsets is that of the classes'
    means between Training plates. The offset of a new plate is the best linear unbiased prediction
    (Henderson 1975, Biometrics 31, 423-447), with the classes by expectation and maximisation
    (Dempster et al. 1977, J. R. Stat. Soc. B 39, 1-38). A plate of one class gets the offset that
    its class allows: other classes explain it only by an offset that Training plates hardly have.

    Attributes
    ----------
    classes_ : ndarray of int64, shape (classes,)
    axes_ : ndarray of float64, shape (d, axes)
        From scaled features to axes on which the noise has variance 1.
    means_ : ndarray of float64, shape (classes, axes)
        Mean over the plates of each class.
    directions_ : ndarray of float64, shape (axes, r)
        Directions in which Training plates differ; r is 0 where no class has two plates.
    variances_ : ndarray of float64, shape (r,)
        Variance of the offsets in these directions.
    """

    def fit(self, X: np.ndarray, y: np.ndarray, plates: np.ndarray) -> PlateOffsets:
        """Fit the model.

        Parameters
        ----------
        X : ndarray, shape (n, d)
            Scaled features.
        y : ndarray of int64, shape (n,)
        plates : ndarray of str, shape (n,)
        """
        self.classes_ = np.unique(y)
        self.n_features_in_ = X.shape[1]
        axes = _principal_axes(X)
        on_axes = X @ axes
        units = np.unique(np.stack([y.astype(str), plates]), axis=1, return_inverse=True)[1].ravel()
        cells = np.bincount(units)
        means = _sums(on_axes, units, len(cells)) / cells[:, None]
        noise, _ = ledoit_wolf(on_axes - means[units], assume_centered=True)
        self.axes_ = axes @ _inverse_root(noise)
        means = means @ _inverse_root(noise)
        labels = y[np.unique(units, return_index=True)[1]]
        self.means_ = np.array([means[labels == label].mean(axis=0) for label in self.classes_])
        apart = means - self.means_[np.searchsorted(self.classes_, labels)]
        freedom = max(len(means) - len(self.classes_), 1)
        variances, directions = np.linalg.eigh(apart.T @ apart / freedom)
        # The noise has variance 1 on these axes, so the mean of n cells has 1/n.
        variances = variances - np.mean(1 / cells)
        self.directions_ = directions[:, variances > 0]
        self.variances_ = variances[variances > 0]
        return self

    def project(self, X: np.ndarray) -> np.ndarray:
        """Return scaled features (n, d) on the model's axes, shape (n, axes)."""
        on_axes: np.ndarray = X @ self.axes_
        return on_axes

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities (n, classes) of single cells, whose plate is not known."""
        return self.probabilities(self.project(X))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable class of single cells, int64, shape (n,)."""
        labels: np.ndarray = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return labels

    def probabilities(self, z: np.ndarray, offset: Offset | None = None) -> np.ndarray:
        """Return probabilities, float64, shape (n, classes), of the cells of a plate.

        Parameters
        ----------
        z : ndarray, shape (n, axes)
            From `project`.
        offset : Offset, optional
            Of the plate; none, and equal shares of the classes, by default.
        """
        if offset is None:
            offset = self._no_offset()
        found: np.ndarray = softmax(self._scores(z, offset.shift) + offset.log_priors, axis=1)
        return found

    def offset(self, z: np.ndarray, wells: np.ndarray, *, pure: bool = True) -> Offset:
        """Estimate the offset of a plate from its cells, without labels.

        Parameters
        ----------
        z : ndarray, shape (n, axes)
            Cells of the plate, from `project`.
        wells : ndarray of str, shape (n,)
            Empty for a cell whose well is not known.
        pure : bool
            Whether each well holds one class.
        """
        offset = self._no_offset()
        groups = _Groups(wells, pure)
        for _ in range(STEPS if len(z) else 0):
            scores = self._scores(z, offset.shift)
            shares = groups.shares(scores, offset.log_priors)
            offset = self._predicted(z, shares[groups.of_cell], groups.log_priors(shares))
        return offset

    def _no_offset(self) -> Offset:
        n_classes, axes = self.means_.shape
        return Offset(np.zeros(axes), np.full(n_classes, -np.log(n_classes)), 0.0)

    def _predicted(self, z: np.ndarray, shares: np.ndarray, log_priors: np.ndarray) -> Offset:
        """Return the best prediction of the offset, given each cell's shares of the classes."""
        residual = z.sum(axis=0) - shares.sum(axis=0) @ self.means_
        along = (self.directions_.T @ residual) / (len(z) + 1 / self.variances_)
        size = float(np.sqrt(np.mean(along**2 / self.variances_))) if len(along) else 0.0
        return Offset(self.directions_ @ along, log_priors, size)

    def _scores(self, z: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Return log-likelihoods (n, classes), up to a number for each cell."""
        centres = self.means_ + shift
        scores: np.ndarray = z @ centres.T - 0.5 * (centres**2).sum(axis=1)
        return scores


class _Groups:
    """Cells that share one class: the wells of a plate, or each cell by itself."""

    def __init__(self, wells: np.ndarray, pure: bool) -> None:
        own = np.char.add("cell ", np.arange(len(wells)).astype(str))
        names = np.where(wells == "", own, wells) if pure else own
        self.of_cell = np.unique(names, return_inverse=True)[1]
        self._weights = 1 / (1 + (np.bincount(self.of_cell) - 1) / CELLS_OF_WELL)

    def shares(self, scores: np.ndarray, log_priors: np.ndarray) -> np.ndarray:
        """Return how sure each group is of each class, shape (groups, classes)."""
        together = _sums(scores, self.of_cell, len(self._weights)) * self._weights[:, None]
        shares: np.ndarray = softmax(together + log_priors, axis=1)
        return shares

    def log_priors(self, shares: np.ndarray) -> np.ndarray:
        """Return the logarithm of the share of each class among the groups."""
        counts = shares.sum(axis=0) + PRIOR_COUNT
        log_priors: np.ndarray = np.log(counts / counts.sum())
        return log_priors


def _principal_axes(X: np.ndarray) -> np.ndarray:
    """Return the main axes of scaled cells, each divided by its standard deviation, (d, axes).

    Rescaled so, thin axes are not lost when the covariance of the noise is shrunk.
    """
    variances, axes = np.linalg.eigh(np.cov(X, rowvar=False).reshape(X.shape[1], -1))
    order = np.argsort(-variances)[:MAX_AXES]
    order = order[variances[order] > NO_VARIANCE * variances[order[0]]]
    scaled: np.ndarray = axes[:, order] / np.sqrt(variances[order])
    return scaled


def _inverse_root(covariance: np.ndarray) -> np.ndarray:
    variances, axes = np.linalg.eigh(covariance)
    root: np.ndarray = (axes / np.sqrt(variances)) @ axes.T
    return root


def _sums(values: np.ndarray, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """Return the sums of rows by group, shape (n_groups, columns)."""
    columns = [np.bincount(groups, column, n_groups) for column in values.T]
    return np.stack(columns, axis=1)
