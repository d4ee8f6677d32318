"""A reference is the same after saving and loading, small and without pickle."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from coos_mlflow.drift import reference as reference_module
from coos_mlflow.drift.assessment import assess
from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.drift.reference import Reference, ReferenceCells, fit_projection
from coos_mlflow.errors import OutputError, RegistryError


@pytest.fixture
def with_cells(reference, random_cells):
    cells = ReferenceCells(
        images=random_cells(14),
        labels=np.repeat(np.arange(7), 2),
        splits=np.tile(["training", "test3"], 7),
        plates=np.full(14, "109"),
        wells=np.full(14, "B03"),
    )
    return dataclasses.replace(reference, cells=cells)


def test_it_comes_back_as_it_was(with_cells, world, tmp_path):
    with_cells.save(tmp_path / "drift")
    loaded = Reference.load(tmp_path / "drift", with_cells.dataset)
    assert loaded.errors == with_cells.errors
    assert loaded.provenance == with_cells.provenance
    np.testing.assert_array_equal(loaded.cells.images, with_cells.cells.images)
    np.testing.assert_array_equal(loaded.confusions["training"], with_cells.confusions["training"])
    for view in VIEWS:
        stored, kept = loaded.profiles["training"], with_cells.profiles["training"]
        np.testing.assert_array_equal(stored.means[view], kept.means[view])


def test_plates_are_assessed_alike_before_and_after(with_cells, world, tmp_path):
    """The sample of cells is kept with three digits; from then on nothing changes."""
    plate = world.plate((2,), seed=5)
    references = [with_cells]
    for folder in ("once", "twice"):
        references[-1].save(tmp_path / folder)
        references.append(Reference.load(tmp_path / folder, with_cells.dataset))
    before, once, twice = (
        assess(one, plate, has_plate_ids=True, has_well_ids=True) for one in references
    )
    assert once == twice
    assert once["verdict"] == before["verdict"]
    ours, theirs = once["plates"][0], before["plates"][0]
    assert ours["distances"] == pytest.approx(theirs["distances"], rel=0.01)
    assert ours["effects"] == pytest.approx(theirs["effects"], abs=0.01)
    assert once["error"] == before["error"]


def test_the_same_reference_gives_the_same_bytes(with_cells, tmp_path):
    for folder in ("a", "b"):
        with_cells.save(tmp_path / folder)
    for name in (reference_module.ARRAYS_FILE, reference_module.FACTS_FILE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_it_holds_no_pickle(with_cells, tmp_path):
    with_cells.save(tmp_path)
    with np.load(tmp_path / reference_module.ARRAYS_FILE, allow_pickle=False) as stored:
        assert all(stored[name].dtype.kind in "iufU" for name in stored.files)


def test_one_that_is_too_big_is_refused(with_cells, tmp_path, monkeypatch):
    monkeypatch.setattr(reference_module, "SIZE_LIMIT", 1000)
    with pytest.raises(OutputError, match="expected at most 1000; keep fewer reference cells"):
        with_cells.save(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "cut", "schema"])
def test_a_damaged_one_says_so(with_cells, tmp_path, damage):
    with_cells.save(tmp_path)
    facts = tmp_path / reference_module.FACTS_FILE
    arrays = tmp_path / reference_module.ARRAYS_FILE
    if damage == "missing":
        arrays.unlink()
    elif damage == "cut":
        arrays.write_bytes(arrays.read_bytes()[:5000])
    else:
        stored = f'"schema_version": {reference_module.SCHEMA_VERSION}'
        assert stored in facts.read_text()
        facts.write_text(facts.read_text().replace(stored, '"schema_version": 3'))
    with pytest.raises(RegistryError, match="register the model again"):
        Reference.load(tmp_path, with_cells.dataset)


def test_projection_finds_the_directions_of_the_data():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(2000, 3)) * [5, 3, 2]
    features = hidden @ rng.normal(size=(3, 40)) + 10 + 0.01 * rng.normal(size=(2000, 40))
    projection = fit_projection(features, dims=3)
    projected = projection.project(features)
    assert projected.dtype == np.float32
    np.testing.assert_allclose(
        projection.components @ projection.components.T, np.eye(3), atol=1e-5
    )
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-3)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    assert projected.var(axis=0).sum() == pytest.approx(scaled.var(axis=0).sum(), rel=1e-3)


def test_projection_stands_few_cells_and_constant_columns():
    features = np.random.default_rng(0).normal(size=(6, 10))
    features[:, 4] = 3.0
    projected = fit_projection(features).project(features)
    assert projected.shape == (6, 6)
    assert np.isfinite(projected).all()


def test_novelty_is_one_for_ordinary_cells_and_grows(reference, world):
    rng = np.random.default_rng(3)
    labels = rng.integers(7, size=4000)
    ordinary = world.centres[labels, :16] + rng.normal(size=(4000, 16))
    assert np.median(reference.novelty(ordinary, labels)) == pytest.approx(1, abs=0.1)
    assert (reference.novelty(ordinary + 10, labels) > 5).all()
