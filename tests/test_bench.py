"""Every bench runs, at a size that proves nothing, and names itself on its last line."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from coos_mlflow.forest_search import FOREST_GRID

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
FILES = sorted((SCRIPTS / "benches").glob("[!_]*.py"))

CELLS = {"forward": 2, "texture": 7, "training": 35}
FOLDABLE = 84
"""Cells: as many as the slower side can bear, and as folds of seven classes ask for."""


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    spec = importlib.util.spec_from_file_location("bench", SCRIPTS / "bench.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in [name for name in sys.modules if name.partition(".")[0] == "benches"]:
        del sys.modules[name]


def test_every_file_is_a_bench(bench):
    assert {name.replace("-", "_") for name in bench.names()} == {file.stem for file in FILES}
    assert {"forest-search", "knn", "lr", "texture"} <= set(bench.names())


@pytest.mark.parametrize("name", [file.stem.replace("_", "-") for file in FILES])
def test_a_bench_compares_two_sides(bench, capsys, monkeypatch, name):
    monkeypatch.setitem(FOREST_GRID, "n_estimators", [3, 5])
    if name == "training":
        monkeypatch.setattr("benches.training.STEPS", 1)
    bench.main([name, "--cells", str(CELLS.get(name, FOLDABLE)), "--rounds", "1"])
    *said, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert any("ratio" in line for line in said)
    assert found["bench"] == name and found["ratio"] > 0 and found["cores"] >= 1


def test_the_sides_of_these_benches_agree(bench):
    """What is fast must also be the same."""
    assert bench.measure("texture", cells=7, rounds=1)["largest_relative_difference"] < 1e-10
    knn = bench.measure("knn", cells=400, rounds=1)
    assert knn["same_neighbours"] == 1.0 and knn["same_neighbours_numpy"] > 0.9
    lr = bench.measure("lr", cells=200, rounds=1)
    assert lr["objective"] <= lr["liblinear_objective"] * (1 + 1e-6)


def test_an_unknown_bench_lists_the_known_ones(bench, capsys):
    with pytest.raises(SystemExit):
        bench.main(["speed"])
    assert "forest-search" in capsys.readouterr().err
