"""What every segmenter keeps to."""

from __future__ import annotations

import numpy as np
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import Field
from coos_mlflow.fields.segmenters import segmenter, segmenter_keys
from coos_mlflow.fields.segmenters.base import DEFAULT_SIZE
from coos_mlflow.simulate.whole_fields import WholeField, simulate_fields


class Labels:
    """A label image as a source finds it."""

    place = "labels in memory"

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels

    def stamp(self) -> tuple[str | int, ...]:
        return (self.place,)

    def read(self) -> np.ndarray:
        return self.labels


@pytest.fixture(scope="module")
def whole() -> WholeField:
    return next(simulate_fields(classes=(1,), size=(200, 240), pixel_size_um=0.645, seed=8))


@pytest.fixture(params=segmenter_keys())
def ready(request):
    """Each segmenter that can be used here; the others must say what is missing."""
    chosen = segmenter(request.param)
    try:
        chosen.facts()
    except DataError as missing:
        assert "install" in str(missing) or "weights" in str(missing)
        pytest.skip(str(missing))
    return chosen


def test_the_default_is_among_them():
    assert "threshold" in segmenter_keys()


@pytest.mark.parametrize("key", segmenter_keys())
def test_each_has_a_title(key):
    assert segmenter(key).title


def test_an_unknown_one_is_refused():
    with pytest.raises(DataError, match=r"--segmenter 'magic' found, expected one of .*threshold"):
        segmenter("magic")


def test_facts_are_text(ready):
    assert all(isinstance(text, str) for pair in ready.facts().items() for text in pair)


def test_nuclei_have_numbers_of_their_own_and_the_same_ones_again(ready, whole):
    field = Field(whole.plate, whole.well, 1, {}, labels={"nuclei": Labels(whole.labels)})
    counts = whole.counts[1].astype(np.float32)
    before = counts.copy()
    labels = ready.segment(counts, 0.645, DEFAULT_SIZE, field)
    assert (labels.shape, labels.dtype) == (counts.shape, np.int32)
    numbers = np.unique(labels)
    np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    n_true = len(whole.centres)
    assert 0.85 * n_true <= len(numbers) - 1 <= 1.15 * n_true
    np.testing.assert_array_equal(counts, before)
    np.testing.assert_array_equal(labels, ready.segment(counts, 0.645, DEFAULT_SIZE, field))
