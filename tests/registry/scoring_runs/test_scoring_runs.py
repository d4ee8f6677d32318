"""The scorings of a model as a table and as a figure, from runs on a real SQLite store."""

from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone
from pathlib import Path
from xml.etree import ElementTree

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image

from coos_mlflow._utils.timings import Timings
from coos_mlflow.errors import DataError, OutputError, RegistryError
from coos_mlflow.registry import scoring_runs
from coos_mlflow.registry.results import RESULTS
from coos_mlflow.registry.scoring_runs import (
    COLUMNS,
    CONTROL_ERRORS,
    LABELLED,
    MEASURED_ERRORS,
    farthest,
    read_history,
)
from coos_mlflow.registry.versions import ModelRef
from coos_mlflow.reports.history_figure import DPI, INCHES, MARKS, history_figure, write
from coos_mlflow.scoring import record
from coos_mlflow.scoring.job import Job, Stamp


def test_runs_come_back_with_all_that_they_say_the_newest_last(put, model):
    put("b.h5", "2026-02-01 08:30", verdict="shifted", distances=(1.0, 5.0, 3.3), version=2)
    put("a.h5", "2026-01-01 12:00", simulated=(True, False))
    found = read_history(model)
    assert tuple(found.columns) == COLUMNS
    assert list(found["plate"]) == ["a.h5", "b.h5"]
    assert list(found["version"]) == ["1", "2"] and set(found["model"]) == {model}
    assert list(found["simulated_plate"]) == [True, False]
    row = found.iloc[1]
    assert row["date"] == pd.Timestamp("2026-02-01 08:30", tz="UTC")
    assert (row["verdict"], row["n_cells"]) == ("shifted", 1600)
    assert [row[f"distance_{view}"] for view in ("softmax", "features", "raw")] == [1.0, 5.0, 3.3]
    errors = row[["estimated_error", "estimated_error_low", "estimated_error_high"]]
    assert list(errors) == [4.0, 2.5, 6.5]


def test_the_farthest_view_is_the_one_farthest_beyond_its_own_limit(put, model):
    put(distances=(1.0, 5.0, 3.3))
    put(distances=(1.0, 1.0, 3.3), when="2026-01-02")
    put(distances=(), when="2026-01-03")
    assert list(farthest(read_history(model)))[:2] == pytest.approx([2.0, 1.1])
    assert np.isnan(farthest(read_history(model)).iloc[2])


def test_what_a_run_lacks_is_nan(put, model):
    put(distances=(), error=None)
    row = read_history(model).iloc[0]
    assert np.isnan([row["distance_raw"], row["usual_raw"], row["estimated_error"]]).all()


def test_only_finished_scorings_of_the_very_model_count(put, model, scorings):
    put("own.h5")
    put("unfinished.h5", status="FAILED")
    put("longer.h5", name=f"{model}-x")
    put("similar.h5", name=model.replace("-", "_"))
    put("upper.h5", name=model.upper())
    deleted = put("deleted.h5")
    MlflowClient().delete_run(deleted)
    bare = MlflowClient().create_run(scorings, tags={"model": f"{model}/1"})
    MlflowClient().set_terminated(bare.info.run_id)
    assert list(read_history(model)["plate"]) == ["own.h5"]


def test_a_name_with_wildcards_and_quotes_finds_its_own(put):
    name = "it's 100_%"
    MlflowClient().create_registered_model(name)
    put("own.h5", name=name)
    put("other.h5", name="it-s 100x%")
    assert list(read_history(name)["plate"]) == ["own.h5"]


def test_scorings_in_other_experiments_count(put, model):
    put("there.h5", experiment=mlflow.create_experiment(f"of {model}"))
    assert list(read_history(model)["plate"]) == ["there.h5"]


def test_pages_are_followed_to_the_last(put, model, monkeypatch):
    monkeypatch.setattr(scoring_runs, "_PAGE", 2)
    for day in range(1, 6):
        put(f"{day}.h5", f"2026-01-0{day}")
    assert list(read_history(model)["plate"]) == [f"{day}.h5" for day in range(1, 6)]
    assert list(read_history(model, limit=3)["plate"]) == ["3.h5", "4.h5", "5.h5"]


