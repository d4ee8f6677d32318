"""Which rows the table has, how they are chosen and filled, and what the paper published."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from _coos7 import SPLITS

from coos_mlflow.errors import DataError, MissingWeightsError, RegistryError
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.representations import Representation
from coos_mlflow.training.table3 import rows as table3
from coos_mlflow.training.table3.rows import (
    all_lines,
    choose_lines,
    fill,
    lack_of,
    lines_of,
    published,
    short_lack,
)


def test_the_published_numbers_are_those_of_the_shared_file(shared_file):
    packaged = Path(table3.__file__).with_name("published.csv").read_bytes()
    assert packaged == shared_file("table3.csv").read_bytes()


def test_the_paper_has_25_rows_of_which_22_are_worse_on_test3_than_on_test4():
    rows = published()
    assert len(rows) == 25
    assert sum(row["test3"] > row["test4"] for row in rows.values()) == 22
    best = [min(row[split] for row in rows.values()) for split in SPLITS[1:]]
    assert best == [1.1, 1.4, 6.8, 4.1]
    assert rows["DeepLoc", "", "End-to-End"] == {
        "training": 1.2, "test1": 1.2, "test2": 1.5, "test3": 7.4, "test4": 5.4,
    }  # fmt: skip


class Fake(Representation):
    """Knows its name and its layers."""

    version = "1"
    lacks: ClassVar[str] = ""

    def __init__(self, key, title, layers, layer_titles=None, classifies=False, seed=0):
        self.key, self.title, self.layers, self.classifies = key, title, layers, classifies
        self.layer_titles = layer_titles or {}
        self.seed = seed

    def params(self):
        return {"seed": self.seed}

    def feature_names(self, layer):
        return ()

    def compute(self, prepared, layers=None):
        return {}

    def require(self):
        if self.lacks:
            raise MissingWeightsError(self.lacks)


def fakes() -> dict[str, dict]:
    """Return the arguments of a fifth representation and the paper's four, in no good order."""
    pci, vgg = ("conv3", "conv4", "conv5"), ("conv3_3", "conv4_1", "conv4_2")
    return {
        "anew": {"title": "Anew", "layers": ("a", "b")},
        "deeploc": {
            "title": "DeepLoc",
            "layers": ("fc2",),
            "layer_titles": {"fc2": "FC2"},
            "classifies": True,
        },
        "pci": {"title": "PCI", "layers": pci, "layer_titles": {c: c.title() for c in pci}},
        "texture": {"title": "Texture", "layers": ("haralick",)},
        "vgg16": {"title": "VGG16", "layers": vgg, "layer_titles": {c: c.title() for c in vgg}},
    }  # fmt: skip


@pytest.fixture
def folder_of_fakes(monkeypatch):
    """Put `fakes` in the place of the real representations."""
    made = []

    def create(key, preset="paper", dataset=None, **params):
        made.append((key, params))
        return Fake(key, **fakes()[key], **params)

    monkeypatch.setattr(table3, "names", lambda: tuple(fakes()))
    monkeypatch.setattr(table3, "create", create)
    return made


def test_the_papers_rows_come_in_its_order_and_others_after_them(folder_of_fakes):
    lines = all_lines()
    assert [line.triple for line in lines[:25]] == list(published())
    assert [line.published for line in lines[:25]] == list(published().values())
    assert [line.key for line in lines[:5]] == [
        "deeploc", "deeploc-fc2-knn", "deeploc-fc2-lr", "deeploc-fc2-rf", "texture-knn",
    ]  # fmt: skip
    assert lines[17].key == "vgg16-conv3_3-lr" and lines[17].title == "VGG16 Conv3_3 L1 LR"
    assert [line.key for line in lines[25:]] == [
        "anew-a-knn", "anew-a-lr", "anew-a-rf", "anew-b-knn", "anew-b-lr", "anew-b-rf",
    ]  # fmt: skip
    assert [line.published for line in lines[25:]] == [{}] * 6
    assert len({line.key for line in lines}) == 31


def test_the_representations_of_this_version_make_exactly_the_papers_rows():
    lines = all_lines()
    assert [line.triple for line in lines if line.published] == list(published())
    papers = {features for features, _, _ in published()}
    assert [line.key for line in lines if line.features in papers and not line.published] == []


