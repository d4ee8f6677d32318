"""Disks that are full, closed or already in use: a clear error, nothing half-written or lost."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from result_files import result_files

from coos_mlflow.cli import main
from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.registry.results import DRIFT, PREDICTIONS, RESULTS
from coos_mlflow.scoring.parts import open_work
from coos_mlflow.scoring.scorer import Scorer

REFUSED, UNWRITTEN = DataError.exit_code, OutputError.exit_code


@pytest.fixture(scope="module")
def score(trained, fuzz) -> Callable[[], object]:
    """Return `coos-score` with its model loaded."""
    return fuzz.commands.loaded()["score"]


@pytest.fixture
def run(fuzz, score, tmp_path) -> Callable[..., SimpleNamespace]:
    """Function ``run(*words)`` that gives a command in a child of this process."""

    def command(*words: object, before: Callable[[], object] = lambda: None) -> SimpleNamespace:
        def act() -> None:
            before()
            (score if words[0] == "coos-score" else main.coos)()

        argv = [str(word) for word in words]
        ended = fuzz.worker.run_forked(act, argv, tmp_path, fuzz.worker.Limits(seconds=60))
        said = ended.stderr.decode()
        if ended.code:
            assert "Traceback" not in said, said
            # Before it may stand that parts were found, or how the command is used.
            sentences = [line for line in said.splitlines() if line.lower().startswith("error: ")]
            assert len(sentences) == 1 and said.rstrip().endswith(sentences[0]), said
        return SimpleNamespace(code=ended.code, said=said)

    return command


def tree(folder: Path) -> dict[str, bytes | None]:
    """All files below a folder with their content, folders as None."""
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): None if p.is_dir() else p.read_bytes() for p in paths}


def without_rights() -> None:
    """Let permissions count for root too, who is above them: drop all capabilities."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def scoring(plate: Path, out: Path, *more: str) -> list[object]:
    return ["coos-score", plate, "--model", "texture-lr", "--out", out, *more]


def write_pairs(folder: Path, cells: np.ndarray) -> Path:
    folder.mkdir()
    for number, cell in enumerate(cells):
        for image, channel in zip(cell, ("protein", "nucleus"), strict=True):
            tifffile.imwrite(folder / f"{number}_{channel}.tif", image)
    return folder


# Full disks


def test_a_disk_that_fills_up_at_any_point_of_a_scoring(run, make_plate, small_disk, tmp_path):
    """Whatever fits of the parts is kept, results appear whole, and more room is all it takes."""
    plate, wanted = make_plate(n=60), tmp_path / "wanted"
    assert run(*scoring(plate, wanted)).code == 0
    disk = small_disk(8192)
    failed = []
    for kilobytes in (8, 64, 200, 260, 300, 350, 400, 500, 600, 800, 1000, 1500, 4000):
        remount(disk, f"size={kilobytes}k")
        ended = run(*scoring(plate, disk / "out"))
        if ended.code == 0:
            break
        assert ended.code == UNWRITTEN
        assert not (disk / "out" / "plate").exists()
        assert {path.name for path in disk.rglob("*")} <= {
            *("out", ".plate.parts", "lock", "job.json"),
            *(path.name for path in disk.rglob("*.parquet") if path.parent.name == ".plate.parts"),
        }
        failed.append(ended.said)
    assert ended.code == 0
    assert any(".parquet: cannot be written" in said for said in failed), failed
    assert any("out/plate: cannot be written" in said for said in failed), failed
    for out in (disk / "out", wanted):
        assert set(tree(out)) == {"plate", *(f"plate/{name}" for name in RESULTS)}
    found, expected = result_files(disk / "out" / "plate"), result_files(wanted / "plate")
    for name in (DRIFT, PREDICTIONS):
        assert found[name] == expected[name]


def test_results_stay_when_the_disk_has_no_room_for_new_ones(run, make_plate, small_disk):
    plate, disk = make_plate(n=60), small_disk(2**22)
    assert run(*scoring(plate, disk)).code == 0
    before = tree(disk)
    used = sum(len(content) for content in before.values() if content)
    remount(disk, f"size={used // 1024 + 100}k")
    ended = run(*scoring(plate, disk, "--force"))
    assert ended.code == UNWRITTEN
    left = tree(disk)
    assert {name: left[name] for name in before} == before


