"""What was finished while the tracking store was away is kept, said, and logged later."""

import shutil

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from stores import forget_experiment
from typer.testing import CliRunner

from coos_mlflow.cli.main import app
from coos_mlflow.errors import OutputError, RegistryError, RunNotLoggedError
from coos_mlflow.registry import artifacts, outbox, retry, versions
from coos_mlflow.registry.results import PREDICTIONS, RESULTS
from coos_mlflow.registry.runs import SCORING_EXPERIMENT, TRAINING_EXPERIMENT
from coos_mlflow.representations import create
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.training import train as baselines
from coos_mlflow.training.data import choose

OVERRIDES = {"cv_folds": 2, "seed": 7}


@pytest.fixture
def store(own_store, monkeypatch):
    """A fresh store; `store.lose()` and `store.come_back()`."""

    class Store:
        def lose(self):
            def gone(*_args, **_options):
                raise MlflowException("the store is gone\nand more")

            for name in ("log_metrics", "log_artifact", "log_dict", "search_runs"):
                monkeypatch.setattr(mlflow, name, gone)
            monkeypatch.setattr(versions, "find_version", gone)
            monkeypatch.setattr(retry, "RETRY_SECONDS", 0)

        def come_back(self):
            monkeypatch.undo()
            monkeypatch.setenv("MLFLOW_TRACKING_URI", own_store)

    return Store()


@pytest.fixture(scope="module", autouse=True)
def small_figures():
    """Draw what is logged in few pixels and without its layout, which takes most of the time."""
    drawn = artifacts.confusion_figure

    def small(*of_what):
        figure = drawn(*of_what)
        figure.set(dpi=10, layout_engine="none")
        return figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "confusion_figure", small)
        yield