def test_since_is_a_moment_in_utc_or_in_its_own_zone(put, model):
    for hour in (10, 12, 14):
        put(f"{hour}.h5", f"2026-01-01 {hour}:00")
    noon = datetime(2026, 1, 1, 12)
    assert list(read_history(model, noon)["plate"]) == ["12.h5", "14.h5"]
    east = noon.replace(tzinfo=timezone(timedelta(hours=-2)))
    assert list(read_history(model, east)["plate"]) == ["14.h5"]


def test_a_version_or_alias_leaves_the_others_out(put, model, tmp_path):
    for version in (1, 2):
        MlflowClient().create_model_version(model, tmp_path.as_uri())
        put(f"v{version}.h5", f"2026-01-0{version}", version=version)
    MlflowClient().set_registered_model_alias(model, "champion", "1")
    assert list(read_history(f"{model}/2")["plate"]) == ["v2.h5"]
    assert list(read_history(f"{model}@champion")["plate"]) == ["v1.h5"]
    assert list(read_history(f"models:/{model}")["plate"]) == ["v1.h5", "v2.h5"]
    with pytest.raises(RegistryError, match="/1, /2"):
        read_history(f"{model}/3")


@pytest.mark.parametrize("asked", ["no-such-model", "no'such", "", "a@b@c"])
def test_a_model_that_is_not_registered_is_refused_in_a_sentence(model, asked):
    with pytest.raises(RegistryError) as caught:
        read_history(asked)
    assert "\n" not in str(caught.value)


def test_a_model_without_scorings_has_an_empty_history(model):
    found = read_history(model)
    assert found.empty and tuple(found.columns) == COLUMNS


def drift_of(error: dict | None) -> dict:
    plate = {
        "score": 1.0,
        "p": 0.5,
        "distances": {"softmax": 1.5, "features": None, "raw": 0.7},
        "usual": {"softmax": 2.0, "features": None, "raw": 2.5},
    }
    nearer = plate | {"score": 0.1, "distances": {"softmax": 9.0, "features": 9.0, "raw": 9.0}}
    drift = {
        "verdict": "in range",
        "reason": "As usual.",
        "plates": [nearer, plate, plate | {"score": None}],
        "simulated": {"plate": True, "model": False},
        "plate_file": {"sha256": "0" * 64},
    }
    return drift if error is None else drift | {"error": error}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"balanced_error": 7.5, "low": 5.0, "high": 11.0}, [7.5, 5.0, 11.0]),
        ({"balanced_error": None, "low": None, "high": None}, [np.nan] * 3),
        ({"balanced_error": 7.5, "low": 5.0, "high": None}, [7.5, 5.0, np.nan]),
        (None, [np.nan] * 3),
    ],
)
def test_what_a_scoring_logs_is_what_its_history_reads(model, tmp_path, error, expected):
    for name in RESULTS:
        (tmp_path / name).write_text("{}")
    reference = ModelRef(f"models:/{model}/4", model, "4", None, {}, None, None)
    plate, stamp = tmp_path / "new.h5", Stamp(1, 2)
    job = Job(plate, "ab" * 32, stamp, 40, True, tmp_path, reference, "fp32", "coos-score")
    shares = {
        "class_shares": {"classes": ["Golgi", "ER"], "cells": [30, 10]},
        "left_out": {"unusable": {}, "copies": 0, "nameless": 0},
    }
    scored = record.Scored(job, drift_of(error) | job.facts | shares, Timings({"cells": 1}))
    run_id = record.with_run(scored).run_id
    (row,) = read_history(model).to_dict("records")
    assert (row["run_id"], row["plate"], row["version"]) == (run_id, "new.h5", "4")
    assert (row["n_cells"], row["reason"]) == (40, "As usual.")
    assert (row["distance_softmax"], row["usual_raw"]) == (1.5, 2.5)
    assert np.isnan(row["distance_features"])
    assert (row["simulated_plate"], row["simulated_model"]) == (True, False)
    assert [row[key] for key in scoring_runs.ESTIMATES] == pytest.approx(expected, nan_ok=True)
    assert Path(row["results"]) == tmp_path.resolve()


