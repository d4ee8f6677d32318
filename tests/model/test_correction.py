"""A correction changes the probabilities as it says, and a bundle keeps it safely."""

import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest

from coos_mlflow.errors import RegistryError
from coos_mlflow.model import bundle as bundles
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.model.correction import CORRECTION, Correction
from coos_mlflow.model.digests import DIGESTS

HALVES = Correction(np.zeros(4, np.float32), np.array([[1.0], [0.0]]), np.array([0.0, np.log(3)]))
"""Of two classes and one axis."""


def test_a_correction_of_nothing_changes_no_probability():
    p = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    same = Correction.nothing(4, 2, 3).apply(p, np.ones((20, 2)))
    np.testing.assert_allclose(same, p, atol=1e-6)
    assert not Correction.nothing(4, 2, 3).shifts


def test_odds_are_multiplied_as_the_weights_say():
    p = np.array([[0.5, 0.5], [0.2, 0.8]])
    z = np.array([[0.0], [np.log(12)]])
    # Odds of the first class: 1 * e^0 / 3, and 1/4 * 12 / 3.
    np.testing.assert_allclose(HALVES.apply(p, z), [[1 / 4, 3 / 4], [1 / 2, 1 / 2]])


def test_a_class_without_a_vote_may_come_back():
    raised = replace(HALVES, bias=np.array([40.0, 0.0]))
    corrected = raised.apply(np.array([[0.0, 1.0]]), np.zeros((1, 1)))
    assert corrected[0, 0] > 0.99 and corrected.sum() == pytest.approx(1)


def test_it_is_read_as_it_was_written(tmp_path):
    assert Correction.load(tmp_path, 4, 1, 2) is None
    HALVES.save(tmp_path)
    read = Correction.load(tmp_path, 4, 1, 2)
    for name, array in vars(HALVES).items():
        np.testing.assert_array_equal(getattr(read, name), array)


def test_one_that_is_damaged_or_of_another_model_is_refused(tmp_path):
    HALVES.save(tmp_path)
    with pytest.raises(RegistryError, match=r"offset is float32 \(4,\), expected floats \(5,\)"):
        Correction.load(tmp_path, 5, 1, 2)
    whole = (tmp_path / CORRECTION).read_bytes()
    (tmp_path / CORRECTION).write_bytes(whole[:-30])
    with pytest.raises(RegistryError, match="cannot be read"):
        Correction.load(tmp_path, 4, 1, 2)
    np.savez(tmp_path / CORRECTION, **(vars(HALVES) | {"bias": np.array([None, 1], object)}))
    with pytest.raises(RegistryError, match="cannot be read"):
        Correction.load(tmp_path, 4, 1, 2)


@pytest.fixture(params=["texture-lr", "texture-knn", "texture-rf"])
def parent(request, trained) -> Path:
    model = trained.row(request.param).model
    return bundles.find(Path(mlflow.artifacts.download_artifacts(model.uri)))


def test_an_adapted_bundle_scores_with_it_and_leaves_its_parent_alone(parent, cells, tmp_path):
    before = {path: path.read_bytes() for path in parent.rglob("*") if path.is_file()}
    model = CellModel.load(parent)
    assert model.correction is None
    d, dims = model.reference.projection.shape
    n = model.dataset.n_classes
    correction = Correction.nothing(d, dims, n)
    correction.bias[3] = 50.0
    digest = bundles.save_adapted(tmp_path / "bundle", parent, correction)
    assert before == {path: path.read_bytes() for path in parent.rglob("*") if path.is_file()}

    adapted = CellModel.load(tmp_path / "bundle", digest)
    scores, own = adapted.score(cells), model.score(cells)
    assert (scores.labels == 3).all() and not (own.labels == 3).all()
    np.testing.assert_array_equal(scores.features, own.features)


def test_only_the_classifier_sees_the_shift(trained, cells):
    model = trained.row("texture-lr").model
    loaded = CellModel.load(bundles.find(Path(mlflow.artifacts.download_artifacts(model.uri))))
    features = loaded.representation.transform(cells, loaded.layers)
    d, dims = loaded.reference.projection.shape
    nothing = Correction.nothing(d, dims, loaded.dataset.n_classes)
    offset = loaded.reference.projection.scale
    shifted = replace(loaded, correction=replace(nothing, offset=offset))
    moved = replace(loaded).classify({loaded.layer: features[loaded.layer] + offset})
    scores = shifted.classify(features)
    np.testing.assert_allclose(scores.probabilities, moved.probabilities, atol=1e-5)
    np.testing.assert_array_equal(scores.features, loaded.classify(features).features)


def test_a_correction_that_was_changed_or_taken_out_is_refused(trained, tmp_path):
    uri = trained.row("texture-lr").model.uri
    parent = bundles.find(Path(mlflow.artifacts.download_artifacts(uri)))
    d, dims = CellModel.load(parent).reference.projection.shape
    folder = tmp_path / "bundle"
    digest = bundles.save_adapted(folder, parent, Correction.nothing(d, dims, 7))
    (folder / CORRECTION).unlink()
    with pytest.raises(RegistryError, match=CORRECTION):
        CellModel.load(folder, digest)
    shutil.copy(parent / DIGESTS, folder / DIGESTS)
    with pytest.raises(RegistryError, match="not the one that was registered"):
        CellModel.load(folder, digest)