@pytest.fixture(scope="module")
def with_model(trained, empty_store, tmp_path_factory):
    """A store's file with texture-lr in it and no scoring, to be copied."""
    file = shutil.copy(empty_store, tmp_path_factory.mktemp("with_model") / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
        forget_experiment(patch)
        train(trained, ["lr"])
    return file


@pytest.fixture
def stocked(with_model, store, own_store):
    """`store`, with texture-lr in it."""
    shutil.copy(with_model, own_store.removeprefix("sqlite:///"))
    return store


def train(trained, kinds=("lr", "knn")):
    texture = create("texture")
    rows = baselines.rows_of(texture, kinds)
    return baselines.train_rows(texture, choose(str(trained.data)), rows=rows, overrides=OVERRIDES)


def coos(*arguments):
    done = CliRunner().invoke(app, ["sync", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def statuses(experiment):
    runs = mlflow.search_runs(experiment_names=[experiment], output_format="list")
    return sorted(run.info.status for run in runs)


def test_rows_are_all_fitted_kept_and_registered_later(trained, store, monkeypatch):
    store.lose()
    with pytest.raises(RunNotLoggedError) as lost:
        train(trained)
    sentences = str(lost.value).splitlines()
    assert [s.count("`coos sync`") for s in sentences] == [1, 1]
    assert all("the store is gone" in s and "kept in" in s for s in sentences)
    assert lost.value.exit_code == 3
    assert {row.facts["name"] for row in outbox.pending_models()} == {"texture-lr", "texture-knn"}

    store.come_back()
    said = coos("--dry-run")
    assert "would log" in said and "(texture-lr)" in said and "(texture-knn)" in said
    assert len(list(outbox.pending_models())) == 2
    said = coos()
    assert "registered texture-lr version 1" in said and "registered texture-knn version 1" in said
    assert "nothing waits" in coos()
    # The outer run says that it failed.
    assert statuses(TRAINING_EXPERIMENT) == ["FAILED"] + ["FINISHED"] * 2
    champion = versions.resolve("texture-lr@champion")
    assert champion.tags["cv_error"] and Scorer.load("texture-lr").model == champion
    monkeypatch.setattr(baselines, "fit_row", None)
    assert [row.trained for row in train(trained)] == [False, False]


def test_the_same_command_logs_what_is_kept_and_fits_nothing_again(trained, store, monkeypatch):
    store.lose()
    with pytest.raises(RunNotLoggedError):
        train(trained)
    store.come_back()
    monkeypatch.setattr(baselines, "fit_row", None)
    rows = train(trained)
    assert [row.model.version for row in rows] == ["1", "1"]
    assert rows[0].errors == {s: e.balanced_error for s, e in rows[0].evaluations.items()}
    assert list(outbox.pending_models()) == []


def test_a_kept_row_of_another_release_is_refused_and_stays(trained, store):
    store.lose()
    with pytest.raises(RunNotLoggedError):
        train(trained)
    store.come_back()
    for row in outbox.pending_models():
        facts = (row.folder / "row.json").read_text()
        (row.folder / "row.json").write_text(
            facts.replace('"package_version": "0.1.0"', '"package_version": "0.0.1"')
        )
    with pytest.raises(RegistryError, match=r"made by coos-mlflow 0\.0\.1"):
        coos()
    assert len(list(outbox.pending_models())) == 2
    for row in outbox.pending_models():
        outbox.forget(row)


def test_a_full_cache_is_said_in_one_sentence(trained, store, small_disk, monkeypatch):
    disk = small_disk(50_000)
    (disk / "rows").mkdir()
    monkeypatch.setattr(outbox, "cache_home", lambda: disk)
    with pytest.raises(OutputError, match="fitted model cannot be kept there"):
        baselines.train_rows(
            create("texture"),
            choose(str(trained.data)),
            rows=baselines.rows_of(create("texture"), ["lr"]),
            overrides=OVERRIDES | {"inverse_penalty": 2.0},
        )


def test_a_scoring_is_logged_later_from_its_results(stocked, make_plate, tmp_path):
    scorer = Scorer.load("texture-lr")
    stocked.lose()
    with pytest.raises(RunNotLoggedError, match=r"results are there.*store is gone.*`coos sync`"):
        scorer.score(make_plate(), tmp_path / "out")
    before = (tmp_path / "out" / "plate" / "drift.json").read_bytes()
    stocked.come_back()
    assert "would log" in coos("--dry-run")
    assert "logged" in coos()
    assert "nothing waits" in coos()
    (run,) = mlflow.search_runs(
        experiment_names=[SCORING_EXPERIMENT],
        filter_string="attributes.status = 'FINISHED'",
        output_format="list",
    )
    assert run.data.metrics["n_cells"] == 24 and run.data.metrics["seconds"] > 0
    assert run.data.tags["model"] == "texture-lr/1"
    listed = {file.path for file in MlflowClient().list_artifacts(run.info.run_id)}
    assert listed == {*RESULTS} - {PREDICTIONS}
    assert (tmp_path / "out" / "plate" / "drift.json").read_bytes() == before
    # The same command finds this run.
    assert scorer.score(make_plate(), tmp_path / "out").run_id == run.info.run_id


def test_results_of_another_machine_are_logged_by_their_folder(stocked, make_plate, tmp_path):
    scorer = Scorer.load("texture-lr")
    stocked.lose()
    with pytest.raises(RunNotLoggedError):
        scorer.score(make_plate(), tmp_path / "out")
    stocked.come_back()
    for note in outbox.pending_runs():
        note.forget()
    assert "nothing waits" in coos()
    (tmp_path / "out" / "notes").mkdir()
    assert "would log" in coos(tmp_path / "out", "--dry-run")
    run_id = coos(tmp_path / "out").split()[-1]
    for words in ((), ("--dry-run",)):
        assert f"is logged already, as run {run_id}\n" in coos(tmp_path / "out", *words)
    assert statuses(SCORING_EXPERIMENT).count("FINISHED") == 1


def test_results_that_were_removed_are_forgotten(stocked, make_plate, tmp_path):
    scorer = Scorer.load("texture-lr")
    stocked.lose()
    with pytest.raises(RunNotLoggedError):
        scorer.score(make_plate(), tmp_path / "out")
    stocked.come_back()
    (tmp_path / "out" / "plate" / "predictions.parquet").unlink()
    assert "holds no such results any more" in coos()
    (note,) = outbox.pending_runs()
    note.forget()


def test_a_folder_that_is_not_there_is_named(store, tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        coos(tmp_path / "nowhere")


@pytest.mark.parametrize("moment", ["register", "update_champion"])
def test_what_was_done_before_the_store_went_is_not_done_again(trained, store, monkeypatch, moment):
    def gone(*_args, **_options):
        raise MlflowException("the store is gone")

    monkeypatch.setattr(versions, moment, gone)
    with pytest.raises(RunNotLoggedError, match="store is gone"):
        baselines.train_rows(
            create("texture"),
            choose(str(trained.data)),
            rows=baselines.rows_of(create("texture"), ["lr"]),
            overrides=OVERRIDES,
        )
    (row,) = outbox.pending_models()
    store.come_back()
    uri = row.logged()
    assert "registered texture-lr version 1" in coos()
    assert statuses(TRAINING_EXPERIMENT) == ["FAILED", "FINISHED"]
    (experiment,) = mlflow.search_experiments(filter_string=f"name = '{TRAINING_EXPERIMENT}'")
    models = MlflowClient().search_logged_models(experiment_ids=[experiment.experiment_id])
    assert len(models) == 1
    assert f"models:/{versions.resolve('texture-lr').model_id}" == uri
    assert outbox.pending_models() == []


def test_who_interrupts_the_logging_can_log_it_later(stocked, make_plate, tmp_path, monkeypatch):
    scorer = Scorer.load("texture-lr")

    def interrupted(_results):
        raise KeyboardInterrupt

    monkeypatch.setattr(outbox, "log_results", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scorer.score(make_plate(), tmp_path / "out")
    stocked.come_back()
    assert "logged" in coos() and outbox.pending_runs() == []


def test_what_was_made_for_another_store_waits_for_it(trained, store, tmp_path, monkeypatch):
    store.lose()
    with pytest.raises(RunNotLoggedError):
        train(trained)
    store.come_back()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    said = coos()
    assert said.count(f"waits for sqlite:///{tmp_path}/mlflow.db; --any-store logs it here") == 2
    assert "nothing waits" in said and len(outbox.pending_models()) == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with outbox.pending_models()[0].lock():
        assert "is being logged by another process" in coos()
    assert coos().count("registered texture-") == 1
    assert outbox.pending_models() == []


def test_a_scoring_is_logged_where_no_cache_can_be_written(
    stocked, make_plate, tmp_path, monkeypatch
):
    scorer = Scorer.load("texture-lr")
    (tmp_path / "file").touch()
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "file" / "cache"))
    run_id = scorer.score(make_plate(), tmp_path / "out").run_id
    assert mlflow.get_run(run_id).info.status == "FINISHED"
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    with pytest.raises(OutputError, match=r"cache/unsent: the cache folder cannot be made"):
        coos(tmp_path / "copy")
