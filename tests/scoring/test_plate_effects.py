"""Plates scored by a model that fits itself to each plate."""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from coos_mlflow.classifiers.fit import Places, class_probabilities
from coos_mlflow.errors import DataError
from coos_mlflow.labelling.adapt.plate import adapt
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.representations import create
from coos_mlflow.scoring import job as jobs
from coos_mlflow.scoring import plate_effects
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.training.data import choose
from coos_mlflow.training.train import rows_of, train_rows

pytestmark = pytest.mark.usefixtures("one_version_of_what_all_share")


@pytest.fixture(scope="module")
def model(trained):
    representation = create("texture")
    rows = train_rows(
        representation,
        choose(str(trained.data)),
        rows=rows_of(representation, ["plates"]),
        overrides={"cv_folds": 2},
    )
    yield f"texture-plates/{rows[0].model.version}"
    # Other tests list the models of the store that all share.
    MlflowClient().delete_registered_model("texture-plates")


def scored(model: str, plate: Path, out: Path, **how) -> tuple[dict, pd.DataFrame]:
    result = Scorer.load(model).score(plate, out, log=False, **how)
    return result.drift, pd.read_parquet(out / plate.stem / "predictions.parquet")


def probabilities_of(table: pd.DataFrame) -> np.ndarray:
    return table[[f"p_{label}" for label in range(7)]].to_numpy()


def test_labels_are_those_of_the_classifier_on_the_whole_plate(model, new_plate, tmp_path):
    drift, table = scored(model, new_plate, tmp_path)
    cell_model = Scorer.load(model).cell_model
    with open_plate(new_plate) as plate:
        batch = next(plate.batches(plate.n_cells))
        origins = plate.origins(0, plate.n_cells)
    features = cell_model.representation.transform(batch.images)[cell_model.layer]
    places = Places(origins.plates, origins.wells)
    expected = class_probabilities(cell_model.classifier, features, 7, places)
    np.testing.assert_allclose(probabilities_of(table), expected, atol=2e-3)
    (effect,) = drift["plate_effects"]
    assert effect["n_cells"] == len(table)
    assert effect["size"] > 0
    alone = class_probabilities(cell_model.classifier, features, 7)
    assert np.abs(alone - expected).max() > 0.1


def test_blocks_and_resuming_change_nothing(model, new_plate, tmp_path, monkeypatch):
    whole = scored(model, new_plate, tmp_path / "whole")[1]
    monkeypatch.setattr(jobs, "BLOCK", 33)
    in_blocks = scored(model, new_plate, tmp_path / "blocks")[1]
    np.testing.assert_array_equal(in_blocks["label"], whole["label"])
    np.testing.assert_allclose(probabilities_of(in_blocks), probabilities_of(whole), atol=1e-5)


def test_a_large_plate_is_estimated_from_some_of_its_cells(model, new_plate, tmp_path, monkeypatch):
    monkeypatch.setattr(plate_effects, "MAX_CELLS", 50)
    monkeypatch.setattr(jobs, "BLOCK", 33)
    drift, _ = scored(model, new_plate, tmp_path)
    assert drift["plate_effects"][0]["n_cells"] == 40


def test_each_plate_of_a_file_has_its_own_effect(model, new_plate, tmp_path):
    both = tmp_path / "both.h5"
    with h5py.File(new_plate) as source, h5py.File(both, "w") as target:
        n = len(source["data"])
        for name in source:
            column = np.concatenate([source[name][:]] * 2)
            if name == "data":
                column[n:] //= 2
            if name == "plateIDs":
                column[n:] = 77
            target.create_dataset(name, data=column)
    drift, table = scored(model, both, tmp_path / "scores")
    first, second = drift["plate_effects"]
    assert first["plate"] != second["plate"]
    assert first["size"] != second["size"]
    one = scored(model, new_plate, tmp_path / "scores")[1]
    np.testing.assert_allclose(probabilities_of(table[:n]), probabilities_of(one), atol=1e-5)


def test_the_report_tells_how_far_the_plate_has_moved(model, new_plate, tmp_path):
    scored(model, new_plate, tmp_path)
    page = (tmp_path / new_plate.stem / "report.html").read_text()
    assert "plate moved" in page
    assert "times the usual distance" in page


def test_other_models_have_none(new_plate, tmp_path, trained):
    scored("texture-lr", new_plate, tmp_path)
    drift = json.loads((tmp_path / new_plate.stem / "drift.json").read_text())
    assert drift["plate_effects"] is None


def test_such_a_model_is_not_adapted(model, new_plate, tmp_path):
    scored(model, new_plate, tmp_path)
    with pytest.raises(DataError, match="fits itself to each plate"):
        adapt(tmp_path / new_plate.stem)


def test_an_array_of_cells_is_labelled_cell_by_cell(model, cells):
    scorer = Scorer.load(model)
    together = scorer.predict(cells)
    one = scorer.predict(cells[:1])
    np.testing.assert_allclose(probabilities_of(one), probabilities_of(together[:1]), atol=1e-5)
