"""Plates as random effects: what is known of the model they are drawn from must be found again."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from coos_mlflow.classifiers import plate_effects
from coos_mlflow.classifiers.plate_effects import PlateEffects

CLASSES, AXES = 5, 12
CENTRES = 2.2 * np.random.default_rng(1).standard_normal((CLASSES, AXES))
DIRECTIONS = np.linalg.qr(np.random.default_rng(2).standard_normal((AXES, 3)))[0]
SPREAD = np.array([3.0, 2.0, 1.0])
"""Standard deviations of the plates' offsets along `DIRECTIONS`, in those of cells."""


def plate(rng, classes, n=60, shift=None, own=0.0, noise=1.0):
    """Return cells of a plate, their classes, wells of 20 cells, and the plate's offset.

    `own` is the standard deviation of each class's own shift, `noise` that of cells.
    """
    offset = DIRECTIONS @ (SPREAD * rng.standard_normal(3)) if shift is None else shift
    y = np.repeat(classes, n)
    owns = own * rng.standard_normal((CLASSES, AXES)) if own else np.zeros((CLASSES, AXES))
    X = CENTRES[y] + offset + owns[y] + noise * rng.standard_normal((len(y), AXES))
    return X, y, np.array([f"w{i // 20}" for i in range(len(y))]), offset


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(3)
    plates = [plate(rng, [i % CLASSES, (i + 1) % CLASSES]) for i in range(30)]
    X, y = (np.concatenate([p[column] for p in plates]) for column in (0, 1))
    return PlateEffects().fit(X, y, np.repeat(np.arange(30), 120).astype(str))


def errors(model, X, y, wells, **how):
    """Return the shares of wrong labels without and with the effect of the plate."""
    z = model.project(X)
    found = model.probabilities(z, model.effect(z, wells, **how)).argmax(axis=1)
    return (model.predict(X) != y).mean(), (found != y).mean()


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
    one = PlateEffects().fit(X, y, np.full(len(y), "one"))
    assert one.directions_.shape[1] == 0
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(X, y)
    assert (one.predict(X) == lda.predict(X)).mean() > 0.995
    assert not one.knows_plates
    effect = one.effect(one.project(X + 1), np.full(len(y), ""))
    np.testing.assert_array_equal(effect.centres, one.means_)


@pytest.mark.parametrize("classes", [range(CLASSES), [2], [4, 1]])
def test_the_offset_of_a_new_plate_is_found_whatever_its_classes(model, classes):
    before, after = [], []
    for seed in range(20):
        X, y, wells, offset = plate(np.random.default_rng(100 + seed), classes)
        effect = model.effect(model.project(X), wells)
        in_features = np.linalg.pinv(model.axes_).T @ effect.shift
        np.testing.assert_allclose(in_features, offset, atol=1.2)
        one, other = errors(model, X, y, wells)
        before.append(one)
        after.append(other)
    assert np.mean(after) < 0.02
    assert np.mean(before) > 4 * np.mean(after)


@pytest.mark.parametrize("changed", [{"own": 0.8}, {"noise": 1.7}, {"noise": 0.5, "own": 0.5}])
def test_classes_that_move_apart_and_wider_cells_are_learnt_from_the_plate(model, changed):
    before, after = [], []
    for seed in range(10):
        rng = np.random.default_rng(200 + seed)
        X, y, wells, _ = plate(rng, range(CLASSES), 200, **changed)
        one, other = errors(model, X, y, wells)
        before.append(one)
        after.append(other)
    assert np.mean(after) < 0.7 * np.mean(before)


def test_a_plate_that_was_stretched_and_moved_far_is_recognised(model):
    before, after = [], []
    for seed in range(8):
        rng = np.random.default_rng(300 + seed)
        X, y, wells, _ = plate(rng, range(CLASSES), 100)
        far = X * rng.uniform(0.4, 2.5, AXES) + 6 * rng.standard_normal(AXES)
        one, other = errors(model, far, y, wells)
        before.append(one)
        after.append(other)
    assert np.mean(before) > 0.25
    assert np.mean(after) < 0.3 * np.mean(before)


def test_a_single_cell_has_an_effect(model):
    effect = model.effect(np.ones((1, AXES)), np.array(["w"]))
    assert np.isfinite(effect.precision).all()
    assert np.isfinite(model.probabilities(np.ones((1, AXES)), effect)).all()


