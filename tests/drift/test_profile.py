"""Profiles contain the sums of their cells, for any division into batches."""

from __future__ import annotations

import numpy as np
import pytest

from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.drift.profile import ProfileBuilder
from coos_mlflow.errors import DataError


def cells(n: int = 600, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    softmax = rng.dirichlet(np.ones(7), n)
    return {
        "plates": rng.choice(["9", "10", "plate"], n),
        "wells": rng.choice(["A01", "H12"], n),
        "predicted": softmax.argmax(axis=1),
        "softmax": softmax,
        "features": rng.normal(3, 2, (n, 4)).astype(np.float32),
        "raw": rng.normal(7, 0.1, (n, 15)).astype(np.float32),
    }


def build(columns: dict[str, np.ndarray], step: int):
    builder = ProfileBuilder()
    for start in range(0, len(columns["plates"]), step):
        builder.add(**{name: values[start : start + step] for name, values in columns.items()})
    return builder.build()


def test_means_and_variances_are_those_of_the_cells():
    columns = cells()
    profile = build(columns, 100)
    assert profile.counts.sum() == 600
    assert len(profile) == len({*zip(profile.plates, profile.wells, profile.classes, strict=True)})
    for row in range(len(profile)):
        own = columns["plates"] == profile.plates[row]
        own &= columns["wells"] == profile.wells[row]
        own &= columns["predicted"] == profile.classes[row]
        assert profile.counts[row] == own.sum()
        for view, values in (("features", columns["features"]), ("raw", columns["raw"])):
            np.testing.assert_allclose(profile.means[view][row], values[own].mean(0), rtol=1e-5)
            np.testing.assert_allclose(
                profile.variances[view][row], values[own].var(0), rtol=1e-3, atol=1e-6
            )


def test_mean_probabilities_come_back_from_the_roots():
    columns = cells()
    profile = build(columns, 600)
    mean = profile.means["softmax"] ** 2 + profile.variances["softmax"]
    overall = np.average(mean, axis=0, weights=profile.counts)
    np.testing.assert_allclose(overall, columns["softmax"].mean(axis=0), rtol=1e-4)


def test_batches_do_not_matter():
    columns = cells()
    whole, parts = build(columns, 600), build(columns, 7)
    np.testing.assert_array_equal(whole.plates, parts.plates)
    np.testing.assert_array_equal(whole.counts, parts.counts)
    for view in VIEWS:
        np.testing.assert_array_max_ulp(whole.means[view], parts.means[view], maxulp=1)


def test_the_same_batches_give_the_same_bytes():
    first, second = build(cells(), 50), build(cells(), 50)
    for view in VIEWS:
        assert first.means[view].tobytes() == second.means[view].tobytes()
        assert first.variances[view].tobytes() == second.variances[view].tobytes()


def test_class_counts_and_plates():
    columns = cells()
    profile = build(columns, 600)
    np.testing.assert_array_equal(
        profile.class_counts(), np.bincount(columns["predicted"], minlength=7)
    )
    assert profile.of_plate("9").counts.sum() == (columns["plates"] == "9").sum()


def test_a_figure_that_is_not_finite_is_refused():
    columns = cells()
    columns["features"][3, 1] = np.nan
    with pytest.raises(DataError, match="features: a figure of the plate is not finite"):
        build(columns, 600)


def test_nothing_to_build_is_refused():
    with pytest.raises(DataError, match="no cells were added"):
        ProfileBuilder().build()
