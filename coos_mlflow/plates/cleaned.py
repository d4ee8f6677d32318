"""Make copies of plate files without unusable cells, for training. Copies are cached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from coos_mlflow._utils.cache import make_cache_home
from coos_mlflow._utils.progress import progress, say
from coos_mlflow.plates.columns import ID_DATASETS
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.plates.flags import USABLE, FlagCounter, kinds_words
from coos_mlflow.plates.reader import Plate, file_digest, open_plate
from coos_mlflow.plates.schema import CHANNELS, UNLABELLED, CellBatch
from coos_mlflow.plates.writer import PlateWriter


def without_unusable(file: Path, dataset: Dataset) -> Path:
    """Return a plate file, or a copy without its unusable cells if it has any.

    The copy is kept in the cache under the digest of the file and of what is read from it. The
    number of cells left out, and the reasons, are printed on stderr.

    Parameters
    ----------
    file : Path
        It is not changed.
    dataset : Dataset
        What its cells are.

    Raises
    ------
    DataError
        When more than the share `MAX_UNUSABLE` of the cells is unusable.
    OutputError
        When the cache cannot be written.
    """
    with open_plate(file, dataset) as plate:
        counter = FlagCounter(plate.n_cells, f"{plate.path}:/data")
        for batch in _batches(plate, "Checking"):
            counter.add(batch.flags, batch)
        kinds = counter.unusable
        if not kinds:
            return file
        # The folder keeps its name, because a data set is named after its folder.
        read = [dataset.channels, [(one.name, one.short, one.label) for one in dataset.classes]]
        key = hashlib.sha256((file_digest(file) + json.dumps(read)).encode()).hexdigest()[:24]
        folder = make_cache_home("cleaned", key, file.resolve().parent.name)
        copy = folder / file.name
        if not copy.exists():
            _write(plate, copy, int(counter.counts[USABLE]), dataset)
        n_cells = plate.n_cells
    say(f"{file}: {sum(kinds.values()):,} of {n_cells:,} cells left out: {kinds_words(kinds)}")
    return copy


def _write(plate: Plate, copy: Path, n_cells: int, dataset: Dataset) -> None:
    stored = np.array([*(one.label for one in dataset.classes), UNLABELLED])
    attrs = plate.attrs | {"channels": ",".join(CHANNELS)}
    # When two processes write the same copy, the second replaces it with the same bytes.
    with PlateWriter(
        copy, n_cells, crop=plate.crop, dtype=plate.dtype, attrs=attrs, force=True
    ) as writer:
        for batch in _batches(plate, "Copying"):
            keep = batch.flags == USABLE
            if not keep.any():
                continue
            columns = {
                name: None if (column := getattr(batch, name)) is None else column[keep]
                for name in ("labels", *ID_DATASETS)
            }
            if columns["labels"] is not None:
                columns["labels"] = stored[columns["labels"]]
            writer.append(batch.images[keep], **columns)


def _batches(plate: Plate, doing: str) -> Iterator[CellBatch]:
    with progress(f"{doing} {plate.path.name}", total=plate.n_cells, unit="cells") as advance:
        for batch in plate.batches(keep_unusable=True):
            yield batch
            advance(len(batch))
