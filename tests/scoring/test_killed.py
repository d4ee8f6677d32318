"""A scoring that is killed, at any moment, and started again: nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from forks import Forked, Forks
from result_files import result_files

KILLS = int(os.environ.get("COOS_KILLS", "1"))
"""How often to kill; with `COOS_KILLS=50` this file takes ten minutes."""

CODE = """
from coos_mlflow.scoring import blocks, job
from coos_mlflow.cli.main import coos_score
blocks.BATCH, job.BLOCK = 16, 32
coos_score()
"""

HELD = """
import time
from pathlib import Path
from coos_mlflow.scoring.parts import WorkFolder
write = WorkFolder.write
def held(self, part):
    write(self, part)
    while not Path("go").exists():
        time.sleep(0.05)
WorkFolder.write = held
"""
"""Stops behind every part, so that whoever ends the process then cannot come too late."""

COMMAND = ["coos-score", "a.h5", "b.h5", "--model", "texture-lr", "--out", "out"]

IMPORTED = [
    *(
        "coos_mlflow.cli.main",
        "coos_mlflow.scoring.scorer",
        "coos_mlflow.scoring.overview",
        "coos_mlflow.cli.tables",
    ),
    "coos_mlflow.representations.texture",
    *("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"),
]

PLATES = {"a": 320, "b": 200}


@pytest.fixture
def plates(trained, make_plate, tmp_path) -> Path:
    """Return a folder with two plates, in which to score."""
    for seed, (name, n) in enumerate(PLATES.items()):
        make_plate(f"{name}.h5", n, seed=seed)
    return tmp_path


Start = Callable[..., Forked]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Factory ``start(folder, code="")`` of processes that score there after some other code.

    Each writes `said` and `errors` there.
    """
    with Forks(IMPORTED) as forked:

        def begin(folder: Path, code: str = "") -> Forked:
            files = {"said": folder / "said", "errors": folder / "errors"}
            return forked.start(code + CODE, COMMAND, folder=folder, **files)

        yield begin


@pytest.fixture
def finish(start: Start) -> Callable[[Path], str]:
    """Score in a folder to the end; returns what was said."""

    def finish(folder: Path) -> str:
        code = start(folder).wait()
        said = (folder / "errors").read_text()
        assert code == 0, said
        return said

    return finish


def results(folder: Path) -> dict[str, bytes]:
    return {
        f"{name}/{file}": content
        for name in PLATES
        for file, content in result_files(folder / "out" / name).items()
    }


def elsewhere(folder: Path, name: str) -> Path:
    """Return another folder with the same plates, in which the same command can be given."""
    other = folder / name
    other.mkdir()
    for plate in PLATES:
        (other / f"{plate}.h5").symlink_to(folder / f"{plate}.h5")
    return other


def begun(process: Forked, folder: Path) -> bool:
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


def kill(process: Forked, folder: Path, lasts: float, rng: random.Random) -> str:
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
    process.wait()
    return when


@pytest.mark.slow
@pytest.mark.timeout(600 + 30 * KILLS)
def test_a_killed_scoring_ends_as_if_nobody_had_killed_it(plates, start, finish):
    process = start(plates)
    assert begun(process, plates)
    began = time.monotonic()
    process.wait()
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
def test_a_scoring_that_is_asked_to_end_says_how_to_go_on(plates, start, finish):
    process = start(plates, HELD)
    assert begun(process, plates)
    process.terminate()
    assert process.wait() == 143, (plates / "errors").read_text()
    assert "the same command goes on where it was" in (plates / "errors").read_text()
    assert [path.name for path in (plates / "out").iterdir()] == [".a.parts"]
    assert "were scored before" in finish(plates)


@pytest.mark.slow
def test_a_plate_that_changed_after_the_kill_is_scored_anew(plates, make_plate, start, finish):
    process = start(plates, HELD)
    assert begun(process, plates)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    make_plate("a.h5", PLATES["a"], seed=9)
    said = finish(plates)
    assert "a.h5: scored from its first cell" in said and "were scored before" not in said
    again = elsewhere(plates, "again")
    finish(again)
    assert results(again) == results(plates)
