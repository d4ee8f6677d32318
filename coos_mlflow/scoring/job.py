"""Describe one scoring: plate, model, and the folders of parts and results.

Open this to change the blocks, or the facts that identify a scoring.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from coos_mlflow._utils.files import check_folder
from coos_mlflow._utils.versions import package_versions
from coos_mlflow.audit.labels_file import read_labels, sample_of
from coos_mlflow.audit.lock import locked
from coos_mlflow.drift.assessment import SCHEMA_VERSION
from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.plates.layout import Layout
from coos_mlflow.plates.reader import file_digest, open_plate
from coos_mlflow.registry.results import ALL_NAMES, AUDIT, DRIFT, RESULTS, key_of
from coos_mlflow.registry.versions import ModelRef
from coos_mlflow.scoring.adapted import adapted_entry
from coos_mlflow.scoring.predictions import BATCH

BLOCK = 8 * BATCH
"""Cells of a part: at most so many are lost when a scoring is killed, or go to a worker at once."""


class Block(NamedTuple):
    """Consecutive cells of a plate, `start` to `stop` - 1."""

    start: int
    stop: int


class Stamp(NamedTuple):
    """Size and modification time of a file, a cheap test for changes."""

    n_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Return the current stamp of a file.

        Raises
        ------
        DataError
            When the file can no longer be read.
        """
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"{path}: cannot be read any more ({error.strerror}).") from error
        return cls(status.st_size, status.st_mtime_ns)


class Survey(NamedTuple):
    """Facts about a plate file, for which all of it must be read; see `Job`."""

    sha256: str
    stamp: Stamp
    n_cells: int
    simulated: bool
    known_classes: dict[tuple[str, str], int]


def survey(
    plate: Path,
    dataset: Dataset,
    on_progress: Callable[[int], None] | None = None,
    layout: Layout | None = None,
) -> Survey:
    """Read a plate file for its digest.

    Parameters
    ----------
    plate : Path
    dataset : Dataset
        What the model's cells are.
    on_progress : callable or None
        Called with the number of bytes read since its last call.
    layout : Layout or None

    Raises
    ------
    DataError
        When the file is unfit, or the layout does not fit it.
    """
    with open_plate(plate, dataset, check_labels=False) as opened:
        known = {} if layout is None else layout.known_classes(opened, dataset)
        stamp = Stamp.of(plate)
        digest = file_digest(plate, on_progress)
        return Survey(digest, stamp, opened.n_cells, opened.simulated, known)


