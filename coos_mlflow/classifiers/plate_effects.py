"""Linear discriminants with plates as random effects: a new plate is fitted without labels.

Focus, light and staining change all cells of a plate together, and each class a little in its own
way. How far plates of Training lie apart tells how far a new plate may have moved. What a plate has
changed is estimated from its cells, by which the wells of one class teach the model of the plate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.covariance import ledoit_wolf

MAX_AXES = 96
"""Principal axes of Training that are kept; each takes four bytes a cell of a plate while it is
scored. All 69 of texture are kept; chosen."""

NO_VARIANCE = 1e-7
"""Axes with less than this share of the largest variance are constant up to rounding."""

STEPS = 30
"""Steps of an estimation; ten times as many move no class mean of a test plate by 0.001."""

CELLS_OF_MEANS = 50.0
"""The mean of a class on a plate is that of Training, moved by the plate's offset, until about so
many cells say otherwise. Errors of left-out plates are the same from 10 to 200 (chosen on
simulated development data, as the next three)."""

CELLS_OF_NOISE = 300.0
"""The covariance of cells on a plate is that of Training until about so many cells say otherwise.
Errors of left-out plates are the same from 100 to 300, and twice as high with 1,000."""

CELLS_OF_WELL = 5.0
"""A well says as much about its class as at most so many independent cells, since its cells share
what is special about the well. Errors of left-out plates are the same from 1 to 20."""

MIN_STRETCH = 0.01
"""Least ratio of spreads from which an estimation starts: one cell alone has none."""

PRIOR_COUNT = 0.2
"""Wells, or cells, that each class has before any is seen, so that none is impossible."""


@dataclass(frozen=True)
class Effect:
    """What is special about the cells of one plate.

    Parameters
    ----------
    shift : ndarray of float64, shape (axes,)
        By which all cells lie off Training's, on the axes of `PlateEffects.project`.
    centres : ndarray of float64, shape (classes of the fit, axes)
        Means of the classes on the plate.
    precision : ndarray of float64, shape (axes, axes)
        Inverse of the covariance of cells around these means.
    log_priors : ndarray of float64, shape (classes of the fit,)
        Logarithm of the share of each class on the plate.
    """

    shift: np.ndarray
    centres: np.ndarray
    precision: np.ndarray
    log_priors: np.ndarray

    def scores(self, z: np.ndarray) -> np.ndarray:
        """Return log-likelihoods (n, classes), up to a number that all classes of a cell share."""
        weights = self.precision @ self.centres.T
        scores: np.ndarray = z @ weights - 0.5 * (self.centres.T * weights).sum(axis=0)
        return scores


class PlateEffects(ClassifierMixin, BaseEstimator):
    """Linear discriminant analysis with plates as random effects.

    A cell of class c on plate p is ``mean_c + offset_p + own_pc + noise``, all normal. The
    covariance of the noise is that within plates and classes, shrunk as by Ledoit and Wolf (2004,
    J. Multivar. Anal. 88, 365-411). That of the offsets is the covariance of class means between
    Training plates. That of the classes' own shifts is the noise's divided by `CELLS_OF_MEANS`.
    The noise of a plate has an inverse Wishart prior around Training's. A new plate's offset is the
    best linear unbiased prediction (Henderson 1975, Biometrics 31, 423-447), and its other
    parameters are the most probable ones, with the classes by expectation and maximisation
    (Dempster et al. 1977, J. R. Stat. Soc. B 39, 1-38). A plate of one class gets the offset that
    its class allows: other classes explain it only by one that Training plates hardly have.

    Attributes
    ----------
    classes_ : ndarray of int64, shape (classes,)
    axes_ : ndarray of float64, shape (d, axes)
        From scaled features to axes on which the noise of Training has variance 1.
    means_ : ndarray of float64, shape (classes, axes)
        Mean over the plates of each class.
    directions_ : ndarray of float64, shape (axes, r)
        Directions in which Training plates differ; r is 0 where no class has two plates.
    variances_ : ndarray of float64, shape (r,)
        Variance of the offsets in these directions.
    """

    def fit(self, X: np.ndarray, y: np.ndarray, plates: np.ndarray) -> PlateEffects:
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
        return self.probabilities(self.project(X), self.no_effect())

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable class of single cells, int64, shape (n,)."""
        labels: np.ndarray = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return labels

    def probabilities(self, z: np.ndarray, effect: Effect) -> np.ndarray:
        """Return probabilities, float64, shape (n, classes), of the cells of a plate.

        Parameters
        ----------
        z : ndarray, shape (n, axes)
            From `project`.
        effect : Effect
            Of the plate.
        """
        found: np.ndarray = softmax(effect.scores(z) + effect.log_priors, axis=1)
        return found

    def size(self, effect: Effect) -> float:
        """Return how far a plate has moved as a whole, in standard deviations of Training plates.

        The root mean square over the directions in which Training plates differ: 1 is ordinary.
        """
        along = self.directions_.T @ effect.shift
        return float(np.sqrt(np.mean(along**2 / self.variances_)))

    @property
    def knows_plates(self) -> bool:
        """Whether a class of Training lies on two plates, so that their difference is known.

        Otherwise all plates are taken to be like Training: classes of a moved plate could change
        places, and nothing would speak against it.
        """
        return len(self.variances_) > 0

    def no_effect(self) -> Effect:
        """Return the effect of a plate like Training, with equally many cells of all classes."""
        n_classes, axes = self.means_.shape
        equal = np.full(n_classes, -np.log(n_classes))
        return Effect(np.zeros(axes), self.means_, np.eye(axes), equal)

    def effect(self, z: np.ndarray, wells: np.ndarray, *, pure: bool = True) -> Effect:
        """Estimate what is special about a plate from its cells, without labels.

        Three starts are tried: a plate like Training, one that has moved as a whole, and one that
        was stretched too and holds all classes. The most probable end counts.

        Parameters
        ----------
        z : ndarray, shape (n, axes)
            Cells of the plate, from `project`.
        wells : ndarray of str, shape (n,)
            Empty for a cell whose well is not known.
        pure : bool
            Whether each well holds one class.
        """
        if not len(z) or not self.knows_plates:
            return self.no_effect()
        plate = _Plate(np.asarray(z, np.float64), wells, pure)
        starts = (self.no_effect(), self._moved_as_a_whole(plate), self._stretched(plate))
        ends = [self._estimated(plate, start) for start in starts]
        return max(ends, key=lambda end: self._log_posterior(plate, end))

    def _moved_as_a_whole(self, plate: _Plate) -> Effect:
        """Return an effect of the offset and the classes' shares alone."""
        effect = self.no_effect()
        for _ in range(STEPS):
            shares, log_priors = plate.shares(effect)
            shift = self._shift(plate, shares, np.eye(len(effect.shift)))
            centres = self.means_ + shift
            effect = replace(effect, shift=shift, centres=centres, log_priors=log_priors)
        return effect

    def _stretched(self, plate: _Plate) -> Effect:
        """Return the effect by which a plate's cells have Training's mean and spread on each axis.

        It holds where the plate has as much of each class as of the others.
        """
        middle = self.means_.mean(axis=0)
        stretch = plate.z.std(axis=0) / np.sqrt(1 + self.means_.var(axis=0))
        stretch = np.maximum(stretch, MIN_STRETCH)
        centres = plate.z.mean(axis=0) + (self.means_ - middle) * stretch
        return replace(self.no_effect(), centres=centres, precision=np.diag(1 / stretch**2))

    def _estimated(self, plate: _Plate, effect: Effect) -> Effect:
        """Return the effect that expectation and maximisation reach from a start."""
        for _ in range(STEPS):
            shares, log_priors = plate.shares(effect)
            shift = self._shift(plate, shares, effect.precision, CELLS_OF_MEANS)
            counts, sums = shares.sum(axis=0), shares.T @ plate.z
            expected = self.means_ + shift
            centres = (sums + CELLS_OF_MEANS * expected) / (counts + CELLS_OF_MEANS)[:, None]
            scatter = plate.squares - sums.T @ centres - centres.T @ sums
            scatter += (centres.T * counts) @ centres
            noise = CELLS_OF_NOISE * np.eye(len(shift)) + scatter
            precision = np.linalg.inv(noise / (CELLS_OF_NOISE + len(plate.z)))
            effect = Effect(shift, centres, precision, log_priors)
        return effect

    def _shift(
        self, plate: _Plate, shares: np.ndarray, precision: np.ndarray, cells: float = np.inf
    ) -> np.ndarray:
        """Return the best prediction of the offset, given each cell's shares of the classes.

        A class tells of the offset as much as `cells` cells at most: then its own shift hides it.
        """
        counts = shares.sum(axis=0)
        residuals = shares.T @ plate.z - counts[:, None] * self.means_
        told = 1 / (1 + counts / cells)
        onto = self.directions_.T @ precision
        known = (counts * told).sum() * onto @ self.directions_ + np.diag(1 / self.variances_)
        shift: np.ndarray = self.directions_ @ np.linalg.solve(known, onto @ (told @ residuals))
        return shift

    def _log_posterior(self, plate: _Plate, effect: Effect) -> float:
        """Return the logarithm of an effect's posterior density, up to a number."""
        precision, own = effect.precision, effect.centres - self.means_ - effect.shift
        log_det = -np.linalg.slogdet(precision)[1]
        along = self.directions_.T @ effect.shift
        return float(
            logsumexp(plate.together(effect) + effect.log_priors, axis=1).sum()
            - 0.5 * ((plate.squares * precision).sum() + len(plate.z) * log_det)
            - 0.5 * CELLS_OF_MEANS * ((own @ precision) * own).sum()
            - 0.5 * (along**2 / self.variances_).sum()
            - 0.5 * CELLS_OF_NOISE * (np.trace(precision) + log_det)
        )


