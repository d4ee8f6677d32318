"""The script that measures how well labelled cells tell the error: a tiny run, and its figures."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pandas as pd
import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    spec = importlib.util.spec_from_file_location("validate_audit", SCRIPTS / "validate_audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in list(sys.modules):
        if name.partition(".")[0] in ("drift_validation", "audit_validation"):
            del sys.modules[name]


def test_no_plate_has_a_seed_of_those_that_validate_the_drift_report(script):
    from drift_validation import kinds
    from drift_validation.sizes import SIZES

    seeds = script.SEEDS["judging"]
    own = {one.seed for one in script.plates.entries(seeds, script.plates.SIZES["standard"])}
    others = {one.seed for one in kinds.entries(seeds, SIZES["standard"])}
    development = script.plates.entries(
        script.SEEDS["development"], script.plates.SIZES["standard"]
    )
    assert own.isdisjoint(others)
    assert own.isdisjoint(one.seed for one in development)


@pytest.mark.slow
def test_a_tiny_run_ends_with_its_json_and_resumes(script, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script.looks, "REPEATS", 1)
    monkeypatch.setattr(script.looks, "LABELS", (20,))
    monkeypatch.setattr(script.looks, "SLIPS", {0.0: (20,), 0.05: (20,)})
    monkeypatch.setattr(script.plates, "ADAPTED", (script.plates.TEST4,))
    monkeypatch.setenv("COOS_CACHE", os.environ.get("COOS_CACHE", ""))
    asked = ["--work", str(tmp_path), "--size", "tiny", "--jobs", "1"]
    script.main(asked)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 <= figures["coverage_least"] <= 1
    assert 0 < figures["width_ratio"] < 2
    assert "adapt_gain_test4" in figures
    made = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.*")}
    script.main(asked)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == figures
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.*")} == made


def test_a_range_counts_as_held_where_it_holds_the_truth(script):
    common = dict.fromkeys(script.looks.Look.__dataclass_fields__, 0.0)
    looks = pd.DataFrame(
        [
            common
            | {"kind": "unshifted", "model": "m", "group": "g", "plate": "p", "labels": 50}
            | {"truth": truth, "estimate": 5.0, "low": 4.0, "high": 8.0, "plain_high": 8.0}
            | {"all_classes": truth, "recalls": 2, "recalls_held": 1}
            for truth in (4.0, 6.0, 8.0, 8.1)
        ]
    )
    figures = script.tables.summary(looks)
    assert figures["coverage_least"] == 0.75
    assert figures["coverage_recalls_least"] == 0.5
    assert figures["width_ratio"] == 0.5
