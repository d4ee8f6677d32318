"""Distances of plates from the reference plates, class by class, in one view.

A *unit* is the cells of one plate with one class. Where each well holds one class, this is the
class that most cells of the well are labelled as; elsewhere it is the label of the cell. The mean
of a unit is compared with the mean of the reference plates' units of the same class, so that the
mix of classes on a plate has no influence. Distances are relative to the expected difference
between plates: 1 is ordinary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from coos_mlflow.drift import MIN_CELLS_PER_CLASS
from coos_mlflow.drift.variance_components import (
    cell_deviation,
    plate_variance,
    well_variance,
)

MIN_SHARE_OF_COMMONEST = 0.25
"""Where cells have their own labels, a class is compared if it has at least this share of the
cells of the plate's commonest class. On a plate with one or two classes, smaller groups are mostly
wrongly labelled cells of the others. Classes that whole wells decide for need no such share."""

WELL_WEIGHT = 20.0
"""A well with this many cells counts half as much as one with very many. It is the ratio of the
variance of cells to that of wells, if wells make up 5 % of the variance."""

MIN_CELL_DEVIATION = 0.05
"""Minimum standard deviation of cells: 5 % of an intensity, 0.05 of the square root of a
probability or of a standardised feature. Without it, a figure that is nearly constant, such as the
number of saturated pixels, would make any plate with one unusual cell far."""


@dataclass(frozen=True)
class Groups:
    """Groups of cells with one class in one well, in one view.

    Parameters
    ----------
    plates, wells : ndarray of str, shape (groups,)
        Ids.
    classes, counts : ndarray of int, shape (groups,)
        Predicted class and number of cells.
    means, variances : ndarray, shape (groups, dims)
        Of the cells of each group.
    """

    plates: np.ndarray
    wells: np.ndarray
    classes: np.ndarray
    counts: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    def select(self, keep: np.ndarray) -> Groups:
        """Return the groups where `keep` is true."""
        return Groups(*(values[keep] for values in vars(self).values()))


@dataclass(frozen=True)
class Units:
    """Units of plates, in one view.

    Parameters
    ----------
    plates : ndarray of str, shape (units,)
        Ids.
    classes, counts : ndarray of int, shape (units,)
        Predicted class and number of cells.
    means : ndarray of float64, shape (units, dims)
        In the view's own scale.
    noise : ndarray of float64, shape (units, dims)
        Variance of the mean from wells and cells, in units of the variance of cells.
    """

    plates: np.ndarray
    classes: np.ndarray
    counts: np.ndarray
    means: np.ndarray
    noise: np.ndarray

    def select(self, keep: np.ndarray) -> Units:
        """Return the units where `keep` is true."""
        return Units(*(values[keep] for values in vars(self).values()))


@dataclass(frozen=True)
class Comparison:
    """Units, compared with the reference units of their class.

    Parameters
    ----------
    plates : ndarray of str, shape (units,)
        Ids, without units whose class is on no reference plate.
    classes, counts : ndarray of int, shape (units,)
        Predicted class and number of cells.
    deviations : ndarray of float64, shape (units, dims)
        Differences from the reference, in the view's own scale.
    distances : ndarray of float64, shape (units,)
        Squared differences divided by their expected squares, mean over dimensions: 1 is
        ordinary.
    noise_share : ndarray of float64, shape (units,)
        Share of the expected square that comes from having few cells and wells.
    """

    plates: np.ndarray
    classes: np.ndarray
    counts: np.ndarray
    deviations: np.ndarray
    distances: np.ndarray
    noise_share: np.ndarray


def comparable_units(
    plates: np.ndarray,
    classes: np.ndarray,
    counts: np.ndarray,
    min_share: float = MIN_SHARE_OF_COMMONEST,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find the units that have enough cells to be compared.

    Parameters
    ----------
    plates : ndarray of str, shape (groups,)
        Plate of each group.
    classes, counts : ndarray of int, shape (groups,)
        Class and number of cells of each group.
    min_share : float
        Least share of the cells of the plate's commonest class.

    Returns
    -------
    unit_plates, unit_classes, unit_counts : ndarray, shape (units,)
        Ids, classes and cells of the units.
    unit : ndarray of int64, shape (groups,)
        The unit of each group, -1 for a group that is not compared.
    """
    names, codes = np.unique(plates, return_inverse=True)
    table = np.zeros((len(names), int(classes.max(initial=0)) + 1), dtype=np.int64)
    np.add.at(table, (codes, classes), counts)
    compared = (table >= MIN_CELLS_PER_CLASS) & (
        table >= min_share * table.max(axis=1, keepdims=True)
    )
    rows, columns = np.nonzero(compared)
    number = np.full(table.shape, -1)
    number[rows, columns] = np.arange(len(rows))
    return names[rows], columns, table[rows, columns], number[codes, classes]


