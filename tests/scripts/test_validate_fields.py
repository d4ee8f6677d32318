"""scripts/validate_fields.py: hand-made scores, and a quick run."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from coos_mlflow.simulate.whole_fields import WholeField

SCRIPT = Path(__file__).parents[2] / "scripts" / "validate_fields.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("validate_fields", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["validate_fields"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["validate_fields"]


def field(*squares: tuple[int, int]) -> WholeField:
    """Return a field with true nuclei of 10 x 10 pixels at these corners."""
    labels = image(*squares)
    centres = np.reshape([(y + 4.5, x + 4.5) for y, x in squares], (-1, 2))
    counts = np.zeros((2, *labels.shape), np.uint16)
    classes = np.zeros(len(squares), np.int64)
    return WholeField("p", 1, 1, 1, counts, labels, classes, centres, 0.645)


def image(*squares: tuple[int, int]) -> np.ndarray:
    labels = np.zeros((60, 60), np.int32)
    for number, (y, x) in enumerate(squares, 1):
        labels[max(y, 0) : y + 10, max(x, 0) : x + 10] = number
    return labels


def test_perfect_labels_have_the_best_score(script):
    score = script.score_field(
        field((10, 10), (10, 20), (40, 40)), image((40, 40), (10, 20), (10, 10))
    )
    assert (score.true, score.found, score.f1_50, score.f1_70) == (3, 3, 1.0, 1.0)
    np.testing.assert_allclose(score.centre_px, 0.0)


def test_a_shifted_nucleus_matches_at_the_lower_limit_alone(script):
    score = script.score_field(field((10, 10)), image((12, 10)))  # IoU 80 / 120
    assert (score.matched_50, score.matched_70) == (1, 0)
    np.testing.assert_allclose(score.centre_px, 2.0)


def test_missed_and_false_nuclei_lower_f1(script):
    score = script.score_field(field((10, 10), (30, 30)), image((10, 10), (10, 40), (40, 10)))
    assert score.f1_50 == pytest.approx(2 * 1 / (2 + 3))


def test_what_is_found_in_an_empty_field_is_false(script):
    empty = script.score_field(field(), image((10, 10), (10, 40), (40, 10)))
    both = script.total([empty, script.score_field(field((10, 10)), image((10, 10)))])
    assert (empty.false_per_field, both.false_per_field) == (3.0, 1.5)
    assert both.false_per_mm2 == pytest.approx(3 / (2 * (60 * 0.645e-3) ** 2))


def test_two_nuclei_found_as_one_match_none(script):
    merged = np.minimum(image((10, 10), (10, 20)), 1)
    score = script.score_field(field((10, 10), (10, 20)), merged)
    assert (score.true, score.found, score.matched_50) == (2, 1, 0)


def test_nuclei_at_the_border_do_not_count(script):
    cut = field((0, 20), (30, 30))
    for labels in (image((0, 20), (30, 30)), image((1, 20), (30, 30)), image((30, 30), (50, 50))):
        score = script.score_field(cut, labels)
        assert (score.true, score.found, score.f1_50) == (1, 1, 1.0)


def test_objects_outside_the_range_of_sizes_do_not_count(script):
    labels = image((30, 30))
    labels[5:8, 5:8] = 2
    assert script.score_field(field((30, 30)), labels).f1_50 == 1.0


def test_a_field_without_nuclei_has_a_score(script):
    score = script.score_field(field(), image())
    assert (score.true, score.found, score.f1_50) == (0, 0, 0.0)
    assert np.isnan(score.centre_px_95)


def test_a_quick_run_reaches_the_goals(script, capsys, monkeypatch):
    monkeypatch.setitem(script.SIDES, "20x", 400)
    script.main(["--quick"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| 20x | ordinary | in focus |")
    figures = json.loads(lines[-1])
    assert figures["f1_50"] >= 0.95
    assert figures["f1_50_dense"] >= 0.85
    assert figures["centre_px_95"] <= 2.0
    assert figures["false_per_mm2"] <= 20.0
