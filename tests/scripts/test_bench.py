"""Every bench runs, at a size that proves nothing, and names itself on its last line."""

import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
import typer
from click.testing import CliRunner, Result
from distributed import Client

from coos_mlflow._utils.cluster import LOCAL
from coos_mlflow.classifiers.forest_search import FOREST_GRID
from coos_mlflow.cli.main import app
from coos_mlflow.scoring import cluster_tasks

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
FILES = sorted((SCRIPTS / "benches").glob("[!_]*.py"))

CELLS = {"forward": 2, "score-peers": 4, "serve": 2, "texture": 7, "training": 35}
FOLDABLE = 84
"""Cells: as many as the slower side can bear, and as folds of seven classes ask for."""

OF_SCORING = {"cluster", "drift", "memory", "score", "score-peers", "serve"}
"""Benches that make registered models."""

PLAIN, SLOW = (
    sorted(name for file in FILES if ((name := file.stem.replace("_", "-")) in OF_SCORING) is slow)
    for slow in (False, True)
)


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    spec = importlib.util.spec_from_file_location("bench", SCRIPTS / "bench.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    ours = ("benches", "drift_validation")
    for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def home(tmp_path_factory, empty_store):
    """Cache and tracking store of all benches, so that each model is made once."""
    folder = tmp_path_factory.mktemp("benches")
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder


def said_by(name: str, arguments: list[str]) -> Result:
    """Give a command of this environment in this process, where everything is imported."""
    import mlflow.cli

    commands: dict[str, tuple[click.Command, list[str]]] = {
        "coos-score": (typer.main.get_command(app), ["score"]),
        "mlflow": (mlflow.cli.cli, []),
    }
    command, verb = commands[name]
    done = CliRunner().invoke(command, [*verb, *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def seconds_of(name: str, arguments: list[str]) -> float:
    began = time.perf_counter()
    said_by(name, arguments)
    return time.perf_counter() - began


@contextmanager
def workers_in_threads(address: str, workers: int) -> Iterator[Client]:
    """A Dask cluster in this process; tests/cluster has those of processes."""
    assert address == LOCAL
    with Client(
        n_workers=workers, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as client:
        yield client
    cluster_tasks._opened.cache_clear()
    cluster_tasks._loaded.cache_clear()


@pytest.fixture
def served(served_here) -> Callable[..., object]:
    """`benches._serving.served` in a thread; tests/serving has the process."""

    @contextmanager
    def serve(model, folder, workers=1):
        url = served_here(model)
        yield SimpleNamespace(url=url, invocations=f"{url}/invocations", start=1.0)

    return serve


@pytest.fixture
def small(bench, home, tmp_path, monkeypatch, served):
    """Benches of scoring, on small data sets and with small networks.

    What they start is in this process, but for the scorings that `drift` watches.
    """
    shared = import_module("benches._scoring")
    monkeypatch.setattr(shared, "SCALE", 0.002)
    monkeypatch.setattr(shared, "NETWORK_SCALE", 0.002)

    @contextmanager
    def place():
        with shared.at_home(home):
            yield tmp_path

    benches = {name: import_module(f"benches.{name.replace('-', '_')}") for name in OF_SCORING}
    for module in benches.values():
        monkeypatch.setattr(module, "own_place", place)
    score, peers = benches["score"], benches["score-peers"]
    tiny = {"deeploc": {"width": 0.05, "batch": 8}, "vgg16": {"layers": ["conv1_1"]}}
    tiny["pci"] = {"width": 0.05, "batch": 8, "least_cells": 4}
    cases = [case._replace(params=case.params | tiny[case.key]) for case in score.CASES]
    monkeypatch.setattr(score, "CASES", cases)
    monkeypatch.setattr(score, "FITTED_CELLS", 210)
    monkeypatch.setattr(score, "TREES", 3)
    monkeypatch.setattr(peers, "models", lambda: iter([shared.texture_lr()]))
    monkeypatch.setattr(peers, "cpu_count", lambda: 1)
    monkeypatch.setattr(peers, "command", seconds_of)
    monkeypatch.setattr(peers, "served", served)
    monkeypatch.setattr(benches["drift"], "PLATES", (2,))
    monkeypatch.setattr(benches["serve"], "SIZES", (1, 2))
    monkeypatch.setattr(benches["serve"], "WORKERS", (1,))
    monkeypatch.setattr(benches["serve"], "served", served)
    monkeypatch.setattr(benches["cluster"], "WORKERS", (1, 2))
    monkeypatch.setattr(benches["cluster"], "FILES", 2)
    monkeypatch.setattr(benches["cluster"], "TASKS", 20)
    monkeypatch.setattr(benches["cluster"], "connect", workers_in_threads)
    return bench


def test_every_file_is_a_bench(bench):
    assert {name.replace("-", "_") for name in bench.names()} == {file.stem for file in FILES}
    assert {"forest-search", "knn", "lr", "texture"} <= set(bench.names())


@pytest.mark.parametrize("name", PLAIN)
def test_a_bench_compares_two_sides(bench, capsys, monkeypatch, name):
    monkeypatch.setitem(FOREST_GRID, "n_estimators", [3, 5])
    if name == "training":
        monkeypatch.setattr("benches.training.STEPS", 1)
    if name == "forward":
        forward = import_module("benches.forward")
        narrow = {"deeploc": {"width": 0.05}, "pci": {"width": 0.05}, "vgg16": {}}
        cases = [case._replace(params=case.params | narrow[case.key]) for case in forward.CASES]
        monkeypatch.setattr(forward, "CASES", cases)
        monkeypatch.setattr(forward, "MATRIX", 64)
    found = compares_two_sides(bench, capsys, name)
    if name == "forward":
        assert {case.title for case in cases} <= set(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_bench_of_scoring_compares_two_sides(small, capsys, monkeypatch, name):
    if name == "memory":
        from drift_validation import one_scoring, service

        def run(arguments):
            began = time.perf_counter()
            said = said_by("coos-score", arguments).stdout
            return said, time.perf_counter() - began, one_scoring.peak_mib()

        monkeypatch.setattr(service, "run", run)
    found = compares_two_sides(small, capsys, name)
    if name == "drift":
        assert found["ratio"] == pytest.approx(
            found["seconds"] / found["scoring_seconds"], abs=0.01
        )
        assert 0 < found["added_mib"] < found["mib"]
    if name == "memory":
        few, many = found["mib"]
        assert found["ratio"] == pytest.approx(many / few, abs=0.01)
        assert found["cells"] == [round(FOLDABLE * 20_000 / 132_209), FOLDABLE]
    if name == "score":
        networks = {"deeploc", "vgg16", "pci"}
        assert found["ratio"] == min(found[network]["share"] for network in networks)
        for case in networks | {"texture-knn", "texture-lr", "texture-rf"}:
            assert sum(found[case]["phases"].values()) == pytest.approx(1, abs=0.01)
            assert {"represent", "classify"} <= set(found[case]["stages"])
    if name == "serve":
        assert set(found["rows"]) == {f"{f} {n} 1" for f in ("JSON", ".npy") for n in (1, 2)}
        assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in found["rows"].values())
    if name == "score-peers":
        sides = found["texture-lr"]
        assert all(sides[side]["same_labels"] == 1 for side in ("serve", "predict", "pyfunc"))


def compares_two_sides(bench, capsys, name):
    bench.main([name, "--cells", str(CELLS.get(name, FOLDABLE)), "--rounds", "1"])
    *said, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert any("ratio" in line for line in said)
    assert found["bench"] == name and found["ratio"] >= 0 and found["cores"] >= 1
    return found


def test_a_command_is_timed_and_one_that_fails_says_why(bench):
    shared = import_module("benches._scoring")
    assert shared.command("coos", ["--version"]) > 0
    with pytest.raises(RuntimeError, match=r"coos check none\.h5 failed:\nerror: none\.h5"):
        shared.command("coos", ["check", "none.h5"])


def test_the_sides_of_these_benches_agree(bench):
    """What is fast must also be the same."""
    assert bench.measure("texture", cells=7, rounds=1)["largest_relative_difference"] < 1e-10
    knn = bench.measure("knn", cells=400, rounds=1)
    assert knn["same_neighbours"] == 1.0 and knn["same_neighbours_numpy"] > 0.9
    lr = bench.measure("lr", cells=200, rounds=1)
    assert lr["objective"] <= lr["liblinear_objective"] * (1 + 1e-6)


def test_every_bench_is_documented(bench):
    said = (SCRIPTS.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert [name for name in bench.names() if f"| `{name}` |" not in said] == []


def test_an_unknown_bench_lists_the_known_ones(bench, capsys):
    with pytest.raises(SystemExit):
        bench.main(["speed"])
    assert "forest-search" in capsys.readouterr().err