def test_patterns_choose_rows_in_the_tables_order(lines):
    def keys(patterns: str) -> list[str]:
        return [line.key for line in choose_lines(lines, patterns)]

    assert keys("*") == [line.key for line in lines]
    assert keys("texture-*") == ["texture-knn", "texture-lr", "texture-rf"]
    assert keys("pci-conv[35]-lr, deeploc") == ["deeploc", "pci-conv3-lr", "pci-conv5-lr"]
    assert keys("texture-lr,texture-*") == keys("texture-*")


@pytest.mark.parametrize("patterns", ["texture", "texture-*,TEXTURE-*", "", "*,"])
def test_a_pattern_without_rows_is_refused_with_the_keys_there_are(lines, patterns):
    with pytest.raises(DataError, match=r"matches no row; there are deeploc, .*vgg16-conv4_2-rf\."):
        choose_lines(lines, patterns)


@pytest.fixture
def data(monkeypatch) -> TrainingData:
    monkeypatch.setattr(TrainingData, "digests", dict.fromkeys(SPLITS, ("0" * 64,)))
    files = {split: (Path(f"s_{split}.hdf5"),) for split in SPLITS}
    return TrainingData(coos7(), files, simulated=True)


@pytest.fixture
def trained(monkeypatch, folder_of_fakes, make_table):
    """Replace `train` by one that notes what it is asked for."""
    asked = []

    def train(representation, data, *, rows, preset, overrides, on_row):
        asked.append((representation.key, representation.seed, rows, overrides))
        lines = [
            line
            for wanted in rows
            for line in lines_of(representation)
            if (line.layer or representation.layers[0], line.kind) == wanted
        ]
        for entry in make_table(lines).entries:
            on_row(entry.rows[0])

    monkeypatch.setattr(table3, "train_rows", train)
    return asked


def test_each_row_is_trained_once_with_every_seed(trained, data):
    said = []
    lines = choose_lines(all_lines(), "deeploc,pci-conv4-rf")
    table = fill(lines, data, seeds=(5, 6), settings={"search": "halving"}, say=said.append)
    rf = {"search": "halving"}
    assert trained == [
        ("deeploc", 5, [("fc2", "own")], rf | {"seed": 5}),
        ("deeploc", 6, [("fc2", "own")], rf | {"seed": 6}),
        ("pci", 5, [("conv4", "rf")], rf | {"seed": 5}),
        ("pci", 6, [("conv4", "rf")], rf | {"seed": 6}),
    ]
    assert said == [
        "DeepLoc ...",
        "row 1 of 2: deeploc, seed 5, 1.7 % on Test1",
        "DeepLoc ...",
        "row 1 of 2: deeploc, seed 6, 1.7 % on Test1",
        "PCI ...",
        "row 2 of 2: pci-conv4-rf, seed 5, 3.0 % on Test1",
        "PCI ...",
        "row 2 of 2: pci-conv4-rf, seed 6, 3.0 % on Test1",
    ]
    assert (table.seeds, table.preset, table.settings) == ((5, 6), "quick", rf)
    assert (table.name, table.simulated, len(table.digest)) == ("simulated", True, 64)
    assert table.dataset == coos7()


def test_a_representation_is_made_once_a_seed(trained, data, folder_of_fakes):
    lines = choose_lines(all_lines(), "pci-*")
    folder_of_fakes.clear()
    fill(lines, data, seeds=(0, 1))
    assert [len(rows) for _, _, rows, _ in trained] == [9, 9]
    assert [params for _, params in folder_of_fakes if params] == [{"seed": 0}, {"seed": 1}]


def test_rows_without_weights_say_so_and_the_others_are_filled(trained, data, monkeypatch):
    sentence = "vgg16.pth: not here; `coos weights vgg16` fetches it."
    plain = Fake.require

    def require(self):
        if self.key == "vgg16":
            raise MissingWeightsError(sentence)
        plain(self)

    monkeypatch.setattr(Fake, "require", require)
    said = []
    table = fill(choose_lines(all_lines(), "texture-lr,vgg16-*-lr"), data, say=said.append)
    assert [len(entry.rows) for entry in table.entries] == [1, 0, 0, 0]
    assert {entry.missing for entry in table.entries[1:]} == {short_lack("vgg16")}
    assert short_lack("vgg16") == "weights missing: coos weights vgg16"
    assert [entry.line.key for entry in table.filled] == ["texture-lr"]
    assert said.count(sentence) == 1
    assert said[-1] == "row 1 of 4: texture-lr, 7.3 % on Test1"


