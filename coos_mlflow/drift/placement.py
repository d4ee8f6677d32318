"""Where plates stand beside the reference plates: distances in the three views and their score."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.drift.plate_distance import Comparison, Groups, Yardstick
from coos_mlflow.drift.profile import Profile
from coos_mlflow.drift.reference import Reference
from coos_mlflow.plates.schema import CLASSES, SPLITS

NEAR = 0.25
"""Distances below this count as this: how near is no matter, and its logarithm has no end."""


@dataclass(frozen=True)
class PlacedPlate:
    """One plate beside the reference.

    Parameters
    ----------
    plate : str
        Its id.
    n_cells, n_wells : int
        All its cells, and its wells that have a name.
    classes : ndarray of int, shape (classes,)
        Predicted classes that are judged; none where the reference knows none of them.
    shares : ndarray of float64, shape (classes,)
        Of the judged cells.
    squares : ndarray of float64, shape (views, classes)
        Squared distances; 1 is ordinary.
    noise_share : float
        Share of the expected square that is owed to having few cells and wells.
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

    def _picks(self, n_classes: int) -> list[list[int]]:
        """Return every choice of at most `n_classes` of the judged classes."""
        size = min(n_classes, len(self.classes))
        return [list(pick) for pick in combinations(range(len(self.classes)), size)]

    def raw_move(self, n_classes: int) -> np.ndarray:
        """Return mean differences of the raw-image figures, shape (choices, len(RAW_FIGURES)).

        Choices as in `log_distances`.
        """
        picks = self._picks(n_classes)
        return np.stack(
            [np.average(self.raw_deviations[p], axis=0, weights=self.shares[p]) for p in picks]
        )

    def log_distances(self, n_classes: int) -> np.ndarray:
        """Return logarithms of the distances by every choice of at most `n_classes` classes.

        Parameters
        ----------
        n_classes : int
            A plate with fewer classes has the one choice of them all.

        Returns
        -------
        ndarray of float64, shape (choices, views)
        """
        picks = self._picks(n_classes)
        squares = [np.average(self.squares[:, p], axis=1, weights=self.shares[p]) for p in picks]
        return np.log(np.maximum(squares, NEAR**2)) / 2

    def distances(self) -> dict[str, float]:
        """Return the distance in each view; 1 is ordinary."""
        values = np.sqrt(self.squares @ self.shares)
        return {view: float(value) for view, value in zip(VIEWS, values, strict=True)}


class Ladder:
    """Measures plates against the Training plates of a reference, in all views.

    Parameters
    ----------
    reference : Reference
        What the model version remembers.
    """

    def __init__(self, reference: Reference) -> None:
        training = reference.profiles["training"]
        self._reference = reference
        self._rods = {
            view: Yardstick(_groups(training, view), len(CLASSES), shared_scale=view == "softmax")
            for view in VIEWS
        }
        self._without: dict[str, dict[str, Yardstick]] = {
            plate: {view: rod.leaving_out(plate) for view, rod in self._rods.items()}
            for plate in np.unique(training.plates).tolist()
        }

    def place(self, profile: Profile, *, known: bool) -> list[PlacedPlate]:
        """Measure the plates of a profile, in the order of their ids.

        Parameters
        ----------
        profile : Profile
            Plates to place.
        known : bool
            Whether they are the model's own reference plates. Those are compared with the
            Training plates other than themselves.
        """
        placed = []
        for plate in np.unique(profile.plates).tolist():
            rods = self._without.get(plate, self._rods) if known else self._rods
            placed.append(_place(profile.of_plate(plate), rods))
        return placed

    def reference_plates(self) -> dict[str, list[PlacedPlate]]:
        """Return by split the reference's own plates, those left out that cannot be compared."""
        profiles = self._reference.profiles
        return {
            split: [
                plate for plate in self.place(profiles[split], known=True) if len(plate.classes)
            ]
            for split in SPLITS
            if split in profiles
        }

    def wells(self, profile: Profile) -> dict[tuple[str, str], float | None]:
        """Return the distance of each well by plate and well, in the order of their ids.

        It allows for the few cells of a well, and is None where the reference knows no class of
        the well.
        """
        squares = np.mean(
            [self._rods[view].compare_wells(_groups(profile, view)) for view in VIEWS], axis=0
        )
        ids, own = profile.wells_of_groups()
        weights = np.where(np.isfinite(squares), profile.counts, 0)
        totals = np.bincount(own, weights=weights * np.nan_to_num(squares))
        cells = np.bincount(own, weights=weights)
        return {
            name: float(np.sqrt(total / n)) if n else None
            for name, total, n in zip(ids, totals, cells, strict=True)
        }


def _groups(profile: Profile, view: str) -> Groups:
    return Groups(
        profile.plates,
        profile.wells,
        profile.classes,
        profile.counts,
        profile.means[view].astype(np.float64),
        profile.variances[view].astype(np.float64),
    )


def _place(profile: Profile, rods: dict[str, Yardstick]) -> PlacedPlate:
    """Place a profile of one plate in all views; its judged units are the same in each."""
    compared: dict[str, Comparison] = {
        view: rods[view].compare(_groups(profile, view)) for view in VIEWS
    }
    raw = compared["raw"]
    shares = raw.counts / max(raw.counts.sum(), 1)
    return PlacedPlate(
        plate=str(profile.plates[0]),
        n_cells=int(profile.counts.sum()),
        n_wells=int(np.count_nonzero(np.unique(profile.wells) != "")),
        classes=raw.classes,
        shares=shares,
        squares=np.stack([compared[view].distances for view in VIEWS]),
        noise_share=float(np.mean([compared[view].noise_share @ shares for view in VIEWS])),
        raw_deviations=raw.deviations,
    )
