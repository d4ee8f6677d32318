"""The search for a forest's parameters: the paper's random search, or successive halving.

The random search fits 500 forests. Each error goes to a journal as soon as it is known, and a
search that was killed goes on from there.
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
"""Draws that successive halving leaves, at most, to be compared on all cells."""

Fold = tuple[np.ndarray, np.ndarray]
"""Rows to fit on, rows held out."""


@dataclass(frozen=True)
class Search:
    """What is searched, on which cells.

    Parameters
    ----------
    forest : Pipeline
        Its last step is the forest, with its seed.
    X : ndarray of float32, shape (n, d)
    y : ndarray of int64, shape (n,)
    folds : sequence of Fold
    samples : int
        Draws from the grid.
    seed : int
        Of the draws, and of the cells that successive halving begins with.
    method : str
        One of `SEARCHES`. "random" fits every draw on every fold; "halving" fits all of them on
        few cells, the best third on three times as many, and so on, and only the last few on
        every fold.
    grid : dict of list
        Values of the forest's parameters.
    """

    forest: Pipeline
    X: np.ndarray
    y: np.ndarray
    folds: Sequence[Fold]
    samples: int
    seed: int
    method: str = "random"
    grid: dict[str, list[Any]] = field(default_factory=lambda: FOREST_GRID)

    def draws(self) -> list[dict[str, Any]]:
        """Return the forests' parameters to choose from."""
        return list(ParameterSampler(self.grid, self.samples, random_state=self.seed))

    def identity(self) -> str:
        """Hash all on which an error in the journal depends."""
        settings = {
            "forest": self.forest[-1].get_params(),
            "draws": self.draws(),
            "method": self.method,
            "scikit-learn": sklearn.__version__,
        }
        said = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for array in (self.X, self.y, *(rows for fold in self.folds for rows in fold)):
            said.update(f"{array.dtype}{array.shape}".encode())
            said.update(np.ascontiguousarray(array).data)
        return said.hexdigest()


def search_forest(search: Search, journal: Path | None = None) -> tuple[dict[str, Any], float]:
    """Return the draw with the least balanced error in cross-validation, and that error in %.

    Parameters
    ----------
    search : Search
    journal : Path, optional
        A file that takes a line of JSON for each finished fit. Where it holds lines of the same
        search, their fits are not made again; one of another search is replaced.

    Returns
    -------
    params : dict
    cv_error : float
        The mean over the whole folds, whatever the method.

    Raises
    ------
    OutputError
        When the journal cannot be written.
    """
    draws = search.draws()
    with _open_journal(journal, search) as known:
        candidates = list(range(len(draws)))
        if search.method == "halving":
            candidates = known.finalists or _halve(search)
            known.leave(candidates)
        _cross_validate(search, draws, candidates, known)
    errors = [np.mean([known.errors[c, f] for f in range(len(search.folds))]) for c in candidates]
    best = int(np.argmin(errors))
    return draws[candidates[best]], float(errors[best])


def least_cells(y: np.ndarray, folds: int) -> int:
    """Return how many cells scikit-learn's successive halving begins with at least."""
    return 2 * folds * len(np.unique(y))


def _cross_validate(
    search: Search, draws: list[dict[str, Any]], candidates: list[int], known: _Journal
) -> None:
    """Make the fits that the journal does not know, side by side, and note their errors."""
    folds = range(len(search.folds))
    wanted = [(candidate, fold) for candidate in candidates for fold in folds]
    missing = [key for key in wanted if key not in known.errors]
    jobs = [(draws[candidate], candidate, fold) for candidate, fold in missing]
    with progress("RF cross-validation", total=len(wanted), unit="fits") as advance:
        advance(len(wanted) - len(missing))
        # In the order in which they end: a long fit keeps no other out of the journal.
        for candidate, fold, error in spread(_error, search, jobs, ordered=False):
            known.note(candidate, fold, error)
            advance(1)


def _error(
    search: Search, chosen: dict[str, Any], candidate: int, fold: int
) -> tuple[int, int, float]:
    fitted, held = search.folds[fold]
    forest = clone(search.forest)
    forest[-1].set_params(**chosen)
    predicted = forest.fit(search.X[fitted], search.y[fitted]).predict(search.X[held])
    error = balanced_error(confusion_matrix(search.y[held], predicted))
    return candidate, fold, float(error)


def _halve(search: Search) -> list[int]:
    """Return the numbers of the draws that scikit-learn's successive halving leaves, best first.

    It ends on a third of the cells: the last step, on all of them, is the cross-validation that
    also ends the random search, so that errors compare and fits go to the journal.
    """
    with progress("RF successive halving", unit="fits") as advance:

        def score(forest: RandomForestClassifier, X: np.ndarray, y: np.ndarray) -> float:
            advance(1)
            return -float(balanced_error(confusion_matrix(y, forest.predict(X))))

        halving = HalvingRandomSearchCV(
            search.forest[-1],  # trees ask for no scaling
            search.grid,
            n_candidates=search.samples,
            min_resources="exhaust",
            max_resources=max(len(search.y) // 3, least_cells(search.y, len(search.folds))),
            random_state=search.seed,
            cv=list(search.folds),
            scoring=score,
            refit=False,
            return_train_score=False,
            error_score="raise",
            n_jobs=-1,
        )
        with parallel_config(backend="threading"):
            halving.fit(search.X, search.y)
    found = halving.cv_results_
    (left,) = np.nonzero(found["iter"] == found["iter"].max())
    ranked = left[np.argsort(-found["mean_test_score"][left], kind="stable")]
    draws = search.draws()
    return [draws.index(found["params"][i]) for i in ranked[:FINALISTS]]


class _Journal:
    """Errors of finished fits by candidate and fold, and what successive halving left."""

    def __init__(self) -> None:
        self.errors: dict[tuple[int, int], float] = {}
        self.finalists: list[int] = []
        self.file: FileIO | None = None

    def note(self, candidate: int, fold: int, error: float) -> None:
        self.errors[candidate, fold] = error
        self._write({"candidate": candidate, "fold": fold, "error": error})

    def leave(self, finalists: list[int]) -> None:
        if self.finalists != finalists:
            self.finalists = finalists
            self._write({"finalists": finalists})

    def resume(self, file: FileIO, identity: str) -> None:
        """Recall a file's lines, up to one that a kill has cut; go on writing behind them."""
        lines = file.readall().splitlines(keepends=True)
        intact = 0
        if lines and _parsed(lines[0]) == {"search": identity}:
            intact = len(lines[0])
            for line in lines[1:]:
                said = _parsed(line)
                if said is None:
                    break
                self._recall(said)
                intact += len(line)
        self.file = file
        file.seek(intact)
        file.truncate()
        if not intact:
            self._write({"search": identity})

    def _recall(self, said: dict[str, Any]) -> None:
        if "finalists" in said:
            self.finalists = said["finalists"]
        else:
            self.errors[said["candidate"], said["fold"]] = said["error"]

    def _write(self, said: dict[str, Any]) -> None:
        if self.file is None:
            return
        line = json.dumps(said).encode() + b"\n"
        with _refusals_of(Path(str(self.file.name))):
            if self.file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return what a line says, or None for one that was cut."""
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
    with _refusals_of(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        file = path.open("r+b", buffering=0)  # a line is on its way to the disk when written
    with file:
        journal.resume(file, search.identity())
        yield journal


@contextmanager
def _refusals_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: the journal of the forest search cannot be written ({error.strerror}); "
            "make room or choose a folder that can be written."
        ) from error
