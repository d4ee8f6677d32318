"""Rows that wait for their store: what a try before has done is found, what it left torn is not."""

from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from coos_mlflow.registry import outbox
from coos_mlflow.registry.outbox import PendingModel
from coos_mlflow.registry.runs import prepare_store, run


@pytest.fixture
def row(own_store, tmp_path) -> PendingModel:
    prepare_store()
    (tmp_path / "row").mkdir()
    return PendingModel(tmp_path / "row")


@pytest.mark.parametrize("left", ["", "models:/", "models:/m-0", "models:/m-" + "0" * 32])
def test_a_note_that_a_full_disk_cut_or_whose_model_is_gone_says_nothing(row, left):
    assert row.logged() is None
    (row.folder / "logged.txt").write_text(left)
    assert row.logged() is None


@pytest.mark.parametrize("status", ["RUNNING", "FAILED"])
def test_the_run_of_a_model_that_was_logged_before_is_ended(row, status):
    with pytest.raises(ZeroDivisionError), run("lost", "e", {}) as active:
        made = mlflow.initialize_logged_model(source_run_id=active.info.run_id)
        raise ZeroDivisionError
    client = MlflowClient()
    client.update_run(active.info.run_id, status=status)
    (row.folder / "logged.txt").write_text(f"models:/{made.model_id}")
    assert row.logged() == f"models:/{made.model_id}"
    assert client.get_run(active.info.run_id).info.status == "FINISHED"


def test_a_store_that_does_not_say_whether_a_model_is_there_is_not_taken_to_have_none(
    row, monkeypatch
):
    def gone(_id):
        raise MlflowException("no answer")

    monkeypatch.setattr(mlflow, "get_logged_model", gone)
    (row.folder / "logged.txt").write_text("models:/m-" + "0" * 32)
    with pytest.raises(MlflowException, match="no answer"):
        row.logged()


def test_what_was_sent_leaves_no_lock(row):
    with row.lock():
        assert row.lock_file.is_file()
    outbox.forget(row)
    assert not row.folder.exists() and not row.lock_file.exists()
    outbox.forget(row)


def test_a_row_is_whole_or_is_none(row):
    assert not row.is_whole
    for facts in ("", "[]", '{"store": "s"}', '{"store": "", "tags": {"fingerprint": "f"}}'):
        (row.folder / "row.json").write_text(facts)
        assert not PendingModel(row.folder).is_whole
    (row.folder / "row.json").write_text('{"store": "s", "tags": {"fingerprint": "f"}}')
    assert PendingModel(Path(row.folder)).is_whole
    assert outbox.PendingModel(row.folder).store == "s"
