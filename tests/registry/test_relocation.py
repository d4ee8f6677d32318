"""A registry whose folder was moved says where its files should be, and is told where they are."""

import re
import shlex
import shutil
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from stores import forget_experiment
from typer.testing import CliRunner

from coos_mlflow.cli.main import app
from coos_mlflow.errors import DataError, RegistryError, RunNotLoggedError
from coos_mlflow.registry import versions
from coos_mlflow.registry.relocation import moved_from, relocate
from coos_mlflow.registry.runs import run
from coos_mlflow.representations import create
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.training import train as baselines
from coos_mlflow.training.data import choose


@pytest.fixture(scope="module")
def made(trained, empty_store, tmp_path_factory):
    """A folder with a store in which texture-lr was trained, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    file = shutil.copy(empty_store, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
        forget_experiment(patch)
        train(trained)
    return folder


def train(trained):
    texture = create("texture")
    rows = baselines.rows_of(texture, ["lr"])
    overrides = {"cv_folds": 2, "seed": 8}
    return baselines.train_rows(texture, choose(str(trained.data)), rows=rows, overrides=overrides)


@pytest.fixture
def store(made, tmp_path, monkeypatch):
    """Factory ``store(name)``: the folder of a copy of `made` that lies where its database says.

    Its name is `name`, below the test's folder, and its store the one in use.
    """

    def put(name):
        folder = shutil.copytree(made, tmp_path / name)
        use(folder)
        relocate(made, folder)
        return folder

    def use(folder):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        forget_experiment(monkeypatch)

    put.use = use
    return put


@pytest.fixture
def moved(store, tmp_path):
    """A store's folder that was moved since: where it was, and where it is."""
    old, new = store("lab old"), tmp_path / "lab new"
    old.rename(new)
    store.use(new)
    return old, new


def coos(*words):
    done = CliRunner().invoke(app, [*map(str, words)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_a_moved_model_is_scored_with_after_the_command_that_the_error_names(moved, new_plate):
    old, new = moved
    with pytest.raises(RegistryError, match="which is not there; they are in") as caught:
        Scorer.load("texture-lr")
    said = str(caught.value)
    assert f"should be in {old}/mlruns/coos-7/models/m-" in said and "\n" not in said
    program, *words = shlex.split(re.search("`(coos models relocate .*?)`", said)[1])
    assert program == "coos" and words[2:] == [str(old), str(new)]
    assert f"would say {new} instead of {old}" in coos(*words, "--dry-run")
    with pytest.raises(RegistryError, match="should be in"):
        Scorer.load("texture-lr")
    coos(*words)
    scored = Scorer.load("texture-lr").score(new_plate, new / "scores")
    place = Path(MlflowClient().get_run(scored.run_id).info.artifact_uri)
    assert place.is_relative_to(new) and (place / "drift.json").is_file()
    assert not old.exists()


def test_a_link_from_the_old_folder_to_the_new_one_does_too(moved):
    old, new = moved
    old.symlink_to(new)
    Scorer.load("texture-lr")


@pytest.mark.parametrize("command", ["show", "compare", "promote"])
def test_looking_at_a_moved_model_says_where_its_files_should_be(moved, command):
    old, _ = moved
    names = ["texture-lr/1"] * (1 + (command == "compare"))
    done = CliRunner().invoke(app, ["models", command, *names], env={"COLUMNS": "2000"})
    said = f"{done.output} {done.exception}"
    assert f"should be in {old}/mlruns/coos-7/models/m-" in said
    assert done.exit_code == (1 if command == "promote" else 0)


def test_a_training_does_not_make_the_folder_anew_that_was_moved(moved, trained):
    old, _ = moved
    with pytest.raises(RunNotLoggedError, match=r"experiment coos-7 keeps its files in .*relocate"):
        train(trained)
    assert not old.exists()


def test_a_training_recalls_a_version_whose_files_were_moved(moved, trained):
    coos("models", "relocate", *moved)
    (row,) = train(trained)
    assert not row.trained and set(row.errors) >= {"training", "test4"}


def test_files_that_are_nowhere_are_not_said_to_be_beside_the_database(store):
    folder = store("lab")
    shutil.rmtree(folder / "mlruns")
    with pytest.raises(RegistryError, match=r"move it back, or tell .* OLD NEW") as caught:
        Scorer.load("texture-lr")
    assert "`coos models prune texture-lr/1` deletes what is left" in str(caught.value)


def test_a_model_without_its_bundle_is_told_from_a_model_of_others(store):
    folder = store("lab")
    (file,) = (folder / "mlruns").rglob("artifacts/bundle/model.json")
    file.unlink()
    with pytest.raises(RegistryError, match=r"holds no artifacts/bundle/model\.json; bring"):
        Scorer.load("texture-lr")

    with run("of others", "e", {}) as active:
        mlflow.log_text("", "model/MLmodel")
    client, source = MlflowClient(), f"{active.info.artifact_uri}/model"
    client.create_registered_model("other")
    client.create_model_version("other", source, run_id=active.info.run_id)
    with pytest.raises(RegistryError, match="other version 1 is no cell classifier of coos-mlflow"):
        Scorer.load("other/1")


def test_folders_that_were_not_the_old_and_are_not_the_new_one_are_refused(store, tmp_path):
    folder = store("lab")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=f"names no file in {tmp_path}/elsewhere"):
        relocate(tmp_path / "elsewhere", tmp_path / "empty")
    with pytest.raises(DataError, match=r"holds none of the \d+ folders .* expected, for one,"):
        relocate(folder, tmp_path / "empty")
    Scorer.load("texture-lr")


def test_a_folder_whose_name_begins_alike_stays(store, tmp_path):
    folder = store("lab")
    shutil.copytree(folder, tmp_path / "la")
    with pytest.raises(DataError, match="names no file"):
        relocate(tmp_path / "la", tmp_path / "la")
    Scorer.load("texture-lr")


def test_places_that_are_uris_of_files_stay_uris(own_store, tmp_path):
    (tmp_path / "new" / "own").mkdir(parents=True)
    number = mlflow.create_experiment("own", f"file://{tmp_path}/old/own")
    assert relocate(tmp_path / "old", tmp_path / "new") == 1
    assert mlflow.get_experiment(number).artifact_location == f"file://{tmp_path}/new/own"


def test_a_read_only_store_is_not_changed_and_called_so(store, tmp_path, monkeypatch):
    folder = store("lab")
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///file:mlflow.db?mode=ro&uri=true")
    with pytest.raises(RegistryError, match=r"was not changed \(it is read-only\)"):
        relocate(folder, tmp_path / "copy")


def test_a_store_on_a_server_is_not_changed_from_here(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@127.0.0.1:9")
    with pytest.raises(RegistryError, match="is no SQLite file") as caught:
        relocate(tmp_path, tmp_path)
    assert "secret" not in str(caught.value)


def test_a_version_names_the_folder_of_its_files(store):
    folder = store("lab")
    place = Path(versions.artifact_location(versions.resolve("texture-lr")))
    assert place.is_relative_to(folder) and (place / "MLmodel").is_file()


def test_a_folder_that_another_process_makes_meanwhile_was_not_moved(own_store, monkeypatch):
    folder = Path(own_store.removeprefix("sqlite:///")).parent / "mlruns" / "coos-7"
    folder.mkdir(parents=True)
    looks, exists = [], Path.exists

    def not_at_first(self, **options):
        looks.append(self)
        return len(looks) > 1 and exists(self, **options)

    monkeypatch.setattr(Path, "exists", not_at_first)
    assert moved_from(str(folder)) is None
    assert looks[0] == folder
