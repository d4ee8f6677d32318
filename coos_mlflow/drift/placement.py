"""Distances of plates and wells from the Training plates, in all three views.

`PlateComparison` compares; `verdict` judges the resulting `ComparedPlate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from coos_mlflow.drift import MIN_CELLS_PER_CLASS, MIN_CELLS_PER_WELL
from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.drift.plate_distance import (
    MIN_SHARE_OF_COMMONEST,
    Comparison,
    Groups,
    ReferenceDistance,
)
from coos_mlflow.drift.profile import Profile
from coos_mlflow.drift.reference import Reference
from coos_mlflow.drift.variance_components import cell_correlation

MIN_DISTANCE = 0.25
"""Distances are clipped to at least this before taking logarithms."""

FAR_QUANTILE = 0.99
"""A well is far if it lies farther than this share of the wells of Training and the reference
splits. Beyond them nothing tells how good labels are."""

MAX_CHOICES = 256
"""Choices of classes by which plates are compared: those of 7 classes are 35 at most, those of 20
are 184,756."""


@dataclass(frozen=True)
class ComparedPlate:
    """One plate, compared with the reference.

    Parameters
    ----------
    plate : str
        Its id.
    n_cells, n_wells : int
        All its cells, and its wells with a name.
    classes, counts : ndarray of int, shape (classes,)
        Classes that are compared, none where the reference has none of them, and their cells.
    squares : ndarray of float64, shape (views, classes)
        Squared distances; 1 is ordinary.
    noise_shares : ndarray of float64, shape (classes,)
        Share of the expected square that comes from having few cells and wells.
    not_judged : dict of int to int
        Cells of the classes on the plate that are not compared.
    disagreeing : ndarray of float64, shape (classes,)
        Share of the cells of each class that are labelled otherwise than their well; 0 where cells
        have labels of their own.
    wells : tuple of str
        Wells with enough cells to be judged, where each well holds one class.
    well_classes : ndarray of int, shape (wells,)
    well_squares : ndarray of float64, shape (wells,)
        Squared distances of these wells, mean over the views; 1 is ordinary.
    raw_deviations : ndarray of float64, shape (classes, len(RAW_FIGURES))
        Differences of the raw-image figures from the reference.
    """

    plate: str
    n_cells: int
    n_wells: int
    classes: np.ndarray
    counts: np.ndarray
    squares: np.ndarray
    noise_shares: np.ndarray
    not_judged: dict[int, int]
    disagreeing: np.ndarray
    wells: tuple[str, ...]
    well_classes: np.ndarray
    well_squares: np.ndarray
    raw_deviations: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """Weights of the classes, (classes,): a class of few cells tells little of the plate."""
        informative = np.maximum(1 - self.noise_shares, 1e-3)
        weights: np.ndarray = informative / informative.sum()
        return weights

    @property
    def noise_share(self) -> float:
        """Share of the expected square that comes from having few cells, over all classes."""
        return float(self.noise_shares @ self.weights)

    @property
    def logs(self) -> np.ndarray:
        """Logarithms of the distances, (views, classes)."""
        return _logs(self.squares)

    @property
    def well_logs(self) -> np.ndarray:
        """Logarithms of the distances of wells, (wells,)."""
        return _logs(self.well_squares)

    def distances(self) -> dict[str, float]:
        """Return the distance in each view, the geometric mean over classes; 1 is ordinary."""
        values = np.exp(self.logs @ self.weights)
        return {view: float(value) for view, value in zip(VIEWS, values, strict=True)}

    def quality_shift(self, n_classes: int) -> np.ndarray:
        """Return mean differences of the raw-image figures, shape (choices, len(RAW_FIGURES)).

        A plate with more classes has one row for each choice of `n_classes` of them, up to
        `MAX_CHOICES`; of more choices, that many drawn always in the same way.
        """
        return np.stack(
            [
                np.average(self.raw_deviations[choice], axis=0, weights=self.counts[choice])
                for choice in self._choices(n_classes)
            ]
        )

    def _choices(self, n_classes: int) -> list[list[int]]:
        size, there = min(n_classes, len(self.classes)), len(self.classes)
        if comb(there, size) <= MAX_CHOICES:
            return [list(choice) for choice in combinations(range(there), size)]
        rng = np.random.default_rng(there * 1000 + size)
        return [sorted(rng.permutation(there)[:size].tolist()) for _ in range(MAX_CHOICES)]


def _logs(squares: np.ndarray) -> np.ndarray:
    logs: np.ndarray = np.log(np.maximum(squares, MIN_DISTANCE**2)) / 2
    return logs


class PlateComparison:
    """Compares plates with the Training plates of a reference, in all views.

    Parameters
    ----------
    reference : Reference
    one_class : bool
        Whether each well holds one class. All cells of a well then count for the class that most
        of them are labelled as. Cells that are labelled otherwise show that something is wrong,
        and would be missed if they were compared with the class of their label.
    """

    def __init__(self, reference: Reference, *, one_class: bool) -> None:
        self._reference = reference
        self._one_class = one_class
        training = self._grouped(reference.profiles["training"])
        self._by_view = {view: self._distance(training, view) for view in VIEWS}
        self._without: dict[str, dict[str, ReferenceDistance]] = {
            plate: {view: one.leaving_out(plate) for view, one in self._by_view.items()}
            for plate in np.unique(training.plates).tolist()
        }

    def _distance(self, training: Profile, view: str) -> ReferenceDistance:
        measure = ReferenceDistance(
            _groups(training, view),
            self._reference.dataset.n_classes,
            shared_scale=view == "softmax",
            min_share=0.0 if self._one_class else MIN_SHARE_OF_COMMONEST,
        )
        if view == "softmax":
            return measure
        cells = self._reference.sample
        return measure.with_correlation(
            cell_correlation(getattr(cells, view), cells.wells, cells.classes, measure.deviation)
        )

    def _grouped(self, profile: Profile) -> Profile:
        return profile.by_wells() if self._one_class else profile

    def compare(self, profile: Profile, *, known: bool) -> list[ComparedPlate]:
        """Compare the plates of a profile, in the order of their ids.

        Parameters
        ----------
        profile : Profile
            Plates to compare.
        known : bool
            Whether they are the model's own reference plates. A Training plate is then compared
            with the other Training plates.
        """
        compared = []
        for plate in np.unique(profile.plates).tolist():
            by_view = self._without.get(plate, self._by_view) if known else self._by_view
            compared.append(self._compare(profile.of_plate(plate), by_view))
        return compared

    def reference_plates(self) -> dict[str, list[ComparedPlate]]:
        """Return by split the reference's own plates, without those that cannot be compared."""
        profiles = self._reference.profiles
        return {
            split: [
                plate for plate in self.compare(profiles[split], known=True) if len(plate.classes)
            ]
            for split in profiles
        }

    def wells(self, profile: Profile) -> dict[tuple[str, str], float | None]:
        """Return the distance of each well by plate and well, in the order of their ids.

        The distance accounts for the number of cells in the well. It is None where the reference
        has none of the classes of the well.
        """
        return _compare_wells(self._grouped(profile), self._by_view)

    def far_well(self) -> float | None:
        """Return the distance from which on a well is far, or None without reference wells."""
        profiles = map(self._grouped, self._reference.profiles.values())
        distances = [
            distance
            for profile in profiles
            for plate in np.unique(profile.plates).tolist()
            for (_, well), distance in _compare_wells(
                profile.of_plate(plate), self._without.get(plate, self._by_view)
            ).items()
            if well and distance is not None
        ]
        return float(np.quantile(distances, FAR_QUANTILE)) if distances else None

    def _compare(self, labelled: Profile, by_view: dict[str, ReferenceDistance]) -> ComparedPlate:
        """Compare the profile of one plate in all views; its units are the same in each."""
        profile = self._grouped(labelled)
        compared: dict[str, Comparison] = {
            view: by_view[view].compare(_groups(profile, view)) for view in VIEWS
        }
        raw = compared["raw"]
        counts = profile.class_counts()
        # Cells with labels of their own that are fewer are mostly mistakes of the other classes.
        least = 1 if self._one_class else MIN_CELLS_PER_CLASS
        left = np.setdiff1d(np.flatnonzero(counts >= least), raw.classes)
        squares = _well_squares(profile, by_view)
        judged = np.isfinite(squares) & (profile.wells != "") & self._one_class
        judged &= profile.counts >= MIN_CELLS_PER_WELL
        return ComparedPlate(
            plate=str(profile.plates[0]),
            n_cells=int(profile.counts.sum()),
            n_wells=int(np.count_nonzero(np.unique(profile.wells) != "")),
            classes=raw.classes,
            counts=raw.counts,
            squares=np.stack([compared[view].distances for view in VIEWS]),
            noise_shares=np.mean([compared[view].noise_share for view in VIEWS], axis=0),
            not_judged={int(label): int(counts[label]) for label in left},
            disagreeing=_disagreeing(labelled, profile)[raw.classes],
            wells=tuple(profile.wells[judged].tolist()),
            well_classes=profile.classes[judged],
            well_squares=squares[judged],
            raw_deviations=raw.deviations,
        )


