"""Tests that take the plate as the unit: is a new plate farther than plates ordinarily are?

`verdict` uses these functions. They know arrays of scores only, neither cells nor files. A score is
a logarithm of a distance, standardised by mean and deviation over the reference's own plates, each
compared with the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

DRAWS = 20_000
"""Simulated plates: the 5 % limit is then known to within 1 %."""

SHRINKAGE = 0.5
"""Weight of the identity matrix in the correlation of the views. About twenty plates give only a
rough correlation; independent views have the higher limit."""

PRIOR_FREEDOM = 40.0
"""Degrees of freedom of the prior deviation: as much weight as 41 units of a reference. Over ten
registries of simulated data, the deviations of new plates differed by 6 % of their mean, and those
that each registry estimated from its own plates by 18 %."""

PLATE_SHARE = 0.1
"""Share of the variance of a class's score that all classes of its plate have in common. On plates
of many classes, simulated for development, it was 0.0 to 0.06."""

WELL_SHARE = 0.2
"""Share of the variance of a well's score that all wells of its class and plate have in common. On
plates simulated for development it was 0.16."""

FAR_WELLS, MIN_FAR_WELLS = 1 / 8, 2
"""The share of a plate's wells whose mean score tests for odd wells, and their least number. One of
eight proteins holds an eighth of the wells."""

PLATE_WEIGHT, CLASS_WEIGHT, WELLS_WEIGHT = 0.2, 0.5, 0.3
"""Shares of the false alarms that the test of whole plates, the test of single classes and the test
of odd wells may each raise, on plates of many classes; see `shares`."""


def shares(n_classes: int, *, has_wells: bool) -> dict[str, float]:
    """Return by statistic its share of the false alarms, summing to 1.

    With fewer classes a plate's odd wells tell less that its classes do not tell, so that their
    share goes to the classes. On a plate of one class, class and plate are the same.
    """
    wells = WELLS_WEIGHT * (1 - 1 / n_classes) ** 2 if has_wells else 0.0
    if n_classes == 1:
        return {"plate": 1.0}
    own = {"plate": PLATE_WEIGHT, "class": CLASS_WEIGHT + WELLS_WEIGHT - wells}
    return own | ({"wells": wells} if has_wells else {})


def moderated_deviation(deviation: np.ndarray, freedom: float, prior: np.ndarray) -> np.ndarray:
    """Shrink standard deviations towards a prior value (Smyth 2004, doi:10.2202/1544-6115.1027).

    Parameters
    ----------
    deviation : ndarray
        Estimates, each with `freedom` degrees of freedom.
    freedom : float
    prior : ndarray
        Values with `PRIOR_FREEDOM` degrees of freedom.
    """
    squares = PRIOR_FREEDOM * prior**2 + freedom * deviation**2
    moderated: np.ndarray = np.sqrt(squares / (PRIOR_FREEDOM + freedom))
    return moderated


def view_correlation(logs: np.ndarray) -> np.ndarray:
    """Return the correlation of the views over units, shrunk towards independence.

    Parameters
    ----------
    logs : ndarray, shape (units, views)

    Returns
    -------
    ndarray of float64, shape (views, views)
    """
    centred = logs - logs.mean(axis=0)
    covariance = centred.T @ centred
    deviation = np.sqrt(np.diag(covariance))
    scale = np.where(deviation > 0, deviation, 1.0)
    observed = covariance / np.outer(scale, scale)
    np.fill_diagonal(observed, 1.0)
    return (1 - SHRINKAGE) * observed + SHRINKAGE * np.eye(logs.shape[1])


@dataclass(frozen=True)
class NullPlates:
    """Scores of new plates of the reference's own population, by simulation.

    The score of a class in a view is the sum of normal effects of the reference, the plate and the
    class, divided by an uncertain deviation. The effect of the reference, which all new plates have
    in common, has the variance 1 / m, as m plates know their mean no better (the prediction limit
    of Hahn & Meeker 1991, section 4.8).

    Parameters
    ----------
    m : int
        Plates of the reference.
    freedom : float
        Degrees of freedom of the deviations.
    correlation : ndarray, shape (views, views)
    weights : tuple of float
        Weight of each class of the new plate, summing to 1.
    wells : tuple of int
        Number of scored wells of each class; none where wells hold mixtures.
    class_views : tuple of int
        Views that are tested class by class.
    """

    m: int
    freedom: float
    correlation: np.ndarray
    weights: tuple[float, ...]
    wells: tuple[int, ...]
    class_views: tuple[int, ...]

    @cached_property
    def expected(self) -> float:
        """Standard deviation of the weighted mean of the classes' scores."""
        squares = sum(weight**2 for weight in self.weights)
        return float(np.sqrt(PLATE_SHARE + (1 - PLATE_SHARE) * squares + 1 / self.m))

    @cached_property
    def _draws(self) -> dict[str, np.ndarray]:
        """Draws of each statistic, (DRAWS,)."""
        rng = np.random.default_rng(0)
        factor = np.linalg.cholesky(self.correlation).T
        views, classes = len(factor), len(self.weights)

        def normal(*shape: int) -> np.ndarray:
            drawn: np.ndarray = rng.standard_normal((DRAWS, *shape, views)) @ factor
            return drawn

        own = np.sqrt(1 - PLATE_SHARE) * normal(classes)
        common = np.sqrt(1 / self.m) * normal() + np.sqrt(PLATE_SHARE) * normal()
        uncertain = np.sqrt(rng.chisquare(self.freedom, (DRAWS, views)) / self.freedom)
        scores = (own + common[:, None]) / uncertain[:, None]
        weights = np.array(self.weights)
        draws = {"plate": (np.einsum("dcv,c->dv", scores, weights) / self.expected).max(axis=1)}
        if "class" in self._shares:
            draws["class"] = scores[:, :, list(self.class_views)].max(axis=(1, 2))
        if "wells" in self._shares:
            draws["wells"] = self._wells(rng)
        return draws

    def _wells(self, rng: np.random.Generator) -> np.ndarray:
        of_class = np.repeat(np.arange(len(self.wells)), self.wells)
        common = np.sqrt(1 / self.m) * rng.standard_normal((DRAWS, 1))
        of_unit = np.sqrt(WELL_SHARE) * rng.standard_normal((DRAWS, len(self.wells)))
        own = np.sqrt(1 - WELL_SHARE) * rng.standard_normal((DRAWS, len(of_class)))
        uncertain = np.sqrt(rng.chisquare(self.freedom, (DRAWS, 1)) / self.freedom)
        return far_mean((own + of_unit[:, of_class] + common) / uncertain)

    @cached_property
    def _sorted(self) -> dict[str, np.ndarray]:
        return {name: np.sort(values) for name, values in self._draws.items()}

    @cached_property
    def _shares(self) -> dict[str, float]:
        return shares(len(self.weights), has_wells=sum(self.wells) >= MIN_FAR_WELLS)

    @cached_property
    def _smallest(self) -> np.ndarray:
        """For each draw, the smallest p of its statistics, each divided by its share; sorted."""
        rows = [
            p_value(values, self._sorted[name]) / self._shares[name]
            for name, values in self._draws.items()
        ]
        return np.sort(np.min(rows, axis=0))

    def limits(self, alpha: float) -> dict[str, float]:
        """Return the score of each statistic above which a plate is unusual at level `alpha`."""
        level = np.quantile(self._smallest, alpha)
        return {
            name: float(np.quantile(values, 1 - min(level * self._shares[name], 1.0)))
            for name, values in self._sorted.items()
        }

    def p(self, scores: dict[str, float]) -> float:
        """Return the p of a plate's statistics together, adjusted for their number.

        Parameters
        ----------
        scores : dict of float
            By "plate", "class" and "wells"; those that were not simulated are left out.
        """
        smallest = min(
            float(p_value(np.array(score), self._sorted[name])) / self._shares[name]
            for name, score in scores.items()
            if name in self._sorted
        )
        at_most = np.searchsorted(self._smallest, smallest, side="right")
        return float((1 + at_most) / (DRAWS + 1))

    def view_p(self, views: np.ndarray) -> np.ndarray:
        """Return for each view the share of null plates whose largest view is larger, (views,)."""
        return p_value(views, self._sorted["plate"])


