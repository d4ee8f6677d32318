"""A plate through a registered model: what is written, what is refused, what is left behind."""

import json
import shutil
import sys
from pathlib import Path

import h5py
import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from _coos7 import CLASSES
from mlflow import MlflowClient

from coos_mlflow.drift import statistics as statistics_package
from coos_mlflow.errors import DataError, OutputError, RegistryError
from coos_mlflow.plates.file_names import check_names
from coos_mlflow.plates.reader import file_digest, open_plate
from coos_mlflow.registry import outbox
from coos_mlflow.scoring import blocks, finish, job, overview
from coos_mlflow.scoring import scorer as scoring
from coos_mlflow.scoring.predictions import schema_of


@pytest.fixture(scope="module")
def scorer(trained):
    return scoring.Scorer.load("texture-lr")


@pytest.fixture(scope="module")
def scored(scorer, new_plate, tmp_path_factory):
    return scorer.score(new_plate, tmp_path_factory.mktemp("scores"))


def test_one_row_a_cell_in_the_order_of_the_plate(scored, new_plate):
    table = pq.read_table(scored.folder / "predictions.parquet")
    assert table.schema.names == schema_of(7).names
    frame = table.to_pandas()
    with open_plate(new_plate) as plate:
        assert list(frame["Metadata_Index"]) == list(range(plate.n_cells))
        assert list(frame["Metadata_Plate"]) == list(plate.plates)
        rows = [int(well[:3]) for well in plate.wells]
        columns = [int(well[3:6]) for well in plate.wells]
    assert list(frame["Metadata_Row"]) == rows and list(frame["Metadata_Column"]) == columns
    assert list(frame["Metadata_Well"]) == [
        f"{chr(64 + row)}{column:02d}" for row, column in zip(rows, columns, strict=True)
    ]
    assert list(frame["class_name"]) == [CLASSES[label] for label in frame["label"]]
    assert scored.n_cells == len(frame) == sum(scored.class_counts.values())


def test_labels_are_those_of_the_pyfunc(scored, new_plate, trained):
    model = mlflow.pyfunc.load_model(trained.row("texture-lr").model.uri)
    with open_plate(new_plate) as plate:
        images = np.concatenate([batch.images for batch in plate.batches()])
    expected = model.predict(images)
    frame = pd.read_parquet(scored.folder / "predictions.parquet")
    names = [f"p_{label}" for label in range(7)]
    np.testing.assert_array_equal(frame["label"], expected["label"])
    np.testing.assert_allclose(frame[names], expected[names], atol=1e-6)
    np.testing.assert_allclose(frame["confidence"], expected[names].max(axis=1), atol=1e-6)


def test_a_class_that_is_on_the_plate_is_found(scored):
    """Better than chance by far, on a plate of ER and nuclear envelope alone."""
    right = scored.class_counts["Endoplasmic Reticulum"] + scored.class_counts["Nuclear Envelope"]
    assert right / scored.n_cells > 0.6


def test_drift_says_what_was_scored_by_what(scored, new_plate):
    drift = json.loads((scored.folder / "drift.json").read_text())
    assert drift == scored.drift
    assert drift["verdict"] in ("in range", "shifted", "cannot tell")
    assert drift["plate_file"]["sha256"] == file_digest(new_plate)
    assert drift["simulated"] == {"plate": True, "model": True}
    assert drift["model"]["name"] == "texture-lr" and drift["model"]["version"] == "1"


NEW_STATISTIC = """
from coos_mlflow.drift.statistics.base import Statistic

STATISTIC = Statistic(
    "Confidence gained",
    "Difference of the mean confidence. 0: alike.",
    lambda plate, reference, seed: float(
        plate.softmax.max(axis=1).mean() - reference.softmax.max(axis=1).mean()
    ),
)
"""


