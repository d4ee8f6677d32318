"""A scoring that is killed, at any moment, and started again: nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from coos_mlflow.results import RESULTS

KILLS = int(os.environ.get("COOS_KILLS", "1"))
"""How often to kill; `COOS_KILLS=50 make test PYTEST=tests/test_killed.py` takes ten minutes."""

CODE = """
import sys
from coos_mlflow import answering, jobs
from coos_mlflow.cli import coos_score
answering.BATCH, jobs.BLOCK = 16, 32
sys.argv = ["coos-score", "a.h5", "b.h5", "--model", "texture-lr", "--out", "out"]
coos_score()
"""

PLATES = {"a": 320, "b": 200}


@pytest.fixture
def plates(trained, make_plate, tmp_path) -> Path:
    """Return a folder with two plates, in which to score."""
    for seed, (name, n) in enumerate(PLATES.items()):
        make_plate(f"{name}.h5", n, seed=seed)
    return tmp_path


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder: Path) -> str:
    process = start(folder)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def results(folder: Path) -> dict[str, bytes]:
    return {
        f"{name}/{file}": (folder / "out" / name / file).read_bytes()
        for name in PLATES
        for file in RESULTS
    }


def elsewhere(folder: Path, name: str) -> Path:
    """Return another folder with the same plates, in which the same command can be given."""
    other = folder / name
    other.mkdir()
    for plate in PLATES:
        (other / f"{plate}.h5").symlink_to(folder / f"{plate}.h5")
    return other


def begun(process: subprocess.Popen[str], folder: Path) -> bool:
    """Wait until the first part is there; false when the process ended before."""
    while process.poll() is None:
        if list(folder.glob("out/.a.parts/*.parquet")):
            return True
        time.sleep(0.002)
    return False


def runs_of(folder: Path) -> list[int]:
    """Return how many runs of each plate's results have ended."""
    runs = mlflow.search_runs(search_all_experiments=True, filter_string="status = 'FINISHED'")
    places = [str((folder / "out" / name).resolve()) for name in PLATES]
    return [int((runs["tags.results"] == place).sum()) for place in places]


def kill(process: subprocess.Popen[str], folder: Path, lasts: float, rng: random.Random) -> str:
    """Kill a scoring while it answers, or any time before it would have ended; say when."""
    if rng.random() < 0.5:
        name = rng.choice(list(PLATES))
        parts = rng.randrange(1, PLATES[name] // 32)
        while len(list(folder.glob(f"out/.{name}.parts/*.parquet"))) < parts:
            if process.poll() is not None or (folder / "out" / name).exists():
                break
        when = f"after {parts} parts of {name}"
    else:
        assert begun(process, folder)
        seconds = lasts * rng.random()
        time.sleep(seconds)
        when = f"after {seconds:.3f} of {lasts:.3f} s"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return when


@pytest.mark.slow
@pytest.mark.timeout(60 + 30 * KILLS)
def test_a_killed_scoring_ends_as_if_nobody_had_killed_it(plates):
    process = start(plates)
    assert begun(process, plates)
    began = time.monotonic()
    process.communicate(timeout=120)
    lasts = time.monotonic() - began
    wanted, resumed = results(plates), 0
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    for number in range(KILLS):
        folder = elsewhere(plates, f"killed-{number}")
        when = kill(start(folder), folder, lasts, rng)
        resumed += "were scored before" in finish(folder)
        assert results(folder) == wanted, f"killed {when}"
        for name, n in PLATES.items():
            rows = pd.read_parquet(folder / "out" / name / "predictions.parquet")
            assert list(rows["Metadata_Index"]) == list(range(n))
        assert {path.name for path in (folder / "out").iterdir()} == {*PLATES, "overview.html"}
        assert runs_of(folder) == [1, 1]
    assert resumed or KILLS < 10
    print(f"killed {KILLS} times, {resumed} went on from parts")


@pytest.mark.slow
def test_a_scoring_that_is_asked_to_end_says_how_to_go_on(plates):
    process = start(plates)
    assert begun(process, plates)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "the same command goes on where it was" in said
    assert [path.name for path in (plates / "out").iterdir()] == [".a.parts"]
    assert "were scored before" in finish(plates)


@pytest.mark.slow
def test_a_plate_that_changed_after_the_kill_is_scored_anew(plates, make_plate):
    process = start(plates)
    assert begun(process, plates)
    process.kill()
    process.communicate()
    make_plate("a.h5", PLATES["a"], seed=9)
    said = finish(plates)
    assert "a.h5: scored from its first cell" in said and "were scored before" not in said
    again = elsewhere(plates, "again")
    finish(again)
    assert results(again) == results(plates)