def test_cells_of_a_plate_with_other_noise_have_its_covariance(model):
    X, _, wells, _ = plate(np.random.default_rng(13), range(CLASSES), 2000, noise=2.0)
    effect = model.effect(model.project(X), wells)
    np.testing.assert_allclose(np.linalg.inv(effect.precision), 4 * np.eye(AXES), atol=0.8)


def test_an_ordinary_plate_has_size_one_and_a_far_one_more(model):
    rng = np.random.default_rng(6)
    sizes = []
    for _ in range(40):
        X, _, wells, _ = plate(rng, range(CLASSES))
        sizes.append(model.size(model.effect(model.project(X), wells)))
    ordinary = float(np.sqrt(np.mean(np.square(sizes)) * len(model.variances_) / 3))
    assert 0.7 < ordinary < 1.4
    X, _, wells, _ = plate(rng, range(CLASSES), shift=4 * DIRECTIONS @ SPREAD)
    assert model.size(model.effect(model.project(X), wells)) > 2 * np.median(sizes)


def test_the_prediction_is_shrunk_as_henderson_says(model):
    """With known classes, the offset along a direction is the mean residual n / (n + 1 / v)."""
    X = plate(np.random.default_rng(7), [3], 10)[0]
    z = model.project(X)
    cells = plate_effects._Plate(z, np.full(10, ""), True)
    shift = model._shift(cells, np.eye(CLASSES)[np.full(10, 3)], np.eye(AXES))
    residual = model.directions_.T @ (z.mean(axis=0) - model.means_[3])
    expected = residual * 10 / (10 + 1 / model.variances_)
    np.testing.assert_allclose(model.directions_.T @ shift, expected)


def test_mixed_wells_may_hold_several_classes(model):
    rng = np.random.default_rng(8)
    X, y, wells, _ = plate(rng, range(CLASSES))
    mixed = rng.permutation(wells)
    assert errors(model, X, y, mixed, pure=False)[1] < 0.02
    z = model.project(X)
    unknown = model.effect(z, np.full(len(y), ""))
    np.testing.assert_array_equal(unknown.shift, model.effect(z, mixed, pure=False).shift)


def test_each_step_is_towards_a_more_probable_effect(model):
    """Where wells do not count for less than their cells, the steps are exact EM."""
    X = plate(np.random.default_rng(14), range(CLASSES), 100, own=0.3)[0]
    plate_of = plate_effects._Plate(model.project(X), np.full(len(X), ""), True)
    found, effect = [], model.no_effect()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plate_effects, "STEPS", 1)
        for _ in range(12):
            effect = model._estimated(plate_of, effect)
            found.append(model._log_posterior(plate_of, effect))
    assert (np.diff(found[2:]) > -0.05 * abs(found[-1] - found[0])).all()
    assert found[-1] > found[0]


def test_the_order_of_cells_and_the_names_of_wells_do_not_matter(model):
    rng = np.random.default_rng(9)
    X, _, wells, _ = plate(rng, [0, 3])
    z, order = model.project(X), rng.permutation(len(X))
    one = model.effect(z, wells)
    other = model.effect(z[order], np.char.add("x", wells[order]))
    np.testing.assert_allclose(one.centres, other.centres, atol=1e-7)


def test_a_plate_without_cells_has_no_effect(model):
    effect = model.effect(np.empty((0, AXES)), np.empty(0, dtype=str))
    assert model.size(effect) == 0
    np.testing.assert_array_equal(effect.centres, model.means_)


def test_more_steps_change_nothing(model, monkeypatch):
    X, _, wells, _ = plate(np.random.default_rng(10), range(CLASSES))
    z = model.project(X)
    few = model.effect(z, wells)
    monkeypatch.setattr(plate_effects, "STEPS", 300)
    np.testing.assert_allclose(few.centres, model.effect(z, wells).centres, atol=1e-3)


def test_constant_and_repeated_features_are_left_out():
    rng = np.random.default_rng(11)
    X, y, *_ = plate(rng, range(CLASSES), 80)
    wide = np.hstack([X, X[:, :2], np.ones((len(X), 1))])
    names = np.where(np.arange(len(y)) % 2, "a", "b")
    plain, fitted = (PlateEffects().fit(values, y, names) for values in (X, wide))
    assert fitted.axes_.shape == (AXES + 3, AXES)
    assert (plain.predict(X) == fitted.predict(wide)).mean() > 0.98


def test_it_is_an_estimator_of_scikit_learn(model):
    assert clone(model).get_params() == {}
    X = plate(np.random.default_rng(12), [0])[0]
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
