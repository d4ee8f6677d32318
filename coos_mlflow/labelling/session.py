"""One person labels the cells of a plate: which cell is asked for, and what was said of each.

Nothing that a session gives away before the end depends on the model's label of a cell. The cells
are those of `coos_mlflow.audit.sequence`, every ten of them shuffled. The width of the interval is
told after every tenth cell alone: after each, it would tell whether the model had said the same.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow.audit.labels_file import (
    CANNOT_SEE,
    NONE_WORDS,
    SEED,
    append,
    read_labels,
    sample_of,
    withdraw,
)
from coos_mlflow.audit.lock import locked
from coos_mlflow.audit.measure import measure
from coos_mlflow.audit.sequence import BLOCK, shuffled
from coos_mlflow.drift.reference import Reference
from coos_mlflow.errors import DataError
from coos_mlflow.labelling.publish import drift_of, plate_file, reference_of
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.plates.reader import Plate, open_plate
from coos_mlflow.registry.results import AUDIT
from coos_mlflow.reports.plate.figures.cells import cell_picture, channel_picture
from coos_mlflow.scoring.audited import frame_of, judged_rows, new_label, order_of

NEIGHBOURS = 12
"""Most other cells of the same well that are shown."""

REFERENCES = 4
"""Most reference cells of each class that are shown."""

LARGE, MIDDLE, SMALL = 512, 320, 192
"""Height and width of pictures: of the cell that is asked for, of its channels, of all others."""


class NotAskedError(DataError):
    """The cell is not the one that is asked for now, such as on a second page."""


class Session:
    """The labels of one person for one plate; use `open_session`.

    Parameters
    ----------
    folder : Path
        Of the results.
    drift : dict
        Content of its drift.json.
    plate : Plate
        The open file that was scored.
    reference : Reference
        Of the model.
    labeller : str
    """

    def __init__(
        self,
        folder: Path,
        drift: dict[str, Any],
        plate: Plate,
        reference: Reference,
        labeller: str,
    ) -> None:
        self.folder, self.plate, self.labeller = folder, plate, labeller
        self.dataset = reference.dataset
        self.frame = frame_of(folder, drift)
        self._known = reference.cells
        self._sample = sample_of(drift)
        self._order = order_of(self.frame)
        labels = read_labels(folder / AUDIT, self._sample)
        self._said = {one.cell: one.label for one in labels if one.labeller == self.labeller}
        self._places: dict[int, int] = {}
        self._undoable = 0
        self._widths: dict[int, str] = {}
        self._lock = threading.RLock()

    @property
    def answers(self) -> tuple[str, ...]:
        """All that can be said of a cell."""
        return (*self.dataset.class_names, NONE_WORDS, CANNOT_SEE)

    @property
    def said(self) -> dict[int, str]:
        """What was said of each cell, in the order in which it was said."""
        with self._lock:
            return dict(self._said)

    @property
    def n_labelled(self) -> int:
        """Number of cells that have their label."""
        return len(self._said)

    def ask_for(self, n_cells: int) -> None:
        """Ask for so many cells in all, or for as many as there are."""
        n_cells = min(n_cells, len(self.frame))
        places = shuffled(n_cells, SEED)
        cells = self.frame.cells[self._order[places]]
        with self._lock:
            self._places = dict(zip(cells.tolist(), places.tolist(), strict=True))

    def record(self, cell: int, answer: str) -> None:
        """Keep what is said of the cell that is asked for, on disk.

        Raises
        ------
        NotAskedError
            When another cell is asked for.
        DataError
            For an answer that is none, or a cell that is not in the sample.
        OutputError
            When the label cannot be written.
        """
        with self._lock:
            if answer not in self.answers:
                raise DataError(
                    f"Answer {answer!r:.80} found, expected one of {', '.join(self.answers)}."
                )
            self._check_in_sample(cell)
            if cell in self._said:
                raise NotAskedError(f"Cell {cell} has its label already: {self._said[cell]}.")
            if cell != self._asked:
                raise NotAskedError(f"Cell {cell} is not the one that is asked for now.")
            place = self._places[cell]
            label = new_label(self.frame, self._order, place, answer, self.labeller, self._sample)
            append(self.folder / AUDIT, label)
            self._said[cell] = answer
            self._undoable += 1

    def undo(self) -> None:
        """Take back the last label, if it was given since the model's labels were last shown.

        Raises
        ------
        NotAskedError
            When there is none.
        """
        with self._lock:
            if not self._undoable:
                raise NotAskedError("There is no label that can still be undone.")
            withdraw(self.folder / AUDIT, self.labeller)
            self._said.popitem()
            self._undoable -= 1

    def shown(self) -> None:
        """Note that the model's labels were shown, so that no label of before can be changed."""
        with self._lock:
            self._undoable = 0

    def progress(self) -> dict[str, Any]:
        """Return how far the labelling is.

        Returns
        -------
        dict
            ``done`` and ``target``, numbers of cells; ``all``, whether there are no more;
            ``cell``, the index of the one that is asked for, or None; ``last``, the label that can
            be undone, or None; ``width`` of the interval so far, in words.
        """
        with self._lock:
            return {
                "done": sum(cell in self._said for cell in self._places),
                "target": len(self._places),
                "all": len(self._places) == len(self.frame),
                "cell": self._asked,
                "last": [*self._said.values()][-1] if self._undoable else None,
                "width": self._width(),
            }

    def picture(self, cell: int) -> dict[str, bytes]:
        """Return the large pictures of a cell as WebP: ``composite``, ``protein``, ``nucleus``."""
        image = self._image(cell)
        return {
            "composite": cell_picture(image, LARGE),
            "protein": channel_picture(image[0], MIDDLE),
            "nucleus": channel_picture(image[1], MIDDLE),
        }

    def neighbours(self, cell: int) -> list[bytes]:
        """Return pictures of other cells of the same well: those nearest in the file.

        Raises
        ------
        DataError
            For a cell that is not in the sample.
        """
        self._check_in_sample(cell)
        frame = self.frame
        row = int(np.flatnonzero(frame.cells == cell)[0])
        if not frame.wells[row]:
            return []
        same = (frame.plates == frame.plates[row]) & (frame.wells == frame.wells[row])
        others = frame.cells[same & (frame.cells != cell)]
        nearest = others[np.argsort(abs(others - cell), kind="stable")[:NEIGHBOURS]]
        return [cell_picture(self._image(int(other)), SMALL) for other in np.sort(nearest)]

    def references(self) -> list[list[bytes]]:
        """Return pictures of Training's reference cells by their true class."""
        training = self._known.splits == TRAINING
        return [
            [
                cell_picture(image, SMALL)
                for image in self._known.images[training & (self._known.labels == label)][
                    :REFERENCES
                ]
            ]
            for label in range(self.dataset.n_classes)
        ]

    @property
    def _asked(self) -> int | None:
        """The cell that is asked for now."""
        return next((cell for cell in self._places if cell not in self._said), None)

    def _check_in_sample(self, cell: int) -> None:
        if cell not in self._places:
            raise DataError(f"Cell {cell} is not one of those that are asked for.")

    def _image(self, cell: int) -> np.ndarray:
        with self._lock:
            image: np.ndarray = next(self.plate.batches(1, cell, cell + 1)).images[0]
            return image

    def _width(self) -> str:
        """Return the interval's width after the last full block of labels, in words."""
        done = len(self._said) // BLOCK * BLOCK
        if done and done not in self._widths:
            self._widths[done] = self._measured_width(done)
        return self._widths.get(done, "")

    def _measured_width(self, done: int) -> str:
        some = dict([*self._said.items()][:done])
        rows, truths = judged_rows(self.frame, some, self.dataset.class_names)
        if not len(rows):
            return ""
        found = measure(self.frame, rows, truths, SEED)
        if found["high"] is None:
            return ""
        return f"range so far: {found['high'] - found['low']:.0f} points wide"


@contextmanager
def open_session(folder: Path, plate: Path | None, labeller: str) -> Iterator[Session]:
    """Open the labels of one person for a plate, and lock them.

    Parameters
    ----------
    folder : Path
        Of the results.
    plate : Path or None
        Where the plate file is now; None for where it was when it was scored.
    labeller : str

    Raises
    ------
    DataError
        For a folder without results, labels of another plate or model, and a plate file that is
        gone or another one.
    OutputError
        When another process has the labels locked.
    RunNotLoggedError
        When the model cannot be loaded.
    """
    drift_of(folder)  # refuses other folders, beside which no file of a lock is to be made
    with locked(folder):
        drift = drift_of(folder)
        read_labels(folder / AUDIT, sample_of(drift))  # refuses those of another plate or model
        path = plate_file(folder, drift, plate)
        reference = reference_of(folder, drift)
        with open_plate(path, reference.dataset, check_labels=False) as opened:
            yield Session(folder, drift, opened, reference, labeller)