@pytest.mark.parametrize("verb", ["pack", "unpack", "simulate", "simulate-plate", "contact-sheet"])
def test_a_full_disk_leaves_nothing_of_the_data(
    run, make_plate, random_cells, small_disk, tmp_path, trained, verb
):
    disk = small_disk(40_960)
    words = {
        "pack": ["pack", write_pairs(tmp_path / "in", random_cells(20)), disk / "p.h5"],
        "unpack": ["unpack", make_plate(), disk / "images"],
        "simulate": ["simulate", disk / "data", "--scale", "0.001"],
        "simulate-plate": ["simulate-plate", disk / "p.h5", "--wells", "1", "--cells", "5"],
        "contact-sheet": ["contact-sheet", trained.data, disk / "sheet.png"],
    }
    ended = run("coos", *words[verb])
    assert ended.code == UNWRITTEN
    assert "pace left" in ended.said
    assert [name for name, content in tree(disk).items() if content is not None] == []


def test_a_full_cache_ends_a_training_with_a_sentence(run, trained, small_disk, monkeypatch):
    disk = small_disk(65_536)
    monkeypatch.setenv("COOS_CACHE", str(disk))
    # Of another seed, so that no row of the table is there already.
    words = ["--data", trained.data, "--classifiers", "lr", "--cv-folds", "2", "--seed", "5"]
    ended = run("coos", "train", "texture", *words)
    assert ended.code == UNWRITTEN
    assert str(disk) in ended.said and "o space left" in ended.said
    # Digests of nuclei are small and may be there already.
    arrays = [name for name in tree(disk) if name.endswith(".npy")]
    assert [name for name in arrays if not name.endswith("nuclei.npy")] == []


# Disks and folders that are closed


def writing_commands(
    at: Path, make_plate: Callable[..., Path], cells: np.ndarray, data: Path, tmp_path: Path
) -> list[list[object]]:
    """Every command that writes a file or folder where it is told."""
    plate = make_plate("source.h5")
    return [
        scoring(plate, at / "scores"),
        ["coos", "pack", write_pairs(tmp_path / "in", cells), at / "p.h5"],
        ["coos", "unpack", plate, at / "images"],
        ["coos", "simulate", at / "data", "--scale", "0.001"],
        ["coos", "simulate-plate", at / "p.h5", "--wells", "1", "--cells", "2"],
        ["coos", "contact-sheet", data, at / "sheet.png"],
    ]


def test_a_disk_that_can_only_be_read(
    run, make_plate, random_cells, small_disk, tmp_path, trained, monkeypatch
):
    disk = small_disk(2**20)
    shutil.copy(make_plate(n=8), disk / "there.h5")
    remount(disk, "ro")
    commands = writing_commands(disk, make_plate, random_cells(2), trained.data, tmp_path)
    for words in commands:
        assert run(*words).code == UNWRITTEN, words
    monkeypatch.setenv("COOS_CACHE", str(disk / "cache"))
    data = ["--data", trained.data, "--classifiers", "lr", "--seed", "5"]
    assert run("coos", "train", "texture", *data).code == UNWRITTEN
    assert run("coos", "check", disk / "there.h5").code == 0
    assert run(*scoring(disk / "there.h5", tmp_path / "out")).code == 0


def test_a_folder_that_may_not_be_written(run, make_plate, random_cells, tmp_path, trained):
    closed = tmp_path / "closed"
    closed.mkdir(0o500)
    commands = writing_commands(closed, make_plate, random_cells(2), trained.data, tmp_path)
    for words in commands:
        assert run(*words, before=without_rights).code == UNWRITTEN, words
    assert tree(closed) == {}
    closed.chmod(0o700)