def far_mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean of the farthest wells, over the last axis (`FAR_WELLS`)."""
    n = scores.shape[-1]
    count = min(max(MIN_FAR_WELLS, int(np.ceil(n * FAR_WELLS))), n)
    means: np.ndarray = np.sort(scores, axis=-1)[..., n - count :].mean(axis=-1)
    return means


def p_value(score: np.ndarray, maxima: np.ndarray) -> np.ndarray:
    """Return the share of simulated maxima that are at least as large as the score.

    The score itself is counted among them (Phipson & Smyth 2010), so that p is never 0.

    Parameters
    ----------
    score : ndarray, any shape
    maxima : ndarray, shape (n,)
        In increasing order.

    Returns
    -------
    ndarray of float64, the shape of `score`
    """
    at_least = len(maxima) - np.searchsorted(maxima, score, side="left")
    share: np.ndarray = (1 + at_least) / (len(maxima) + 1)
    return share


def simes(p: np.ndarray) -> float:
    """Combine the p-values of n plates: the minimum of n p_(i) / i over sorted p_(1) <= ... p_(n).

    The result is small when one plate is very unusual or when many are slightly unusual. For a
    single plate it is the plate's own p. Simes (1986), Biometrika 73(3), 751-754,
    doi:10.1093/biomet/73.3.751.

    Parameters
    ----------
    p : ndarray of float, shape (n,), n >= 1
        One p-value for each plate, independent or positively dependent.
    """
    ordered = np.sort(np.asarray(p, dtype=np.float64))
    return float((len(ordered) * ordered / np.arange(1, len(ordered) + 1)).min())


def conformal_rank(score: float, reference: Sequence[float]) -> float:
    """Return (1 + number of reference plates at least as far) / (number of plates + 1).

    If the plate and the m reference plates are exchangeable, the result is at most alpha in no
    more than a share alpha of plates, whatever the distribution (Vovk, Gammerman & Shafer 2005,
    chapter 2).

    Parameters
    ----------
    score : float
        Distance of the plate.
    reference : sequence of float
        Distances of the m reference plates.

    Returns
    -------
    float
        At least 1 / (m + 1).
    """
    return (1 + sum(other >= score for other in reference)) / (len(reference) + 1)
