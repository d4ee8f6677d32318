"""What every representation in the folder must keep to, a new one too."""

import json
import re

import numpy as np
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations import PROBABILITIES, create, names
from coos_mlflow.simulate import simulate_plate_cells

SMALL = {
    "deeploc": {"width": 0.03, "iterations": 4, "batch": 16, "check_every": 2},
    "pci": {"width": 0.05, "epochs": 1, "batch": 16, "least_cells": 2},
    "vgg16": {"weights": "random"},
}
"""Settings with which a representation is quick, where it is not so by itself."""


@pytest.fixture(scope="module")
def cells():
    found = simulate_plate_cells(seed=4, wells_per_class=1, cells_per_well=10)
    n = len(found["images"])
    return CellBatch(
        0,
        found["images"],
        labels=found["labels"],
        plates=np.full(n, "1"),
        wells=np.repeat([f"{i:03d}{i:03d}000" for i in range(7)], n // 7),
    )


@pytest.fixture(scope="module", params=names())
def fitted(request, cells, tmp_path_factory):
    made = create(request.param, **SMALL.get(request.param, {}))
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
        assert found.min() >= 0 and found.shape[1] == 7
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


def test_a_flat_image_is_no_trouble(fitted):
    flat = np.full((2, 2, 64, 64), 300, np.uint16)
    assert all(np.isfinite(matrix).all() for matrix in fitted.transform(flat).values())


def test_saved_and_restored_it_is_the_same(fitted, cells, tmp_path):
    fitted.save(tmp_path)
    params = json.loads(json.dumps(fitted.params()))
    again = create(fitted.key, **params)
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


@pytest.mark.parametrize("key", names())
def test_every_preset_can_be_made_and_overridden(key):
    made = create(key)
    for preset in ("paper", "quick", *made.presets):
        create(key, preset, **made.params())


@pytest.mark.parametrize("key", names())
def test_unknown_parameters_are_refused_with_the_known_ones(key):
    with pytest.raises(DataError, match=f"{key} has no parameter 'colour'"):
        create(key, colour="red")