def test_files_that_may_not_be_read(run, make_plate, random_cells, tmp_path):
    plate, images = make_plate(), write_pairs(tmp_path / "in", random_cells(2))
    plate.chmod(0)
    (images / "1_nucleus.tif").chmod(0)
    for words in (
        ["coos", "check", plate],
        scoring(plate, tmp_path / "out"),
        ["coos", "unpack", plate, tmp_path / "images"],
        ["coos", "pack", images, tmp_path / "p.h5"],
    ):
        ended = run(*words, before=without_rights)
        assert ended.code == REFUSED, words
        assert "Permission denied" in ended.said or "is not readable" in ended.said, words
    assert {path.name for path in tmp_path.iterdir()} == {"plate.h5", "in"}


def test_results_that_may_not_be_looked_into(run, make_plate, tmp_path):
    plate, out = make_plate(), tmp_path / "out"
    assert run(*scoring(plate, out)).code == 0
    (out / "plate").chmod(0)
    for more in ([], ["--force"]):
        ended = run(*scoring(plate, out, *more), before=without_rights)
        assert ended.code == UNWRITTEN
    (out / "plate").chmod(0o755)
    assert set(tree(out)) == {"plate", *(f"plate/{name}" for name in RESULTS)}


# What is there already


def test_nothing_that_is_there_is_overwritten_unasked(
    run, make_plate, random_cells, tmp_path, trained
):
    at = tmp_path / "at"
    commands = writing_commands(at, make_plate, random_cells(2), trained.data, tmp_path)
    for path in ("scores/source/mine.txt", "images/mine.txt", "p.h5", "sheet.png"):
        (at / path).parent.mkdir(parents=True, exist_ok=True)
        (at / path).write_text("mine")
    (at / "data").mkdir()
    (at / "data" / "simulated_training.hdf5").write_text("mine")
    before = tree(at)
    for words in commands:
        assert run(*words).code == UNWRITTEN, words
        assert tree(at) == before, words
    # A folder that holds anything else is not replaced even so.
    assert run(*commands[0], "--force").code == UNWRITTEN
    assert tree(at) == before


def test_results_of_another_plate_go_by_force_alone(run, make_plate, tmp_path):
    first, second = make_plate("a/x.h5", seed=1), make_plate("b/x.h5", seed=2)
    out = tmp_path / "out"
    assert run(*scoring(first, out)).code == 0
    before = tree(out)
    ended = run(*scoring(second, out))
    assert ended.code == UNWRITTEN and "--force replaces them" in ended.said
    assert tree(out) == before
    assert run(*scoring(second, out, "--force")).code == 0
    assert set(tree(out)) == set(before) and tree(out) != before


# Two at a time


def test_a_scoring_where_another_is_at_work_waits_for_none(run, score, make_plate, tmp_path):
    plate, out = make_plate(), tmp_path / "out"
    scorer = Scorer.load("texture-lr")
    from coos_mlflow.scoring.job import survey

    with open_work(scorer.job(plate, out, survey(plate, coos7()))):
        before = tree(out)
        for more in ([], ["--force"]):
            ended = run(*scoring(plate, out, *more))
            assert ended.code == UNWRITTEN
            assert "another process is scoring into it" in ended.said
            assert tree(out) == before
    assert run(*scoring(plate, out)).code == 0


def test_scorings_that_begin_at_once_leave_one_whole_folder(run, make_plate, tmp_path):
    plates = [make_plate(f"{name}/plate.h5", n=60, seed=name == "c") for name in "abc"]
    wanted = [tmp_path / name / "out" for name in "abc"]
    for plate, out in zip(plates, wanted, strict=True):
        assert run(*scoring(plate, out)).code == 0
    whole = [tree(out)["plate/predictions.parquet"] for out in wanted]
    assert whole[0] == whole[1] != whole[2]
    for turn in range(3):
        out = tmp_path / f"out{turn}"
        with ThreadPoolExecutor(6) as pool:
            ended = list(pool.map(lambda plate, to=out: run(*scoring(plate, to)), plates * 2))
        codes = [end.code for end in ended]
        assert 0 in codes and set(codes) <= {0, UNWRITTEN}, codes
        found = tree(out)
        assert set(found) == {"plate", *(f"plate/{name}" for name in RESULTS)}
        assert found["plate/predictions.parquet"] in whole
