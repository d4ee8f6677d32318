"""The tables of wells, and layouts joined to all tables of the results."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import coos_mlflow
from coos_mlflow.cli.main import app
from coos_mlflow.errors import DataError
from coos_mlflow.plates.layout import read_layout
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.registry.results import DRIFT, PREDICTIONS, REPORT, RESULTS, WELLS, WELLS_CSV
from coos_mlflow.scoring import job
from coos_mlflow.scoring.parts import WorkFolder
from coos_mlflow.scoring.record import Scored
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.scoring.wells_table import schema_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scorer(trained) -> Scorer:
    return Scorer.load("texture-lr")


@pytest.fixture
def plate(new_plate, tmp_path) -> Path:
    """The plate of eight wells under a name of its own."""
    return Path(shutil.copy(new_plate, tmp_path / "plate.h5"))


@pytest.fixture
def names(plate) -> list[str]:
    with open_plate(plate) as opened:
        return sorted(set(opened.well_ids.names.tolist()))


@pytest.fixture
def layout(tmp_path, names) -> Callable[..., Path]:
    """Factory of layouts of all wells but the last, with a compound and a dose."""

    def write(compound: str = "DMSO", name: str = "layout.csv") -> Path:
        lines = [f"{well.lower()};{compound};{n / 2:g}" for n, well in enumerate(names[:-1])]
        text = "\n".join(["Well;compound;dose", *lines]).replace(".", ",")
        path = tmp_path / name
        path.write_text(text + "\n")
        return path

    return write


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


@pytest.fixture
def as_one_command(monkeypatch) -> None:
    """Reports repeat the command; all scorings of a test then have the same."""
    monkeypatch.setattr("coos_mlflow.scoring.scorer._command", lambda: "coos-score plate.h5")


def score(scorer: Scorer, plate: Path, out: Path, layout: Path | None = None, **how: Any) -> Scored:
    read = None if layout is None else read_layout(layout)
    return scorer.score(plate, out, log=False, layout=read, **how)


def test_wells_are_what_their_cells_say(scorer, plate, tmp_path):
    folder = score(scorer, plate, tmp_path / "out").folder
    cells, wells = pd.read_parquet(folder / PREDICTIONS), pd.read_parquet(folder / WELLS)
    assert list(wells) == schema_of(7).names
    assert len(wells) == 8
    for well in wells.itertuples():
        own = cells[cells["Metadata_Well"] == well.Metadata_Well]
        assert well.cells == len(own) == 20
        places = ["Metadata_Plate", "Metadata_Row", "Metadata_Column"]
        assert [getattr(well, place) for place in places] == own[places].iloc[0].tolist()
        for label in range(7):
            share = getattr(well, f"share_{label}")
            assert share == pytest.approx((own["label"] == label).mean())
            low, high = (getattr(well, f"share_{label}_{end}") for end in ("low", "high"))
            assert 0 <= low <= share <= high <= 1
        assert well.disagree == pytest.approx((own["label"] != well.label).mean())
        assert well.class_name == scorer.dataset.class_names[well.label]
        assert well.confidence == pytest.approx(own["confidence"].mean(), rel=1e-5)
    # The simulator put the first and the last class into the wells.
    assert set(wells["label"]) == {0, 6}
    assert (wells["probability"] > 0.9).all()


def test_csv_and_parquet_hold_the_same_and_the_metadata_of_the_predictions(
    scorer, plate, layout, tmp_path
):
    folder = score(scorer, plate, tmp_path / "out", layout('µ, "x"')).folder
    parquet = pd.read_parquet(folder / WELLS).astype({"class_name": "str"})
    csv = pd.read_csv(folder / WELLS_CSV, dtype=parquet.dtypes.to_dict())
    pd.testing.assert_frame_equal(csv, parquet)
    first, second = (pq.read_schema(folder / name).metadata for name in (PREDICTIONS, WELLS))
    facts = [b"model", b"plate_sha256", b"plate_simulated", b"model_simulated"]
    assert {key: second[key] for key in facts} == {key: first[key] for key in facts}


def test_without_well_ids_the_tables_are_empty_with_all_columns(scorer, make_plate, tmp_path):
    folder = score(scorer, make_plate("plate.h5", 60, wells=None), tmp_path / "out").folder
    wells = pd.read_parquet(folder / WELLS)
    assert list(wells) == list(pd.read_csv(folder / WELLS_CSV)) == schema_of(7).names
    assert len(wells) == 0


def test_a_well_without_a_cell_that_counts_has_a_row(scorer, plate, tmp_path):
    with open_plate(plate) as opened:
        last = opened.well_ids.names[-1]
        rows = np.flatnonzero(opened.well_ids.names == last)
    with h5py.File(plate, "r+") as file:
        file["data"][rows] = file["data"][: len(rows)]  # copies of the first well
    wells = pd.read_parquet(score(scorer, plate, tmp_path / "out").folder / WELLS)
    assert len(wells) == 8
    empty = wells[wells["Metadata_Well"] == last].iloc[0]
    assert empty["cells"] == 0
    assert empty["warning"] == "too few cells"
    assert empty[["label", "probability", "share_0", "distance"]].isna().all()


def test_shares_decide_where_wells_are_mixtures(scorer, plate, tmp_path, monkeypatch):
    calibration = scorer.cell_model.reference.calibration
    monkeypatch.setitem(calibration.__dict__, "pure_wells", False)
    drift = score(scorer, plate, tmp_path / "out").drift
    wells = pd.read_parquet(tmp_path / "out" / "plate" / WELLS)
    assert wells[["label", "class_name", "probability", "disagree"]].isna().all(axis=None)
    assert wells[[f"share_{label}" for label in range(7)]].sum(axis=1).round(6).eq(1).all()
    assert not drift["wells_have_classes"]
    page = (tmp_path / "out" / "plate" / REPORT).read_text()
    assert "Share of the commonest class" in page
    assert "Class of the well" not in page


def test_a_layout_is_in_all_tables(scorer, plate, names, layout, tmp_path):
    scored = score(scorer, plate, tmp_path / "out", layout())
    wells = pd.read_parquet(scored.folder / WELLS).set_index("Metadata_Well")
    cells = pd.read_parquet(scored.folder / PREDICTIONS)
    for table in (wells.reset_index(), cells):
        at = list(table).index("Metadata_Column")
        assert list(table)[at + 1 : at + 3] == ["Metadata_compound", "Metadata_dose"]
    assert wells.loc[names[:-1], "Metadata_dose"].tolist() == [n / 2 for n in range(7)]
    assert wells.loc[names[-1], ["Metadata_compound", "Metadata_dose"]].isna().all()
    of_wells = cells["Metadata_Well"].map(wells["Metadata_dose"])
    pd.testing.assert_series_equal(cells["Metadata_dose"], of_wells, check_names=False)
    assert scored.drift["layout"]["columns"] == ["compound", "dose"]
    assert scored.drift["wells"][0]["layout"] == {"compound": "DMSO", "dose": 0}
    assert "it has no line for 1 of 8 wells" in (scored.folder / REPORT).read_text()


def test_another_layout_scores_no_cell_again(
    scorer, plate, layout, tmp_path, monkeypatch, as_one_command
):
    first = score(scorer, plate, tmp_path / "one", layout("DMSO"))
    plain = contents(score(scorer, plate, tmp_path / "two").folder)
    assert plain[PREDICTIONS] != (first.folder / PREDICTIONS).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "write", None)  # no part can be written
        again = score(scorer, plate, tmp_path / "two", layout("DMSO"))
        assert contents(again.folder) == contents(first.folder)
        assert contents(score(scorer, plate, tmp_path / "two").folder) == plain
    # The same layout is found again, and nothing is done.
    assert not score(scorer, plate, tmp_path / "one", layout("DMSO")).timings.phases.get("cells")


@pytest.fixture
def class_map(tmp_path, names) -> Callable[..., Path]:
    """Factory of layouts that say what each well holds."""

    def write(classes: list[str], column: str = "class") -> Path:
        lines = [f"{well},{label}" for well, label in zip(names, classes, strict=True)]
        path = tmp_path / "map.csv"
        path.write_text("\n".join([f"well,{column}", *lines]) + "\n")
        return path

    return write


def test_another_column_of_classes_assesses_anew(
    scorer, plate, class_map, tmp_path, as_one_command
):
    plain = score(scorer, plate, tmp_path / "one")
    assert plain.drift["controls"] is None
    truth = [str(well["label"]) for well in plain.drift["wells"]]
    right = score(scorer, plate, tmp_path / "one", class_map(truth))
    assert right.drift["error"]["answer"] == "measured"
    assert right.drift["controls"]["covers"] == 1
    assert right.drift["controls"]["column"] == "class"
    # Results are those of a first scoring.
    first = score(scorer, plate, tmp_path / "two", class_map(truth))
    assert contents(right.folder) == contents(first.folder)
    wrong = [str((int(label) + 1) % 7) for label in truth]
    misread = score(scorer, plate, tmp_path / "one", class_map(wrong)).drift
    assert misread["verdict"] == "shifted"
    assert misread["controls"]["balanced_error"] > 80
    assert len(misread["controls"]["misread"]) == 8
    back = score(scorer, plate, tmp_path / "one")
    assert contents(back.folder) == contents(score(scorer, plate, tmp_path / "three").folder)


def test_the_name_of_a_column_without_new_classes_takes_the_assessment_over(
    scorer, plate, class_map, tmp_path, monkeypatch
):
    score(scorer, plate, tmp_path / "out", class_map(["0", *[""] * 7]))
    monkeypatch.setattr(WorkFolder, "write", None)
    again = score(scorer, plate, tmp_path / "out", class_map(["ER", *["NA"] * 7], "Metadata_Class"))
    assert again.drift["controls"]["column"] == "Class"
    assert again.drift["controls"]["n_wells"] == 1


def test_an_unknown_class_is_refused_before_a_cell_is_scored(
    scorer, plate, class_map, names, tmp_path, monkeypatch
):
    monkeypatch.setattr(WorkFolder, "write", None)
    unknown = f"class 'Golgii' of well {names[1]} found.*expected a class of COOS-7.*Golgi"
    with pytest.raises(DataError, match=unknown):
        score(scorer, plate, tmp_path / "out", class_map(["0", "Golgii", *[""] * 6]))
    assert not (tmp_path / "out").exists()


def test_mixed_wells_have_shares_and_a_wide_range(scorer, plate, tmp_path):
    pure = score(scorer, plate, tmp_path / "out").drift
    mixed = score(scorer, plate, tmp_path / "out", mixed_wells=True).drift
    assert pure["wells_have_classes"] and not mixed["wells_have_classes"]
    assert all(well["label"] is None for well in mixed["wells"])
    assert mixed["mixed_wells"] and not pure["mixed_wells"]
    assert mixed["error_record"]["chosen"] != "well_consensus"
    assert "do not check each other" in (tmp_path / "out" / "plate" / REPORT).read_text()
    # A range is at least as wide as the worst miss on the reference splits.
    own = next(
        one
        for one in mixed["error_record"]["estimators"]
        if one["key"] == mixed["error_record"]["chosen"]
    )
    worst = max(abs(split["off"]) for split in own["splits"].values())
    error = mixed["error"]
    assert error["high"] is None or error["high"] - error["balanced_error"] >= 0.99 * worst


def test_the_command_takes_mixed_wells_and_refuses_another_word(trained, plate, own_cwd):
    options = ["score", "plate.h5", "--model", "texture-lr", "--wells"]
    done = CliRunner().invoke(app, [*options, "mixed"])
    assert done.exit_code == 0, done.output
    assert "Wells may hold several proteins" in done.output
    refused = CliRunner().invoke(app, [*options, "mixture"])
    assert isinstance(refused.exception, DataError)
    assert "expected as-trained or mixed" in str(refused.exception)


def test_a_stopped_scoring_goes_on_with_another_layout(
    scorer, plate, layout, tmp_path, monkeypatch, as_one_command
):
    monkeypatch.setattr(job, "BLOCK", 32)
    whole = contents(score(scorer, plate, tmp_path / "whole", layout("drug")).folder)
    write, written = WorkFolder.write, []

    def stopping(self: WorkFolder, part: Any) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(part.block)
        write(self, part)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(WorkFolder, "write", stopping)
        score(scorer, plate, tmp_path / "out", layout("DMSO"))
    counted: list[Any] = []
    monkeypatch.setattr(
        WorkFolder, "write", lambda self, part: (counted.append(part.block), write(self, part))
    )
    resumed = score(scorer, plate, tmp_path / "out", layout("drug"))
    assert {block.start for block in counted} == {96, 128}
    assert contents(resumed.folder) == whole


def test_a_layout_that_does_not_fit_is_refused_before_cells_are_scored(
    scorer, plate, tmp_path, monkeypatch
):
    monkeypatch.setattr(WorkFolder, "write", None)
    bad = tmp_path / "layout.csv"
    bad.write_text("well,x\nA24,1\n")
    with pytest.raises(DataError, match="well A24 found, which"):
        score(scorer, plate, tmp_path / "out", bad)
    assert not (tmp_path / "out").exists()


def test_the_command_joins_a_layout_and_refuses_a_bad_one(
    trained, plate, layout, tmp_path, own_cwd
):
    options = ["score", "plate.h5", "--model", "texture-lr", "--layout"]
    done = CliRunner().invoke(app, [*options, str(layout())])
    assert done.exit_code == 0, done.output
    assert "Layout layout.csv: compound, dose; it has no line for 1 of 8 wells." in done.output
    (tmp_path / "bad.csv").write_text("compound\nDMSO\n")
    refused = CliRunner().invoke(app, [*options, "bad.csv"])
    assert isinstance(refused.exception, DataError)
    assert "expected one named well" in str(refused.exception)


@pytest.fixture
def own_cwd(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_front_door_takes_a_layout(trained, plate, layout, tmp_path):
    result = coos_mlflow.score(plate, "texture-lr", layout=layout())
    assert result.wells["Metadata_compound"].eq("DMSO").tolist() == [True] * 7 + [False]
    assert result.wells["cells"].sum() == len(result.predictions) == 160


def test_the_tables_of_wells_are_logged_with_the_run(trained, plate, tmp_path):
    result = coos_mlflow.score(plate, "texture-lr", tmp_path / "out")
    logged = {file.path for file in mlflow.MlflowClient().list_artifacts(result.run_id)}
    assert logged == set(RESULTS) - {PREDICTIONS}
    assert {WELLS, WELLS_CSV, DRIFT} <= logged
