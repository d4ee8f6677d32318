"""Feature matrices of whole plates, extracted once and kept on disk.

A cache entry is a folder of ``.npy`` files named by the SHA-256 of the plate file and by what was
computed with which parameters, so that three classifiers do not extract three times and a plate
that changed is never mistaken for what it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow._utils.cache import cache_home, make_cache_home
from coos_mlflow._utils.cluster import check_reach, is_spreading, keep_to_own_cores, spread
from coos_mlflow._utils.progress import progress
from coos_mlflow.errors import OutputError
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.representations.base import Representation

BATCH = 1024

_BLOCK_OF_WORKER = 4 * BATCH
"""Cells that a worker of a cluster is given at a time: seconds of work."""

Transform = Callable[[np.ndarray], dict[str, np.ndarray]]


def extract(path: Path, digest: str, representation: Representation) -> dict[str, np.ndarray]:
    """Compute or recall every layer of a representation for a whole plate file.

    Parameters
    ----------
    path : Path
        A plate file.
    digest : str
        Its SHA-256 (`coos_mlflow.plates.reader.file_digest`).

    Returns
    -------
    dict of str to ndarray, shape (cells, d), float32
        One matrix for each layer.
    """
    return compute_or_load(path, digest, identity(representation), representation.transform)


def identity(representation: Representation) -> dict[str, Any]:
    """Return what the features of a representation depend on, JSON-ready."""
    return {
        "representation": representation.key,
        "version": representation.version,
        "params": representation.params(),
        "digest": representation.digest,
    }


def compute_or_load(
    path: Path, digest: str, what: dict[str, Any], compute: Transform
) -> dict[str, np.ndarray]:
    """Return `compute` over all cells of a plate, from the cache where it is there.

    Parameters
    ----------
    path, digest : Path, str
        A plate file and its SHA-256.
    what : dict
        Says, JSON-ready, what `compute` does; with the digest it is the cache's key.
    compute : callable
        Takes images (n, 2, 64, 64), returns named arrays of n rows.

    Returns
    -------
    dict of str to ndarray
        Rows in the order of the file.
    """
    name = str(what.get("representation", what.get("name")))
    entry = cache_home() / "features" / f"{digest[:24]}-{name}-{short_hash(what)}"
    make_cache_home()
    try:
        found = _load(entry)
    except (OSError, ValueError, EOFError):  # missing, or cut by a full disk or a crash
        shutil.rmtree(entry, ignore_errors=True)
        _store(entry, _compute(path, name, compute))
        found = _load(entry)
    return found


def _load(entry: Path) -> dict[str, np.ndarray]:
    files = sorted(entry.glob("*.npy"))
    if not files:
        raise FileNotFoundError(entry)
    return {file.stem: np.load(file, mmap_mode="r", allow_pickle=False) for file in files}


def _compute(path: Path, name: str, compute: Transform) -> dict[str, np.ndarray]:
    parts: list[dict[str, np.ndarray]] = []
    with open_plate(path) as plate:
        n_cells = plate.n_cells
    size = _BLOCK_OF_WORKER if is_spreading() else BATCH
    blocks = [(start, min(start + size, n_cells)) for start in range(0, n_cells, size)]
    with progress(f"{name} of {path.name}", total=n_cells, unit="cells") as advance:
        for part, (start, stop) in zip(_parts(path, compute, blocks), blocks, strict=True):
            parts.append(part)
            advance(stop - start)
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _parts(
    path: Path, compute: Transform, blocks: Sequence[tuple[int, int]]
) -> Iterator[dict[str, np.ndarray]]:
    """Compute some blocks of cells, here one after the other, or on the cluster in use."""
    if is_spreading():
        yield from spread(
            _part, (path.absolute(), path.stat().st_size, compute), blocks, ordered=True
        )
        return
    with open_plate(path) as plate:
        for start, stop in blocks:
            for batch in plate.batches(stop - start, start, stop):
                yield compute(batch.images)


def _part(shared: tuple[Path, int, Transform], start: int, stop: int) -> dict[str, np.ndarray]:
    """Compute a block; runs in a worker."""
    path, n_bytes, compute = shared
    check_reach(path, n_bytes)
    keep_to_own_cores()
    with open_plate(path) as plate:
        found = [compute(batch.images) for batch in plate.batches(BATCH, start, stop)]
    return {key: np.concatenate([part[key] for part in found]) for key in found[0]}


def _store(entry: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an entry whole or not at all; whoever comes second keeps the first's.

    Raises
    ------
    OutputError
        When there is no room or no right to.
    """
    partial = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=entry.parent))
        for key, array in arrays.items():
            np.save(partial / f"{key}.npy", array)
        partial.rename(entry)
    except OSError as error:
        if partial:
            shutil.rmtree(partial, ignore_errors=True)
        if not entry.exists():
            # Where NumPy's own count of bytes is all it says, the disk was full.
            reason = error.strerror or "no space left on the disk"
            raise OutputError(
                f"{entry}: features cannot be kept ({reason}); free some space, or set COOS_CACHE "
                "to a folder on another disk."
            ) from error


def short_hash(what: dict[str, Any]) -> str:
    """Return twelve hex digits that stand for something JSON-ready."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
