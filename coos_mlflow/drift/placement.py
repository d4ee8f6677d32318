"""Distances of plates and wells from the Training plates, in all three views.

`PlateComparison` compares; `verdict` judges the resulting `ComparedPlate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.drift.plate_distance import Comparison, Groups, ReferenceDistance
from coos_mlflow.drift.profile import Profile
from coos_mlflow.drift.reference import Reference

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
    classes : ndarray of int, shape (classes,)
        Predicted classes that are compared; none where the reference has none of them.
    shares : ndarray of float64, shape (classes,)
        Of these classes among the compared cells.
    squares : ndarray of float64, shape (views, classes)
        Squared distances; 1 is ordinary.
    noise_share : float
        Share of the expected square that comes from having few cells and wells.
    raw_deviations : ndarray of float64, shape (classes, len(RAW_FIGURES))
        Differences of the raw-image figures from the reference.
    """

    plate: str
    n_cells: int
    n_wells: int
    classes: np.ndarray
    shares: np.ndarray
    squares: np.ndarray
    noise_share: float
    raw_deviations: np.ndarray

    def _choices(self, n_classes: int) -> list[list[int]]:
        """Return choices of `n_classes` compared classes, or of all where there are fewer.

        All choices up to `MAX_CHOICES`; of more, that many drawn always in the same way.
        """
        size, there = min(n_classes, len(self.classes)), len(self.classes)
        if comb(there, size) <= MAX_CHOICES:
            return [list(choice) for choice in combinations(range(there), size)]
        rng = np.random.default_rng(there * 1000 + size)
        return [sorted(rng.permutation(there)[:size].tolist()) for _ in range(MAX_CHOICES)]

    def quality_shift(self, n_classes: int) -> np.ndarray:
        """Return mean differences of the raw-image figures, shape (choices, len(RAW_FIGURES)).

        Choices as in `log_distances`.
        """
        return np.stack(
            [
                np.average(self.raw_deviations[choice], axis=0, weights=self.shares[choice])
                for choice in self._choices(n_classes)
            ]
        )

    def log_distances(self, n_classes: int) -> np.ndarray:
        """Return logarithms of the distances for every choice of `n_classes` classes.

        Parameters
        ----------
        n_classes : int
            A plate with fewer classes has one choice, all of them.

        Returns
        -------
        ndarray of float64, shape (choices, views)
        """
        squares = [
            np.average(self.squares[:, choice], axis=1, weights=self.shares[choice])
            for choice in self._choices(n_classes)
        ]
        return np.log(np.maximum(squares, MIN_DISTANCE**2)) / 2

    def distances(self) -> dict[str, float]:
        """Return the distance in each view; 1 is ordinary."""
        values = np.sqrt(self.squares @ self.shares)
        return {view: float(value) for view, value in zip(VIEWS, values, strict=True)}


class PlateComparison:
    """Compares plates with the Training plates of a reference, in all views.

    Parameters
    ----------
    reference : Reference
    """

    def __init__(self, reference: Reference) -> None:
        training = reference.profiles["training"]
        self._reference = reference
        self._by_view = {
            view: ReferenceDistance(
                _groups(training, view), reference.dataset.n_classes, shared_scale=view == "softmax"
            )
            for view in VIEWS
        }
        self._without: dict[str, dict[str, ReferenceDistance]] = {
            plate: {view: one.leaving_out(plate) for view, one in self._by_view.items()}
            for plate in np.unique(training.plates).tolist()
        }

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
            compared.append(_compare(profile.of_plate(plate), by_view))
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
        return _compare_wells(profile, self._by_view)

    def far_well(self) -> float | None:
        """Return the distance from which on a well is far, or None without reference wells."""
        distances = [
            distance
            for profile in self._reference.profiles.values()
            for plate in np.unique(profile.plates).tolist()
            for (_, well), distance in _compare_wells(
                profile.of_plate(plate), self._without.get(plate, self._by_view)
            ).items()
            if well and distance is not None
        ]
        return float(np.quantile(distances, FAR_QUANTILE)) if distances else None


def _groups(profile: Profile, view: str) -> Groups:
    return Groups(
        profile.plates,
        profile.wells,
        profile.classes,
        profile.counts,
        profile.means[view].astype(np.float64),
        profile.variances[view].astype(np.float64),
    )


def _compare_wells(
    profile: Profile, by_view: dict[str, ReferenceDistance]
) -> dict[tuple[str, str], float | None]:
    """Return the distance of each well in all views, by plate and well."""
    squares = np.mean(
        [by_view[view].compare_wells(_groups(profile, view)) for view in VIEWS], axis=0
    )
    ids, well = profile.wells_of_groups()
    weights = np.where(np.isfinite(squares), profile.counts, 0)
    totals = np.bincount(well, weights=weights * np.nan_to_num(squares))
    cells = np.bincount(well, weights=weights)
    return {
        name: float(np.sqrt(total / n)) if n else None
        for name, total, n in zip(ids, totals, cells, strict=True)
    }


def _compare(profile: Profile, by_view: dict[str, ReferenceDistance]) -> ComparedPlate:
    """Compare the profile of one plate in all views; its units are the same in each."""
    compared: dict[str, Comparison] = {
        view: by_view[view].compare(_groups(profile, view)) for view in VIEWS
    }
    raw = compared["raw"]
    shares = raw.counts / max(raw.counts.sum(), 1)
    return ComparedPlate(
        plate=str(profile.plates[0]),
        n_cells=int(profile.counts.sum()),
        n_wells=int(np.count_nonzero(np.unique(profile.wells) != "")),
        classes=raw.classes,
        shares=shares,
        squares=np.stack([compared[view].distances for view in VIEWS]),
        noise_share=float(np.mean([compared[view].noise_share @ shares for view in VIEWS])),
        raw_deviations=raw.deviations,
    )
