"""The script that measures the drift report's promises: figures by hand, a tiny run, a resume."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    spec = importlib.util.spec_from_file_location("validate_drift", SCRIPTS / "validate_drift.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "validate_drift", module)
    spec.loader.exec_module(module)
    yield module
    for name in [name for name in sys.modules if name.partition(".")[0] == "drift_validation"]:
        del sys.modules[name]


@pytest.fixture
def reference():
    calibration = SimpleNamespace(chosen=lambda has_wells: "well_consensus")
    record = {"well_consensus": {"test1": 4.0, "test4": 11.0}}
    errors = {"training": 5.0, "test1": 4.0, "test4": 12.0}
    return SimpleNamespace(calibration=calibration, record=record, errors=errors)


def test_plates_are_planned_in_proportion_and_never_twice(script):
    plan = script.planned(500, seed=0)
    assert len(plan) == 500
    assert len({seed for _, seed in plan}) == 500
    likes = Counter(kind.like for kind, _ in plan if kind.shift == 1 and "mixed" not in kind.name)
    assert likes["training"] == 200 and likes["test3"] == likes["test4"] == 80
    kinds = {kind.name for kind, _ in script.planned(10, seed=0)}
    assert kinds == {kind.name for kind in script.KINDS}
    other = {seed for _, seed in script.planned(500, seed=1)}
    assert not other & {seed for _, seed in plan}


def test_plates_of_mixed_wells_and_shares_are_what_they_say(script, monkeypatch):
    monkeypatch.setattr(script, "WELLS", 2)
    monkeypatch.setattr(script, "CELLS", 10)
    by_layout = {kind.layout: kind for kind in script.KINDS if kind.like == "training"}
    mixed = script.simulate(by_layout["mixed wells"], seed=7)
    classes_of_wells = [
        len(np.unique(mixed["labels"][mixed["wells"] == well]))
        for well in np.unique(mixed["wells"])
    ]
    assert max(classes_of_wells) == 2
    shares = script.simulate(by_layout["shares"], seed=7)
    counts = np.bincount(shares["labels"], minlength=7)
    assert counts.min() < counts.max() == 20
    assert len(np.unique(script.simulate(by_layout["one"], seed=7)["labels"])) == 1


def test_the_figures_by_hand(script, reference):
    from drift_validation.guarantees import measure

    def record(like, verdict, truth, estimate, **more):
        known = {"low": 0.0, "high": 10.0, "layout": "two", "shift": 1.0} | more
        if estimate is None:
            known |= {"low": None, "high": None}
        return script.Record(
            model="m", kind=like, like=like, seed=0, verdict=verdict, truth=truth,
            estimate=estimate, estimators={}, test1=4.0, seconds=0.1, **known,
        )  # fmt: skip

    measured = measure(
        [
            record("training", "in range", 5.0, 5.0),
            record("training", "shifted", 6.0, 7.0),
            record("training", "cannot tell", 6.0, 6.0),
            record("training", "in range", 6.0, 6.0),
            record("training", "shifted", 50.0, 6.0, layout="mixed wells"),
            record("test3", "shifted", 12.0, 10.0),
            record("test3", "in range", 8.0, 8.0),
            record("test3", "shifted", 8.0, 0.0, shift=0.5),
            record("test4", "shifted", 16.0, None),
        ],
        reference,
    )
    assert measured["plates"] == 9
    assert measured["false_alarm_rate"] == 1 / 4
    assert measured["detection_test3"] == 1 / 2
    assert measured["detection_test4"] == 1
    # plates 0, 1, 0, 0, 2, 0; splits 0 (Test1) and 1 (Test4)
    assert measured["error_mae"] == pytest.approx(4 / 8)
    assert measured["error_mae_shifted"] == pytest.approx(1)
    assert measured["baseline_mae_shifted"] == pytest.approx((8 + 4) / 2)
    assert measured["coverage"] == pytest.approx(5 / 6)  # 12 lies above its range
    assert measured["answered"] == pytest.approx(6 / 7)


@pytest.mark.slow
def test_a_tiny_run_ends_with_its_json_and_resumes(script, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "WELLS", 2)
    monkeypatch.setattr(script, "CELLS", 8)
    monkeypatch.chdir(tmp_path)
    arguments = ["--model", "texture-lr", "--plates", "1", "--no-service", "--journal", "j.jsonl"]
    script.main(arguments)
    first = capsys.readouterr().out.splitlines()[-1]
    measured = json.loads(first)
    assert measured["plates"] == len(script.KINDS)
    wanted = {"false_alarm_rate", "detection_test3", "detection_test4", "error_mae", "coverage"}
    assert wanted | {"error_mae_shifted", "baseline_mae_shifted"} <= set(measured)
    journal = tmp_path / "j.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][:40])  # killed while it wrote
    script.main(arguments)
    assert capsys.readouterr().out.splitlines()[-1] == first
    assert len(script._read(journal)) == len(lines)
