"""Names, versions and the champion, on a real SQLite store."""

import mlflow
import pytest
from _coos7 import SPLITS
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, PERMISSION_DENIED

from coos_mlflow import __version__
from coos_mlflow.errors import RegistryError
from coos_mlflow.registry import versions
from coos_mlflow.representations import create
from coos_mlflow.training import train
from coos_mlflow.training.data import choose


@pytest.mark.parametrize(
    "asked", ["texture-lr", "texture-lr@champion", "texture-lr/1", "models:/texture-lr@champion"]
)
def test_every_spelling_finds_the_version(trained, asked):
    assert versions.resolve(asked).uri == "models:/texture-lr/1"


@pytest.mark.parametrize(
    ("asked", "listed"),
    [
        ("texture-svm", "texture-knn, texture-lr, texture-rf"),
        ("texture-lr@best", "@champion"),
        ("texture-lr/7", "/1"),
        ("models:/texture-lr/7", "/1"),
    ],
)
def test_a_name_that_is_not_there_lists_those_that_are(trained, asked, listed):
    with pytest.raises(RegistryError) as caught:
        versions.resolve(asked)
    assert listed in str(caught.value)
    assert mlflow.get_tracking_uri() in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("asked", ["", "a@b@c", "a/b", "runs:/x/y"])
def test_what_is_no_name_is_refused(trained, asked):
    with pytest.raises(RegistryError, match="expected name"):
        versions.resolve(asked)


def test_training_the_same_again_makes_no_second_version(trained):
    overrides = {"search_samples": 2, "cv_folds": 2}
    data, texture = choose(str(trained.data)), create("texture")
    before = len(versions.versions("texture-lr"))
    again = train.train_rows(
        texture, data, rows=train.rows_of(texture, ["knn", "lr"]), overrides=overrides
    )
    assert [row.trained for row in again] == [False, False]
    assert [row.model.version for row in again] == ["1", "1"]
    assert again[0].errors == pytest.approx(trained.rows[0].errors, rel=1e-4)
    assert len(versions.versions("texture-lr")) == before


def test_tags_say_what_the_version_is(trained):
    tags = versions.resolve("texture-rf").tags
    assert (tags["simulated"], tags["dataset"]) == ("True", "simulated")
    assert (tags["layer"], tags["preset"], tags["classifier"]) == ("haralick", "quick", "rf")
    assert {f"error_{split}" for split in SPLITS} <= set(tags)
    assert len(tags["dataset_digest"]) == 64


@pytest.fixture
def shelf(tmp_path):
    """A registered model whose versions carry just the tags that the champion is judged by."""
    client = MlflowClient()
    client.create_registered_model("shelf")

    def put(**tags) -> str:
        plain = {key: str(value) for key, value in tags.items()}
        return str(client.create_model_version("shelf", tmp_path.as_uri(), tags=plain).version)

    yield put
    client.delete_registered_model("shelf")


def test_champion_is_the_best_by_cross_validation_whatever_the_test_splits_say(shelf):
    shelf(simulated=True, training_cells=100, left_out_error=9.0, error_test3=1.0)
    best = shelf(simulated=True, training_cells=100, left_out_error=3.0, error_test3=50.0)
    shelf(simulated=True, training_cells=100, left_out_error=4.0, error_test3=0.5)
    assert versions.update_champion("shelf").version == best
    assert versions.resolve("shelf").version == best


def test_real_data_come_before_simulated_and_more_cells_before_fewer(shelf):
    shelf(dataset="simulated", simulated=True, training_cells=900, left_out_error=1.0)
    fewer = shelf(dataset="x", simulated=False, training_cells=50, left_out_error=5.0)
    assert versions.update_champion("shelf").version == fewer
    more = shelf(dataset="x", simulated=False, training_cells=80, left_out_error=9.0)
    assert versions.update_champion("shelf").version == more
    coos7 = shelf(dataset="COOS-7", simulated=False, training_cells=70, left_out_error=9.0)
    assert versions.update_champion("shelf").version == coos7


