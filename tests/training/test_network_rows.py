"""Rows of the networks: trained, registered by layer, loaded and scored like any other."""

import mlflow
import numpy as np
import pandas as pd
import pytest
from _coos7 import SPLITS

from coos_mlflow.errors import DataError, RegistryError
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.registry import outbox, versions
from coos_mlflow.representations import PROBABILITIES, create
from coos_mlflow.representations.nn.precision import AUTO, FP32
from coos_mlflow.scoring.remote import score_plate
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.training import train
from coos_mlflow.training.data import choose
from coos_mlflow.training.row import OWN, kinds_of, paper_kinds_of

pytestmark = pytest.mark.slow

OVERRIDES = {"search_samples": 1, "cv_folds": 2}


@pytest.fixture(scope="module")
def data(trained):
    return choose(str(trained.data))


@pytest.fixture(scope="module")
def figure_titles():
    """Titles of the figures of errors, as rows are made."""
    titles, log = [], outbox.log_evaluations
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            outbox,
            "log_evaluations",
            lambda *logged: titles.append(logged[3]) or log(*logged),
        )
        yield titles


@pytest.fixture(scope="module")
def deeploc(data, figure_titles):
    made = create("deeploc", "quick", width=0.05, iterations=30, check_every=10, crops=1)
    rows = train.rows_of(made, ["own", "knn"])
    return made, train.train_rows(made, data, rows=rows, overrides=OVERRIDES)


@pytest.fixture(scope="module")
def pci(data):
    made = create("pci", "quick", width=0.05, epochs=1, least_cells=2)
    rows = train.rows_of(made, ["knn"])
    return train.train_rows(made, data, rows=rows, overrides=OVERRIDES)


@pytest.fixture(scope="module")
def vgg16(data):
    made = create("vgg16", weights="random", layers=["conv1_1"])
    return train.train_rows(made, data, rows=train.rows_of(made, ["knn"]), overrides=OVERRIDES)


def test_a_network_that_classifies_has_its_own_row(deeploc):
    made, rows = deeploc
    assert paper_kinds_of(made) == ("own", "knn", "lr", "rf")
    assert set(paper_kinds_of(made)) < set(kinds_of(made))
    assert [(row.model.name, row.kind, row.layer) for row in rows] == [
        ("deeploc", OWN, "fc2"),
        ("deeploc-knn", "knn", "fc2"),
    ]
    assert rows[0].cv_error == pytest.approx(made.training_summary["validation_error"], rel=1e-4)
    assert set(rows[0].errors) == set(SPLITS)


def test_the_figure_of_an_end_to_end_row_names_no_layer(deeploc, figure_titles):
    assert figure_titles[:2] == ["DeepLoc End-to-End", "DeepLoc fc2 kNN"]


def test_the_registered_network_predicts_like_the_trained_one(deeploc, new_plate):
    made, rows = deeploc
    with open_plate(new_plate) as plate:
        images = next(plate.batches(40)).images
    table = mlflow.pyfunc.load_model(rows[0].model.uri).predict(images)
    made.prepare(AUTO)
    expected = made.transform(images)[PROBABILITIES]
    made.prepare(FP32)
    np.testing.assert_allclose(table[[f"p_{i}" for i in range(7)]], expected, atol=1e-6)
    np.testing.assert_array_equal(table["label"], expected.argmax(axis=1))


def test_its_training_reference_is_of_held_out_cells(deeploc, data):
    made, rows = deeploc
    cells = len(data.annotations("training").labels)
    held = made.held_out(cells)
    for row in rows:
        reference = mlflow.pyfunc.load_model(row.model.uri).unwrap_python_model().model.reference
        assert reference.confusions["training"].sum() == held.sum() < 0.25 * cells
        assert reference.profiles["training"].counts.sum() == held.sum()


@pytest.mark.parametrize("name", ["deeploc", "deeploc-knn", "pci-knn@conv4", "vgg16-random-knn"])
def test_a_plate_is_scored_and_served_alike(
    deeploc, pci, vgg16, new_plate, tmp_path, served_here, name
):
    scored = Scorer.load(name).score(new_plate, tmp_path)
    predictions = pd.read_parquet(scored.folder / "predictions.parquet")
    assert len(predictions) == scored.n_cells == 160
    assert scored.drift["verdict"] in ("in range", "shifted", "cannot tell")
    served = score_plate(new_plate, served_here(scored.model.uri))
    pd.testing.assert_frame_equal(served, predictions, check_exact=True)


def test_each_layer_is_a_version_and_an_alias(pci):
    assert [row.layer for row in pci] == ["conv3", "conv4", "conv5"]
    for row in pci:
        found = versions.resolve(f"pci-knn@{row.layer}")
        assert (found.version, found.tags["layer"]) == (row.model.version, row.layer)


def test_the_champion_is_the_best_layer_by_cross_validation_on_training(pci):
    left_out = {row.model.version: float(row.model.tags["left_out_error"]) for row in pci}
    assert versions.resolve("pci-knn").version == min(left_out, key=left_out.__getitem__)


def test_training_again_recalls_every_row(deeploc, data):
    made, rows = deeploc
    asked = create("deeploc", **made.params())
    again = train.train_rows(
        asked, data, rows=train.rows_of(asked, ["own", "knn"]), overrides=OVERRIDES
    )
    assert [row.trained for row in again] == [False, False]
    assert [row.errors for row in again] == [row.errors for row in rows]
    assert asked.digest == made.digest


def test_random_weights_go_by_another_name(vgg16):
    (row,) = vgg16
    assert row.model.name == "vgg16-random-knn"
    assert row.model.tags["representation"] == "vgg16-random"
    assert "random" in row.title
    with pytest.raises(RegistryError, match="vgg16-knn"):
        versions.resolve("vgg16-knn")


def test_weights_that_are_not_here_are_said_before_any_run_begins(data):
    before = len(mlflow.search_runs(search_all_experiments=True))
    with pytest.raises(DataError, match="coos weights vgg16"):
        train.train_rows(create("vgg16"), data)
    assert len(mlflow.search_runs(search_all_experiments=True)) == before


def test_rows_that_there_are_none_of_are_refused():
    with pytest.raises(DataError, match=r"Classifier 'own' is not known; Texture has knn, lr, rf"):
        train.rows_of(create("texture"), ["own"])
    with pytest.raises(DataError, match=r"Layer 'conv9' is not known; PCI has conv3"):
        train.rows_of(create("pci"), layers=["conv9"])