def test_errors_measured_in_controls_are_logged(model, tmp_path):
    for name in RESULTS:
        (tmp_path / name).write_text("{}")
    reference = ModelRef(f"models:/{model}/4", model, "4", None, {}, None, None)
    job = Job(
        tmp_path / "new.h5", "ab" * 32, Stamp(1, 2), 40, True, tmp_path, reference, "fp32", "score"
    )
    shares = {
        "class_shares": {"classes": ["Golgi", "ER"], "cells": [30, 10]},
        "left_out": {"unusable": {}, "copies": 0, "nameless": 0},
        "controls": {"balanced_error": 12.0, "low": 8.0, "high": 18.0},
    }
    measured = {"answer": "measured", "balanced_error": 12.0, "low": 8.0, "high": 18.0}
    drift = drift_of(measured) | job.facts | shares
    record.with_run(record.Scored(job, drift, Timings({"cells": 1})))
    (row,) = read_history(model).to_dict("records")
    assert [row[key] for key in CONTROL_ERRORS] == [12.0, 8.0, 18.0]
    assert np.isnan(row["estimated_error"])


def history(n: int = 6, **columns: object) -> pd.DataFrame:
    """Return a history made without a store; verdicts take turns."""
    place = np.arange(n)
    verdicts = np.array(list(MARKS))
    made: dict[str, object] = {
        "date": pd.date_range("2026-01-01", periods=n, freq="D", tz="UTC"),
        "plate": [f"plate_{i}.h5" for i in place],
        "version": np.where(place < n // 2, "1", "2"),
        "verdict": verdicts[place % 3],
        "estimated_error": 5.0 + place,
        "estimated_error_low": 4.0 + place,
        "estimated_error_high": 8.0 + place,
        **dict.fromkeys((*CONTROL_ERRORS, *MEASURED_ERRORS), np.nan),
        "simulated_plate": place % 2 == 0,
        "simulated_model": False,
    }
    for view in ("softmax", "features", "raw"):
        made |= {f"distance_{view}": 1.0 + place, f"usual_{view}": 2.0}
    return pd.DataFrame(made | columns)


def points(ax) -> dict[tuple[str, bool], list]:
    """Return marks of an axis by shape and whether they are hollow."""
    return {
        (line.get_marker(), line.get_markerfacecolor() == "none"): line.get_xydata().tolist()
        for line in ax.lines
        if line.get_marker() in {mark["marker"] for mark in MARKS.values()}
    }


def test_every_plate_stands_at_its_error_and_distance():
    upper, lower = history_figure(history(), "shelf").axes
    assert points(upper) == {
        ("o", True): [[0, 5]], ("s", False): [[1, 6]], ("^", True): [[2, 7]],
        ("o", False): [[3, 8]], ("s", True): [[4, 9]], ("^", False): [[5, 10]],
    }  # fmt: skip
    assert points(lower)["^", False] == [[5, 3.0]]
    ranges = [bar.get_segments()[0][:, 1].tolist() for bar in upper.collections]
    assert sorted(ranges) == [[4.0 + i, 8.0 + i] for i in range(6)]
    assert upper.get_ylim()[1] > 13 and lower.get_ylim()[1] > 3
    assert len({mark["marker"] for mark in MARKS.values()}) == len(MARKS)


@pytest.mark.parametrize(
    ("names", "mark", "words"),
    [(CONTROL_ERRORS, "D", "in controls"), (MEASURED_ERRORS, "P", "on labelled cells")],
)
def test_measured_errors_stand_beside_the_estimates(names, mark, words):
    measured = dict(zip(names, ([np.nan] * 5 + [end] for end in (20, 15, 30)), strict=True))
    figure = history_figure(history(**measured), "shelf")
    upper = figure.axes[0]
    (marks,) = [line for line in upper.lines if line.get_marker() == mark]
    assert marks.get_ydata().tolist() == [20] and 5 < marks.get_xdata()[0] < 5.5
    assert upper.get_ylim()[1] > 30
    assert figure.legends[0].get_texts()[-1].get_text() == f"measured {words}"
    none, _ = history_figure(history(), "shelf").axes
    assert not [line for line in none.lines if line.get_marker() in "DP"]


def test_what_labelled_cells_measure_is_read_back(put, model):
    put("estimated.h5")
    run = put("labelled.h5", "2026-01-02")
    for name, value in zip((*MEASURED_ERRORS, LABELLED), (5.0, 2.0, 9.0, 50), strict=True):
        MlflowClient().log_metric(run, name, value)
    without, with_labels = read_history(model).to_dict("records")
    assert [with_labels[name] for name in (*MEASURED_ERRORS, LABELLED)] == [5.0, 2.0, 9.0, 50]
    assert np.isnan([without[name] for name in (*MEASURED_ERRORS, LABELLED)]).all()


def test_a_plate_without_an_estimate_is_marked_as_such():
    figure = history_figure(history(estimated_error=[np.nan, 6, 7, 8, 9, 10]), "shelf")
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert crosses[0].get_xydata().tolist() == [[0, 0]]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == [*MARKS, "no estimate"]


def test_an_error_without_an_upper_end_has_an_arrow_within_the_axis():
    figure = history_figure(history(estimated_error_high=[np.nan, 8, 9, 10, 11, 12]), "shelf")
    upper = figure.axes[0]
    (arrow,) = [text for text in upper.texts if text.get_text() == ""]
    assert arrow.xyann == (0, 5) and 5 < arrow.xy[1] < upper.get_ylim()[1]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words[-1] == "no upper end"


def test_changes_of_version_are_marked():
    upper, lower = history_figure(history(), "shelf").axes
    assert [text.get_text() for text in upper.texts] == ["version 1", "version 2"]
    assert [line.get_xdata()[0] for line in lower.lines if line.get_linestyle() == ":"] == [2.5]


@pytest.mark.parametrize(
    ("plate", "model", "words"),
    [
        (False, False, None),
        (True, True, "Simulated: all plates (hollow marks) and the training data of the model"),
        ([True] + [False] * 5, False, "Simulated: 1 of 6 plates (hollow marks)"),
        (False, [True, True] + [False] * 4,
         "Simulated: the training data of the model of 2 of 6 scorings"),
    ],
)  # fmt: skip
def test_the_title_says_what_is_simulated(plate, model, words):
    found = history_figure(history(simulated_plate=plate, simulated_model=model), "shelf")
    title, *rest = found.get_suptitle().splitlines()
    assert title == "Plates scored with shelf, 2026-01-01 to 2026-01-06 (UTC)"
    assert rest == ([] if words is None else [words])


def test_many_plates_are_named_by_day_few_by_name():
    few = history_figure(history(), "shelf").axes[1].get_xticklabels()
    assert few[0].get_text() == "plate_0  01-01"
    many = history_figure(history(400), "shelf").axes[1].get_xticklabels()
    assert len(many) <= 12 and many[0].get_text() == "2026-01-01"


def test_a_png_has_its_size_and_ink(tmp_path):
    write(history(), tmp_path / "a.png", "shelf")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == tuple(round(inches * DPI) for inches in INCHES)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    wanted = {tuple(bytes.fromhex(mark["color"][1:])) for mark in MARKS.values()}
    assert wanted <= colours


def test_hostile_names_stay_text_in_an_svg(tmp_path):
    names = ["<script>alert(1)</script>.h5", "$\\frac{$.h5", "a\x00\x1b[31m\u202eb.h5", "-->"]
    write(history(4, plate=names), tmp_path / "a.SVG", "m<b>$x$")
    root = ElementTree.fromstring((tmp_path / "a.SVG").read_text())
    assert root.tag.endswith("svg")
    assert not [element for element in root.iter() if element.tag.endswith("script")]


def test_one_plate_with_nothing_known_is_drawn(tmp_path):
    nothing = history(1)
    for column in nothing.columns:
        if column.startswith(("distance", "usual", "estimated")):
            nothing[column] = np.nan
    drawn = io.BytesIO()
    history_figure(nothing, "shelf").savefig(drawn)
    assert Image.open(drawn).size[0] > 0


def test_a_figure_is_not_replaced_unasked(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("mine")
    with pytest.raises(OutputError, match="--force"):
        write(history(), path, "shelf")
    assert path.read_text() == "mine"
    write(history(), path, "shelf", force=True)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("a.pdf", DataError, r"\.png or \.svg"),
        ("png", DataError, "ending ''"),
        ("nowhere/a.png", OutputError, "does not exist"),
    ],
)
def test_a_file_that_cannot_be_a_figure_is_refused(tmp_path, name, error, words):
    with pytest.raises(error, match=words):
        write(history(), tmp_path / name, "shelf")
    assert list(tmp_path.iterdir()) == []
