"""Cells that get no label and cells that count once: what scoring and training do with them."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from _coos7 import SPLITS

from coos_mlflow.cli import tables
from coos_mlflow.errors import DataError
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.representations import create
from coos_mlflow.scoring import job, remote
from coos_mlflow.scoring import scorer as scoring
from coos_mlflow.training import train
from coos_mlflow.training.data import choose


@pytest.fixture(scope="module")
def scorer(trained):
    return scoring.Scorer.load("texture-lr")


def spoil(path, row):
    """Make the nucleus image of a cell constant."""
    with h5py.File(path, "r+") as file:
        file["data"][row, 1] = 5
    return path


def doubled(path, out):
    """Write a plate with each of its cells a second time, at the end of the file."""
    with h5py.File(path) as file, h5py.File(out, "w") as new:
        for name in file:
            new[name] = np.concatenate([file[name][:], file[name][:]])
    return out


def predictions(scored) -> pd.DataFrame:
    return pd.read_parquet(scored.folder / "predictions.parquet")


def test_one_constant_channel_does_not_refuse_a_plate(scorer, new_plate, tmp_path, capsys):
    plate = spoil(shutil.copy(new_plate, tmp_path / "plate.h5"), 77)
    scored = scorer.score(plate, tmp_path / "out")
    table, sound = predictions(scored), predictions(scorer.score(new_plate, tmp_path / "sound"))
    assert table["flag"].notna().sum() == 1 and table["flag"][77] == "constant channel"
    names = ["label", "class_name", *(f"p_{label}" for label in range(7)), "confidence"]
    assert table.loc[77, names].isna().all()
    assert table.loc[77, "Metadata_Well"] == sound.loc[77, "Metadata_Well"]
    others = [row for row in range(len(sound)) if row != 77]
    assert (table["label"][others] == sound["label"][others]).all()
    np.testing.assert_array_equal(table["p_0"][others], sound["p_0"][others])
    drift = scored.drift
    assert drift["left_out"] == {"unusable": {"constant channel": 1}, "copies": 0, "nameless": 0}
    assert drift["n_cells"] == len(table) - 1 == sum(scored.class_counts.values())
    assert 77 not in {cell["index"] for cell in drift["cells"]}
    words = "1 of 160 cells cannot be scored and get no label: constant channel (1)."
    tables.show_scores(scored)
    for text in (
        (scored.folder / "report.html").read_text(),
        (scored.folder / "report.md").read_text(),
        capsys.readouterr().out,
    ):
        assert words in " ".join(text.split())


def test_a_sound_plate_has_no_flags_and_no_word_of_them(scorer, new_plate, tmp_path):
    scored = scorer.score(new_plate, tmp_path)
    assert predictions(scored)["flag"].isna().all()
    assert "cannot be scored" not in (scored.folder / "report.html").read_text()


def test_the_same_cell_600_times_is_one_cell_and_no_estimate(scorer, make_plate, tmp_path):
    plate = make_plate(n=600, images=np.repeat(make_one(), 600, axis=0))
    scored = scorer.score(plate, tmp_path / "out")
    assert scored.drift["left_out"]["copies"] == 599
    assert scored.drift["verdict"] == "cannot tell"
    assert scored.drift["error"]["answer"] == "cannot tell"
    table = predictions(scored)
    assert table["label"].notna().all()  # a copy has the label of its cell
    assert (table["flag"][1:] == "copy of an earlier cell").all()


def make_one() -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.poisson(400, (1, 2, 64, 64)).astype(np.uint16)


def test_verdict_and_estimate_do_not_change_when_every_cell_comes_twice(
    scorer, new_plate, tmp_path, monkeypatch
):
    monkeypatch.setattr(job, "BLOCK", 100)
    once = scorer.score(new_plate, tmp_path / "once").drift
    twice = scorer.score(doubled(new_plate, tmp_path / "twice.h5"), tmp_path / "twice").drift
    assert twice["left_out"]["copies"] == once["n_cells"] == twice["n_cells"]
    (one,), (two,) = once["plates"], twice["plates"]
    for key in ("verdict", "n_cells", "n_wells"):
        assert one[key] == two[key]
    assert two["distances"] == pytest.approx(one["distances"], rel=1e-4)
    assert twice["error"]["balanced_error"] == pytest.approx(once["error"]["balanced_error"])
    assert twice["class_shares"]["cells"] == once["class_shares"]["cells"]
    assert [cell["index"] for cell in twice["cells"]] == [cell["index"] for cell in once["cells"]]


def test_unusable_cells_of_all_blocks_count_together(scorer, make_plate, tmp_path, monkeypatch):
    """Workers see a block each; the last step sees the plate."""
    monkeypatch.setattr(job, "BLOCK", 10)
    monkeypatch.setattr(scoring, "score_blocks", lambda c, p, blocks, *a: one_by_one(c, p, blocks))
    plate = make_plate(n=40)
    for row in (3, 13, 23):
        spoil(plate, row)
    with pytest.raises(DataError, match="3 of 40 cells cannot be used"):
        scorer.score(plate, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def one_by_one(classifier, plate, blocks):
    from coos_mlflow.scoring.blocks import score_blocks

    for block in blocks:
        yield from score_blocks(classifier, plate, [block])


def test_a_served_model_gives_the_table_of_a_plate_with_an_unusable_cell(
    scorer, new_plate, served_here, trained, tmp_path
):
    plate = spoil(doubled(new_plate, tmp_path / "plate.h5"), 77)
    url = served_here(trained.row("texture-lr").model.uri)
    asked = remote.score_plate(plate, url, batch=50)
    table = predictions(scorer.score(plate, tmp_path / "out"))
    pd.testing.assert_frame_equal(asked, table, rtol=1e-5)
    assert asked["flag"].notna().sum() == 160


@pytest.fixture
def spoilt_data(trained, tmp_path):
    """The files that `trained` learnt from, one cell of Training and one of Test2 spoilt."""
    folder = shutil.copytree(trained.data, tmp_path / "plates_of_2026")
    for split, row in (("training", 7), ("test2", 11)):
        spoil(next(folder.glob(f"*{split}.hdf5")), row)
    return folder


def test_training_on_an_unusable_cell_names_the_way_out(spoilt_data, own_store):
    with pytest.raises(DataError, match=r"training.hdf5:/data: cell 7, .*`--drop-bad` leaves"):
        train.train_rows(create("texture"), choose(str(spoilt_data)))


def test_training_without_bad_cells_says_how_many_were_left_out(
    spoilt_data, own_store, trained, capsys
):
    data = choose(str(spoilt_data), drop_bad=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "training.hdf5: 1 of" in said and "test2.hdf5: 1 of" in said
    assert "cells left out: constant channel (1)" in said
    assert data.name == "simulated" and data.folder.name == "plates_of_2026"
    left = {split: len(data.annotations(split).labels) for split in SPLITS}
    whole = {split: len(choose(str(trained.data)).annotations(split).labels) for split in SPLITS}
    assert {split: whole[split] - left[split] for split in SPLITS} == {
        "training": 1, "test1": 0, "test2": 1, "test3": 0, "test4": 0,
    }  # fmt: skip
    assert data.files["test1"] == (next(spoilt_data.glob("*test1.hdf5")),)
    with (
        data.open(data.files["training"][0]) as copy,
        open_plate(next(trained.data.glob("*training.hdf5"))) as sound,
    ):
        kept, cells = (next(plate.batches(plate.n_cells)) for plate in (copy, sound))
        np.testing.assert_array_equal(kept.images, np.delete(cells.images, 7, axis=0))
        np.testing.assert_array_equal(kept.wells, np.delete(cells.wells, 7))
        assert copy.attrs == sound.attrs | {"channels": "protein,nucleus"}
    (row,) = train.train_rows(create("texture"), data, rows=[(create("texture").layers[0], "knn")])
    assert row.evaluations["test2"].n_cells == whole["test2"] - 1


def test_the_terminal_shows_shares_of_the_cells_that_count(scorer, new_plate, tmp_path, capsys):
    scored = scorer.score(doubled(new_plate, tmp_path / "twice.h5"), tmp_path / "out")
    tables.show_scores(scored)
    said = capsys.readouterr().out
    assert "160 cells by predicted class" in said
    assert "160 of 320 cells are copies of earlier cells" in " ".join(said.split())
