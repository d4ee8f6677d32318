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


def test_wells_are_one_group_of_their_commonest_label_and_keep_all_cells():
    columns = cells(900)
    columns["wells"] = np.where(columns["plates"] == "9", "", columns["wells"])
    profile = build(columns, 900)
    grouped = profile.by_wells()
    assert grouped.counts.sum() == 900
    wells = grouped.wells != ""
    assert len({*zip(grouped.plates[wells], grouped.wells[wells], strict=True)}) == wells.sum() == 4
    for row in range(len(grouped)):
        own = columns["plates"] == grouped.plates[row]
        own &= columns["wells"] == grouped.wells[row]
        if wells[row]:
            votes = np.bincount(columns["predicted"][own], minlength=7)
            assert grouped.classes[row] == votes.argmax()
        else:
            own &= columns["predicted"] == grouped.classes[row]
        assert grouped.counts[row] == own.sum()
        for view, values in (
            ("features", columns["features"]),
            ("raw", columns["raw"]),
            ("softmax", np.sqrt(columns["softmax"])),
        ):
            np.testing.assert_allclose(grouped.means[view][row], values[own].mean(0), rtol=1e-5)
            np.testing.assert_allclose(
                grouped.variances[view][row], values[own].var(0), rtol=2e-3, atol=2e-5
            )


def test_cells_without_a_well_stay_as_they_are():
    columns = cells() | {"wells": np.full(600, "")}
    profile = build(columns, 600)
    grouped = profile.by_wells()
    np.testing.assert_array_equal(grouped.plates, profile.plates)
    np.testing.assert_array_equal(grouped.classes, profile.classes)
    np.testing.assert_array_equal(grouped.counts, profile.counts)
    for view in VIEWS:
        np.testing.assert_array_equal(grouped.means[view], profile.means[view])
        np.testing.assert_allclose(
            grouped.variances[view], profile.variances[view], rtol=1e-5, atol=1e-6
        )


def test_grouping_wells_twice_changes_nothing_and_ties_go_to_the_first():
    columns = cells(4) | {"plates": np.full(4, "p"), "wells": np.full(4, "A01")}
    columns["predicted"] = np.array([5, 2, 5, 2])
    grouped = build(columns, 4).by_wells()
    assert grouped.classes.tolist() == [2] and grouped.counts.tolist() == [4]
    again = grouped.by_wells()
    np.testing.assert_array_equal(again.means["raw"], grouped.means["raw"])
    np.testing.assert_array_equal(again.plates, grouped.plates)
