"""The contract of every representation in the folder, including new ones."""

import inspect
import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from coos_mlflow import representations
from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import UNLABELLED, Dataset
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations import PROBABILITIES, create, names
from coos_mlflow.simulate import simulate_plate_cells

SMALL = {
    "deeploc": {"width": 0.03, "iterations": 4, "batch": 16, "check_every": 2},
    "fusion": {"members_preset": "quick"},
    "pci": {"width": 0.05, "epochs": 1, "batch": 16, "least_cells": 2},
    "resnet": {"width": 0.05, "blocks": 1, "iterations": 4, "batch": 16, "check_every": 2},
    "vgg16": {"weights": "random"},
}
"""Settings with which a representation is quick, where it is not so by itself."""

DATASETS = ((64, 7), (48, 3), (80, 12), (33, 3))
"""Crops in pixels and numbers of classes."""


def described(crop, n_classes=3):
    """The description of a data set."""
    values = {
        "name": "lab",
        "classes": [f"class {i}" for i in range(n_classes)],
        "crop": crop,
        "splits": [{"name": "Training", "role": "train", "files": "training.h5"}],
    }
    return Dataset.from_dict(values, "dataset.yaml")


def takes(key, dataset):
    try:
        create(key, dataset=dataset)
    except DataError:
        return False
    return True


PAIRS = [
    pytest.param((key, described(*size)), id=f"{key}-{size[0]}px-{size[1]}")
    for key in names()
    for size in DATASETS
    if takes(key, described(*size))
]


@pytest.fixture(scope="module", params=PAIRS)
def pair(request):
    """A representation's key and a data set that it takes."""
    return request.param


@pytest.fixture(scope="module")
def dataset(pair):
    return pair[1]


@pytest.fixture(scope="module")
def simulated():
    return simulate_plate_cells(seed=4, wells_per_class=1, cells_per_well=10)["images"]