@pytest.fixture
def new_statistic(tmp_path, monkeypatch):
    """A statistic's file beside the others, written after the model was registered."""
    folder = tmp_path / "more_statistics"
    folder.mkdir()
    (folder / "confidence_gain.py").write_text(NEW_STATISTIC)
    monkeypatch.setattr(statistics_package, "__path__", [*statistics_package.__path__, str(folder)])
    statistics_package.statistics.cache_clear()
    yield "confidence_gain"
    statistics_package.statistics.cache_clear()
    del sys.modules[f"{statistics_package.__name__}.confidence_gain"]
    del statistics_package.confidence_gain


def test_a_new_statistic_is_one_file_and_models_from_before_it_show_dashes_for_their_splits(
    scored, scorer, new_plate, new_statistic, tmp_path
):
    again = scorer.score(new_plate, tmp_path / "scores")
    (effects,) = (plate["effects"] for plate in again.drift["plates"])
    value = effects[new_statistic]
    assert effects == scored.drift["plates"][0]["effects"] | {new_statistic: value}
    known = again.drift["effects"]["reference"]
    assert known and all(new_statistic not in split for split in known.values())
    (row,) = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (again.folder / "report.md").read_text().splitlines()
        if "Confidence gained" in line and line.startswith("|")
    )
    assert float(row[1]) == pytest.approx(value, rel=0.1)
    assert row[2:] == ["-"] * len(known)
    assert "Confidence gained" in (again.folder / "report.html").read_text()


def test_every_key_of_drift_json_is_documented(scored):
    said = (Path(__file__).parents[2] / "docs" / "drift.md").read_text()
    assert [key for key in scored.drift if f"`{key}`" not in said] == []


def test_scoring_again_gives_the_same_bytes_but_for_the_report(scorer, scored, new_plate, tmp_path):
    again = scorer.score(new_plate, tmp_path)
    for name in ("drift.json", "predictions.parquet"):
        assert (again.folder / name).read_bytes() == (scored.folder / name).read_bytes()


def test_batches_and_blocks_do_not_matter(scorer, scored, new_plate, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BATCH", 7)
    monkeypatch.setattr(job, "BLOCK", 50)
    again = scorer.score(new_plate, tmp_path)
    whole, parts = (pd.read_parquet(s.folder / "predictions.parquet") for s in (scored, again))
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-5)
    assert pq.ParquetFile(again.folder / "predictions.parquet").num_row_groups == 4
    assert again.drift["verdict"] == scored.drift["verdict"]
    picked, before = ([cell["index"] for cell in s.drift["cells"]] for s in (again, scored))
    assert picked == before


def test_report_names_simulated_data_and_asks_for_nothing(scored):
    page = (scored.folder / "report.html").read_text()
    assert "simulated" in page.lower()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    assert len(page) < 3_000_000


def test_the_run_is_linked_to_model_and_plate(scored, new_plate, trained):
    run = MlflowClient().get_run(scored.run_id)
    assert run.data.tags["verdict"] == scored.drift["verdict"]
    assert run.data.tags["simulated_plate"] == "True"
    assert run.data.metrics["n_cells"] == scored.n_cells
    assert [m.model_id for m in run.inputs.model_inputs] == [
        trained.row("texture-lr").model.model_id
    ]
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == new_plate.name
    assert file_digest(new_plate) in {tag.value for tag in dataset.tags}
    assert {f.path for f in MlflowClient().list_artifacts(scored.run_id)} == {
        "drift.json",
        "report.html",
        "report.md",
        "wells.csv",
        "wells.parquet",
    }


def test_results_that_are_there_are_kept_and_force_makes_them_again(scorer, scored, new_plate):
    out = scored.folder.parent
    before = (scored.folder / "drift.json").stat().st_mtime_ns
    again = scorer.score(new_plate, out)
    assert (scored.folder / "drift.json").stat().st_mtime_ns == before
    assert (again.drift, again.run_id, again.timings.seconds) == (scored.drift, scored.run_id, 0)
    forced = scorer.score(new_plate, out, force=True)
    assert (forced.folder / "drift.json").stat().st_mtime_ns != before
    assert forced.run_id != scored.run_id
    assert [p.name for p in out.iterdir()] == [scored.folder.name]


