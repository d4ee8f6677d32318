"""Ids of wells and plates in the results: fields folded, missing ids left out and said."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from coos_mlflow.cli.tables import show_scores
from coos_mlflow.plates.reader import PlateWriter, open_plate
from coos_mlflow.scoring import scorer as scoring


@pytest.fixture(scope="module")
def scorer(trained):
    return scoring.Scorer.load("texture-lr")


@pytest.fixture
def score(scorer, new_plate, tmp_path):
    """Score the 160 cells of `new_plate`, in 8 wells, under other ids."""

    def scored(**columns):
        with open_plate(new_plate) as plate:
            images = next(plate.batches(plate.n_cells)).images
            ids = {"plates": plate.plates, "wells": plate.well_ids.names} | columns
        with PlateWriter(tmp_path / "p.h5", len(images), force=True) as writer:
            writer.append(images, **ids)
        return scorer.score(tmp_path / "p.h5", tmp_path, force=True)

    with open_plate(new_plate) as plate:
        scored.wells = plate.well_ids.names
    return scored


def predictions(scored):
    return pd.read_parquet(scored.folder / "predictions.parquet")


def as_fields(names):
    fields = np.arange(len(names)) % 4
    return [f"{name[0]} - {name[1:]}(fld {k + 1})" for name, k in zip(names, fields, strict=True)]


def test_fields_of_a_well_are_scored_as_that_well(score, capsys):
    plain, fields = score().drift, score(wells=np.array(as_fields(score.wells)))
    told = ("plate_file", "well_ids")
    same = {key: value for key, value in fields.drift.items() if key not in told}
    assert same == {key: value for key, value in plain.items() if key not in told}
    assert set(predictions(fields)["Metadata_Well"]) == set(score.wells)
    show_scores(fields)
    words = f"8 wells {fields.drift['well_ids']['words']}."
    assert words.startswith("8 wells read from 32 ids, such as '")
    assert words in capsys.readouterr().out
    assert words in " ".join((fields.folder / "report.md").read_text().split())
    assert words.replace("'", "&#39;") in (fields.folder / "report.html").read_text()


@pytest.mark.parametrize("column", ["wells", "plates"])
def test_a_few_cells_without_an_id_are_of_no_well_and_left_out(score, column, capsys):
    some = np.where(np.arange(160) % 40 == 7, "nan", score.wells if column == "wells" else "P1")
    scored = score(**{column: some})
    drift = scored.drift
    assert (drift["left_out"]["nameless"], drift["n_cells"]) == (4, 156)
    assert drift["has_plate_ids"] and drift["has_well_ids"]
    assert len(drift["plates"]) == 1 and drift["plates"][0]["n_wells"] == 8
    assert {well["well"] for well in drift["wells"]} == set(score.wells)
    assert sum(well["n_cells"] for well in drift["wells"]) == sum(scored.class_counts.values())
    frame = predictions(scored)
    name = f"Metadata_{column[:-1].title()}"
    assert len(frame) == 160 and list(np.flatnonzero(frame[name].isna())) == [7, 47, 87, 127]
    show_scores(scored)
    told = capsys.readouterr().out
    assert "4 cells without an id of plate or well: left out of the verdict and all figures" in told
    assert "156 cells by predicted class" in told


def test_where_a_fifth_of_the_cells_has_no_well_one_cannot_tell(score):
    drift = score(wells=np.where(np.arange(160) % 5 == 0, "None", score.wells)).drift
    assert drift["verdict"] == drift["error"]["answer"] == "cannot tell"
    assert "no well ids, or has them of too few cells" in drift["reason"]
    assert {well["well"] for well in drift["wells"]} == set(score.wells)
    assert drift["n_cells"] == 160 and drift["left_out"]["nameless"] == 0
    assert drift["well_ids"]["n_cells_without"] == 32
    assert drift["plates"][0]["n_wells"] == 8


def test_where_no_cell_has_a_well_no_well_is_shown(score):
    scored = score(wells=np.full(160, " NA "))
    assert scored.drift["wells"] == [] and scored.drift["has_well_ids"] is False
    assert 'id="maps"' not in (scored.folder / "report.html").read_text()
    assert json.loads((scored.folder / "drift.json").read_text()) == scored.drift
    assert not [cell for cell in scored.drift["cells"] if "of well" in cell["role"]]
    assert not [cell for cell in scored.drift["cells"] if "well" in cell]
