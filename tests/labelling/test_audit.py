"""Labelled cells of a scored plate: from a sheet to drift.json, the report, MLflow and history."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from typer.testing import CliRunner

from coos_mlflow.audit.labels_file import append, read_labels, sample_of
from coos_mlflow.audit.lock import locked
from coos_mlflow.audit.sequence import BLOCK
from coos_mlflow.cli import score as cli_score
from coos_mlflow.cli.main import app
from coos_mlflow.errors import (
    ConditionMetError,
    DataError,
    OutputError,
    RegistryError,
    RunNotLoggedError,
)
from coos_mlflow.labelling import publish as publishing
from coos_mlflow.plates.layout import read_layout
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.registry import outbox
from coos_mlflow.registry.scoring_runs import read_history
from coos_mlflow.scoring import scorer as scoring
from coos_mlflow.scoring.audited import audit_entry, frame_of, order_of
from coos_mlflow.scoring.record import Scored


@pytest.fixture(scope="module")
def scorer(trained):
    return scoring.Scorer.load("texture-lr")


@pytest.fixture(scope="module")
def scored(scorer, new_plate, tmp_path_factory):
    scored = scorer.score(new_plate, tmp_path_factory.mktemp("scores"))
    shutil.copytree(scored.folder, unlabelled(scored))
    return scored


def unlabelled(scored: Scored) -> Path:
    return scored.folder.parent / "as it was"


@pytest.fixture
def folder(scored, tmp_path):
    """A copy of the results without labels, of which no run was logged."""
    return Path(shutil.copytree(unlabelled(scored), tmp_path / "scores" / scored.folder.name))


@pytest.fixture(scope="module")
def names(scored):
    return [one["name"] for one in scored.drift["dataset"]["classes"]]


@pytest.fixture(scope="module")
def truths(new_plate, names):
    """The true class of each cell, by name."""
    with open_plate(new_plate) as plate:
        return [names[label] for label in plate.labels]


def coos(*arguments: object) -> str:
    """Return what a command prints; its error is raised."""
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def sheet_of(folder: Path, path: Path, n: int = 50, labeller: str = "Ada") -> list[dict[str, str]]:
    path.unlink(missing_ok=True)
    coos("audit", folder, "--export", path, "--cells", n, "--labeller", labeller)
    with path.open() as file:
        return list(csv.DictReader(file))


def write_sheet(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def labelled(folder: Path, path: Path, truths: list[str], n: int = 50) -> None:
    rows = sheet_of(folder, path, n)
    write_sheet(path, [row | {"label": truths[int(row["cell"])]} for row in rows])
    drift = json.loads((folder / "drift.json").read_text())
    from coos_mlflow.labelling.sheet import import_sheet

    assert import_sheet(folder, drift, path, "Ada").added == n


def test_the_cells_that_can_be_drawn_are_those_of_the_figures(scored):
    frame = frame_of(scored.folder, scored.drift)
    table = pd.read_parquet(scored.folder / "predictions.parquet")
    assert len(frame) == scored.drift["n_cells"] == table["flag"].isna().sum()
    np.testing.assert_array_equal(frame.labels, table["label"][frame.cells])
    np.testing.assert_array_equal(frame.wells, table["Metadata_Well"][frame.cells])
    assert frame.one_class_wells is scored.drift["wells_have_classes"] is True


def test_unusable_cells_copies_and_cells_without_ids_are_not_drawn(
    scorer, make_plate, random_cells, tmp_path
):
    images = random_cells(200)
    images[5] = images[4]
    wells = np.array(["" if n == 9 else f"B{1 + n // 10:02d}" for n in range(200)])
    plate = make_plate("odd.h5", images=images, wells=wells)
    with h5py.File(plate, "r+") as file:
        file["data"][3, 0] = 7
    scored = scorer.score(plate, tmp_path / "odd", log=False)
    left = {3, 5, 9}
    assert set(frame_of(scored.folder, scored.drift).cells) == set(range(200)) - left
    sheet = tmp_path / "sheet.csv"
    rows = sheet_of(scored.folder, sheet, 200)
    assert {int(row["cell"]) for row in rows} == set(range(200)) - left
    write_sheet(sheet, [*rows, rows[0] | {"cell": "9", "label": "cannot see"}])
    with pytest.raises(DataError, match="cell 9 is not in the sample"):
        coos("audit", scored.folder, "--import", sheet)


def test_from_a_spreadsheet_to_report_run_and_history(
    scored, names, truths, tmp_path, monkeypatch, capsys
):
    """The run of the scoring gets what was measured; a second person is compared with the first."""
    folder, sheet = scored.folder, tmp_path / "cells.csv"
    rows = sheet_of(folder, sheet)
    order = order_of(frame_of(folder, scored.drift))
    cells = frame_of(folder, scored.drift).cells[order]
    for start in range(0, 50, BLOCK):  # in another order than that of the strata
        ten = [int(row["cell"]) for row in rows[start : start + BLOCK]]
        assert sorted(ten) == sorted(cells[start : start + BLOCK].tolist())
        assert ten != cells[start : start + BLOCK].tolist()
    assert not any(row["label"] for row in rows)
    assert not {"class_name", "label_of_model", "confidence"} & set(rows[0])
    # A class's name, its key, none, cannot see, and cells without a label.
    for place, row in enumerate(rows):
        name = truths[int(row["cell"])]
        row["label"] = name.upper() if place % 2 else str(names.index(name) + 1)
    rows[7]["label"], rows[8]["label"] = "None of these", "cannot see"
    rows[20]["label"] = rows[21]["label"] = ""
    write_sheet(sheet, rows)
    before = json.loads((folder / "drift.json").read_text())
    said = coos("audit", folder, "--import", sheet, "--labeller", "Ada")
    assert "48 labels of Ada added, 2 lines without a label skipped" in said
    assert "measured on 47 cells" in said and "2 cells have no label though later ones have" in said
    drift = json.loads((folder / "drift.json").read_text())
    audit = drift["audit"]
    assert (audit["n_cells"], audit["cannot_see"], audit["skipped"]) == (47, 1, 2)
    assert audit["labellers"] == [{"name": "Ada", "n_cells": 48}] and audit["agreement"] is None
    assert audit["low"] <= audit["balanced_error"] <= audit["high"]
    assert audit["none"]["share"] > 0
    assert audit["off"] == pytest.approx(audit["estimated"] - audit["balanced_error"], abs=1e-4)
    assert {k: v for k, v in drift.items() if k != "audit"} == {
        k: v for k, v in before.items() if k != "audit"
    }
    report = (folder / "report.html").read_text()
    assert "measured on 47 cells" in report and "Labelled cells" in report
    assert report.count("<img") > 20  # example cells and reference cells
    assert "measured on 47 cells" in (folder / "report.md").read_text()
    # The same run.
    client = MlflowClient()
    run = client.get_run(scored.run_id)
    assert run.data.metrics["measured_error"] == pytest.approx(audit["balanced_error"])
    assert run.data.metrics["measured_error_high"] == pytest.approx(audit["high"])
    assert run.data.metrics["labelled_cells"] == 47
    assert "measured on 47 cells" in run.data.tags["mlflow.note.content"]
    assert "audit.csv" in {file.path for file in client.list_artifacts(scored.run_id)}
    history = read_history("texture-lr").set_index("run_id").loc[scored.run_id]
    assert history["measured_error"] == pytest.approx(audit["balanced_error"])
    assert history["labelled_cells"] == 47
    shown = coos("drift", "history", "--model", "texture-lr")
    assert "measured" in shown
    # Another person; those labels are in the order of the same sample.
    second = sheet_of(folder, sheet, 10, "Bo")
    assert [row["cell"] for row in second] == [row["cell"] for row in rows[:10]]
    write_sheet(sheet, [row | {"label": truths[int(row["cell"])]} for row in second])
    with pytest.raises(ConditionMetError, match="measured-error>0"):
        coos("audit", folder, "--import", sheet, "--labeller", "Bo",
             "--fail-on", "measured-error>0,measured-error>100")  # fmt: skip
    audit = json.loads((folder / "drift.json").read_text())["audit"]
    assert audit["labeller"] == "Ada" and len(audit["labellers"]) == 2
    assert audit["agreement"]["n_cells"] == 9  # one could not be seen by Ada
    assert audit["agreement"]["agree"] == pytest.approx(8 / 9, abs=1e-6)
    # What is there stays what it is.
    labels = read_labels(folder / "audit.csv")
    assert len(labels) == 58 and [one.labeller for one in labels] == ["Ada"] * 48 + ["Bo"] * 10
    probabilities = [one.inclusion_probability for one in labels]
    assert 0 < min(probabilities) <= max(probabilities) <= 1
    # Scoring again finds the results, with what was measured.
    again = scoring.Scorer.load("texture-lr").score(scored.plate, folder.parent)
    assert again.run_id == scored.run_id and again.drift["audit"] == audit
    capsys.readouterr()
    cli_score.score([str(scored.plate)], "texture-lr", folder.parent)
    shown = capsys.readouterr().out
    assert "balanced error measured on 47 cells:" in shown and "The estimate was" in shown


def test_labels_outlive_another_layout_and_force(scorer, folder, new_plate, truths, tmp_path):
    labelled(folder, tmp_path / "sheet.csv", truths)
    kept = (folder / "audit.csv").read_bytes()
    with open_plate(new_plate) as plate:
        wells = sorted(set(plate.wells))
    table = tmp_path / "layout.csv"
    table.write_text("well,drug\n" + "".join(f"{well},A\n" for well in wells))
    out = folder.parent
    first = scorer.score(new_plate, out, layout=read_layout(table), log=False)
    assert first.drift["layout"] and first.drift["audit"]["n_cells"] == 50
    forced = scorer.score(new_plate, out, force=True, log=False)
    assert forced.drift["layout"] is None
    assert forced.drift["audit"] == first.drift["audit"] == audit_entry(folder, forced.drift)
    assert (folder / "audit.csv").read_bytes() == kept
    assert "measured on 50 cells" in (folder / "report.html").read_text()


def test_labels_of_another_model_plate_or_kind_of_wells_are_not_overwritten(
    scorer, folder, new_plate, truths, tmp_path, monkeypatch
):
    labelled(folder, tmp_path / "sheet.csv", truths, 5)
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    out = folder.parent

    def nothing(*_, **__):
        raise AssertionError("a cell was scored")

    monkeypatch.setattr(scoring, "score_blocks", nothing)
    with pytest.raises(OutputError, match="5 labels of another model version or plate"):
        scoring.Scorer.load("texture-knn").score(new_plate, out, force=True)
    with pytest.raises(OutputError, match="5 labels of another model version or plate"):
        scorer.score(new_plate, out, mixed_wells=True)
    with locked(folder), pytest.raises(OutputError, match="being labelled"):
        _elsewhere(lambda: scorer.score(new_plate, out, force=True))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept


def _elsewhere(call):
    """Call in another thread, which does not hold the locks of this one."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def spoilt(rows, number, **changed):
    return [row | changed if n == number else row for n, row in enumerate(rows)]