def test_results_of_something_else_are_not_replaced_unasked(scorer, make_plate, tmp_path):
    out = tmp_path / "out"
    first = scorer.score(make_plate(seed=1), out)
    before = (first.folder / "drift.json").read_bytes()
    other = make_plate(seed=2)
    with pytest.raises(OutputError, match="--force"):
        scorer.score(other, out)
    with pytest.raises(OutputError, match="--force"):
        scoring.Scorer.load("texture-knn").check(other, out)
    assert (first.folder / "drift.json").read_bytes() == before
    assert [p.name for p in out.iterdir()] == ["plate"]


def test_a_run_that_was_not_logged_is_logged_when_the_results_are_found(
    scorer, make_plate, tmp_path, monkeypatch
):
    def lost(scored):
        raise OSError("the store is gone")

    plate = make_plate()
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "log_results", lost)
        with pytest.raises(RegistryError, match="results are there, but their run"):
            scorer.score(plate, tmp_path / "out")
    found = scorer.score(plate, tmp_path / "out")
    run = MlflowClient().get_run(found.run_id)
    assert run.data.metrics["n_cells"] == 24 and run.data.metrics["seconds"] > 0


def spoil(path, *cells):
    """Make a channel of cells constant, behind the back of the writer, which would refuse it."""
    with h5py.File(path, "r+") as file:
        for cell in cells:
            file["data"][cell, 0] = 5
    return path


def test_too_many_bad_cells_at_the_end_leave_nothing_behind(scorer, make_plate, tmp_path):
    out = tmp_path / "new" / "out"
    with pytest.raises(DataError, match=r"cell 28, .* 2 of 30 cells cannot be used"):
        scorer.score(spoil(make_plate(n=30), 28, 29), out)
    assert not out.parent.exists()


def test_force_replaces_results_and_nothing_else(scorer, make_plate, tmp_path):
    """The plate itself may lie in the folder of its name."""
    plate = make_plate("exp/exp.h5")
    with pytest.raises(OutputError, match=r"'exp.h5', which is no result"):
        scorer.score(plate, tmp_path, force=True)
    assert plate.exists()


def test_results_stay_when_new_ones_cannot_take_their_place(
    scorer, make_plate, tmp_path, monkeypatch
):
    scored = scorer.score(make_plate(), tmp_path / "out")
    before = {p.name: p.read_bytes() for p in scored.folder.iterdir()}
    rename = Path.rename

    def fail_at_the_end(self, target):
        if Path(target) == scored.folder and not self.name.endswith("-old"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_at_the_end)
        with pytest.raises(OutputError, match="No space"):
            scorer.score(scored.plate, tmp_path / "out", force=True)
    assert {p.name: p.read_bytes() for p in scored.folder.iterdir()} == before
    # The parts wait for the next attempt.
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"plate", ".plate.parts"}
    scorer.score(scored.plate, tmp_path / "out", force=True)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"plate"}


def test_plates_are_checked_before_the_first_is_scored(scorer, make_plate, tmp_path):
    good, same = make_plate("a/x.h5"), make_plate("b/x.h5")
    with pytest.raises(DataError, match="both be scored into x"):
        check_names([good, same])
    scorer.score(good, tmp_path / "out")
    scorer.check(good, tmp_path / "out")
    with pytest.raises(OutputError, match="--force"):
        scoring.Scorer.load("texture-knn").check(good, tmp_path / "out")


def test_a_model_of_somebody_else_is_refused(trained, tmp_path):
    class Foreign(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input: np.ndarray, params=None):
            return model_input

    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            name="model", python_model=Foreign(), registered_model_name="foreign",
            pip_requirements=[],
        )  # fmt: skip
    with pytest.raises(RegistryError, match="is no cell classifier of coos-mlflow"):
        scoring.Scorer.load("foreign/1")