@pytest.fixture(scope="module")
def cells(simulated, dataset):
    n, crop = len(simulated), dataset.crop
    wider = np.pad(simulated, ((0, 0), (0, 0), (8, 8), (8, 8)), "reflect")
    start = (wider.shape[-1] - crop) // 2
    return CellBatch(
        0,
        wider[:, :, start : start + crop, start : start + crop],
        labels=np.arange(n) * dataset.n_classes // n,
        plates=np.full(n, "1"),
        wells=np.repeat([f"{i:03d}{i:03d}000" for i in range(7)], n // 7),
    )


@pytest.fixture(scope="module")
def fitted(pair, cells, tmp_path_factory):
    key, dataset = pair
    made = create(key, dataset=dataset, **SMALL.get(key, {}))
    made.require()
    if made.trainable:
        from coos_mlflow.representations.nn.training import TrainingContext

        made.fit(cells, TrainingContext(tmp_path_factory.mktemp("work")))
    return made


def layers_of(representation):
    return [*representation.layers, *([PROBABILITIES] if representation.classifies else [])]


def test_every_layer_is_a_named_finite_matrix(fitted, cells):
    found = fitted.transform(cells.images)
    assert set(layers_of(fitted)) <= set(found)
    for layer in layers_of(fitted):
        assert found[layer].dtype == np.float32
        assert found[layer].shape == (len(cells), len(fitted.feature_names(layer)))
        assert len(set(fitted.feature_names(layer))) == found[layer].shape[1]
        assert np.isfinite(found[layer]).all()


def test_probabilities_are_some(fitted, cells):
    if fitted.classifies:
        found = fitted.transform(cells.images)[PROBABILITIES]
        assert found.min() >= 0
        assert fitted.feature_names(PROBABILITIES) == fitted.dataset.class_names
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_a_layer_asked_for_alone_is_the_same(fitted, cells):
    together = fitted.transform(cells.images[:9])
    for layer in layers_of(fitted):
        alone = fitted.transform(cells.images[:9], (layer,))[layer]
        np.testing.assert_allclose(alone, together[layer], rtol=1e-5, atol=1e-5)


def test_cells_do_not_depend_on_their_neighbours(fitted, cells):
    backwards = fitted.transform(cells.images[20::-1])
    for layer, matrix in fitted.transform(cells.images[:21]).items():
        np.testing.assert_allclose(backwards[layer][::-1], matrix, rtol=1e-3, atol=1e-4)


def test_the_same_cells_give_the_same_features(fitted, cells):
    first, again = (fitted.transform(cells.images[:9]) for _ in range(2))
    for layer, matrix in first.items():
        np.testing.assert_array_equal(again[layer], matrix)


def test_counts_as_floats_and_as_integers_are_the_same(fitted, cells):
    integers = fitted.transform(cells.images[:3])
    floats = fitted.transform(cells.images[:3].astype(np.float32))
    for layer, matrix in integers.items():
        np.testing.assert_allclose(floats[layer], matrix, rtol=1e-6)


def test_a_flat_image_is_no_trouble(fitted, dataset):
    flat = np.full((2, *dataset.cell_shape), 300, np.uint16)
    assert all(np.isfinite(matrix).all() for matrix in fitted.transform(flat).values())


def test_saved_and_restored_it_is_the_same(fitted, cells, tmp_path):
    fitted.save(tmp_path)
    params = json.loads(json.dumps(fitted.params()))
    again = create(fitted.key, dataset=fitted.dataset, **params)
    again.restore(tmp_path)
    assert again.params() == fitted.params() and again.digest == fitted.digest
    for layer, matrix in fitted.transform(cells.images[:5]).items():
        np.testing.assert_array_equal(again.transform(cells.images[:5])[layer], matrix)


def test_what_it_learns_has_a_digest(fitted):
    assert re.fullmatch(r"[0-9a-f]{64}" if fitted.trainable else r"([0-9a-f]{64})?", fitted.digest)


def test_names_fit_a_registry(fitted):
    assert re.fullmatch(r"[a-z0-9_-]+", fitted.name) and fitted.name.startswith(fitted.key)
    assert all(re.fullmatch(r"[a-z0-9_]+", layer) for layer in layers_of(fitted))
    assert not fitted.layer_titles or set(fitted.layers) <= set(fitted.layer_titles)


def test_held_out_cells_are_a_mask(fitted, cells):
    mask = fitted.held_out(len(cells))
    assert mask.dtype == bool and mask.shape == (len(cells),) and mask.any()


def test_cells_without_labels_train_no_network_that_needs_labels(pair, cells, tmp_path):
    """The labelled cells alone give the same weights, and all others count as held out."""
    from coos_mlflow.representations.nn.training import TrainingContext

    key, dataset = pair
    made, other = (create(key, dataset=dataset, **SMALL.get(key, {})) for _ in range(2))
    if not made.classifies:
        return
    labelled = np.arange(len(cells)) % 8 != 0
    some = replace(cells, labels=np.where(labelled, cells.labels, UNLABELLED))
    made.fit(some, TrainingContext(tmp_path / "some"))
    alone = CellBatch(0, cells.images[labelled], labels=cells.labels[labelled])
    other.fit(alone, TrainingContext(tmp_path / "alone"))
    assert made.digest == other.digest
    held_out = made.held_out(len(cells))
    assert held_out[~labelled].all()
    np.testing.assert_array_equal(held_out[labelled], other.held_out(len(alone)))


def test_what_needs_no_labels_learns_the_same_without_them(pair, cells, fitted, tmp_path):
    if fitted.classifies:
        return
    from coos_mlflow.representations.nn.training import TrainingContext

    key, dataset = pair
    made = create(key, dataset=dataset, **SMALL.get(key, {}))
    made.fit(replace(cells, labels=np.full(len(cells), UNLABELLED)), TrainingContext(tmp_path))
    assert made.digest == fitted.digest and made.held_out(len(cells)).all()


@pytest.mark.parametrize("key", names())
@pytest.mark.parametrize("crop", [32, 33, 34, 35, 36, 255, 256])
def test_a_crop_is_taken_or_refused_in_a_sentence_with_crops_that_are_taken(key, crop):
    if takes(key, described(crop)):
        return
    with pytest.raises(DataError, match=f"crop of {crop} pixels found, expected") as caught:
        create(key, dataset=described(crop))
    offered = re.search(r"such as (\d+) or (\d+)", str(caught.value)).groups()
    smaller, larger = map(int, offered)
    assert smaller < crop < larger
    assert takes(key, described(smaller)) and takes(key, described(larger))


@pytest.mark.parametrize("key", names())
def test_every_preset_can_be_made_and_overridden(key):
    made = create(key)
    for preset in ("paper", "quick", *made.presets):
        create(key, preset, **made.params())


@pytest.mark.parametrize("key", names())
def test_unknown_parameters_are_refused_with_the_known_ones(key):
    with pytest.raises(DataError, match=f"{key} has no parameter 'colour'"):
        create(key, colour="red")


def settings_of(key):
    made = import_module(f"coos_mlflow.representations.{key}").REPRESENTATION
    return list(inspect.signature(made).parameters)


@pytest.mark.parametrize(
    ("key", "setting"), [(key, setting) for key in names() for setting in settings_of(key)]
)
def test_a_setting_of_another_type_is_refused_in_one_sentence(key, setting):
    with pytest.raises(DataError) as caught:
        create(key, **{setting: {"of": "no type"}})
    assert re.fullmatch(
        rf"{key} {setting}={{'of': 'no type'}} found, expected [^.]+\.", str(caught.value)
    )


SOURCE = """
from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from coos_mlflow.representations.base import Range, Representation


class Histogram(Representation):
    key, version, title, layers = "histogram", "1", "Histogram", ("counts",)

    def __init__(
        self,
        seed: int = 0,
        bins: Annotated[int, Range(1, 256)] = 16,
        depth: Annotated[int | None, Range(least=2)] = None,
        gain: Annotated[float, Range(above=0)] = 1.0,
        offset: Annotated[float, Range(most=0)] = 0.0,
        log: bool = False,
        note: str = "",
        norm: Literal["sum", "max"] = "sum",
        edges: Sequence[float] = (0, 1.5),
        free=None,
    ):
        self._params = locals() | {"edges": list(edges)}

    def params(self):
        return {name: v for name, v in self._params.items() if name not in ("self", "__class__")}

    def feature_names(self, layer):
        return tuple(f"bin {i}" for i in range(self._params["bins"]))

    def compute(self, prepared, layers=None):
        bins = self._params["bins"]
        counts = [np.histogram(cell, bins)[0] for cell in prepared]
        return {"counts": np.array(counts, np.float32).reshape(-1, bins)}


REPRESENTATION = Histogram
"""


@pytest.fixture
def histogram(tmp_path, monkeypatch):
    """A new representation in one file."""
    (tmp_path / "histogram.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.setattr(representations, "__path__", [*representations.__path__, str(tmp_path)])
    yield "histogram"
    sys.modules.pop("coos_mlflow.representations.histogram", None)
    vars(representations).pop("histogram", None)


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("bins", "abc", "a whole number from 1 to 256"),
        ("bins", 0, "a whole number from 1 to 256"),
        ("bins", 257, "a whole number from 1 to 256"),
        ("bins", 16.0, "a whole number from 1 to 256"),
        ("bins", True, "a whole number from 1 to 256"),
        ("bins", None, "a whole number from 1 to 256"),
        ("seed", 1.5, "a whole number"),
        ("depth", 1, "a whole number or null from 2 up"),
        ("depth", "abc", "a whole number or null from 2 up"),
        ("gain", 0, "a number above 0"),
        ("gain", float("nan"), "a number above 0"),
        ("gain", "1e-3", "a number above 0"),
        ("offset", 0.5, "a number up to 0"),
        ("log", 1, "true or false"),
        ("note", 1, "a text"),
        ("norm", "mean", "one of sum, max"),
        ("norm", ["sum"], "one of sum, max"),
        ("edges", [], "a list of one or more, each a number"),
        ("edges", 1, "a list of one or more, each a number"),
        ("edges", [0, "abc"], "a list of one or more, each a number"),
    ],
)
def test_settings_of_a_new_file_are_checked_against_its_annotations(
    histogram, setting, value, expected
):
    with pytest.raises(DataError) as caught:
        create(histogram, **{setting: value})
    assert str(caught.value) == f"{histogram} {setting}={value!r} found, expected {expected}."


def test_settings_that_fit_their_annotations_are_taken(histogram):
    fitting = {
        "seed": -1,
        "bins": 1,
        "depth": 2,
        "gain": 3,
        "offset": -0.5,
        "log": True,
        "note": "abc",
        "norm": "max",
        "edges": [1, 0.5],
        "free": {"any": "thing"},
    }
    assert create(histogram, **fitting).params() == fitting
    assert create(histogram, depth=None, bins=256).params()["depth"] is None


def test_settings_are_checked_without_torch():
    code = (
        "import sys; from coos_mlflow.representations import create; create('texture'); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
