"""Parts of a plate's answers: what is written is read, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coos_mlflow.drift.image_quality import RAW_FIGURES
from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.registry.versions import ModelRef
from coos_mlflow.scoring import job as jobs
from coos_mlflow.scoring import parts
from coos_mlflow.scoring.job import Block, Job, Stamp
from coos_mlflow.scoring.parts import Part, WorkFolder, discard_work, open_work


@pytest.fixture
def job(tmp_path, monkeypatch) -> Job:
    monkeypatch.setattr(jobs, "BLOCK", 10)
    model = ModelRef("models:/m/1", "m", "1", None, {}, None, "m-1")
    folder = tmp_path / "scores" / "plate"
    plate = tmp_path / "plate.h5"
    plate.write_bytes(b"cells")
    return Job(plate, "ab" * 32, Stamp.of(plate), 25, True, folder, model, "fp32", "coos-score")


def part_of(block: Block, seed: int = 0) -> Part:
    rng = np.random.default_rng(seed)
    n = block.stop - block.start
    return Part(
        block,
        rng.dirichlet(np.ones(7), n).astype(np.float32),
        rng.normal(size=(n, 12)).astype(np.float32),
        rng.normal(size=(n, len(RAW_FIGURES))).astype(np.float32),
        rng.gamma(4, 0.3, n),
        rng.integers(0, 4, n).astype(np.int8),
        rng.integers(0, 2**64, n, np.uint64),
        rng.normal(size=(n, 5)).astype(np.float32),
        {row: rng.integers(0, 65535, (2, 64, 64), np.uint16) for row in (0, n - 1)},
    )


def test_blocks_cover_every_cell_once(job):
    assert job.blocks == [(0, 10), (10, 20), (20, 25)]


def test_a_part_comes_back_to_the_last_bit(job):
    with open_work(job) as work:
        for block in job.blocks:
            work.write(part_of(block))
        *_, found = work.parts()
    wanted = part_of(job.blocks[2])
    assert found.block == wanted.block
    assert found.thumbnails.keys() == wanted.thumbnails.keys() == {0, 4}
    for row, thumbnail in wanted.thumbnails.items():
        np.testing.assert_array_equal(found.thumbnails[row], thumbnail, strict=True)
    for name in ("probabilities", "features", "raw", "novelty", "flags", "digests", "plate_axes"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), strict=True)


def test_cells_of_floating_point_keep_their_type(job):
    part = part_of(job.blocks[0])
    thumbnails = {
        row: thumbnail.astype(np.float32) + 0.5 for row, thumbnail in part.thumbnails.items()
    }
    found = Part.unpacked(replace(part, thumbnails=thumbnails).packed("job"), part.block, "job")
    np.testing.assert_array_equal(found.thumbnails[0], thumbnails[0], strict=True)


def test_an_unfinished_plate_has_no_results(job):
    with pytest.raises(OutputError, match="part of cell 10 has gone"), open_work(job) as work:
        work.write(part_of(job.blocks[0]))
        list(work.parts())


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
        assert work.holds(job.blocks[0])
        for place in range(0, len(whole), len(whole) // 50):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert not work.holds(job.blocks[0])


def test_a_part_that_two_have_written_counts_once(job):
    """As when a worker that was taken for dead comes back, from another kind of processor."""
    with open_work(job) as work:
        for block in job.blocks:
            work.write(part_of(block))
        work.write(part_of(job.blocks[0], seed=1))
        first, second, *_ = sorted(job.work.glob("*.parquet"))
        assert first.name[:10] == second.name[:10]
        assert [part.block for part in work.parts()] == job.blocks
        first.write_bytes(b"damaged")
        assert [part.block for part in work.parts()] == job.blocks


def test_a_part_that_comes_late_from_another_job_is_passed_over(job):
    """As of a task that was still with a worker when the command was given with another model."""
    with open_work(job) as work:
        late = WorkFolder(replace(job, precision="bf16"))
        late.write(part_of(job.blocks[0], seed=1))
        assert work.missing() == job.blocks
        for block in job.blocks:
            work.write(part_of(block))
        found = next(work.parts())
    np.testing.assert_array_equal(found.raw, part_of(job.blocks[0]).raw)


def test_what_a_killed_attempt_has_left_behind_is_cleared(job):
    stop_after(job, 2)
    (job.work / "results-abc").mkdir()
    (job.work / "results-abc" / "predictions.parquet").write_bytes(b"0" * 100)
    (job.work / ".part-xyz").write_bytes(b"half")
    with open_work(job) as work:
        kept = {path.name for path in job.work.iterdir()}
        assert len(work.missing()) == 1
    assert not any(name.startswith(("results-", ".part-")) for name in kept)


def test_a_plate_that_changes_meanwhile_leaves_no_part(job):
    with pytest.raises(DataError, match="has changed while"), open_work(job) as work:
        job.plate.write_bytes(b"other cells")
        work.write(part_of(job.blocks[0]))
    assert not job.work.exists()


def test_a_plate_that_goes_away_is_said(job):
    with pytest.raises(DataError, match="cannot be read any more"), open_work(job) as work:
        job.plate.unlink()
        work.write(part_of(job.blocks[0]))


def test_parts_of_finished_plates_are_removed(job):
    stop_after(job, 2)
    discard_work(job)
    assert not job.work.exists()
    discard_work(job)


def test_two_cannot_score_into_one_folder(job):
    with open_work(job), pytest.raises(OutputError, match="another process"), open_work(job):
        pass


def test_an_unfit_plate_leaves_nothing(job):
    with pytest.raises(DataError, match="cell 3"), open_work(job) as work:
        work.write(part_of(job.blocks[0]))
        raise DataError("cell 3")
    assert not job.folder.parent.exists()


def test_a_full_disk_keeps_the_parts_before_it(job, small_disk):
    job = replace(job, folder=small_disk(131_072) / "plate")
    (job.folder.parent / "other").write_bytes(b"0" * 50_000)
    with pytest.raises(OutputError, match="goes on from there"), open_work(job) as work:
        for block in job.blocks:
            work.write(part_of(block))
    sound = list(job.work.glob("*.parquet"))
    assert 0 < len(sound) < 3
    assert list(job.work.glob(".*")) == []
    (job.folder.parent / "other").unlink()
    with open_work(job) as work:
        assert len(work.missing()) == 3 - len(sound)


def test_facts_do_not_depend_on_where_results_go(job):
    elsewhere = replace(job, folder=job.folder.with_name("x"), command="other")
    assert parts.facts_text(elsewhere) == parts.facts_text(job)
    assert elsewhere.key != job.key
