"""`scripts/validate_crops.py` on one small plate."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from coos_mlflow.scoring.scorer import Scorer

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.mark.slow
def test_cells_that_are_found_are_labelled_as_well_as_their_own_crops(
    trained, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    script = import_module("validate_crops")
    scorer = Scorer.load("texture-lr")
    row = script.measured_on(scorer, tmp_path, "training", 0.3225, 1, script.SEED)
    assert row.n_cells > 500
    assert row.without_truth < 0.02 * row.n_cells
    assert abs(row.found_error - row.own_error) < 1
    assert row.own_error < 50
    sys.modules.pop("validate_crops")