def _disagreeing(labelled: Profile, grouped: Profile) -> np.ndarray:
    """Return by class the share of cells labelled otherwise, (classes of the model,)."""
    class_of = dict(zip(grouped.wells.tolist(), grouped.classes.tolist(), strict=True))
    decided = np.array([class_of[well] for well in labelled.wells.tolist()])
    decided = np.where(labelled.wells == "", labelled.classes, decided)
    n_classes = labelled.means["softmax"].shape[1]
    cells = np.bincount(decided, labelled.counts, n_classes)
    differing = np.where(labelled.classes == decided, 0, labelled.counts)
    shares: np.ndarray = np.bincount(decided, differing, n_classes) / np.maximum(cells, 1)
    return shares


def _groups(profile: Profile, view: str) -> Groups:
    return Groups(
        profile.plates,
        profile.wells,
        profile.classes,
        profile.counts,
        profile.means[view].astype(np.float64),
        profile.variances[view].astype(np.float64),
    )


def _well_squares(profile: Profile, by_view: dict[str, ReferenceDistance]) -> np.ndarray:
    """Return the squared distance of each group, mean over the views, (groups,)."""
    squares: np.ndarray = np.mean(
        [by_view[view].compare_wells(_groups(profile, view)) for view in VIEWS], axis=0
    )
    return squares


def _compare_wells(
    profile: Profile, by_view: dict[str, ReferenceDistance]
) -> dict[tuple[str, str], float | None]:
    """Return the distance of each well in all views, by plate and well."""
    squares = _well_squares(profile, by_view)
    ids, well = profile.wells_of_groups()
    weights = np.where(np.isfinite(squares), profile.counts, 0)
    totals = np.bincount(well, weights=weights * np.nan_to_num(squares))
    cells = np.bincount(well, weights=weights)
    return {
        name: float(np.sqrt(total / n)) if n else None
        for name, total, n in zip(ids, totals, cells, strict=True)
    }