BAD = {
    "unknown label": (lambda rows: spoilt(rows, 3, label="Goldi"), "line 5: label 'Goldi'"),
    "unknown number": (lambda rows: spoilt(rows, 3, label="99"), "line 5: label '99'"),
    "unknown cell": (lambda rows: spoilt(rows, 3, cell="160", label="1"), "line 5: cell '160'"),
    "no cell": (lambda rows: spoilt(rows, 3, cell="x", label="1"), "line 5: cell 'x'"),
    "twice": (lambda rows: [*rows, rows[2]], "line 12: cell .* stands in line 4 too"),
    "other results": (lambda rows: spoilt(rows, 0, sample="0" * 12), "line 2: sample '0+'"),
    "lines taken out": (
        lambda rows: [row | {"label": "1"} for row in rows[5:]],
        "is number 6 of the sample, of which only 5 cells",
    ),
    "no labels": (lambda rows: [{"cell": row["cell"]} for row in rows], "columns 'cell' found"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_sheet_is_one_sentence_and_changes_nothing(folder, tmp_path, case):
    make, words = BAD[case]
    sheet = tmp_path / "sheet.csv"
    rows = [row | {"label": "2"} for row in sheet_of(folder, sheet, 10)]
    write_sheet(sheet, make(rows))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match=words) as caught:
        coos("audit", folder, "--import", sheet)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_labels_are_never_overwritten_and_not_added_twice(folder, names, truths, tmp_path):
    from coos_mlflow.labelling.sheet import Imported, import_sheet

    sheet = tmp_path / "sheet.csv"
    labelled(folder, sheet, truths, 10)
    drift = json.loads((folder / "drift.json").read_text())
    assert import_sheet(folder, drift, sheet, "Ada") == Imported(0, 0, 10)
    kept = (folder / "audit.csv").read_bytes()
    with sheet.open() as file:
        rows = list(csv.DictReader(file))
    more = sheet_of(folder, tmp_path / "more.csv", 3)
    other = next(name for name in names if name != truths[int(rows[4]["cell"])])
    changed = spoilt(rows, 4, label=other) + [row | {"label": "1"} for row in more]
    write_sheet(sheet, changed)
    with pytest.raises(DataError, match=r"line 6.*never overwritten"):
        import_sheet(folder, drift, sheet, "Ada")
    assert (folder / "audit.csv").read_bytes() == kept
    assert import_sheet(folder, drift, sheet, "Bo").added == 13


def test_a_sheet_of_a_german_spreadsheet_comes_back(folder, truths, tmp_path):
    from coos_mlflow.labelling.sheet import import_sheet

    sheet = tmp_path / "sheet.csv"
    rows = sheet_of(folder, sheet, 5)
    lines = [";".join(rows[0]), *(";".join((row | {"label": "3.0"}).values()) for row in rows)]
    sheet.write_bytes("\r\n".join(["﻿" + lines[0], *lines[1:], ";;;;"]).encode())
    drift = json.loads((folder / "drift.json").read_text())
    assert import_sheet(folder, drift, sheet, "Ada").added == 5


def test_what_cannot_be_audited_is_one_sentence(folder, new_plate, tmp_path):
    sheet = tmp_path / "sheet.csv"
    for arguments, words in (
        ((tmp_path / "nowhere",), "no such folder"),
        ((tmp_path,), "no results of coos-score"),
        ((folder,), "no labelled cells yet"),
        ((folder, "--import", sheet), "no such file"),
        ((folder, "--import", sheet, "--export", sheet), "one of them at a time"),
        ((folder, "--cells", 5), "without --export"),
        ((folder, "--export", sheet, "--labeller", " "), "labeller"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            coos("audit", *arguments)
        assert "\n" not in str(caught.value)
    sheet.write_text("mine")
    with pytest.raises(OutputError, match="never replaced"):
        coos("audit", folder, "--export", sheet)
    with locked(folder), pytest.raises(OutputError, match="being labelled"):
        _elsewhere(lambda: coos("audit", folder, "--export", tmp_path / "other.csv"))
    assert sheet.read_text() == "mine" and not (tmp_path / "other.csv").exists()


def test_a_plate_that_is_gone_or_another_changes_nothing(
    folder, new_plate, make_plate, truths, tmp_path
):
    sheet = tmp_path / "sheet.csv"
    rows = [row | {"label": "2"} for row in sheet_of(folder, sheet, 10)]
    write_sheet(sheet, rows)
    drift = json.loads((folder / "drift.json").read_text())
    assert drift["plate_path"] == str(new_plate)
    moved = tmp_path / "moved.h5"
    text = json.dumps(drift | {"plate_path": str(moved)})
    (folder / "drift.json").write_text(text)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match="the plate file is not there"):
        coos("audit", folder, "--import", sheet)
    with pytest.raises(DataError, match="is not the file that was scored"):
        coos("audit", folder, "--import", sheet, "--plate", make_plate())
    del drift["plate_path"]  # as results of an older package
    (folder / "drift.json").write_text(json.dumps(drift))
    with pytest.raises(DataError, match="name the file with --plate"):
        coos("audit", folder, "--import", sheet)
    (folder / "drift.json").write_text(text)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    shutil.copy(new_plate, moved)
    coos("audit", folder, "--import", sheet, "--plate", moved)
    drift = json.loads((folder / "drift.json").read_text())
    assert drift["plate_path"] == str(moved) and drift["audit"]["n_cells"] == 10


def test_a_store_that_is_away_loses_no_label(folder, truths, tmp_path, monkeypatch, capsys):
    sheet = tmp_path / "sheet.csv"
    labelled(folder, sheet, truths, 10)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def away(*_, **__):
        raise RegistryError("the store does not respond; start it.")

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "load_reference", away)
        with pytest.raises(RunNotLoggedError, match=r"all labels are kept in audit\.csv"):
            coos("audit", folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    def gone(*_):
        raise MlflowException("the store is gone")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "log_results", gone)
        with pytest.raises(RunNotLoggedError, match="the results are there"):
            coos("audit", folder)
    assert "measured on 10 cells" in (folder / "report.html").read_text()
    (pending,) = [one for one in outbox.pending_runs() if one.folder == folder.resolve()]
    assert pending.log().startswith("logged")  # what `coos sync` does
    history = read_history("texture-lr")
    assert history[history["results"] == str(folder.resolve())]["labelled_cells"].tolist() == [10]


def test_labels_of_other_results_and_unknown_ones_are_refused(folder, truths, tmp_path):
    labelled(folder, tmp_path / "sheet.csv", truths, 3)
    drift = json.loads((folder / "drift.json").read_text())
    path = folder / "audit.csv"
    first = read_labels(path)[0]
    (folder / "drift.json").write_text(
        json.dumps(drift | {"model": drift["model"] | {"version": "7"}})
    )
    with pytest.raises(DataError, match="another model version or plate"):
        coos("audit", folder)
    path.unlink()
    append(path, replace(first, label="Goldi", sample=sample_of(drift)))
    with pytest.raises(DataError, match="label 'Goldi' of cell"):
        audit_entry(folder, drift)
