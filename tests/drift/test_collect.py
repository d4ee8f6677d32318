"""Collected summaries do not depend on the division of a file into batches."""

from __future__ import annotations

import numpy as np
import pytest

from coos_mlflow.drift.collect import MAX_CELLS, Collector, concatenate_samples
from coos_mlflow.drift.image_quality import RAW_FIGURES
from coos_mlflow.errors import DataError

N = 5000


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    return {
        "plates": np.where(np.arange(N) < 4500, "p1", "p2"),
        "wells": rng.choice(["B02", "B03", "C04"], size=N),
        "softmax": rng.dirichlet(np.ones(7), size=N),
        "features": rng.normal(size=(N, 4)).astype(np.float32),
        "raw": rng.normal(size=(N, len(RAW_FIGURES))).astype(np.float32),
    }


def collect(cells, batch):
    collector = Collector(seed=3)
    for start in range(0, N, batch):
        collector.add(**{name: values[start : start + batch] for name, values in cells.items()})
    return collector.build()


def test_all_answers_are_kept_in_the_order_of_the_file(cells):
    collected = collect(cells, 700)
    assert list(collected.probabilities) == ["p1", "p2"]
    for plate, probabilities in collected.probabilities.items():
        own = cells["plates"] == plate
        np.testing.assert_allclose(probabilities, cells["softmax"][own], atol=1e-7)
        names = np.array(collected.well_names[plate])
        np.testing.assert_array_equal(names[collected.wells[plate]], cells["wells"][own])


@pytest.mark.parametrize("batch", [64, 999])
def test_batches_do_not_matter(cells, batch):
    whole, parts = collect(cells, N), collect(cells, batch)
    for plate in ("p1", "p2"):
        np.testing.assert_array_equal(whole.probabilities[plate], parts.probabilities[plate])
        one, other = whole.samples[plate], parts.samples[plate]
        np.testing.assert_array_equal(one.features, other.features)
        np.testing.assert_array_equal(one.classes, other.classes)
        np.testing.assert_array_equal(one.wells, other.wells)
        np.testing.assert_array_equal(whole.wells[plate], parts.wells[plate])
    assert whole.well_names == parts.well_names


def test_samples_are_bounded_drawn_once_each_and_of_the_whole_plate(cells):
    collected = collect(cells, 256)
    large, small = collected.samples["p1"], collected.samples["p2"]
    assert (len(large), len(small)) == (MAX_CELLS, 500)
    position = {tuple(row): i for i, row in enumerate(cells["features"].tolist())}
    rows = [position[tuple(row)] for row in large.features.tolist()]
    assert len(set(rows)) == MAX_CELLS
    assert np.mean(rows) == pytest.approx(2250, abs=100)
    assert len(np.unique(concatenate_samples([large, small]).wells)) == 6


def test_a_figure_that_is_not_finite_is_refused(cells):
    bad = cells | {"features": np.full((N, 4), np.nan, dtype=np.float32)}
    with pytest.raises(DataError, match="not finite"):
        collect(bad, N)


def test_nothing_is_no_plate():
    with pytest.raises(DataError, match="no cells"):
        Collector().build()
