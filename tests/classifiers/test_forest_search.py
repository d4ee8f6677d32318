"""The forest search: draws, results, journal, and successive halving."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from waiting import wait_until

from coos_mlflow.classifiers import forest_search
from coos_mlflow.classifiers.forest_search import (
    FOREST_GRID,
    Search,
    min_cells_for_halving,
    search_forest,
)
from coos_mlflow.errors import OutputError


@pytest.fixture(autouse=True)
def small_forests(monkeypatch):
    monkeypatch.setitem(FOREST_GRID, "n_estimators", [3, 5, 9])


def make_search(n: int = 240, **settings: object) -> Search:
    """Four overlapping classes, two folds, three draws."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 4
    X = (rng.standard_normal((4, 6))[y] + 1.2 * rng.standard_normal((n, 6))).astype(np.float32)
    folds = list(StratifiedKFold(2, shuffle=True, random_state=0).split(X, y))
    forest = Pipeline(
        [("scale", StandardScaler()), ("classify", RandomForestClassifier(random_state=0))]
    )
    return Search(forest, X, y, folds, samples=3, seed=0, **settings)


def lines_of(journal: Path) -> list[dict]:
    return [json.loads(line) for line in journal.read_text().splitlines()]


@pytest.fixture
def fits(monkeypatch):
    """Count the forests that are fitted."""
    made = []

    class Counted(RandomForestClassifier):
        def fit(self, X, y, sample_weight=None):
            made.append(len(X))
            return super().fit(X, y, sample_weight)

    monkeypatch.setattr(sys.modules[__name__], "RandomForestClassifier", Counted)
    return made


def test_the_search_draws_what_the_paper_says(monkeypatch):
    monkeypatch.undo()
    drawn = replace(make_search(), samples=100).draws()
    assert len(drawn) == 100
    assert all(draw[k] in values for draw in drawn for k, values in FOREST_GRID.items())
    assert {len(values) for values in FOREST_GRID.values()} == {9, 2, 6, 5}
    assert all(a != b for a, b in pairwise(drawn))


def test_the_random_search_keeps_the_best_of_its_draws():
    """The errors are those of scikit-learn's own cross-validation of each draw."""
    search = make_search()
    errors = []
    for draw in search.draws():
        forest = clone(search.forest).set_params(**{f"classify__{k}": v for k, v in draw.items()})
        scores = cross_val_score(
            forest, search.X, search.y, cv=search.folds, scoring="balanced_accuracy"
        )
        errors.append(100 * (1 - scores.mean()))
    params, error = search_forest(search)
    assert error == pytest.approx(min(errors))
    assert min(errors) < max(errors)
    assert params == search.draws()[int(np.argmin(errors))]


def test_a_finished_search_is_recalled_without_a_fit(tmp_path, fits):
    journal = tmp_path / "deep" / "search.jsonl"
    first = search_forest(make_search(), journal)
    assert len(fits) == 6 and len(lines_of(journal)) == 7
    assert search_forest(make_search(), journal) == first
    assert len(fits) == 6


@pytest.mark.parametrize("kept", [0.99, 0.7, 0.5, 0.1, 0])
def test_a_journal_cut_anywhere_is_gone_on_with(tmp_path, fits, kept):
    journal = tmp_path / "search.jsonl"
    first = search_forest(make_search(), journal)
    whole = journal.read_bytes()
    journal.write_bytes(whole[: int(kept * len(whole))])
    intact = max(journal.read_bytes().count(b"\n") - 1, 0)
    assert search_forest(make_search(), journal) == first
    assert len(fits) == 6 + 6 - intact
    assert sorted(journal.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_journal_of_another_search_is_replaced(tmp_path, fits):
    journal = tmp_path / "search.jsonl"
    search = make_search()
    search_forest(search, journal)
    nudged, relabelled = search.X.copy(), search.y.copy()
    nudged[5, 0] += 1e-3
    relabelled[:2] = relabelled[1::-1]
    others = [
        replace(search, X=nudged),
        replace(search, y=relabelled),
        replace(search, folds=search.folds[::-1]),
        replace(search, seed=1),
        replace(search, method="halving"),
        replace(search, forest=clone(search.forest).set_params(classify__random_state=1)),
    ]
    assert len({other.identity() for other in [search, *others]}) == len(others) + 1
    made = len(fits)
    search_forest(others[0], journal)
    assert len(fits) == made + 6 and len(lines_of(journal)) == 7


def test_a_file_that_is_no_journal_is_replaced(tmp_path):
    journal = tmp_path / "search.jsonl"
    journal.write_bytes(b"\x00\xff[]\n3\n")
    search_forest(make_search(), journal)
    assert len(lines_of(journal)) == 7


KILLED = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent / "helpers")]
import test_forest_search as tests
from coos_mlflow.classifiers import forest_search

