"""The search for a forest's parameters: the paper's random search, or successive halving.

The random search fits 500 forests. Each error is written to a journal at once, and an interrupted
search resumes from the journal.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from joblib import parallel_config
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingRandomSearchCV, ParameterSampler
from sklearn.pipeline import Pipeline

from coos_mlflow._utils.cluster import spread
from coos_mlflow._utils.progress import progress
from coos_mlflow.errors import OutputError
from coos_mlflow.metrics import balanced_error, confusion_matrix
from coos_mlflow.plates.folds import Fold

FOREST_GRID: dict[str, list[Any]] = {
    "n_estimators": [20, 40, 60, 80, 120, 140, 160, 180, 200],
    "max_features": ["log2", "sqrt"],
    "max_depth": [1, 13, 25, 37, 50, None],
    "min_samples_split": [2, 5, 10, 20, 40],
    "min_samples_leaf": [1, 2, 4, 8, 16],
}
"""Lu et al. 2019, section 3.1; "min_samples" there is scikit-learn's ``min_samples_split``."""

SEARCHES = ("random", "halving")

FINALISTS = 3
"""Maximum number of draws that successive halving leaves to be compared on all cells."""


@dataclass(frozen=True)
class Search:
    """The forest, the cells, the folds and the method of a search.

    Parameters
    ----------
    forest : Pipeline
        Unfitted; its last step is the forest, with its seed.
    X : ndarray of float32, shape (n, d)
    y : ndarray of int64, shape (n,)
    folds : sequence of Fold
    samples : int
        Draws from the grid.
    seed : int
        Seed of the draws, and of the cells with which successive halving starts.
    method : str
        One of `SEARCHES`. "random" fits every draw on every fold. "halving" fits all draws on few
        cells, the best third on three times as many, and so on, and only the last few on every
        fold.
    grid : dict of list
        Values of the forest's parameters.
    weights : ndarray of float64, shape (n,), optional
        Of the cells in the fits.
    """

    forest: Pipeline
    X: np.ndarray
    y: np.ndarray
    folds: Sequence[Fold]
    samples: int
    seed: int
    method: str = "random"
    grid: dict[str, list[Any]] = field(default_factory=lambda: FOREST_GRID)
    weights: np.ndarray | None = None

    def draws(self) -> list[dict[str, Any]]:
        """Return the random draws of the forest's parameters."""
        return list(ParameterSampler(self.grid, self.samples, random_state=self.seed))

    def identity(self) -> str:
        """Return the SHA-256 of everything on which an error in the journal depends."""
        settings = {
            "forest": self.forest[-1].get_params(),
            "draws": self.draws(),
            "method": self.method,
            "scikit-learn": sklearn.__version__,
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        weights = () if self.weights is None else (self.weights,)
        for array in (self.X, self.y, *(rows for fold in self.folds for rows in fold), *weights):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def search_forest(search: Search, journal: Path | None = None) -> tuple[dict[str, Any], float]:
    """Return the draw with the smallest balanced error in cross-validation, and that error in %.

    Parameters
    ----------
    search : Search
    journal : Path, optional
        A file with a line of JSON for each finished fit. Fits that are in a journal of the same
        search are not repeated; the journal of another search is replaced.

    Returns
    -------
    params : dict
    cv_error : float
        The mean over the folds of all cells, with either method.

    Raises
    ------
    OutputError
        Where the journal cannot be written.
    """
    draws = search.draws()
    with _open_journal(journal, search) as record:
        candidates = list(range(len(draws)))
        if search.method == "halving":
            candidates = record.finalists or _halve(search)
            record.add_finalists(candidates)
        _cross_validate(search, draws, candidates, record)
    errors = [np.mean([record.errors[c, f] for f in range(len(search.folds))]) for c in candidates]
    best = int(np.argmin(errors))
    return draws[candidates[best]], float(errors[best])


def min_cells_for_halving(y: np.ndarray, folds: int) -> int:
    """Return the number of cells that scikit-learn's successive halving needs at its start."""
    return 2 * folds * len(np.unique(y))


def _cross_validate(
    search: Search, draws: list[dict[str, Any]], candidates: list[int], journal: _Journal
) -> None:
    """Run the fits that are not in the journal, in parallel, and add their errors to it."""
    folds = range(len(search.folds))
    fits = [(candidate, fold) for candidate in candidates for fold in folds]
    missing = [key for key in fits if key not in journal.errors]
    jobs = [(draws[candidate], candidate, fold) for candidate, fold in missing]
    with progress("RF cross-validation", total=len(fits), unit="fits") as advance:
        advance(len(fits) - len(missing))
        # Unordered, so that finished fits enter the journal while a longer one still runs.
        for candidate, fold, error in spread(_error, search, jobs, ordered=False):
            journal.add_error(candidate, fold, error)
            advance(1)


def _error(
    search: Search, chosen: dict[str, Any], candidate: int, fold: int
) -> tuple[int, int, float]:
    fitted, held = search.folds[fold]
    forest = clone(search.forest)
    forest[-1].set_params(**chosen)
    weights = None if search.weights is None else search.weights[fitted]
    forest.fit(search.X[fitted], search.y[fitted], classify__sample_weight=weights)
    predicted = forest.predict(search.X[held])
    error = balanced_error(confusion_matrix(search.y[held], predicted))
    return candidate, fold, float(error)


def _halve(search: Search) -> list[int]:
    """Return the indices of the draws that scikit-learn's successive halving leaves, best first.

    It ends on a third of the cells. The last step, on all of them, is the same cross-validation as
    that of the random search: errors are comparable, and its fits enter the journal.
    """
    with progress("RF successive halving", unit="fits") as advance:

        def score(forest: RandomForestClassifier, X: np.ndarray, y: np.ndarray) -> float:
            advance(1)
            return -float(balanced_error(confusion_matrix(y, forest.predict(X))))

        halving = HalvingRandomSearchCV(
            search.forest[-1],  # trees need no scaling
            search.grid,
            n_candidates=search.samples,
            min_resources="exhaust",
            max_resources=max(
                len(search.y) // 3, min_cells_for_halving(search.y, len(search.folds))
            ),
            random_state=search.seed,
            cv=list(search.folds),
            scoring=score,
            refit=False,
            return_train_score=False,
            error_score="raise",
            n_jobs=-1,
        )
        with parallel_config(backend="threading"):
            halving.fit(search.X, search.y, sample_weight=search.weights)
    results = halving.cv_results_
    (last,) = np.nonzero(results["iter"] == results["iter"].max())
    ranked = last[np.argsort(-results["mean_test_score"][last], kind="stable")]
    draws = search.draws()
    return [draws.index(results["params"][i]) for i in ranked[:FINALISTS]]


class _Journal:
    """Errors of finished fits by candidate and fold, and the finalists of successive halving."""

    def __init__(self) -> None:
        self.errors: dict[tuple[int, int], float] = {}
        self.finalists: list[int] = []
        self.file: FileIO | None = None

    def add_error(self, candidate: int, fold: int, error: float) -> None:
        self.errors[candidate, fold] = error
        self._write({"candidate": candidate, "fold": fold, "error": error})

    def add_finalists(self, finalists: list[int]) -> None:
        if self.finalists != finalists:
            self.finalists = finalists
            self._write({"finalists": finalists})

    def resume(self, file: FileIO, identity: str) -> None:
        """Read the file's entries up to the first incomplete line, and append after them."""
        lines = file.readall().splitlines(keepends=True)
        intact = 0
        if lines and _parse(lines[0]) == {"search": identity}:
            intact = len(lines[0])
            for line in lines[1:]:
                entry = _parse(line)
                if entry is None:
                    break
                self._restore(entry)
                intact += len(line)
        self.file = file
        file.seek(intact)
        file.truncate()
        if not intact:
            self._write({"search": identity})

    def _restore(self, entry: dict[str, Any]) -> None:
        if "finalists" in entry:
            self.finalists = entry["finalists"]
        else:
            self.errors[entry["candidate"], entry["fold"]] = entry["error"]

    def _write(self, entry: dict[str, Any]) -> None:
        if self.file is None:
            return
        line = json.dumps(entry).encode() + b"\n"
        with _name_journal_in_errors(Path(str(self.file.name))):
            # An unbuffered file may write a part of the line where the disk is full.
            if self.file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return a line's entry, or None for an incomplete line."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


@contextmanager
def _open_journal(path: Path | None, search: Search) -> Iterator[_Journal]:
    journal = _Journal()
    if path is None:
        yield journal
        return
    with _name_journal_in_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        file = path.open("r+b", buffering=0)  # a killed process loses no finished line
    with file:
        journal.resume(file, search.identity())
        yield journal


@contextmanager
def _name_journal_in_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` into an `OutputError` that names the journal."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: the journal of the forest search cannot be written ({error.strerror}); "
            "free some space, or set COOS_CACHE to a folder that can be written."
        ) from error