class _Plate:
    """The cells of a plate, in groups that share one class: wells, or each cell by itself."""

    def __init__(self, z: np.ndarray, wells: np.ndarray, pure: bool) -> None:
        self.z, self.squares = z, z.T @ z
        own = np.char.add("cell ", np.arange(len(z)).astype(str))
        names = np.where(wells == "", own, wells) if pure else own
        self._group = np.unique(names, return_inverse=True)[1]
        self._sizes = np.bincount(self._group)

    def together(self, effect: Effect) -> np.ndarray:
        """Return the log-likelihoods of groups, up to a number each, shape (groups, classes)."""
        return _sums(effect.scores(self.z), self._group, len(self._sizes))

    def shares(self, effect: Effect) -> tuple[np.ndarray, np.ndarray]:
        """Return how sure each cell is of each class, and how common the classes are.

        Returns
        -------
        shares : ndarray of float64, shape (n, classes)
        log_priors : ndarray of float64, shape (classes,)
        """
        weights = 1 / (1 + (self._sizes - 1) / CELLS_OF_WELL)
        scores = self.together(effect) * weights[:, None] + effect.log_priors
        shares = softmax(scores, axis=1)
        counts = shares.sum(axis=0) + PRIOR_COUNT
        return shares[self._group], np.log(counts / counts.sum())


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
