"""The script that measures the drift report's claims: plans, plates, figures, a tiny run."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.stats import binomtest

from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.wells import well_positions
from coos_mlflow.representations import create

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
def tiny(script):
    return script.SIZES["tiny"]


@pytest.fixture
def entries(script, tiny):
    """Return the plates of the tiny size by kind."""
    return {one.kind.name: one for one in script.kinds.entries(script.SEEDS["judging"], tiny)}


# Plans


def test_development_and_judging_share_no_seed(script):
    def plate_seeds(seeds):
        return {one.seed for one in script.kinds.entries(seeds, script.SIZES["standard"])}

    def data_seeds(seeds):
        return {one.seed for one in script.registries.planned(seeds, script.SIZES["standard"])}

    development, judging = script.SEEDS["development"], script.SEEDS["judging"]
    assert not plate_seeds(development) & plate_seeds(judging)
    assert not data_seeds(development) & data_seeds(judging)


def test_two_unseen_proteins_are_for_judging_alone(script):
    def kinds_of(name):
        planned = script.kinds.entries(script.SEEDS[name], script.SIZES["standard"])
        return {one.kind.name for one in planned}

    unseen = kinds_of("judging") - kinds_of("development")
    assert unseen == {"unseen, endosomes and ER", "unseen, mitochondria and cytosol"}


def test_no_two_plates_or_models_have_one_name(script, tmp_path):
    seeds, size = script.SEEDS["judging"], script.SIZES["standard"]
    planned = script.kinds.entries(seeds, size)
    names = [plate.name for plate in script.plates.planned(planned, size)]
    names += [file.name for file in script.plates.files(planned, 601)]
    assert len(set(names)) == len(names)
    judges = script.registries.judges(script.registries.planned(seeds, size), tmp_path, "d")
    assert len({one.name for one in judges}) == len(judges) == 28
    assert sum(one.group == script.registries.THIN for one in judges) == 20
    forests = {one.seed for one in judges if one.group == script.registries.FOREST}
    assert forests == {601, 602, 603}  # on the data of the first ones


def test_every_base_plate_is_judged(script):
    seeds, size = script.SEEDS["development"], script.SIZES["small"]
    planned = script.plates.planned(script.kinds.entries(seeds, size), size)
    assert {plate.base for plate in planned} <= {plate.name for plate in planned}
    caused = [plate for plate in planned if plate.entry.kind.cause]
    assert all(plate.base != plate.name for plate in caused)
    assert {plate.edit for plate in caused} == {"", "two classes"}


def test_files_hold_each_plate_once(script):
    seeds, size = script.SEEDS["judging"], script.SIZES["standard"]
    planned = script.kinds.entries(seeds, size)
    files = script.plates.files(planned, 601)
    for n, kind in script.plates.FILES.items():
        held = [one.name for file in files if file.kind == kind for one in file.entries]
        assert len(held) == len(set(held)) == 200
        assert {len(file.entries) for file in files if file.kind == kind} == {n}
    assert files != script.plates.files(planned, 602)


# Plates


def test_a_cause_changes_the_base_plate_and_nothing_else(script, entries, tiny):
    base = script.kinds.simulate(entries["base"], tiny)
    for kind in ("gain 0.5", "defocus um 1.6"):
        caused = script.kinds.simulate(entries[kind], tiny)
        assert (caused["labels"] == base["labels"]).all()
        assert (caused["wells"] == base["wells"]).all()
        assert (caused["images"] != base["images"]).any()


def test_one_class_or_half_of_the_wells_are_shifted(script, entries, tiny):
    for kind, wells in (("one of seven shifted", 3), ("half shifted", 10)):
        entry = entries[kind]
        plain = replace(entry, kind=replace(entry.kind, change=None))
        changed, same = (script.kinds.simulate(one, tiny) for one in (entry, plain))
        differ = (changed["images"] != same["images"]).any(axis=(1, 2, 3))
        assert len(np.unique(changed["wells"][differ])) == wells
    assert len(np.unique(changed["wells"])) == 21


def test_an_unseen_protein_takes_the_place_of_one_class(script, entries, tiny):
    cells = script.kinds.simulate(entries["unseen, Golgi and cytosol"], tiny)
    labels, counts = np.unique(cells["labels"], return_counts=True)
    assert len(labels) == 7 and labels[-1] == script.kinds.UNSEEN
    assert set(counts) == {tiny.wells * tiny.cells}


@pytest.fixture
def scored(script):
    """Return three classes in two wells each of ten cells, all labelled rightly."""
    labels = np.repeat([0, 2, 3], 20)
    return script.plates.Scored(
        probabilities=np.eye(7, dtype=np.float32)[labels],
        features=np.zeros((60, 2), np.float32),
        raw=np.zeros((60, 3), np.float32),
        labels=labels,
        wells=np.repeat([f"B0{n}" for n in range(1, 7)], 10),
        concerned=np.zeros(60, bool),
    )


def edited(script, scored, edit, amount):
    return script.plates.EDITS[edit](scored, np.random.default_rng(0), amount)


def test_two_classes_are_cut_from_a_plate(script, scored):
    pairs = [edited(script, scored, "two classes", number) for number in (0, 1)]
    assert [len(pair.classes) for pair in pairs] == [2, 2]
    assert set(pairs[0].classes) != set(pairs[1].classes)


def test_strangers_are_of_another_class(script, scored):
    mixed = edited(script, scored, "strangers", 0.3)
    moved = mixed.wells != scored.wells
    assert 5 < moved.sum() < 30
    class_of_well = dict(zip(scored.wells, scored.labels, strict=True))
    own = np.array([class_of_well[well] for well in mixed.wells])
    assert (own[moved] != scored.labels[moved]).all() and mixed.true_error == 0


def test_a_lost_class_has_the_recall_asked_for(script, scored):
    lost = edited(script, scored, "lost class", 0.3)
    labels = lost.labels[lost.concerned]
    assert len(labels) == 20 and len(np.unique(labels)) == 1
    predicted = lost.probabilities.argmax(axis=1)
    assert (predicted[lost.concerned] == labels).mean() == 0.3
    assert len(np.unique(predicted[lost.concerned])) == 2  # all the rest are one other class
    assert lost.true_error == pytest.approx(70 / 3)


def test_a_misread_well_is_wrong_as_a_whole(script, scored):
    misread = edited(script, scored, "misread wells", 1)
    wrong = misread.probabilities.argmax(axis=1) != misread.labels
    assert (wrong == misread.concerned).all()
    assert len(np.unique(misread.wells[wrong])) == 1 and wrong.sum() == 10


def test_nine_tenths_of_a_plate_are_one_class(script, scored):
    counts = np.bincount(edited(script, scored, "mostly one class", 2).labels)
    assert sorted(counts[counts > 0]) == [2, 2, 20]


def test_the_true_error_counts_every_class_alike_and_unseen_ones_as_wrong(script, scored):
    assert scored.true_error == 0
    labels = scored.labels.copy()
    labels[:20] = script.kinds.UNSEEN
    assert replace(scored, labels=labels).true_error == pytest.approx(100 / 3)
    few = replace(scored, labels=labels).select(np.r_[0:1, 20:60])
    assert few.true_error == pytest.approx(100 / 3)  # one cell of a class is a class


# The bank


def test_a_plate_is_made_once_and_comes_back(script, entries, tiny, tmp_path):
    texture = create("texture")
    bank = script.Bank(tmp_path, texture, texture.layers[-1:], tiny)
    entry = entries["one class"]
    assert bank.missing([entry]) == [entry]
    assert bank.make(entry) == tiny.wells * tiny.cells
    assert bank.missing(list(entries.values())) == [
        one for one in entries.values() if one is not entry
    ]
    cells = script.kinds.simulate(entry, tiny)
    described = bank.load(entry)
    again = texture.transform(cells["images"], texture.layers[-1:])
    assert (described.labels == cells["labels"]).all()
    np.testing.assert_array_equal(described.features[texture.layers[-1]], again[texture.layers[-1]])


def test_other_sources_make_plates_anew(script, entries, tiny, tmp_path, monkeypatch):
    texture = create("texture")
    script.Bank(tmp_path, texture, texture.layers[-1:], tiny).make(entries["one class"])
    monkeypatch.setattr(script.digests, "of_plates", lambda: "another")
    other = script.Bank(tmp_path, texture, texture.layers[-1:], tiny)
    assert other.missing([entries["one class"]])


def test_a_digest_changes_with_any_file(script, tmp_path):
    (tmp_path / "a.py").write_text("1")
    first = script.digests.digest(tmp_path)
    assert script.digests.digest(tmp_path) == first
    (tmp_path / "b.py").write_text("2")
    second = script.digests.digest(tmp_path)
    (tmp_path / "b.py").write_text("3")
    assert len({first, second, script.digests.digest(tmp_path)}) == 3


# Looks


@pytest.fixture
def look(script):
    """Make looks; keywords replace what an ordinary plate has."""

    def make(plate="a", verdict="in range", truth=5.0, estimate=5.0, **more):
        known = {
            **{"model": "m", "group": script.registries.THIN, "kind": "two classes"},
            **{"base": plate, "digest": "d", "answer": "estimated", "low": 0.0, "high": 10.0},
            **{"is_told": False, "odd_of_concerned": None, "odd_of_others": 0.0, "promised": 0.9},
        }
        return script.looks.Look(
            **known
            | {"plate": plate, "verdict": verdict, "truth": truth, "estimate": estimate}
            | more
        )

    return make


def test_the_journal_resumes_and_keeps_other_sources_out(script, look, tmp_path):
    path = tmp_path / "looks.jsonl"
    journal = script.looks.Journal(path, "d")
    journal.add([look("a"), look("b")])
    journal.add([look("a", digest="older")])
    with path.open("a") as file:
        file.write('{"model": "m", "pla')  # a kill cut it short
    journal = script.looks.Journal(path, "d")
    assert set(journal.looks) == {("m", "a"), ("m", "b")}
    journal.add([look("c")])
    assert set(script.looks.Journal(path, "d").looks) == {("m", name) for name in "abc"}
    assert not script.looks.Journal(tmp_path / "none", "d").looks


def test_only_missing_looks_are_tasks(script, look, entries, tiny, tmp_path):
    journal = script.looks.Journal(tmp_path / "looks.jsonl", "d")
    items = script.plates.planned(list(entries.values()), tiny)
    judging = script.Judging("m", script.registries.THIN, 0, tmp_path)
    journal.add([look(items[0].name), look(items[3].name)])
    tasks = script.looks.tasks([judging], {"m": items}, journal, n_items=10)
    left = [item for task in tasks for item in task.items]
    assert left == [items[1], items[2], *items[4:]]
    assert max(len(task.items) for task in tasks) == 10


# Claims


@pytest.fixture
def claimed(script, tiny):
    """Return the rows of the table of some looks."""
    return lambda looks: script.claims.claims(script.claims.frame(looks, tiny))


def test_shares_by_model_and_pooled(claimed, look):
    looks = [look(str(i), "shifted" if i < 1 else "in range") for i in range(10)]
    looks += [look(str(i), "shifted" if i < 3 else "in range", model="n") for i in range(10)]
    row = claimed(looks)["false_alarms_2_scale 0.05"]
    assert row.figure.pooled == 0.2 and row.figure.by_model == (0.1, 0.3)
    assert (row.figure.least, row.figure.median, row.figure.most) == (0.1, 0.2, 0.3)
    assert row.figure.low < 0.2 < row.figure.high and row.reached is False


def test_one_bad_registry_fails_a_good_average(claimed, look):
    looks = [
        look(str(i), "shifted" if model == 0 and i < 12 else "in range", model=str(model))
        for i in range(100)
        for model in range(3)
    ]
    row = claimed(looks)["false_alarms_2_scale 0.05"]
    assert row.figure.pooled == 0.04 and row.figure.most == 0.12 and row.reached is False


def test_plates_that_models_share_are_not_independent(script, look):
    # Ten models agree on every plate: the interval is as wide as that of the plates alone.
    looks = [
        look(str(i), "shifted" if i < 5 else "in range", model=str(model))
        for i in range(50)
        for model in range(10)
    ]
    table = pd.DataFrame([vars(one) for one in looks])
    figure = script.claims.share(table, table["verdict"] == "shifted")
    exact = binomtest(5, 50).proportion_ci()
    assert figure.high - figure.low > 0.8 * (exact.high - exact.low)
    nothing = script.claims.share(table, table["verdict"] == "none")
    upper = 1 - 0.025 ** (1 / 50)  # Clopper and Pearson's limit for 0 of 50 in closed form
    assert nothing.low == 0 and nothing.high == pytest.approx(upper)


def test_a_rise_is_over_the_base_plate_of_the_same_model(script, look, tiny):
    looks = [look("base", truth=5.0), look("base", truth=9.0, model="n")]
    looks += [
        look("worse", truth=20.0, base="base", kind="gain 0.5", model=model) for model in "mn"
    ]
    table = script.claims.frame(looks, tiny).set_index(["plate", "model"])
    assert table["rise"].to_dict() == {
        ("base", "m"): 0.0,
        ("base", "n"): 0.0,
        ("worse", "m"): 15.0,
        ("worse", "n"): 11.0,
    }
    assert table["is_cause"].tolist() == [False, False, True, True]


def test_what_an_answer_covers(script, look, tiny):
    looks = [
        look("inside", truth=5.0),
        look("above", truth=11.0),
        look("floor held", truth=50.0, answer="at least", high=None),
        look("floor missed", truth=5.0, answer="at least", low=6.0, high=None),
        look("silent", answer="cannot tell", estimate=None, low=None, high=None),
    ]
    table = script.claims.frame(looks, tiny).set_index("plate")
    assert table["covered"].to_dict() == {
        "inside": True,
        "above": False,
        "floor held": True,
        "floor missed": False,
        "silent": False,
    }
    assert table["answered"].tolist() == [True] * 4 + [False]


def test_coverage_by_row_of_rising_error(script, claimed, look):
    base = look("base", truth=5.0)
    caused = {"base": "base", "kind": "gain 0.5"}
    held = [look(f"held {i}", truth=9.9, **caused) for i in range(15)]
    missed = [look(f"missed {i}", truth=17.0, **caused) for i in range(19)]
    silent = [
        look(f"silent {i}", truth=17.0, answer="cannot tell", estimate=None, **caused)
        for i in range(9)
    ]
    rows = claimed([base, *held, *missed, *silent])
    assert rows["coverage, 2 to 5"].figure.pooled == 1 and rows["coverage, 2 to 5"].reached
    assert rows["coverage, 10 to 20"].figure.count == 19  # the silent are not answered
    assert rows["coverage, 10 to 20"].figure.pooled == 0
    assert rows["in_range_error_up_10"].figure.count == 28  # the silent are judged
    assert rows["coverage, > 40"].figure is None


def test_the_least_coverage_needs_enough_answers(script, claimed, look):
    needed = [look("a"), look("t", kind=script.kinds.TEST3[2])]
    base, caused = look("base", truth=5.0), {"base": "base", "kind": "gain 0.5"}
    few = [look(f"few {i}", truth=17.0, **caused) for i in range(19)]
    assert script.claims.summary(claimed([*needed, base, *few]))["coverage_least"] is None
    more = look("few 19", truth=17.0, **caused)
    assert script.claims.summary(claimed([*needed, base, *few, more]))["coverage_least"] == 0


def test_an_unseen_class_is_noticed_by_verdict_or_silence(script, claimed, look):
    kind = {"kind": "unseen, Golgi and cytosol"}
    looks = [
        look("a", "shifted", **kind),
        look("b", "cannot tell", **kind),
        look("c", answer="cannot tell", estimate=None, **kind),
        look("d", odd_of_concerned=1.0, **kind),
    ]
    rows = claimed(looks)
    assert rows["unseen_class_noticed"].figure.pooled == 0.75
    assert rows["unseen_found"].figure.pooled == 0.25
    assert rows["unseen_wells_named"].figure.pooled == 0.25


def test_a_lost_class_is_told_in_words(script, scored):
    lost = edited(script, scored, "lost class", 0.0)
    own = int(lost.labels[lost.concerned][0])
    told = script.looks._is_told
    silent = {"answer": "estimated", "missing": [], "untold": []}
    assert not told(silent, lost, 0.0)
    assert told(silent | {"missing": [own]}, lost, 0.0)
    assert told(silent | {"untold": [own]}, lost, 0.0)
    assert not told(silent | {"untold": [own + 1]}, lost, 0.0)
    assert told(silent | {"answer": "cannot tell"}, lost, 0.0)
    assert told(silent, lost, 0.6)
    assert not told(silent | {"answer": "cannot tell"}, scored, None)


WANTED = {
    *("false_alarm_pooled", "false_alarm_worst", "test3_found_tenth", "unseen_class_noticed"),
    *("in_range_error_up_10", "coverage_least", "one_of_seven_found", "files_20_shifted"),
    *("files_50_shifted", "defocus_in_range", "dead_cells_in_range", "test4_found"),
    *("lost_class_told", "misread_well_told", "estimate_mae"),
}


def test_the_summary_by_hand(script, claimed, look):
    looks = [look(f"{kind} {i}", kind=kind) for kind in script.kinds.PLAIN.values() for i in (0, 1)]
    looks += [look("alarm", "shifted", kind="one class", model="n", estimate=8.0)]
    looks += [
        look(f"t {i}", verdict, kind=script.kinds.TEST3[2], model=str(i))
        for i, verdict in enumerate(["in range", *["shifted"] * 10])
    ]
    found = script.claims.summary(claimed(looks))
    assert set(found) >= WANTED
    assert found["false_alarm_pooled"] == pytest.approx(1 / 3)  # of the one-class plates
    assert found["false_alarm_worst"] == 1
    assert found["test3_found_tenth"] == 1  # ten of eleven registries find all
    assert found["estimate_mae"] == pytest.approx(3 / 18)
    assert found["unseen_class_noticed"] is None
    assert found["rows"]["false_alarms_1_scale 0.05"]["models"] == 2
    json.dumps(found)


def test_the_tables_show_bars_and_failures(script, look, tiny):
    looks = [look("a", "shifted"), look("b"), look("base", kind="base")]
    looks += [look("c", truth=30.0, base="base", kind="gain 0.5", answer="at least", high=None)]
    table = script.claims.frame(looks, tiny)
    console = Console(width=190, record=True, file=io.StringIO())
    script.tables.show(console, script.claims.claims(table), table)
    lines = console.export_text().splitlines()
    alarms = next(line for line in lines if "unshifted called shifted, two classes" in line)
    assert "50.0%" in alarms and "NO" in alarms and "<= 6 %" in alarms
    rises = next(line for line in lines if line.startswith("│ 20 to 40"))
    assert "100.0%" in rises and "30.0" in rises  # the floor holds, 30 points below
    assert any(line.startswith("│ gain 0.5") for line in lines)


# Peers


def test_exported_plates_are_judged_by_hand_without_packages(script, scored, tmp_path, monkeypatch):
    from drift_validation import peer_tests, peers

    rng = np.random.default_rng(0)

    def noisy(shift):
        values = rng.normal(shift, size=(60, 5)).astype(np.float32)
        probabilities = np.full((60, 7), 0.02, np.float32)
        right = rng.random(60) < 0.9
        probabilities[np.arange(60), np.where(right, scored.labels, 6)] = 0.88
        return replace(
            scored, features=values[:, :2], raw=values[:, 2:], probabilities=probabilities
        )

    export, said = tmp_path / "cells.npz", tmp_path / "said.json"
    plates = [noisy(0.0), noisy(4.0)]
    np.savez(export, **peers._columns([noisy(0.0) for _ in range(20)], plates))
    monkeypatch.setattr(sys, "argv", ["peer_tests.py", str(export), str(said)])
    monkeypatch.setattr(peer_tests, "_version", lambda name: None)
    peer_tests.main()
    found = json.loads(said.read_text())
    assert found["versions"] == dict.fromkeys(("evidently", "frouros", "nannyml"))
    assert [one["shifted"] for one in found["KS + Bonferroni, cells"]] == [False, True]
    assert all(5 < one["error"] < 25 for one in found["CBPE by hand"])
    figures = peers._figures(found, {"unshifted": plates[:1], "like Test3": plates[1:]})
    assert figures["KS + Bonferroni, cells"]["like Test3"]["shifted"] == 1
    off = figures["CBPE by hand"]["unshifted"]["off"]
    assert off == pytest.approx(abs(found["CBPE by hand"][0]["error"] - plates[0].true_error))


# Service


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
def test_a_registry_is_trained_once_from_simulated_data(script, tmp_path, monkeypatch):
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "cache"))
    data = script.registries.Data(script.registries.THIN, 0.01, 5, ("lr",))
    script.registries.make(data, tmp_path, "d")
    (judging,) = script.registries.judges([data], tmp_path, "d")
    assert set(judging.load().reference.profiles) > {"training", "test4"}
    changed = (judging.bundle / "model.json").stat().st_mtime_ns
    script.registries.make(data, tmp_path, "d")
    assert (judging.bundle / "model.json").stat().st_mtime_ns == changed
    assert not list(tmp_path.rglob(".*"))  # nothing half made is left


@pytest.mark.slow
def test_a_tiny_run_ends_with_its_json_and_resumes(script, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COOS_CACHE", os.environ.get("COOS_CACHE", ""))  # put back afterwards
    asked = ["--model", "texture-lr", "--size", "tiny", "--seeds", "development"]
    arguments = [*asked, "--work", str(tmp_path), "--jobs", "1"]
    script.main(arguments)
    first = capsys.readouterr().out.splitlines()[-1]
    measured = json.loads(first)
    assert set(measured) >= WANTED
    assert measured["model"].startswith("texture-lr-1-m-")
    journal = tmp_path / "looks_development_tiny.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-2]) + lines[-2][:40])  # killed while it wrote
    monkeypatch.setattr(script.kinds, "simulate", lambda *_: pytest.fail("simulated again"))
    script.main(arguments)
    assert capsys.readouterr().out.splitlines()[-1] == first


def test_service_needs_a_registered_model(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--service"])
    assert "--model" in capsys.readouterr().err
