"""What may be given for a tracking store; looking for one makes nothing."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from typer.testing import CliRunner

from coos_mlflow.cli.main import app
from coos_mlflow.errors import DataError, RegistryError, RunNotLoggedError
from coos_mlflow.registry import retry
from coos_mlflow.registry.runs import prepare_store, run
from coos_mlflow.registry.store_uri import sqlite_file, understood


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder that is the current one, with another beside it."""
    for name in ("here", "beside"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    # So that what --tracking-uri sets is put back.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///unused.db")
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("said", "file"),
    [
        ("mlflow.db", "mlflow.db"),
        ("./sub/mlflow.db", "sub/mlflow.db"),
        ("../beside/x.sqlite", "../beside/x.sqlite"),
        ("sqlite:mlflow.db", "mlflow.db"),
        ("sqlite://mlflow.db", "mlflow.db"),
        ("SQLite:///mlflow.db", "mlflow.db"),
        (" sqlite:///mlflow.db \n", "mlflow.db"),
        ("sqlite:///sub/mlflow.db", "sub/mlflow.db"),
        ("sqlite:///./tmp/mlflow.db", "tmp/mlflow.db"),
    ],
)
def test_a_path_or_a_misspelt_uri_of_a_database_is_understood(here, said, file):
    assert sqlite_file(understood(said)).resolve() == (here / file).resolve()


def test_whole_paths_and_those_of_the_home_folder_are_understood(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    for said in (f"{here}/x.db", "~/x.db", "sqlite:///~/x.db", f"sqlite:{here}/x.db"):
        assert understood(said) == f"sqlite:///{here}/x.db"
    assert understood(f"file://{here}/x.db") == f"sqlite:///{here}/x.db"


def test_a_folder_with_a_database_means_the_database(here):
    (here / "mlflow.db").touch()
    assert understood(".") == understood(str(here)) == f"sqlite:///{here}/mlflow.db"


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:5000",
        "postgresql+psycopg2://coos@db/mlflow",
        "databricks",
        "sqlite:////data/mlflow.db",
        "sqlite:///mlflow.db",
        "sqlite://",
        "sqlite:///file:mlflow.db?mode=ro&uri=true",
    ],
)
def test_other_uris_of_mlflow_stay_as_they_are(here, uri):
    assert understood(uri) == uri


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", "is empty; expected sqlite:///mlflow.db"),
        ("  ", "is empty; expected sqlite:///mlflow.db"),
        ("../beside", "is a folder, and MLflow keeps its runs in a database; expected sqlite:///"),
        ("mlruns/", "is a folder"),
        (r"C:\store\mlflow.db", "is a path of Windows"),
        ("sqlite:///C:/store/mlflow.db", "is a path of Windows"),
        ("registry:5000", "is not understood; expected sqlite:///mlflow.db"),
    ],
)
def test_what_is_no_store_is_answered_with_the_right_form(here, said, words):
    with pytest.raises(DataError) as caught:
        understood(said)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_two_slashes_before_a_whole_path_are_answered_with_four(here):
    with pytest.raises(DataError, match=f"expected sqlite:///{here.parent}/beside/mlflow.db "):
        understood(f"sqlite://{here.parent}/beside/mlflow.db")


def test_an_old_folder_of_mlflow_is_named_where_no_store_is(here, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (here / "mlruns" / "0").mkdir(parents=True)
    (here / "mlruns" / "0" / "meta.yaml").write_text("experiment_id: '0'\n")
    with pytest.raises(DataError, match=r"mlruns' is a folder, and MLflow keeps"):
        prepare_store()


LOOKING = [
    ("models", "list"),
    ("models", "show", "texture-lr"),
    ("models", "compare", "texture-lr/1", "texture-lr/2"),
    ("models", "relocate", "old", "new", "--dry-run"),
    ("drift", "history", "--model", "texture-lr"),
    ("sync", "--dry-run"),
    ("score", "plate.h5", "--model", "texture-lr", "--dry-run"),
    ("score", "plate.h5", "--model", "texture-lr"),
]


@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
@pytest.mark.parametrize("uri", ["sqlite:///typo/mlflow.db", "mlflow.db", " sqlite:///m.db "])
def test_looking_into_a_store_that_is_not_there_makes_nothing(here, make_plate, command, uri):
    shutil.move(make_plate(), "plate.h5")
    done = CliRunner().invoke(app, [*command, "--tracking-uri", uri])
    assert isinstance(done.exception, RegistryError), done.output
    assert "no such store" in str(done.exception)
    assert [path.name for path in here.iterdir()] == ["plate.h5"]


def test_the_rows_of_a_table_are_listed_without_a_store(here):
    done = CliRunner().invoke(app, ["table3", "--dry-run", "--tracking-uri", "mlflow.db"])
    assert done.exit_code == 0 and not list(here.iterdir())


@pytest.mark.parametrize("tables", [0, 1])
def test_looking_does_not_fill_a_database_that_is_empty_or_of_others(here, tables):
    with closing(sqlite3.connect("x.db")) as store:
        for number in range(tables):
            store.execute(f"CREATE TABLE mine{number} (x)")
    before = Path("x.db").read_bytes()
    done = CliRunner().invoke(app, ["models", "list", "--tracking-uri", "x.db"])
    assert "no such store, nothing of MLflow is in it" in str(done.exception)
    assert Path("x.db").read_bytes() == before
    assert [path.name for path in here.iterdir()] == ["x.db"]


def test_a_database_that_cannot_be_made_is_said_at_once(here, monkeypatch):
    monkeypatch.setattr("mlflow.store.db.utils.time.sleep", lambda _: pytest.fail("it waits"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/mlflow.db")
    with pytest.raises(RegistryError, match=r"/proc/mlflow.db does not answer \(.*unable to open"):
        prepare_store()


@pytest.fixture
def only_read(own_store, tmp_path, monkeypatch):
    """A store in which nothing can be written."""
    prepare_store()
    mlflow.create_experiment("coos-7")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///file:mlflow.db?mode=ro&uri=true")
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits"))


def test_a_read_only_store_is_called_so(only_read, tmp_path):
    with pytest.raises(RunNotLoggedError) as caught, run("texture", "coos-7", {}):
        pass
    said = str(caught.value)
    assert f"sqlite:///{tmp_path}/mlflow.db" in said and "autoflush" not in said
    assert "the tracking store is read-only: make its file and its folder writable" in said


def test_a_read_only_registry_is_called_so_and_not_waited_for(only_read):
    with pytest.raises(mlflow.MlflowException, match="readonly") as caught:
        retry.with_retry(lambda: mlflow.MlflowClient().create_registered_model("texture-lr"))
    assert retry.is_read_only(caught.value)