def test_a_model_of_fewer_classes_does_not_take_the_crown(shelf):
    seven = shelf(simulated=True, training_classes=7, training_cells=10, left_out_error=9.0)
    shelf(simulated=True, training_classes=2, training_cells=99, left_out_error=0.1)
    assert versions.update_champion("shelf").version == seven


def test_the_champion_is_one_that_the_newest_release_may_score_with(shelf):
    same = {"simulated": True, "training_classes": 7, "training_cells": 10}
    shelf(**same, left_out_error=1.0, package_version="0.0.9")
    shelf(**same, left_out_error=0.5)
    newer = shelf(**same, left_out_error=2.0, package_version=__version__)
    assert versions.update_champion("shelf").version == newer
    more = shelf(**same | {"training_cells": 99}, left_out_error=3.0, package_version="0.0.9")
    assert versions.update_champion("shelf").version == more


@pytest.mark.parametrize("odd", ["n/a", "nan", ""])
def test_a_tag_that_is_no_number_neither_wins_nor_breaks(shelf, odd):
    shelf(simulated=True, training_cells=10, left_out_error=odd)
    shelf(simulated=True, training_cells=odd, left_out_error=0.1)
    sound = shelf(simulated=True, training_cells=10, left_out_error=50.0)
    assert versions.update_champion("shelf").version == sound


@pytest.mark.parametrize("code", [PERMISSION_DENIED, INTERNAL_ERROR])
def test_a_registry_that_does_not_say_is_not_taken_for_an_empty_one(trained, monkeypatch, code):
    def refused(*_):
        raise MlflowException("not today", code)

    monkeypatch.setattr(MlflowClient, "get_model_version_by_alias", refused)
    monkeypatch.setattr(MlflowClient, "get_logged_model", refused)
    for asked in ("texture-lr", "models:/m-" + "0" * 32):
        with pytest.raises(RegistryError, match=r"does not do it \(not today\)"):
            versions.resolve(asked)


def test_settings_that_a_classifier_does_not_use_make_no_second_version(trained):
    overrides = {"search_samples": 3, "cv_folds": 2, "neighbours": 11}
    data, texture = choose(str(trained.data)), create("texture")
    again = train.train_rows(
        texture, data, rows=train.rows_of(texture, ["lr"]), overrides=overrides
    )
    assert [row.model.version for row in again] == ["1"]


def test_a_version_that_another_process_registered_first_is_kept(trained):
    known, before = versions.resolve("texture-lr"), len(versions.versions("texture-lr"))
    uri = f"models:/{known.model_id}"
    assert versions.register("texture-lr", uri, known.tags).version == known.version
    assert len(versions.versions("texture-lr")) == before


def test_a_logged_model_is_found_by_its_id(trained):
    known = versions.resolve("texture-lr")
    assert versions.resolve(f"models:/{known.model_id}").uri == known.uri
    with pytest.raises(RegistryError, match="not registered"):
        versions.resolve("models:/m-" + "0" * 32)


def test_runs_keep_what_the_paper_reports(trained):
    model = trained.row("texture-lr").model
    run = MlflowClient().get_run(model.run_id)
    assert run.data.metrics["test3_balanced_error"] == pytest.approx(
        trained.row("texture-lr").errors["test3"]
    )
    inputs = run.inputs.dataset_inputs
    assert {i.dataset.name for i in inputs} >= {"simulated Training", "simulated Test4"}
    digests = {t.value for i in inputs for t in i.tags if t.key == "sha256"}
    files = choose(str(trained.data)).digests.values()
    assert digests == {digest for of_split in files for digest in of_split}
    names = {file.path for file in MlflowClient().list_artifacts(run.info.run_id, "confusion")}
    assert "confusion/splits.png" in names and "confusion/test4.csv" in names
