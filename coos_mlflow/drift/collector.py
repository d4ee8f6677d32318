"""What is kept of plates while their cells stream by: all that the assessment will ask for."""

from __future__ import annotations

from dataclasses import dataclass

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
    wells : dict of ndarray of str, shape (n,)
        Names of their wells.
    samples : dict of CellSample
        By plate, at most `SAMPLE` cells drawn at random.
    """

    profile: Profile
    probabilities: dict[str, np.ndarray]
    wells: dict[str, np.ndarray]
    samples: dict[str, CellSample]


class Collector:
    """Collects plates batch by batch.

    Memory grows by 36 bytes a cell, for its probabilities, plate and well; all else grows with
    the wells and plates. The same cells in the same order give the same result, however they are
    divided into batches, but for the last place of the profile.

    Parameters
    ----------
    seed : int
        Draws the samples.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._profile = ProfileBuilder()
        self._names: dict[tuple[str, str], int] = {}
        self._codes: list[np.ndarray] = []
        self._probabilities: list[np.ndarray] = []
        self._samples: dict[str, _Sample] = {}

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
        codes = self._numbers(plates, wells)
        self._codes.append(codes)
        self._probabilities.append(softmax.astype(np.float32))
        cells = CellSample(
            codes,
            predicted,
            softmax.astype(np.float32),
            features.astype(np.float32),
            raw.astype(np.float32),
        )
        ticket = self._rng.random(len(cells))
        for plate in np.unique(plates).tolist():
            rows = np.flatnonzero(plates == plate)
            kept = self._samples.setdefault(plate, _Sample())
            kept.add(ticket[rows], cells.select(rows))

    def build(self) -> Collected:
        """Return all that was added.

        Raises
        ------
        DataError
            If no cell was added.
        """
        profile = self._profile.build()
        codes, probabilities = np.concatenate(self._codes), np.concatenate(self._probabilities)
        names = list(self._names)
        plate_of, well_of = (np.array([name[part] for name in names])[codes] for part in (0, 1))
        rows = {plate: np.flatnonzero(plate_of == plate) for plate in np.unique(plate_of).tolist()}
        return Collected(
            profile,
            {plate: probabilities[own] for plate, own in rows.items()},
            {plate: well_of[own] for plate, own in rows.items()},
            {plate: self._samples[plate].cells() for plate in rows},
        )

    def _numbers(self, plates: np.ndarray, wells: np.ndarray) -> np.ndarray:
        """Return the number of each cell's plate and well, int64."""
        ids, inverse = np.unique(np.stack([plates, wells]), axis=1, return_inverse=True)
        numbers = [
            self._names.setdefault((str(plate), str(well)), len(self._names))
            for plate, well in ids.T.tolist()
        ]
        return np.array(numbers, dtype=np.int64)[inverse.ravel()]


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
