"""Counts, means and variances of cells by plate, well and predicted class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.errors import DataError


@dataclass(frozen=True)
class Profile:
    """Groups of cells of one plate, one well and one predicted class.

    Parameters
    ----------
    plates, wells : ndarray of str, shape (groups,)
        Plates as the file spells them; wells by name, without the field; ``""`` for none.
    classes : ndarray of int64, shape (groups,)
        Predicted class.
    counts : ndarray of int64, shape (groups,)
        Cells in the group, at least 1.
    means, variances : dict of ndarray of float32, shape (groups, dimensions)
        By view (`VIEWS`); variances are divided by the number of cells. The softmax view contains
        square roots of probabilities, whose spread depends less on the class. The mean
        probability is mean^2 + variance.
    """

    plates: np.ndarray
    wells: np.ndarray
    classes: np.ndarray
    counts: np.ndarray
    means: dict[str, np.ndarray]
    variances: dict[str, np.ndarray]

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.counts)

    def of_plate(self, plate: str) -> Profile:
        """Return the groups of one plate."""
        keep = self.plates == plate
        return Profile(
            plates=self.plates[keep],
            wells=self.wells[keep],
            classes=self.classes[keep],
            counts=self.counts[keep],
            means={view: values[keep] for view, values in self.means.items()},
            variances={view: values[keep] for view, values in self.variances.items()},
        )

    def by_wells(self) -> Profile:
        """Return the same cells in one group a well, whose class is the commonest label in it.

        Cells without a well have their own labels, as before. Of labels with equal numbers of
        cells, the first counts.
        """
        ids, number = self.wells_of_groups()
        votes = np.zeros((len(ids), self.means["softmax"].shape[1]), dtype=np.int64)
        np.add.at(votes, (number, self.classes), self.counts)
        classes = np.where(self.wells == "", self.classes, votes.argmax(axis=1)[number])
        keys, group = np.unique(np.column_stack([number, classes]), axis=0, return_inverse=True)
        counts = np.bincount(group, self.counts, len(keys)).astype(np.int64)
        means, variances = {}, {}
        for view in self.means:
            own, spread = self.means[view].astype(float), self.variances[view].astype(float)
            weights = self.counts[:, None]
            total, squares = np.zeros((2, len(keys), own.shape[1]))
            np.add.at(total, group, weights * own)
            np.add.at(squares, group, weights * (spread + own**2))
            mean = total / counts[:, None]
            means[view] = mean.astype(np.float32)
            variances[view] = np.maximum(squares / counts[:, None] - mean**2, 0.0).astype(
                np.float32
            )
        return Profile(
            plates=np.array([ids[n][0] for n in keys[:, 0]], dtype=str),
            wells=np.array([ids[n][1] for n in keys[:, 0]], dtype=str),
            classes=keys[:, 1],
            counts=counts,
            means=means,
            variances=variances,
        )

    def wells_of_groups(self) -> tuple[list[tuple[str, str]], np.ndarray]:
        """Return plates and wells in the order of their ids, and the number of each group's well.

        Returns
        -------
        ids : list of (plate, well)
        number : ndarray of int64, shape (groups,)
            Index into `ids`.
        """
        pairs = list(zip(self.plates.tolist(), self.wells.tolist(), strict=True))
        ids = sorted(set(pairs))
        numbers = {pair: number for number, pair in enumerate(ids)}
        return ids, np.array([numbers[pair] for pair in pairs])

    def class_counts(self) -> np.ndarray:
        """Return the cells per predicted class, shape (classes,), int64."""
        n_classes = self.means["softmax"].shape[1]
        return np.bincount(self.classes, weights=self.counts, minlength=n_classes).astype(int)


class ProfileBuilder:
    """Builds a profile batch by batch; memory grows with the wells, not with the cells.

    Sums are float64 and the profile is rounded to float32, so that another division into batches
    changes a value by at most one unit in the last place of float32. The same batches give the
    same bytes.
    """

    def __init__(self) -> None:
        self._index: dict[tuple[str, str, int], int] = {}
        self._counts = np.zeros(0, dtype=np.int64)
        self._sums: dict[str, np.ndarray] = {}
        self._squares: dict[str, np.ndarray] = {}

    def add(
        self,
        *,
        plates: np.ndarray,
        wells: np.ndarray,
        predicted: np.ndarray,
        softmax: np.ndarray,
        features: np.ndarray,
        raw: np.ndarray,
    ) -> None:
        """Add a batch of cells.

        Parameters
        ----------
        plates, wells : ndarray of str, shape (n,)
            Ids; one constant value if the file has none.
        predicted : ndarray of int, shape (n,)
            Classes.
        softmax : ndarray, shape (n, classes)
            Probabilities of the classes.
        features : ndarray, shape (n, dims)
            The representation, already projected (`Projection.project`).
        raw : ndarray, shape (n, len(RAW_FIGURES))
            From `raw_figures`.

        Raises
        ------
        DataError
            If a value is not finite.
        """
        if len(predicted) == 0:
            return
        values = {"softmax": np.sqrt(softmax), "features": features, "raw": raw}
        for view, array in values.items():
            if not np.isfinite(array).all():
                raise DataError(
                    f"{view}: a figure of the plate is not finite, expected finite numbers from "
                    "the model; look for cells that the representation cannot describe."
                )
        order, starts, targets, counts = self._groups(plates, wells, predicted, softmax.shape[1])
        self._grow(len(self._index), {view: array.shape[1] for view, array in values.items()})
        self._counts[targets] += counts
        for view, array in values.items():
            ordered = np.asarray(array, dtype=np.float64)[order]
            self._sums[view][targets] += np.add.reduceat(ordered, starts, axis=0)
            self._squares[view][targets] += np.add.reduceat(ordered**2, starts, axis=0)

    def build(self) -> Profile:
        """Return the profile of all cells added so far, with groups in the order of their ids.

        Raises
        ------
        DataError
            If no cell was added.
        """
        if not self._index:
            raise DataError("profile: no cells were added, expected at least one.")
        keys = sorted(self._index)
        order = np.array([self._index[key] for key in keys])
        counts = self._counts[order]
        means, variances = {}, {}
        for view in VIEWS:
            mean = self._sums[view][order] / counts[:, None]
            square = self._squares[view][order] / counts[:, None]
            means[view] = mean.astype(np.float32)
            variances[view] = np.maximum(square - mean**2, 0.0).astype(np.float32)
        plates, wells, classes = zip(*keys, strict=True)
        return Profile(
            plates=np.array(plates, dtype=str),
            wells=np.array(wells, dtype=str),
            classes=np.array(classes, dtype=np.int64),
            counts=counts,
            means=means,
            variances=variances,
        )

    def _groups(
        self, plates: np.ndarray, wells: np.ndarray, predicted: np.ndarray, n_classes: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the order that sorts cells by group, the starts, rows and sizes of the groups."""
        plate_names, plate_codes = np.unique(np.asarray(plates, dtype=str), return_inverse=True)
        well_names, well_codes = np.unique(np.asarray(wells, dtype=str), return_inverse=True)
        codes = (plate_codes * len(well_names) + well_codes) * n_classes + predicted
        order = np.argsort(codes, kind="stable")
        groups, starts, counts = np.unique(codes[order], return_index=True, return_counts=True)
        targets = np.empty(len(groups), dtype=np.int64)
        for row, group in enumerate(groups.tolist()):
            well_number, label = divmod(group, n_classes)
            plate, well = divmod(well_number, len(well_names))
            key = (str(plate_names[plate]), str(well_names[well]), label)
            targets[row] = self._index.setdefault(key, len(self._index))
        return order, starts, targets, counts

    def _grow(self, rows: int, dimensions: dict[str, int]) -> None:
        more = rows - len(self._counts)
        self._counts = np.concatenate([self._counts, np.zeros(more, dtype=np.int64)])
        for store in (self._sums, self._squares):
            for view, dims in dimensions.items():
                old = store.get(view, np.zeros((0, dims)))
                store[view] = np.concatenate([old, np.zeros((more, dims))])
