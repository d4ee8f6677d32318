"""Plates scored by real worker processes, some of which are killed: no row lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import h5py
import pandas as pd
import pytest
from result_files import result_files
from waiting import wait_until

from coos_mlflow._utils.cluster import connect
from coos_mlflow.errors import ClusterError, CoosError, DataError
from coos_mlflow.scoring import job
from coos_mlflow.scoring.cluster import score_on
from coos_mlflow.scoring.record import Scored
from coos_mlflow.scoring.scorer import Scorer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = int(os.environ.get("COOS_KILLS", "1"))
"""How many workers to kill."""

LOSSES = int(os.environ.get("COOS_KILLS", "1"))
"""How many schedulers to kill."""

PLATES = {"a": 400, "b": 250, "c": 150}


@pytest.fixture(scope="module")
def scorer(trained) -> Scorer:
    return Scorer.load("texture-lr")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch) -> None:
    monkeypatch.setattr(job, "BLOCK", 32)


@pytest.fixture
def plates(make_plate) -> list[Path]:
    return [make_plate(f"{name}.h5", n, seed=n) for name, n in PLATES.items()]


def results(out: Path) -> dict[str, bytes]:
    return {
        f"{name}/{file}": content
        for name in PLATES
        for file, content in result_files(out / name).items()
    }


@pytest.fixture(scope="module")
def alone() -> dict[str, bytes]:
    """The results without a cluster, from the first `wanted` on."""
    return {}


@pytest.fixture
def wanted(scorer, plates, tmp_path, alone) -> dict[str, bytes]:
    """Return the results without a cluster; the plates of all tests hold the same."""
    if not alone:
        for plate in plates:
            scorer.score(plate, tmp_path / "alone")
        alone |= results(tmp_path / "alone")
    return alone


def whole(out: Path) -> None:
    """Check that every cell is there once, and nothing besides."""
    for name, n in PLATES.items():
        rows = pd.read_parquet(out / name / "predictions.parquet")
        assert list(rows["Metadata_Index"]) == list(range(n))
    assert {path.name for path in out.iterdir()} == set(PLATES)


def score_all(machines, scorer: Scorer, plates: list[Path], out: Path, n_workers: int) -> list:
    with connect(machines.address, n_workers) as client:
        return list(score_on(client, scorer, plates, out))


def in_background(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def parts(out: Path) -> int:
    return len(list(out.glob(".*.parts/*.parquet")))


def wait_for_parts(out: Path, n: int) -> None:
    wait_until(lambda: parts(out) >= n or any((out / name).exists() for name in PLATES))


def test_workers_give_what_one_machine_gives(machines, scorer, plates, wanted, tmp_path):
    for _ in range(2):
        machines.worker()
    out = tmp_path / "out"
    outcomes = score_all(machines, scorer, plates, out, 2)
    assert {scored.plate.stem for scored in outcomes} == set(PLATES)
    assert len({scored.run_id for scored in outcomes}) == 3
    assert results(out) == wanted
    whole(out)
    again = score_all(machines, scorer, plates, out, 1)
    assert {s.run_id for s in again} == {s.run_id for s in outcomes}
    assert not any(s.timings.phases for s in again)


@pytest.mark.timeout(600 + 60 * KILLS)
def test_killed_workers_lose_and_double_nothing(machines, scorer, plates, wanted, tmp_path):
    """Always two workers; one of them is killed somewhere on the way, and another one joins."""
    rng = random.Random()
    alive = [machines.worker(), machines.worker()]
    with connect(machines.address) as client:
        for number in range(KILLS):
            machines.wait_for_workers(client, 2)
            out = tmp_path / f"out-{number}"
            after = rng.randrange(1, sum(PLATES.values()) // 32)

            def murder(out: Path = out, after: int = after) -> None:
                wait_for_parts(out, after)
                victim = alive.pop(rng.randrange(2))
                victim.send_signal(signal.SIGKILL)
                victim.wait()
                alive.append(machines.worker())

            thread = in_background(murder)
            outcomes = list(score_on(client, scorer, plates, out))
            thread.join()
            assert all(isinstance(outcome, Scored) for outcome in outcomes)
            assert results(out) == wanted, f"a worker was killed after {after} parts"
            whole(out)


@pytest.mark.parametrize("attempt", range(LOSSES))
def test_a_lost_scheduler_is_said_and_the_work_goes_on_without(
    machines, scorer, plates, wanted, tmp_path, attempt
):
    machines.worker(preload=SLOW)
    out = tmp_path / "out"
    after = 3 + attempt % 8

    def murder() -> None:
        wait_for_parts(out, after)
        machines.scheduler.kill()

    thread = in_background(murder)
    with pytest.raises(ClusterError, match=r"was lost .* goes on"):
        score_all(machines, scorer, plates, out, 1)
    thread.join()
    assert parts(out) >= after
    for plate in plates:
        scorer.score(plate, out)
    assert results(out) == wanted
    whole(out)


def test_a_bad_plate_does_not_keep_the_others(machines, scorer, plates, wanted, tmp_path):
    with h5py.File(plates[1], "r+") as file:
        file["data"][230:, 0] = 9
    machines.worker()
    outcomes = score_all(machines, scorer, plates, tmp_path / "out", 1)
    (bad,) = [outcome for outcome in outcomes if isinstance(outcome, CoosError)]
    assert isinstance(bad, DataError) and "cell 230" in str(bad)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"a", "c"}
    for file, content in result_files(tmp_path / "out" / "a").items():
        assert content == wanted[f"a/{file}"]


WITHOUT_PACKAGE = """
import importlib.metadata as metadata

def version(name, known=metadata.version):
    if name == "coos-mlflow":
        raise metadata.PackageNotFoundError(name)
    return known(name)

metadata.version = version
"""

SLOW = """
import time
from coos_mlflow.scoring import cluster_tasks
def slowly(*arguments, plain=cluster_tasks.score_block):  # Dask loads this twice
    time.sleep(0.1)
    return plain(*arguments)
cluster_tasks.score_block = slowly
"""
"""Nobody can come too late to end something before all blocks are answered."""

OTHER_VERSION = """
from coos_mlflow._utils import cluster

def versions(known=cluster.versions):
    return known() | {"numpy": "1.0.0"}

cluster.versions = versions
"""


@pytest.mark.parametrize(
    ("preload", "sentence"),
    [
        (OTHER_VERSION, r"worker tcp://\S+ on \S+ has numpy 1\.0\.0 instead of 2"),
        (WITHOUT_PACKAGE, r"1 of 1 workers lack coos-mlflow, the first is tcp://"),
    ],
    ids=["version", "package"],
)
def test_a_worker_with_other_packages_is_refused(
    machines, scorer, plates, tmp_path, preload, sentence
):
    machines.worker(preload=preload)
    with pytest.raises(ClusterError, match=sentence):
        score_all(machines, scorer, plates, tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()


def test_a_worker_that_cannot_read_the_plates_is_named(machines, scorer, plates, tmp_path):
    hide = f'mount -t tmpfs none {tmp_path} && exec "$@"'
    worker = machines.worker(before=("unshare", "-m", "sh", "-c", hide, "sh"))
    wait_until(lambda: worker.poll() is not None or "Registered to" in machines.logs())
    if worker.poll() is not None:
        pytest.skip("hiding a folder from a process needs the right to mount")
    with pytest.raises(ClusterError, match=r"worker tcp://.* cannot read .*a\.h5 .*storage"):
        score_all(machines, scorer, plates, tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()


def test_nobody_answers():
    with pytest.raises(ClusterError, match="expected local or an address"), connect("host"):
        pass