class ReferenceDistance:
    """Measures the distance of units from the reference plates, in one view.

    Parameters
    ----------
    reference : Groups
        The Training plates.
    n_classes : int
        Number of classes.
    shared_scale : bool
        Whether all dimensions share one scale for each class. Probabilities need it: a dimension
        that is nearly always 0 would otherwise make a plate far.
    min_share : float
        See `comparable_units`.
    precision : ndarray, shape (dims, dims), or None
        Inverse of the correlation of the dimensions; None where they are taken as independent.
    """

    def __init__(
        self,
        reference: Groups,
        n_classes: int,
        *,
        shared_scale: bool = False,
        min_share: float = MIN_SHARE_OF_COMMONEST,
        precision: np.ndarray | None = None,
    ) -> None:
        self._reference = reference
        self._n_classes = n_classes
        self._shared_scale = shared_scale
        self._min_share = min_share
        self._precision = np.eye(reference.means.shape[1]) if precision is None else precision

    def leaving_out(self, plate: str) -> ReferenceDistance:
        """Return the same measure, without one of the reference plates."""
        others = self._reference.select(self._reference.plates != plate)
        return self._changed(others, self._precision)

    def with_correlation(self, correlation: np.ndarray) -> ReferenceDistance:
        """Return the same measure for dimensions that vary together, (dims, dims)."""
        return self._changed(self._reference, np.linalg.inv(correlation))

    def _changed(self, reference: Groups, precision: np.ndarray) -> ReferenceDistance:
        return ReferenceDistance(
            reference,
            self._n_classes,
            shared_scale=self._shared_scale,
            min_share=self._min_share,
            precision=precision,
        )

    @cached_property
    def deviation(self) -> np.ndarray:
        """Standard deviation of cells within wells, shape (classes, dims)."""
        groups = self._reference
        deviation = cell_deviation(groups.classes, groups.counts, groups.variances, self._n_classes)
        if self._shared_scale:
            deviation[:] = np.sqrt((deviation**2).mean(axis=1, keepdims=True))
        return np.maximum(deviation, MIN_CELL_DEVIATION)

    @cached_property
    def well_variance(self) -> np.ndarray:
        """Variance of wells within plates, in units of the variance of cells, shape (dims,)."""
        groups = self._reference
        *_, unit = self._comparable(groups)
        scaled = groups.means / self.deviation[groups.classes]
        return well_variance(scaled, groups.counts, unit)

    @cached_property
    def _units(self) -> Units:
        return self.units(self._reference)

    @cached_property
    def plate_variance(self) -> np.ndarray:
        """Variance of plates within classes, in units of the variance of cells, shape (dims,)."""
        units = self._units
        return plate_variance(
            units.means / self.deviation[units.classes], units.noise, units.classes
        )

    @cached_property
    def _centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Means of the reference by class, and the variances of these means.

        Variances are in units of the variance of cells.
        """
        units, dims = self._units, self._units.means.shape[1]
        centres, variances = np.full((2, self._n_classes, dims), np.nan)
        for label in np.unique(units.classes):
            rows = units.classes == label
            if rows.sum() < 2:
                continue
            variance = self.plate_variance + units.noise[rows]
            weight = 1 / variance / (1 / variance).sum(axis=0)
            centres[label] = (weight * units.means[rows]).sum(axis=0)
            variances[label] = (weight**2 * variance).sum(axis=0)
        return centres, variances

    def units(self, groups: Groups) -> Units:
        """Return the units of plates, with wells weighted by their number of cells."""
        plates, classes, counts, unit = self._comparable(groups)
        kept = unit >= 0
        member, cells = unit[kept], groups.counts[kept]
        weight = cells / (cells + WELL_WEIGHT)
        weight = (weight / np.bincount(member, weight, len(plates))[member])[:, None]
        means = np.zeros((len(plates), groups.means.shape[1]))
        noise = np.zeros_like(means)
        np.add.at(means, member, weight * groups.means[kept])
        np.add.at(noise, member, weight**2 * (self.well_variance + 1 / cells[:, None]))
        return Units(plates, classes, counts, means, noise)

    def _comparable(self, groups: Groups) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return comparable_units(groups.plates, groups.classes, groups.counts, self._min_share)

    def compare(self, groups: Groups) -> Comparison:
        """Compare the units of `groups` with the reference units of their classes."""
        units = self.units(groups)
        centres, variances = self._centres
        units = units.select(np.isfinite(centres[units.classes]).all(axis=1))
        deviations = units.means - centres[units.classes]
        expected = self.plate_variance + variances[units.classes] + units.noise
        distances = self._squared(deviations, expected, units.classes)
        return Comparison(
            plates=units.plates,
            classes=units.classes,
            counts=units.counts,
            deviations=deviations,
            distances=distances,
            noise_share=(units.noise / expected).mean(axis=1),
        )

    def compare_wells(self, groups: Groups) -> np.ndarray:
        """Return the squared distance of each group, shape (groups,).

        NaN where the reference does not have the class.
        """
        centres, variances = self._centres
        noise = self.well_variance + 1 / groups.counts[:, None]
        expected = self.plate_variance + variances[groups.classes] + noise
        return self._squared(groups.means - centres[groups.classes], expected, groups.classes)

    def _squared(
        self, deviations: np.ndarray, expected: np.ndarray, classes: np.ndarray
    ) -> np.ndarray:
        """Return squared deviations divided by their expected squares, mean over dimensions."""
        if self._shared_scale:
            expected = expected.mean(axis=1, keepdims=True)
        scaled = deviations / self.deviation[classes] / np.sqrt(expected)
        return np.einsum("ui,ij,uj->u", scaled, self._precision, scaled) / deviations.shape[1]