forest_search.FOREST_GRID["n_estimators"] = [3, 5, 9]
add_error, errors = forest_search._Journal.add_error, []
def pausing(self, *entry):
    add_error(self, *entry)
    errors.append(entry)
    if len(errors) == 3:
        time.sleep(600)  # until it is killed
forest_search._Journal.add_error = pausing
tests.search_forest(tests.make_search(), Path(sys.argv[2]))
"""


def test_a_killed_search_goes_on_and_ends_like_one_that_was_not(tmp_path, fits):
    journal = tmp_path / "search.jsonl"
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(journal)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process:

        def begun() -> bool:
            assert process.poll() is None, process.stderr.read().decode()
            return journal.exists() and journal.read_bytes().count(b"\n") >= 3

        wait_until(begun)
        os.kill(process.pid, signal.SIGKILL)
    finished = len(lines_of(journal)) - 1
    assert 2 <= finished < 6
    resumed = search_forest(make_search(), journal)
    assert len(fits) == 6 - finished
    assert resumed == search_forest(make_search())


def test_an_interrupted_search_keeps_what_was_finished(tmp_path, monkeypatch):
    journal = tmp_path / "search.jsonl"
    error_of = forest_search._error

    def interrupted(search, chosen, candidate, fold):
        if (candidate, fold) == (2, 0):
            raise KeyboardInterrupt
        return error_of(search, chosen, candidate, fold)

    monkeypatch.setattr(forest_search, "_error", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search_forest(make_search(), journal)
    assert 2 <= len(lines_of(journal)) <= 6


def test_a_journal_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"journal.*cannot be written"):
        search_forest(make_search(), tmp_path / "file" / "search.jsonl")


def test_a_full_disk_ends_the_search_with_a_sentence(small_disk):
    folder = small_disk(8192)
    filled = (folder / "full").open("wb", buffering=0)
    journal = folder / "search.jsonl"
    journal.touch()
    with filled:
        with pytest.raises(OSError, match="No space left"):
            while True:
                filled.write(b"\0" * 512)
        with pytest.raises(OutputError, match=r"journal.*No space left"):
            search_forest(make_search(), journal)


@pytest.fixture
def one_core(monkeypatch):
    """Successive halving in this process, where its fits can be counted."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")


def test_halving_compares_its_finalists_on_whole_folds(tmp_path, fits, one_core):
    search = replace(make_search(480), samples=9, method="halving")
    journal = tmp_path / "search.jsonl"
    params, error = search_forest(search, journal)
    _, left, *errors = lines_of(journal)
    finalists = left["finalists"]
    assert 1 <= len(finalists) <= 3
    assert fits[-2 * len(finalists) :] == [240] * 2 * len(finalists)
    assert min(fits) < 40 and len(fits) > 18
    means = [np.mean([e["error"] for e in errors if e["candidate"] == c]) for c in finalists]
    assert error == pytest.approx(min(means))
    assert params == search.draws()[finalists[int(np.argmin(means))]]


def test_halving_that_was_cut_behind_its_choice_is_not_made_again(tmp_path, fits, one_core):
    search = replace(make_search(480), samples=9, method="halving")
    journal = tmp_path / "search.jsonl"
    first = search_forest(search, journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:3]))
    made = len(fits)
    assert search_forest(search, journal) == first
    assert len(fits) == made + len(lines) - 3


def test_halving_side_by_side_ends_as_on_one_core(monkeypatch):
    search = replace(make_search(480), samples=9, method="halving")
    side_by_side = search_forest(search)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert search_forest(search) == side_by_side


def test_both_methods_report_errors_that_compare(one_core):
    """What halving says of its forest is what the random search says of the same one."""
    search = replace(make_search(480), samples=9)
    params, error = search_forest(replace(search, method="halving"))
    alone = forest_search._Journal()
    chosen = search.draws().index(params)
    forest_search._cross_validate(search, search.draws(), [chosen], alone)
    assert error == np.mean([alone.errors[chosen, fold] for fold in range(2)])
    assert search_forest(search)[1] <= error


def test_halving_begins_with_as_few_cells_as_scikit_learn_allows(one_core):
    search = replace(make_search(18), method="halving")
    assert min_cells_for_halving(search.y, 2) == 16
    assert search_forest(search)[0] in search.draws()
