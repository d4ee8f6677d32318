"""The script that measures the drift report's promises: figures by hand, a tiny run, a resume."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from rich.console import Console

from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.wells import well_positions

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


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
    likes = Counter(kind.like for kind, _ in plan if kind.shift == 1 and "wells" not in kind.layout)
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


@pytest.fixture
def record(script):
    """Make records; keywords replace what an ordinary plate of one class has."""
    under = script.Circumstances("m", "1", "m-1", 8, 40, "0.1.0")

    def make(like, verdict, truth, estimate, **more):
        known = {
            **{"under": under, "kind": like, "layout": "two", "shift": 1.0, "seed": 0},
            **{"p": 0.5, "t_p": 0.4, "stands_out_in": "raw", "low": 0.0, "high": 10.0},
            **dict.fromkeys(("true_recalls", "recalls", "recall_lows", "recall_highs"), [None] * 7),
            **{"estimators": {}, "test1": 4.0, "seconds": 0.1},
        } | more
        if estimate is None:
            known |= {"low": None, "high": None}
        return script.Record(like=like, verdict=verdict, truth=truth, estimate=estimate, **known)

    return make


@pytest.fixture
def records(record):
    return [
        record("training", "in range", 5.0, 5.0),
        record("training", "shifted", 6.0, 7.0),
        record("training", "cannot tell", 6.0, None),
        record("training", "in range", 6.0, 6.0),
        record("training", "shifted", 50.0, 6.0, layout="mixed wells"),
        record("training", "in range", 7.0, 6.0, layout="uneven wells"),
        record("test3", "shifted", 12.0, 10.0),
        record("test3", "in range", 8.0, 8.0),
        record("test3", "shifted", 8.0, 1.0, shift=0.5),
        record("test4", "shifted", 16.0, None),
    ]


def test_verdicts_by_hand(script, records, reference):
    from drift_validation.guarantees import measure

    measured = measure(records, reference)
    counts, intervals = measured["counts"], measured["intervals"]
    assert measured["plates"] == 10
    # wells of several proteins are no shift either
    assert measured["false_alarm_rate"] == 2 / 6 and counts["false_alarm_rate"] == "2 of 6"
    assert measured["detection_test3"] == 1 / 2 and counts["detection_test3"] == "1 of 2"
    assert measured["detection_test4"] == 1 and counts["detection_test4"] == "1 of 1"
    # Clopper and Pearson where beta quantiles have a closed form: all, and one of two
    assert intervals["detection_test4"] == pytest.approx([0.025, 1])
    assert intervals["detection_test3"] == pytest.approx([1 - 0.975**0.5, 0.975**0.5])


def test_errors_by_hand(script, records, reference):
    from drift_validation.guarantees import measure

    measured = measure(records, reference)
    counts, intervals = measured["counts"], measured["intervals"]
    assert measured["answered"] == "5 of 7"
    assert measured["answered_test3"] == "2 of 2" and measured["answered_test4"] == "0 of 1"
    # plates 0, 1, 0, 2, 0; splits 0 (Test1) and 1 (Test4)
    assert measured["error_mae"] == pytest.approx(4 / 7)
    assert counts["error_mae"] == "5 of 7 + 2 splits"
    # the unanswered are off by as much as the error of Test1: 2 and 12
    assert measured["error_mae_all"] == pytest.approx((4 + 2 + 12) / 9)
    assert measured["error_mae_shifted"] == pytest.approx((2 + 0) / 2)
    assert counts["error_mae_shifted"] == "2 of 3"
    assert measured["baseline_mae_shifted_answered"] == pytest.approx((8 + 4) / 2)
    assert measured["error_mae_shifted_all"] == pytest.approx((2 + 0 + 12) / 3)
    assert measured["baseline_mae_shifted"] == pytest.approx((8 + 4 + 12) / 3)
    assert counts["baseline_mae_shifted"] == "3 of 3"
    assert measured["coverage"] == pytest.approx(4 / 5)  # 12 lies above its range
    assert measured["coverage_all"] == pytest.approx(4 / 7)
    assert counts["coverage"] == "4 of 5" and counts["coverage_all"] == "4 of 7"
    assert {"coverage", "coverage_all", "coverage_all_kinds"} <= set(intervals)


def test_all_kinds_by_hand(script, records, reference):
    from drift_validation.guarantees import measure

    measured = measure(records, reference)
    assert measured["answered_all_kinds"] == "8 of 10"
    # mixed 44, uneven 1, graded 7, the others 0, 1, 0, 2, 0
    assert measured["error_mae_all_kinds"] == pytest.approx(55 / 8)
    assert measured["counts"]["error_mae_all_kinds"] == "8 of 10"
    assert measured["coverage_all_kinds"] == pytest.approx(6 / 8)  # 50 and 12 lie outside


def test_recalls_by_hand(script, record, reference):
    from drift_validation.guarantees import measure

    rest = [None] * 4
    judged = record(
        *("training", "in range", 5.0, 5.0),
        true_recalls=[0.9, 0.5, None, *rest],  # the third is not on the plate
        recalls=[0.8, 0.9, 0.7, *rest],
        recall_lows=[0.7, 0.8, 0.6, *rest],
        recall_highs=[0.95, 1.0, 0.8, *rest],
    )
    silent = record("test4", "shifted", 5.0, None, true_recalls=[0.2, None, None, *rest])
    apart = record(
        *("training", "in range", 5.0, 5.0),
        layout="mixed wells",
        true_recalls=[0.0, None, None, *rest],
        recalls=[1.0, None, None, *rest],
        recall_lows=[0.0, None, None, *rest],
        recall_highs=[1.0, None, None, *rest],
    )
    measured = measure([judged, silent, apart], reference)
    assert measured["recall_mae"] == pytest.approx((10 + 40) / 2)
    assert measured["counts"]["recall_mae"] == "2 of 3 classes"
    assert measured["recall_coverage"] == 1 / 2
    assert measured["counts"]["recall_coverage"] == "1 of 2"
    assert "recall_coverage" not in measured["intervals"]


def test_without_plates_nothing_is_claimed(script, reference):
    from drift_validation.guarantees import measure

    measured = measure([], reference)
    assert measured["false_alarm_rate"] is None and measured["coverage"] is None
    assert measured["recall_mae"] is None and measured["answered"] == "0 of 0"
    assert measured["intervals"] == {}


def test_the_tables_show_counts_and_both_comparisons(script, records, reference):
    from drift_validation import guarantees, tables

    console = Console(width=130, record=True, file=io.StringIO())
    tables.show(console, "m version 1", guarantees.measure(records, reference), records)
    lines = console.export_text().splitlines()
    compared = [line for line in lines if "<= half the next" in line]
    assert len(compared) == 2
    assert "2 of 3" in compared[0] and "yes" in compared[0]  # 1 against 6
    assert "3 of 3" in compared[1] and "NO" in compared[1]  # 14/3 against 8
    alarms = next(line for line in lines if "unshifted" in line)
    assert "33.3%" in alarms and "4.3% to 77.7%" in alarms and "2 of 6" in alarms
    everything = next(line for line in lines if "all kinds │" in line)
    assert "8 of 10" in everything and "6 of 8" in everything
    assert any("one protein" in line for line in lines)


def test_the_table_sets_other_kinds_apart(script, record):
    from drift_validation import tables

    kinds = [record("training", "in range", 5.0, 5.0, kind="z regular")]
    kinds += [record("training", "in range", 5.0, 5.0, kind="a torn", layout="uneven wells")]
    kinds += [record("test4", "shifted", 5.0, 5.0, kind="b graded", shift=1.5)]
    column = list(tables.kinds_table(kinds).columns[0].cells)
    assert column == ["z regular", "a torn", "b graded", "all kinds"]


def test_the_truth_is_the_balanced_error_over_all_true_classes(script):
    # 100 cells of class 0, all right, and one of class 3, wrong: fewer than 2 %, but true
    classes = np.array([0] * 100 + [3])
    labels = np.array([0] * 100 + [1])
    truth = script.truth_of(classes, labels, 7)
    assert truth["balanced_error"] == pytest.approx(50)
    assert truth["recalls"] == [1.0, None, None, 0.0, None, None, None]


def test_the_journal_keeps_others_out_of_the_figures(script, record, tmp_path):
    path = tmp_path / "journal.jsonl"
    own = record("training", "in range", 5.0, 5.0, seed=3)
    others = [
        replace(own, under=replace(own.under, **{field: value}))
        for field, value in {
            "model": "n",
            "version": "2",
            "model_id": "m-2",
            "wells_per_class": 4,
            "cells_per_well": 20,
            "package": "0.2.0",
        }.items()
    ]
    others += [replace(own, kind="test3"), replace(own, seed=4)]
    everything = script.Journal(path, {one.key for one in (own, *others)})
    for one in (own, *others):
        everything.add(one)
    assert len(everything.records) == len(others) + 1  # no two share a key
    with path.open("a") as file:
        file.write('{"model": "of an older release"}\n{"under": {"mod')  # a kill cut it short
    journal = script.Journal(path, [own.key])
    assert journal.records == {own.key: own}
    assert journal.ignored == len(others) + 2
    later = replace(own, seed=5)
    journal.add(later)
    again = script.Journal(path, [own.key, later.key])
    assert again.records == {own.key: own, later.key: later}
    assert script.Journal(tmp_path / "none.jsonl", [own.key]).ignored == 0


@pytest.fixture
def service(script, monkeypatch):
    from drift_validation import service

    for size in ("ONE_PLATE", "OF_SEVERAL", "ODD_PLATE", "FEW_CELLS"):
        monkeypatch.setattr(service, size, {"wells_per_class": 1, "cells_per_well": 2})
    monkeypatch.setattr(service, "FULL_PLATE", {"wells_per_class": 1, "cells_per_well": 56})
    monkeypatch.setattr(service, "CELLS_OF_FULL", 1)
    return service


def test_the_large_files_have_the_cells_that_they_should(script):
    from drift_validation import service

    def cells(size):
        return 7 * size["wells_per_class"] * size["cells_per_well"]

    assert cells(service.ONE_PLATE) == 10_080
    assert service.SEVERAL_PLATES * cells(service.OF_SEVERAL) == 10_080
    assert cells(service.FULL_PLATE) >= 384 * service.CELLS_OF_FULL
    of_class = service.FULL_PLATE["wells_per_class"] * service.FULL_PLATE["cells_per_well"]
    assert of_class % service.CELLS_OF_FULL == 0  # no well straddles two classes


def test_files_of_several_and_of_full_plates(service, tmp_path):
    with open_plate(service.several_plates(tmp_path / "several.h5")) as plate:
        assert plate.n_cells == 8 * 14 and plate.simulated
        assert len(np.unique(plate.plates)) == 8
    with open_plate(service.full_plate(tmp_path / "full.h5")) as plate:
        rows, columns = well_positions(plate.wells)
        assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {
            (row, column) for row in range(1, 17) for column in range(1, 25)
        }
        assert len(np.unique(plate.plates)) == 1


def test_odd_plates_lack_each_of_the_ids(service, tmp_path):
    has = []
    for path in service.odd_plates(tmp_path):
        with h5py.File(path) as file:
            has.append(("plateIDs" in file, "wellIDs" in file, len(file["data"])))
    assert has == [(True, True, 14), (False, True, 14), (True, False, 14), (False, False, 14)]


def test_the_larger_of_two_scorings_counts(service, monkeypatch, tmp_path):
    seconds = {"large": 3.0, "several": 4.0, "full": 50.0}
    mib = {"large": 900.0, "several": 800.0, "full": 5000.0}
    sizes = {"large": 5, "several": 6, "full": 70}
    unsure = {"few": True, "no_plates": True, "no_wells": True, "no_plates_wells": False}

    def score(_, plate, out):
        folder = out / plate.stem
        folder.mkdir(parents=True)
        verdict = "cannot tell" if unsure.get(plate.stem) else "in range"
        (folder / "drift.json").write_text(json.dumps({"verdict": verdict, "out": out.name}))
        (folder / "report.html").write_text("x" * sizes.get(plate.stem, 1))
        said = seconds.get(plate.stem, 0)
        return service.Scoring(folder, said, said + 5, mib.get(plate.stem, 0))

    monkeypatch.setattr(service, "score", score)
    measured = service.measure(None)
    assert measured["seconds_10k"] == 4.0 and measured["command_seconds_10k"] == 9.0
    assert measured["mib_10k"] == 900
    assert measured["report_bytes"] == 70
    assert measured["identical"] is False  # the two differ by their folder
    assert measured["unnamed"] is False
    unsure["no_plates_wells"] = True
    assert service.measure(None)["unnamed"] is True


def test_the_peak_memory_is_that_of_the_scoring_alone(service):
    held = np.ones(2**25)  # 256 MiB of this process are none of the scoring's
    said, seconds, mib = service.run(["--help"])
    assert len(held) and seconds > 0 and "--model" in said
    assert 5 < mib < 200


def test_a_scoring_has_two_cores(script, monkeypatch):
    from drift_validation import one_scoring

    from coos_mlflow.cli import main

    given, seen = [], []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 3, 5})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: given.append(cores))
    monkeypatch.setattr(main, "coos_score", lambda: seen.append(len(given)))
    monkeypatch.setattr(sys, "argv", ["one_scoring.py"])
    one_scoring.main()
    assert given == [[3, 5]] and seen == [1]


@pytest.mark.slow
def test_a_scoring_in_a_process_of_its_own(service, script, trained, tmp_path):
    few = service.odd_plates(tmp_path)[0]
    scoring = service.score(script.Scorer.load("texture-lr"), few, tmp_path / "out")
    assert scoring.is_unsure and scoring.seconds > 0
    assert 50 < scoring.mib < 1024
    assert scoring.report_bytes > 10_000 and len(scoring.digest) == 64


@pytest.mark.slow
def test_a_tiny_run_ends_with_its_json_and_resumes(script, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "WELLS", 2)
    monkeypatch.setattr(script, "CELLS", 8)
    monkeypatch.chdir(tmp_path)
    arguments = ["--model", "texture-lr", "--plates", "1", "--no-service", "--journal", "j.jsonl"]
    script.main(arguments)
    printed = capsys.readouterr().out
    assert "ignored" not in printed
    first = printed.splitlines()[-1]
    measured = json.loads(first)
    assert measured["model"] == "texture-lr"
    assert measured["plates"] == len(script.KINDS)
    wanted = {"false_alarm_rate", "detection_test3", "detection_test4", "error_mae", "coverage"}
    assert wanted | {"error_mae_shifted", "baseline_mae_shifted"} <= set(measured)
    journal = tmp_path / "j.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    said = json.loads(lines[0])
    assert said["under"]["wells_per_class"] == 2 and said["under"]["cells_per_well"] == 8
    assert said["under"]["model_id"].startswith("m-") and len(said["true_recalls"]) == 7
    journal.write_text("".join(lines[:-1]) + lines[-1][:40])  # killed while it wrote
    script.main(arguments)
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == first
    assert "1 lines are ignored" in printed
    assert len(journal.read_text().splitlines()) == len(lines) + 1
    monkeypatch.setattr(script, "CELLS", 9)
    assert script._circumstances(script.Scorer.load("texture-lr")).cells_per_well == 9
