"""Feature matrices of whole plates, extracted once and cached on disk.

A cache entry is a folder of ``.npy`` files. Its name holds the SHA-256 of the plate file and a hash
of the computation and its parameters, so that a changed plate or setting never gets old features.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow._utils.cache import cache_home, make_cache_home
from coos_mlflow._utils.cluster import check_reach, is_spreading, keep_to_own_cores, spread
from coos_mlflow._utils.files import new_folder
from coos_mlflow._utils.progress import progress
from coos_mlflow.errors import OutputError
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.schema import CHANNELS
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.representations.base import Representation

BATCH = 1024

_WORKER_BLOCK = 4 * BATCH
"""Cells in one unit of work of a cluster's worker, which takes seconds."""

Transform = Callable[[np.ndarray], dict[str, np.ndarray]]


def extract(
    data: TrainingData, split: str, representation: Representation
) -> dict[str, np.ndarray]:
    """Return every layer of a representation for all cells of a split, from the cache if there.

    Returns
    -------
    dict of str to ndarray, shape (cells, d), float32
        One matrix for each layer.
    """
    return compute_or_load(data, split, identity(representation), representation.transform)


def identity(representation: Representation) -> dict[str, Any]:
    """Return everything on which the features of a representation depend, JSON-ready."""
    return {
        "representation": representation.key,
        "version": representation.version,
        "params": representation.params(),
        "digest": representation.digest,
    }


def compute_or_load(
    data: TrainingData, split: str, computation: dict[str, Any], compute: Transform
) -> dict[str, np.ndarray]:
    """Return the result of `compute` for all cells of a split, from the cache if there.

    Parameters
    ----------
    data : TrainingData
    split : str
    computation : dict
        Name, version and parameters of `compute`, JSON-ready; part of the cache's key.
    compute : callable
        Takes images (n, 2, crop, crop), returns named arrays of n rows.

    Returns
    -------
    dict of str to ndarray
        Rows in the order of the files; those of a single file are mapped from disk.

    Raises
    ------
    OutputError
        Where the cache cannot be written.
    """
    # The same file has other cells where another channel is called the protein.
    if data.dataset.channels != CHANNELS:
        computation = computation | {"channels": data.dataset.read_channels}
    of_files = [
        _of_file(path, digest, data.dataset, computation, compute)
        for path, digest in zip(data.files[split], data.digests[split], strict=True)
    ]
    if len(of_files) == 1:
        return of_files[0]
    return {key: np.concatenate([one[key] for one in of_files]) for key in of_files[0]}


def _of_file(
    path: Path, digest: str, dataset: Dataset, computation: dict[str, Any], compute: Transform
) -> dict[str, np.ndarray]:
    name = str(computation.get("representation", computation.get("name")))
    entry = cache_home() / "features" / f"{digest[:24]}-{name}-{short_hash(computation)}"
    make_cache_home()
    try:
        return _load(entry)
    except (OSError, ValueError, EOFError):  # missing, or cut by a full disk or a crash
        shutil.rmtree(entry, ignore_errors=True)
        _store(entry, _compute(path, dataset, name, compute))
        return _load(entry)


def _load(entry: Path) -> dict[str, np.ndarray]:
    files = sorted(entry.glob("*.npy"))
    if not files:
        raise FileNotFoundError(entry)
    return {file.stem: np.load(file, mmap_mode="r", allow_pickle=False) for file in files}


def _compute(path: Path, dataset: Dataset, name: str, compute: Transform) -> dict[str, np.ndarray]:
    parts: list[dict[str, np.ndarray]] = []
    with open_plate(path, dataset) as plate:
        n_cells = plate.n_cells
    size = _WORKER_BLOCK if is_spreading() else BATCH
    blocks = [(start, min(start + size, n_cells)) for start in range(0, n_cells, size)]
    with progress(f"{name} of {path.name}", total=n_cells, unit="cells") as advance:
        for part, (start, stop) in zip(_parts(path, dataset, compute, blocks), blocks, strict=True):
            parts.append(part)
            advance(stop - start)
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _parts(
    path: Path, dataset: Dataset, compute: Transform, blocks: Sequence[tuple[int, int]]
) -> Iterator[dict[str, np.ndarray]]:
    """Compute blocks of cells in order, on the cluster in use or in this process."""
    if is_spreading():
        yield from spread(
            _part, (path.absolute(), path.stat().st_size, dataset, compute), blocks, ordered=True
        )
        return
    with open_plate(path, dataset) as plate:
        for start, stop in blocks:
            for batch in plate.batches(stop - start, start, stop):
                yield compute(batch.images)


def _part(
    shared: tuple[Path, int, Dataset, Transform], start: int, stop: int
) -> dict[str, np.ndarray]:
    """Compute a block; runs in a worker of a cluster."""
    path, n_bytes, dataset, compute = shared
    check_reach(path, n_bytes)
    keep_to_own_cores()
    with open_plate(path, dataset) as plate:
        batches = [compute(batch.images) for batch in plate.batches(BATCH, start, stop)]
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def _store(entry: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an entry atomically; an entry that another process has written meanwhile stays.

    Raises
    ------
    OutputError
        Where the entry cannot be written.
    """
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(entry, replace=False) as partial:
            for key, array in arrays.items():
                np.save(partial / f"{key}.npy", array)
    except OSError as error:
        if not entry.exists():
            # On a full disk NumPy raises an OSError without errno.
            reason = error.strerror or "no space left on the disk"
            raise OutputError(
                f"{entry}: features cannot be written ({reason}); free some space, or set "
                "COOS_CACHE to a folder on another disk."
            ) from error


def short_hash(value: dict[str, Any]) -> str:
    """Return the first twelve hex digits of the SHA-256 of a JSON-ready value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
