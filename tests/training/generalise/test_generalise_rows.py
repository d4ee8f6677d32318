"""Which rows there are, and that left-out Training plates alone choose among them."""

from __future__ import annotations

import shutil

import h5py
import pytest
from generalise_rows import entry_of

from coos_mlflow.classifiers.kinds import kinds
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.registry import versions
from coos_mlflow.representations import names
from coos_mlflow.training.data import choose
from coos_mlflow.training.generalise import rows as generalise
from coos_mlflow.training.generalise.rows import all_lines, best, best_of_the_paper, left_out_error
from coos_mlflow.training.row import OWN
from coos_mlflow.training.table3.rows import fill, published

SPLITS = ("training", "test1", "test2", "test3", "test4")


def test_the_papers_rows_come_first_in_its_order():
    lines = all_lines()
    assert [line.triple for line in lines[:25]] == list(published())
    assert [line.key for line in lines[25:] if line.published] == []
    assert len({line.key for line in lines}) == len(lines)


def test_a_variant_has_rows_of_its_own_under_its_own_name():
    made = [line for line in all_lines() if line.settings]
    settings = (("augment", "microscope"), ("hold_out", "plates"))
    assert {line.source for line in made} == {("deeploc", settings)}
    assert [line.key for line in made][:2] == ["deeploc-microscope", "deeploc-microscope-fc2-knn"]
    assert {line.features for line in made} == {"DeepLoc, microscope"}
    plain = [line for line in all_lines() if line.source == ("deeploc", ())]
    assert [line.kind for line in made] == [line.kind for line in plain]


def test_every_kind_of_classifier_and_every_representation_has_rows():
    lines = all_lines()
    assert {line.kind for line in lines} == {OWN, *kinds()}
    assert {line.representation for line in lines} == set(names())


def entry(key: str, left_out: object, **tags: object):
    return entry_of(key, dict.fromkeys(SPLITS, 0.1), left_out_error=left_out, **tags)


def test_the_lowest_left_out_error_is_chosen_and_of_equal_ones_the_first():
    entries = [entry("texture-knn", 9), entry("texture-lr", 3), entry("texture-rf", 3)]
    assert best(entries) is entries[1]


@pytest.mark.parametrize("by", ["cells", "folds", ""])
def test_an_error_that_cannot_be_compared_is_not_chosen(by):
    low = entry("texture-lr", 0.1, left_out_by=by)
    entries = [low, entry("texture-knn", 9)]
    assert best(entries) is entries[1]
    assert best([low]) is None


def test_an_error_that_is_not_known_is_not_chosen():
    assert best([entry("texture-lr", "n/a")]) is None
    assert best([]) is None


def test_the_reference_is_of_the_paper():
    entries = [entry("texture-new", 1), entry("texture-lr", 3), entry("texture-knn", 9)]
    assert best(entries) is entries[0]
    assert best_of_the_paper(entries) is entries[1]


@pytest.fixture
def two_worlds(trained, tmp_path):
    """The data of `trained`, and the same with every class of the test splits called another."""
    folder = shutil.copytree(trained.data, tmp_path / "renamed")
    for split in SPLITS[2:]:  # Test1 shares wells with Training, and a well holds one class
        with h5py.File(folder / f"simulated_{split}.hdf5", "r+") as file:
            file["labels"][...] = (file["labels"][...] + 1) % 7
    return choose(str(trained.data)), choose(str(folder))


def test_no_test_split_chooses(two_worlds, own_store):
    """With other labels in all test splits the same rows are chosen, by the same errors."""
    lines = [line for line in all_lines() if line.key in ("texture-knn", "texture-lr")]
    right, renamed = (fill(lines, data).entries for data in two_worlds)
    assert [left_out_error(e) for e in right] == [left_out_error(e) for e in renamed]
    assert best(right).line == best(renamed).line
    assert all(e.error("test2") < 40 for e in right)
    assert all(e.error("test2") > 60 for e in renamed)


def test_choosing_opens_no_file(trained, own_store, tmp_path, monkeypatch):
    """All files of the data and of the store's artifacts are gone when the choice is made."""
    folder = shutil.copytree(trained.data, tmp_path / "data")
    lines = [line for line in all_lines() if line.key in ("texture-knn", "texture-lr")]
    entries = fill(lines, choose(str(folder))).entries
    shutil.rmtree(folder)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr(h5py, "File", refuse)
    monkeypatch.setattr("coos_mlflow.registry.artifacts.read_evaluations", refuse)
    chosen = best(entries)
    assert chosen is best_of_the_paper(entries) is not None
    assert versions.resolve("best").name == chosen.line.key
    assert generalise.left_out_error(chosen) == min(map(left_out_error, entries))
    assert TRAINING in chosen.rows[0].evaluations  # measured before; the choice does not read it
