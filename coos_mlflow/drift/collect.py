"""What is kept of plates while their cells stream by: all that the assessment will ask for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from coos_mlflow.drift.profile import Profile, ProfileBuilder
from coos_mlflow.drift.statistics import CellSample

SAMPLE = 2000
"""Cells of each plate that are kept in all three views, for effect sizes: as many as are compared
(`effects.MOST_CELLS`)."""


@dataclass(frozen=True)
class Collected:
    """Plates as they were scored.

    Parameters
    ----------
    profile : Profile
        Counts, means and variances by plate, well and predicted class.
    probabilities : dict of ndarray of float32, shape (n, 7)
        Of all cells, by plate, in the order of the file.
    wells : dict of ndarray of int64, shape (n,)
        Numbers of their wells on the plate, from 0.
    well_names : dict of list of str
        Names of the wells of each plate, sorted, in the order of their numbers.
    samples : dict of CellSample
        By plate, at most `SAMPLE` cells drawn at random.
    """

    profile: Profile
    probabilities: dict[str, np.ndarray]
    wells: dict[str, np.ndarray]
    well_names: dict[str, list[str]]
    samples: dict[str, CellSample]


class Collector:
    """Collects plates batch by batch.

    Memory grows by 32 bytes a cell, for its probabilities and well, and to twice that and a little
    more while `build` joins them; all else grows with the wells and plates. The same cells in the
    same order give the same result, however they are divided into batches, but for the last place
    of the profile.

    Parameters
    ----------
    seed : int
        Draws the samples.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._profile = ProfileBuilder()
        self._plates: dict[str, _Plate] = {}

    def add(
        self,
        *,
        plates: np.ndarray,
        wells: np.ndarray,
        softmax: np.ndarray,
        features: np.ndarray,
        raw: np.ndarray,
    ) -> None:
        """Add a batch of cells; see `ProfileBuilder.add`.

        Raises
        ------
        DataError
            If a figure is not finite.
        """
        predicted = softmax.argmax(axis=1)
        self._profile.add(
            plates=plates,
            wells=wells,
            predicted=predicted,
            softmax=softmax,
            features=features,
            raw=raw,
        )
        cells = CellSample(
            np.zeros(len(predicted), dtype=np.int64),
            predicted,
            softmax.astype(np.float32),
            features.astype(np.float32),
            raw.astype(np.float32),
        )
        tickets = self._rng.random(len(cells))
        for plate in np.unique(plates).tolist():
            rows = np.flatnonzero(plates == plate)
            kept = self._plates.setdefault(plate, _Plate())
            kept.add(wells[rows], tickets[rows], cells.select(rows))

    def build(self) -> Collected:
        """Return all that was added.

        Raises
        ------
        DataError
            If no cell was added.
        """
        profile = self._profile.build()
        plates = {plate: self._plates[plate] for plate in sorted(self._plates)}
        samples, first = {}, 0
        for name, plate in plates.items():
            samples[name] = plate.sample(first)
            first += len(plate.well_numbers)
        return Collected(
            profile,
            {name: plate.joined_probabilities() for name, plate in plates.items()},
            {name: plate.joined_wells() for name, plate in plates.items()},
            {name: sorted(plate.well_numbers) for name, plate in plates.items()},
            samples,
        )


class _Plate:
    """All answers of a plate, and the cells with the lowest tickets."""

    def __init__(self) -> None:
        self.well_numbers: dict[str, int] = {}
        self._wells: list[np.ndarray] = []
        self._probabilities: list[np.ndarray] = []
        self._sample = _Sample()

    def add(self, wells: np.ndarray, tickets: np.ndarray, cells: CellSample) -> None:
        names, own = np.unique(wells, return_inverse=True)
        numbers = [self.well_numbers.setdefault(n, len(self.well_numbers)) for n in names.tolist()]
        codes = np.array(numbers, dtype=np.int64)[own]
        self._wells.append(codes.astype(np.int32))
        self._probabilities.append(cells.softmax)
        self._sample.add(tickets, replace(cells, wells=codes))

    def joined_wells(self) -> np.ndarray:
        return self._sorted_numbers()[np.concatenate(self._wells)]

    def joined_probabilities(self) -> np.ndarray:
        return np.concatenate(self._probabilities)

    def sample(self, first: int) -> CellSample:
        """Return the sample, its wells numbered from `first` on."""
        cells = self._sample.cells()
        return replace(cells, wells=self._sorted_numbers()[cells.wells] + first)

    def _sorted_numbers(self) -> np.ndarray:
        """Return the place of each well, as it was numbered, among the sorted names."""
        names = list(self.well_numbers)
        places = np.empty(len(names), dtype=np.int64)
        places[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
        return places


class _Sample:
    """The cells with the lowest tickets of those seen, in the order of their tickets."""

    def __init__(self) -> None:
        self._tickets: list[np.ndarray] = []
        self._cells: list[CellSample] = []

    def add(self, tickets: np.ndarray, cells: CellSample) -> None:
        self._tickets.append(tickets)
        self._cells.append(cells)
        if sum(len(part) for part in self._tickets) > 2 * SAMPLE:
            self._thin()

    def cells(self) -> CellSample:
        self._thin()
        return self._cells[0]

    def _thin(self) -> None:
        tickets = np.concatenate(self._tickets)
        first = np.argsort(tickets, kind="stable")[:SAMPLE]
        self._tickets, self._cells = [tickets[first]], [joined(self._cells).select(first)]


def joined(samples: list[CellSample]) -> CellSample:
    """Return the cells of several samples as one; their wells keep their numbers."""
    columns = zip(*(vars(sample).values() for sample in samples), strict=True)
    return CellSample(*(np.concatenate(column) for column in columns))