def test_empty_ids_are_no_ids(scorer, make_plate, tmp_path):
    scored = scorer.score(make_plate(plates=np.full(24, "")), tmp_path)
    assert scored.drift["has_plate_ids"] is False
    assert scored.drift["verdict"] == "cannot tell"


def test_a_failure_while_replacing_keeps_the_old_results(scorer, make_plate, tmp_path):
    good = scorer.score(make_plate(), tmp_path / "out")
    with pytest.raises(DataError):
        scorer.score(spoil(good.plate, 22, 23), tmp_path / "out", force=True)
    assert sorted(p.name for p in good.folder.iterdir()) == [
        "drift.json",
        "predictions.parquet",
        "report.html",
        "report.md",
        "wells.csv",
        "wells.parquet",
    ]


def test_a_plate_of_data_alone_is_scored_but_not_judged(scorer, make_plate, tmp_path):
    path = make_plate(labels=None, plates=None, wells=None, dates=None, microscopes=None)
    scored = scorer.score(path, tmp_path)
    assert scored.drift["verdict"] == "cannot tell"
    frame = pd.read_parquet(scored.folder / "predictions.parquet")
    assert frame["Metadata_Plate"].isna().all() and frame["Metadata_Row"].isna().all()


def test_hostile_names_come_out_as_text(scorer, make_plate, tmp_path):
    names = np.array(["<script>alert(1)</script>", "\u202eabc", "x" * 256, "a,\nb"])
    path = make_plate(plates=names[np.arange(24) // 6], wells=names[np.arange(24) % 4])
    scored = scorer.score(path, tmp_path)
    page = (scored.folder / "report.html").read_text()
    assert "<script>alert" not in page
    frame = pd.read_parquet(scored.folder / "predictions.parquet")
    # What does not print is kept as its escape, so that no name can look like another.
    written = {name.encode("unicode_escape").decode() for name in names}
    assert set(frame["Metadata_Plate"]) == written


def test_real_cells_of_another_organism_are_called_far_outside(scorer, shared_file, tmp_path):
    scored = scorer.score(shared_file("real/yeast_cells.hdf5"), tmp_path)
    assert scored.drift["verdict"] == "shifted"
    assert scored.drift["simulated"] == {"plate": False, "model": True}
    assert "far outside" in scored.drift["reason"]
    assert "far outside" in (scored.folder / "report.html").read_text()


def test_the_overview_ranks_what_the_folder_holds_and_passes_over_the_rest(scored, tmp_path):
    out = tmp_path / "scores"
    for name in ("a", "b", ".half-written"):
        shutil.copytree(scored.folder, out / name)
    for name, text in {"list": "[]", "broken": "{", "other": '{"schema_version": 1}'}.items():
        (out / name).mkdir()
        (out / name / "drift.json").write_text(text)
    page = overview.write_overview(out)
    assert page == out / "overview.html"
    text = page.read_text()
    assert "./a/report.html" in text and "./b/report.html" in text
    assert "half-written" not in text and "./list/" not in text
    assert sorted(p.name for p in out.iterdir() if p.is_file()) == ["overview.html"]


def test_one_plate_needs_no_overview(scored, tmp_path):
    shutil.copytree(scored.folder, tmp_path / "only")
    assert overview.write_overview(tmp_path) is None
    assert not (tmp_path / "overview.html").exists()


def test_the_command_in_the_report_is_short_and_keeps_passwords(monkeypatch):
    uri = "https://user:sec@ret@host/mlflow"
    monkeypatch.setattr("sys.argv", ["coos-score", "--tracking-uri", uri, *["plate.h5"] * 1000])
    command = scoring._command()
    assert "sec" not in command and "ret@" not in command
    assert "https://***@host/mlflow" in command
    assert len(command) < 1100


@pytest.mark.parametrize(("named", "known"), [(24, True), (23, True), (20, False), (0, False)])
def test_ids_count_where_they_name_nearly_all_cells(named, known):
    ids = np.array(["P1"] * named + [""] * (24 - named))
    assert finish.are_named(ids) is known
