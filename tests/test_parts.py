"""Parts of a plate's answers: what is written is read, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coos_mlflow import jobs, parts
from coos_mlflow.drift.views import RAW_FIGURES
from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.jobs import Block, Job, Stamp
from coos_mlflow.parts import Part, open_work
from coos_mlflow.tracking.registry import ModelRef


@pytest.fixture
def job(tmp_path, monkeypatch) -> Job:
    monkeypatch.setattr(jobs, "BLOCK", 10)
    model = ModelRef("models:/m/1", "m", "1", None, {}, None, "m-1")
    folder = tmp_path / "scores" / "plate"
    plate = tmp_path / "plate.h5"
    return Job(plate, "ab" * 32, Stamp(1, 2), 25, True, folder, model, "fp32", "coos-score")


def part_of(block: Block, seed: int = 0) -> Part:
    rng = np.random.default_rng(seed)
    n = block.stop - block.start
    return Part(
        block,
        rng.dirichlet(np.ones(7), n).astype(np.float32),
        rng.normal(size=(n, 12)).astype(np.float32),
        rng.normal(size=(n, len(RAW_FIGURES))).astype(np.float32),
        {0: b"first", n - 1: b"last"},
    )


def test_blocks_cover_every_cell_once(job):
    assert job.blocks == [(0, 10), (10, 20), (20, 25)]


def test_a_part_comes_back_to_the_last_bit(job):
    with open_work(job) as work:
        for block in job.blocks:
            work.write(part_of(block))
        found = work.read(job.blocks[2])
    wanted = part_of(job.blocks[2])
    assert found.pictures == wanted.pictures == {0: b"first", 4: b"last"}
    for name in ("probabilities", "features", "raw"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def stop_after(job: Job, n_parts: int) -> None:
    """Score like somebody who is killed after some parts."""
    with pytest.raises(KeyboardInterrupt), open_work(job) as work:
        for block in job.blocks[:n_parts]:
            work.write(part_of(block))
        raise KeyboardInterrupt


def test_what_was_stopped_goes_on_where_it_was(job):
    stop_after(job, 2)
    with open_work(job) as work:
        assert work.missing() == [(20, 25)]
        work.write(part_of(job.blocks[2]))
        assert work.missing() == []
    assert not job.work.exists()


def test_resume_may_be_declined(job):
    stop_after(job, 2)
    with open_work(job, resume=False) as work:
        assert work.missing() == job.blocks


@pytest.mark.parametrize(
    "change",
    [{"sha256": "cd" * 32}, {"precision": "bf16"}, {"model": "another"}],
    ids=["plate", "precision", "model"],
)
def test_parts_of_another_job_are_let_go(job, change):
    stop_after(job, 2)
    if "model" in change:
        change = {"model": replace(job.model, model_id="m-2")}
    with open_work(replace(job, **change)) as work:
        assert work.missing() == job.blocks
        assert list(job.work.glob("*.parquet")) == []


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "flipped":
        content[len(content) // 3] ^= 0xFF
    elif how == "empty":
        content = bytearray()
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "gone", "of another block"])
def test_a_damaged_part_is_missing(job, how):
    stop_after(job, 2)
    first, second = sorted(job.work.glob("*.parquet"))
    if how == "gone":
        first.unlink()
    elif how == "of another block":
        first.write_bytes(second.read_bytes())
    else:
        damage(first, how)
    with open_work(job) as work:
        assert work.missing() == [job.blocks[0], job.blocks[2]]


def test_every_flipped_byte_is_noticed(job):
    stop_after(job, 1)
    (path,) = job.work.glob("*.parquet")
    whole = path.read_bytes()
    with open_work(job) as work:
        work.read(job.blocks[0])
        for place in range(0, len(whole), 97):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(ValueError, match="no sound part"):
                work.read(job.blocks[0])


def test_a_part_that_two_have_written_counts_once(job):
    """As when a worker that was taken for dead comes back, from another kind of processor."""
    with open_work(job) as work:
        for seed in (0, 1):
            work.write(part_of(job.blocks[0], seed))
        assert len(list(job.work.glob("*.parquet"))) == 2
        assert len(work.read(job.blocks[0])) == 10
        assert work.missing() == job.blocks[1:]


def test_two_cannot_score_into_one_folder(job):
    with open_work(job), pytest.raises(OutputError, match="another process"), open_work(job):
        pass


def test_an_unfit_plate_leaves_nothing(job):
    with pytest.raises(DataError, match="cell 3"), open_work(job) as work:
        work.write(part_of(job.blocks[0]))
        raise DataError("cell 3")
    assert not job.folder.parent.exists()


def test_a_full_disk_keeps_the_parts_before_it(job, small_disk):
    job = replace(job, folder=small_disk(65536) / "plate")
    (job.folder.parent / "other").write_bytes(b"0" * 20_000)
    with pytest.raises(OutputError, match="goes on from there"), open_work(job) as work:
        for block in job.blocks:
            work.write(part_of(block))
    sound = {path.name for path in job.work.glob("*.parquet")}
    assert 0 < len(sound) < 3
    assert list(job.work.glob(".*")) == []
    (job.folder.parent / "other").unlink()
    with open_work(job) as work:
        assert len(work.missing()) == 3 - len(sound)


def test_facts_do_not_depend_on_where_results_go(job):
    elsewhere = replace(job, folder=job.folder.with_name("x"), command="other")
    assert parts.facts_text(elsewhere) == parts.facts_text(job)
    assert elsewhere.key != job.key
