"""Collects the summaries of plates that the assessment needs, batch by batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from coos_mlflow.drift.profile import Profile, ProfileBuilder
from coos_mlflow.drift.statistics import MAX_CELLS, CellSample


@dataclass(frozen=True)
class Collected:
    """The summaries of scored plates.

    Parameters
    ----------
    profile : Profile
        Counts, means and variances by plate, well and predicted class.
    probabilities : dict of ndarray of float32, shape (n, classes)
        Of all cells, by plate, in the order of the file.
    wells : dict of ndarray of int64, shape (n,)
        Numbers of their wells on the plate, from 0.
    well_names : dict of list of str
        Names of the wells of each plate, sorted, in the order of their numbers.
    samples : dict of CellSample
        By plate, at most `MAX_CELLS` cells drawn at random, for effect sizes.
    """

    profile: Profile
    probabilities: dict[str, np.ndarray]
    wells: dict[str, np.ndarray]
    well_names: dict[str, list[str]]
    samples: dict[str, CellSample]


class Collector:
    """Collects plates batch by batch.

    Memory grows by 32 bytes for each cell (its probabilities and well), and to slightly more than
    twice that while `build` concatenates them. All other memory grows with the wells and plates.
    The same cells in the same order give the same result for any division into batches, except for
    the last digit of the profile.

    Parameters
    ----------
    seed : int
        For the samples.
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
        answers: np.ndarray | None = None,
    ) -> None:
        """Add a batch of cells; see `ProfileBuilder.add`.

        Parameters
        ----------
        answers : ndarray, shape (n, classes), optional
            The probabilities that label the cells and tell the error, where they are not
            `softmax`, which is compared with Training. A model that fits itself to a plate answers
            more surely where the plate has few classes; a cell by itself knows nothing of that.

        Raises
        ------
        DataError
            If a figure is not finite.
        """
        answers = softmax if answers is None else answers
        predicted = answers.argmax(axis=1)
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
        # The cells with the smallest random keys are a sample that does not depend on batches.
        sampling_keys = self._rng.random(len(cells))
        for plate in np.unique(plates).tolist():
            rows = np.flatnonzero(plates == plate)
            collected = self._plates.setdefault(plate, _Plate())
            collected.add(wells[rows], answers[rows], sampling_keys[rows], cells.select(rows))

    def build(self) -> Collected:
        """Return the summaries of all cells added.

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
            {name: plate.probabilities() for name, plate in plates.items()},
            {name: plate.wells() for name, plate in plates.items()},
            {name: sorted(plate.well_numbers) for name, plate in plates.items()},
            samples,
        )


class _Plate:
    """The probabilities and wells of all cells of a plate, and its sample."""

    def __init__(self) -> None:
        self.well_numbers: dict[str, int] = {}
        self._wells: list[np.ndarray] = []
        self._probabilities: list[np.ndarray] = []
        self._sample = _Sample()

    def add(
        self,
        wells: np.ndarray,
        answers: np.ndarray,
        sampling_keys: np.ndarray,
        cells: CellSample,
    ) -> None:
        names, well = np.unique(wells, return_inverse=True)
        numbers = [self.well_numbers.setdefault(n, len(self.well_numbers)) for n in names.tolist()]
        codes = np.array(numbers, dtype=np.int64)[well]
        self._wells.append(codes.astype(np.int32))
        self._probabilities.append(answers.astype(np.float32))
        self._sample.add(sampling_keys, replace(cells, wells=codes))

    def wells(self) -> np.ndarray:
        return self._sorted_numbers()[np.concatenate(self._wells)]

    def probabilities(self) -> np.ndarray:
        return np.concatenate(self._probabilities)

    def sample(self, first: int) -> CellSample:
        """Return the sample, with wells numbered from `first`."""
        cells = self._sample.cells()
        return replace(cells, wells=self._sorted_numbers()[cells.wells] + first)

    def _sorted_numbers(self) -> np.ndarray:
        """Return for each well, in order of appearance, its number among the sorted names."""
        names = list(self.well_numbers)
        numbers = np.empty(len(names), dtype=np.int64)
        numbers[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
        return numbers


class _Sample:
    """The cells with the smallest sampling keys so far, in the order of their keys."""

    def __init__(self) -> None:
        self._sampling_keys: list[np.ndarray] = []
        self._cells: list[CellSample] = []

    def add(self, sampling_keys: np.ndarray, cells: CellSample) -> None:
        self._sampling_keys.append(sampling_keys)
        self._cells.append(cells)
        if sum(len(part) for part in self._sampling_keys) > 2 * MAX_CELLS:
            self._truncate()

    def cells(self) -> CellSample:
        self._truncate()
        return self._cells[0]

    def _truncate(self) -> None:
        sampling_keys = np.concatenate(self._sampling_keys)
        first = np.argsort(sampling_keys, kind="stable")[:MAX_CELLS]
        self._sampling_keys, self._cells = (
            [sampling_keys[first]],
            [concatenate_samples(self._cells).select(first)],
        )


def concatenate_samples(samples: list[CellSample]) -> CellSample:
    """Concatenate samples; their wells keep their numbers."""
    columns = zip(*(vars(sample).values() for sample in samples), strict=True)
    return CellSample(*(np.concatenate(column) for column in columns))