@dataclass(frozen=True)
class Job:
    """One plate to be scored.

    Parameters
    ----------
    plate : Path
        The file, as the user named it.
    sha256 : str
        Digest of the file.
    stamp : Stamp
        Stamp of the file before its digest was taken.
    n_cells : int
    simulated : bool
        Whether the plate is marked as simulated.
    folder : Path
        Folder of the results.
    model : ModelRef
    precision : {"fp32", "bf16"}
        Precision of networks.
    command : str
        The command line, which the report repeats.
    force : bool
        Whether other results may be replaced.
    layout : Layout or None
        What its wells were treated with.
    known_classes : dict of (str, str) to int
        Classes of wells by plate and well, as the layout says (`Layout.known_classes`).
    mixed_wells : bool
        Whether its wells may hold several classes, even if those of Training do not.
    block_cells : int
        Cells of a part.
    """

    plate: Path
    sha256: str
    stamp: Stamp
    n_cells: int
    simulated: bool
    folder: Path
    model: ModelRef
    precision: str
    command: str
    force: bool = False
    layout: Layout | None = None
    known_classes: dict[tuple[str, str], int] = field(default_factory=dict)
    mixed_wells: bool = False
    block_cells: int = field(default_factory=lambda: BLOCK)

    @property
    def work(self) -> Path:
        """Hidden folder beside the results, which holds the parts until the results are written."""
        return self.folder.with_name(f".{self.folder.name}.parts")

    @property
    def blocks(self) -> list[Block]:
        """All cells, the last block the shortest."""
        starts = range(0, self.n_cells, self.block_cells)
        return [Block(start, min(start + self.block_cells, self.n_cells)) for start in starts]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The job's entries in drift.json; jobs with the same facts have the same results."""
        return {
            "schema_version": SCHEMA_VERSION,
            "simulated": {"plate": self.simulated, "model": self.model.simulated},
            "plate_file": {
                "name": self.plate.name,
                "sha256": self.sha256,
                "n_cells": self.n_cells,
            },
            "layout": None if self.layout is None else self.layout.facts,
            "known_classes": self._known_digest,
            "mixed_wells": self.mixed_wells,
            "model": {
                "name": self.model.name,
                "version": self.model.version,
                "id": self.model.model_id,
                "trained_on": self.model.tags.get("dataset"),
                "dataset_sha256": self.model.tags.get("dataset_digest"),
                **({"adapted": adapted} if (adapted := adapted_entry(self.model)) else {}),
            },
            "precision": self.precision,
            "versions": package_versions(),
        }

    @property
    def _known_digest(self) -> str | None:
        """SHA-256 of the classes of wells, None where none is known."""
        if not self.known_classes:
            return None
        text = json.dumps(sorted([*well, label] for well, label in self.known_classes.items()))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def drift_facts(self) -> dict[str, Any]:
        """The facts on which the assessment depends: all but the layout's name and columns."""
        return {name: fact for name, fact in self.facts.items() if name != "layout"}

    @property
    def cell_facts(self) -> dict[str, Any]:
        """The facts on which the scores of cells depend."""
        others = ("layout", "known_classes", "mixed_wells")
        return {name: fact for name, fact in self.facts.items() if name not in others}

    @property
    def key(self) -> str:
        """Digest of the facts and the folder of results, sixteen hex digits."""
        return key_of(self.facts, self.folder)

    def check_unchanged(self) -> None:
        """Refuse a plate file that is no longer the one whose digest was taken.

        Raises
        ------
        DataError
        """
        if Stamp.of(self.plate) != self.stamp:
            raise DataError(
                f"{self.plate}: the file has changed while it was being scored; score it again "
                "once nothing writes to it."
            )


def found_results(job: Job) -> dict[str, Any] | None:
    """Return the drift.json of a job whose results exist already, or None."""
    return _found(job, job.facts)


def found_assessment(job: Job) -> dict[str, Any] | None:
    """Return the drift.json of the same assessment with another layout, or None.

    None with `force`, and where the layout says other classes than the one before.
    """
    return None if job.force else _found(job, job.drift_facts)


def _found(job: Job, facts: dict[str, Any]) -> dict[str, Any] | None:
    if not all((job.folder / name).is_file() for name in RESULTS):
        return None
    try:
        drift = json.loads((job.folder / DRIFT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(drift, dict):
        return None
    return drift if all(drift.get(key) == fact for key, fact in facts.items()) else None


def check_replaceable(job: Job) -> None:
    """Refuse to replace other results than those of the same cells, and labels of other results.

    Layout, classes of wells, and whether wells are mixed may change.

    Raises
    ------
    OutputError
    """
    check_folder(job.folder, job.force or _found(job, job.cell_facts) is not None, ALL_NAMES)
    with locked(job.folder, make=False):
        check_labels(job)


def check_labels(job: Job) -> None:
    """Refuse results that the labels in their folder would not fit: they are a person's work.

    Raises
    ------
    OutputError
    """
    path = job.folder / AUDIT
    try:
        labels = read_labels(path)
    except DataError as error:
        raise OutputError(str(error)) from error
    if any(label.sample != sample_of(job.facts) for label in labels):
        raise OutputError(
            f"{path}: holds {len(labels):,} labels of another model version or plate, which the "
            "new results would not fit; move the file elsewhere, or choose another --out folder."
        )