def test_rows_with_damaged_weights_say_what_helps(trained, data, monkeypatch, tmp_path):
    """With VGG16's own file, cut short: what `coos weights vgg16` would call there already."""
    from coos_mlflow.representations import vgg16

    monkeypatch.setenv("COOS_CACHE", str(tmp_path))
    monkeypatch.setattr(Fake, "require", lambda self: vgg16.VGG16().require())
    absent, said = lack_of(Fake("vgg16", "VGG16", ("conv4_1",))), []
    assert absent and absent.words == "weights missing: coos weights vgg16"
    vgg16.weights_path().parent.mkdir(parents=True)
    vgg16.weights_path().write_bytes(b"cut")
    table = fill(choose_lines(all_lines(), "vgg16-*-lr"), data, say=said.append)
    assert {e.missing for e in table.entries} == {"weights damaged: coos weights vgg16 --force"}
    assert len(said) == 1 and "damaged; `coos weights vgg16 --force`" in said[0]


def test_weights_of_another_network_are_damaged_too(trained, data, monkeypatch):
    def require(self):
        raise RegistryError("vgg16: conv1.weight is missing.")

    monkeypatch.setattr(Fake, "require", require)
    table = fill(choose_lines(all_lines(), "vgg16-*"), data)
    assert {e.missing for e in table.entries} == {short_lack("vgg16", damaged=True)}


def test_a_stand_in_never_enters_the_table(trained, data, monkeypatch):
    assert lack_of(Fake("vgg16", "VGG16", ("conv4_1",))) is None
    monkeypatch.setattr(Fake, "name", property(lambda self: f"{self.key}-random"))
    lack = lack_of(Fake("vgg16", "VGG16", ("conv4_1",)))
    assert (
        lack and "vgg16-random is not" in lack.sentence and lack.words == "vgg16-random has no row"
    )
    table = fill(choose_lines(all_lines(), "vgg16-*"), data)
    assert (table.filled, trained) == ([], [])


def test_an_error_in_training_ends_the_table(trained, data, monkeypatch):
    def train(*args, **kwargs):
        raise DataError("no.")

    monkeypatch.setattr(table3, "train_rows", train)
    with pytest.raises(DataError, match=r"no\."):
        fill(choose_lines(all_lines(), "texture-lr"), data)


def test_seeds_give_mean_and_standard_deviation(make_table, lines):
    """By hand: 2, 3 and 4 % have the mean 3 and the standard deviation 1."""
    (entry,) = make_table(lines[:1], seeds=(0, 1, 2), errors={
        "deeploc": dict.fromkeys(SPLITS, 1.5)
    }).entries  # fmt: skip
    assert entry.errors("test3") == pytest.approx([2, 3, 4])
    assert entry.error("test3") == pytest.approx(3)
    assert entry.deviation("test3") == pytest.approx(1)
    assert entry.interval("test3") is None
    together = entry.evaluation("test3")
    assert together.confusion.sum() == 3 * 7000
    assert together.balanced_error == pytest.approx(entry.error("test3"))
    assert np.isnan(together.interval).all()


def test_one_seed_has_an_interval_and_no_deviation(make_table, lines):
    entry = make_table(lines[:1]).entries[0]
    assert entry.deviation("test1") is None
    assert entry.interval("test1") == pytest.approx((0.8 * 1.7, 1.2 * 1.7))
    assert entry.evaluation("test1") is entry.rows[0].evaluations["test1"]


@pytest.mark.parametrize(
    ("dataset", "simulated", "comparable"),
    [("COOS-7", False, True), ("COOS-7", True, False), ("mine", False, False)],
)
def test_only_coos7_itself_is_comparable(make_table, dataset, simulated, comparable):
    assert make_table([], name=dataset, simulated=simulated).comparable is comparable
