"""Offsets of plates: what is known of the model they are drawn from must be found again."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from coos_mlflow.classifiers import plate_offsets
from coos_mlflow.classifiers.plate_offsets import PlateOffsets

CLASSES, AXES = 5, 12
CENTRES = 2.2 * np.random.default_rng(1).standard_normal((CLASSES, AXES))
DIRECTIONS = np.linalg.qr(np.random.default_rng(2).standard_normal((AXES, 3)))[0]
SPREAD = np.array([3.0, 2.0, 1.0])
"""Standard deviations of the plates' offsets along `DIRECTIONS`, in those of cells."""


def plate(rng, classes, n=60, shift=None):
    """Return cells of a plate, their classes, wells of 20 cells, and the plate's offset."""
    offset = DIRECTIONS @ (SPREAD * rng.standard_normal(3)) if shift is None else shift
    y = np.repeat(classes, n)
    X = CENTRES[y] + offset + rng.standard_normal((len(y), AXES))
    return X, y, np.array([f"w{i // 20}" for i in range(len(y))]), offset


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(3)
    plates = [plate(rng, [i % CLASSES, (i + 1) % CLASSES]) for i in range(30)]
    X, y = (np.concatenate([p[column] for p in plates]) for column in (0, 1))
    return PlateOffsets().fit(X, y, np.repeat(np.arange(30), 120).astype(str))


def shift_in_features(model, offset):
    """Return the shift of an offset in the features from which the model was fitted."""
    return np.linalg.pinv(model.axes_).T @ offset.shift


def test_the_variance_components_are_found(model):
    """Thirty plates know a standard deviation to an eighth."""
    spreads = np.sqrt(np.sort(model.variances_)[::-1][:3])
    np.testing.assert_allclose(spreads, SPREAD, rtol=0.3)
    assert np.sqrt(np.sort(model.variances_)[::-1][3:]).max() < 0.35
    noise = model.project(plate(np.random.default_rng(4), [0], 5000, np.zeros(AXES))[0])
    np.testing.assert_allclose(np.cov(noise, rowvar=False), np.eye(AXES), atol=0.15)


def test_without_an_offset_it_is_a_linear_discriminant_analysis(model):
    rng = np.random.default_rng(5)
    X, y, *_ = plate(rng, range(CLASSES), 200, np.zeros(AXES))
    one = PlateOffsets().fit(X, y, np.full(len(y), "one"))
    assert one.directions_.shape[1] == 0
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(X, y)
    assert (one.predict(X) == lda.predict(X)).mean() > 0.995
    offset = one.offset(one.project(X + 1), np.full(len(y), ""))
    assert offset.size == 0
    assert not offset.shift.any()


@pytest.mark.parametrize("classes", [range(CLASSES), [2], [4, 1]])
def test_the_offset_of_a_new_plate_is_found_whatever_its_classes(model, classes):
    errors, before = [], []
    for seed in range(20):
        X, y, wells, offset = plate(np.random.default_rng(100 + seed), classes)
        z = model.project(X)
        found = model.offset(z, wells)
        np.testing.assert_allclose(shift_in_features(model, found), offset, atol=1.2)
        errors.append((model.probabilities(z, found).argmax(axis=1) != y).mean())
        before.append((model.predict(X) != y).mean())
    assert np.mean(errors) < 0.02
    assert np.mean(before) > 4 * np.mean(errors)


def test_an_ordinary_plate_has_size_one_and_a_far_one_more(model):
    rng = np.random.default_rng(6)
    sizes = []
    for _ in range(40):
        X, _, wells, _ = plate(rng, range(CLASSES))
        sizes.append(model.offset(model.project(X), wells).size)
    ordinary = float(np.sqrt(np.mean(np.square(sizes)) * len(model.variances_) / 3))
    assert 0.7 < ordinary < 1.4
    X, _, wells, _ = plate(rng, range(CLASSES), shift=4 * DIRECTIONS @ SPREAD)
    assert model.offset(model.project(X), wells).size > 2 * np.median(sizes)


def test_the_prediction_is_shrunk_as_henderson_says(model):
    """With known classes, the offset along a direction is the mean residual n / (n + 1 / v)."""
    X = plate(np.random.default_rng(7), [3], 10)[0]
    z = model.project(X)
    found = model._predicted(z, np.eye(CLASSES)[np.full(10, 3)], np.zeros(CLASSES))
    residual = model.directions_.T @ (z.mean(axis=0) - model.means_[3])
    expected = residual * 10 / (10 + 1 / model.variances_)
    np.testing.assert_allclose(model.directions_.T @ found.shift, expected)


def test_mixed_wells_may_hold_several_classes(model):
    rng = np.random.default_rng(8)
    X, y, wells, _ = plate(rng, range(CLASSES))
    mixed = rng.permutation(wells)
    z = model.project(X)
    apart = model.probabilities(z, model.offset(z, mixed, pure=False)).argmax(axis=1) != y
    together = model.probabilities(z, model.offset(z, mixed)).argmax(axis=1) != y
    assert apart.mean() < 0.02
    assert together.mean() >= apart.mean()
    unknown = model.offset(z, np.full(len(y), ""))
    np.testing.assert_array_equal(unknown.shift, model.offset(z, mixed, pure=False).shift)


def test_the_order_of_cells_and_the_names_of_wells_do_not_matter(model):
    rng = np.random.default_rng(9)
    X, _, wells, _ = plate(rng, [0, 3])
    z, order = model.project(X), rng.permutation(len(X))
    one = model.offset(z, wells)
    other = model.offset(z[order], np.char.add("x", wells[order]))
    np.testing.assert_allclose(one.shift, other.shift, atol=1e-9)


def test_a_plate_without_cells_has_no_offset(model):
    offset = model.offset(np.empty((0, AXES)), np.empty(0, dtype=str))
    assert offset.size == 0
    assert not offset.shift.any()


def test_more_steps_change_nothing(model, monkeypatch):
    X, _, wells, _ = plate(np.random.default_rng(10), range(CLASSES))
    z = model.project(X)
    few = model.offset(z, wells)
    monkeypatch.setattr(plate_offsets, "STEPS", 300)
    np.testing.assert_allclose(few.shift, model.offset(z, wells).shift, atol=1e-3)


def test_constant_and_repeated_features_are_left_out():
    rng = np.random.default_rng(11)
    X, y, *_ = plate(rng, range(CLASSES), 80)
    wide = np.hstack([X, X[:, :2], np.ones((len(X), 1))])
    names = np.where(np.arange(len(y)) % 2, "a", "b")
    plain, fitted = (PlateOffsets().fit(values, y, names) for values in (X, wide))
    assert fitted.axes_.shape == (AXES + 3, AXES)
    assert (plain.predict(X) == fitted.predict(wide)).mean() > 0.98


def test_it_is_an_estimator_of_scikit_learn(model):
    assert clone(model).get_params() == {}
    X = plate(np.random.default_rng(12), [0])[0]
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
