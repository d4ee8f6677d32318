"""Aliases moved and pinned, versions deleted, on a SQLite registry of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from coos_mlflow import __version__
from coos_mlflow.errors import RegistryError
from coos_mlflow.registry import inspect, manage, versions
from coos_mlflow.registry.inspect import version_of, versions_of
from coos_mlflow.registry.manage import delete, promote, prunable, prunable_version, release
from coos_mlflow.registry.runs import prepare_store

NAME = "shelf"
Put = Callable[..., str]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """A registry that no other test file uses."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def put(store, tmp_path, monkeypatch) -> Iterator[Put]:
    """Factory of versions of one model, each with a LoggedModel; keywords are tags, None drops."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    prepare_store()
    client = MlflowClient()
    experiment = client.create_experiment(tmp_path.name, artifact_location=tmp_path.as_uri())
    client.create_registered_model(NAME)

    def make(name: str = NAME, **tags: object) -> str:
        run = client.create_run(experiment)
        logged = client.create_logged_model(experiment, source_run_id=run.info.run_id)
        Model(model_id=logged.model_id).save(tmp_path / "MLmodel")
        client.log_model_artifact(logged.model_id, str(tmp_path / "MLmodel"))
        usual = {
            "fingerprint": run.info.run_id,
            "package_version": __version__,
            "simulated": False,
            "layer": "fc2",
            "training_classes": 7,
        }
        given = (usual | tags).items()
        plain = {key: str(value) for key, value in given if value is not None}
        source = f"models:/{logged.model_id}"
        made = client.create_model_version(name, source, run.info.run_id, tags=plain)
        return str(made.version)

    yield make
    client.delete_registered_model(NAME)


def holders(name: str = NAME) -> dict[str, str]:
    return {a: str(v) for a, v in MlflowClient().get_registered_model(name).aliases.items()}


def test_training_leaves_a_promoted_version_its_alias(put):
    put(left_out_error=9.0)
    best = put(left_out_error=1.0)
    versions.update_champion(NAME)
    assert holders() == {"champion": best, "fc2": best}
    move = promote(f"{NAME}/1", "champion")
    assert (move.before, move.after, move.pinned) == (best, "1", True)
    better = put(left_out_error=0.5)
    assert versions.update_champion(NAME).version == "1"
    assert holders() == {"champion": "1", "fc2": better}
    assert [v.pinned for v in versions_of(NAME)] == [("champion",), (), ()]


def test_a_pinned_alias_that_was_moved_goes_back_to_its_pin(put):
    put(left_out_error=9.0)
    put(left_out_error=1.0)
    promote(f"{NAME}/1", "champion")
    MlflowClient().set_registered_model_alias(NAME, "champion", "2")
    assert versions.update_champion(NAME).version == "1"


def test_without_its_pin_an_alias_goes_to_the_best_again(put):
    put(left_out_error=9.0)
    best = put(left_out_error=1.0)
    promote(f"{NAME}/1", "champion")
    planned = release(NAME, "champion", dry_run=True)
    assert holders()["champion"] == "1"
    move = release(NAME, "champion")
    assert move == planned and (move.before, move.after) == ("1", best)
    assert holders()["champion"] == best
    assert all(not version.pinned for version in versions_of(NAME))


def test_a_pin_on_a_version_that_somebody_deleted_holds_nothing(put):
    put(left_out_error=9.0)
    best = put(left_out_error=1.0)
    promote(f"{NAME}/1", "champion")
    MlflowClient().delete_model_version(NAME, "1")
    with pytest.raises(RegistryError, match=f"coos models promote {NAME}/VERSION --alias champion"):
        versions.resolve(NAME)
    assert versions.update_champion(NAME).version == best


def test_an_alias_that_training_does_not_move_is_not_pinned(put):
    put()
    put()
    assert promote(f"{NAME}/1", "in-use").pinned is False
    assert promote(f"{NAME}/2", "in-use").before == "1"
    assert holders()["in-use"] == "2"
    with pytest.raises(RegistryError, match="only champion, fc2"):
        release(NAME, "in-use")


def test_a_dry_run_changes_nothing(put):
    put(left_out_error=1.0)
    put(left_out_error=2.0)
    versions.update_champion(NAME)
    assert promote(f"{NAME}/2", "champion", dry_run=True).after == "2"
    assert holders()["champion"] == "1" and versions.update_champion(NAME).version == "1"


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"simulated": True}, "simulated cells, version 1, which holds the alias, on real ones"),
        ({"training_classes": 6}, "it knows 6 classes, version 1, which holds the alias, 7"),
    ],
)
def test_a_doubtful_champion_takes_force(put, tags, why):
    put(left_out_error=9.0)
    put(**tags)
    versions.update_champion(NAME)
    for dry_run in (True, False):
        with pytest.raises(RegistryError, match=why):
            promote(f"{NAME}/2", "champion", dry_run=dry_run)
    assert holders()["champion"] == "1"
    assert len(promote(f"{NAME}/2", "champion", force=True).overruled) == 1
    assert holders()["champion"] == "2"


def test_a_layers_alias_takes_a_version_on_that_layer(put):
    put()
    put(layer="fc1")
    with pytest.raises(RegistryError, match="its layer is fc1"):
        promote(f"{NAME}/2", "fc2")
    promote(f"{NAME}/2", "champion")
    promote(f"{NAME}/2", "fc1")


def test_what_another_release_series_made_is_refused_whatever_the_force(put):
    for version in ("9.0.0", "", "None", "0.1; rm -r"):
        number = put(package_version=version)
        with pytest.raises(RegistryError, match="train it again"):
            promote(f"{NAME}/{number}", "champion", force=True)
    assert holders() == {}


def test_a_version_of_others_is_refused(put):
    put(fingerprint=None)
    with pytest.raises(RegistryError, match="no cell classifier"):
        promote(f"{NAME}/1", "champion", force=True)
    with pytest.raises(RegistryError, match="no cell classifier"):
        prunable_version(f"{NAME}/1")
    assert prunable(NAME, keep=0) == []


@pytest.mark.parametrize("gone", ["logged model", "files"])
def test_a_version_whose_files_are_gone_is_refused(put, tmp_path, gone):
    put()
    model = version_of(f"{NAME}/1").model
    if gone == "logged model":
        MlflowClient().delete_logged_model(model.model_id)
    else:
        for file in tmp_path.rglob("MLmodel"):
            file.unlink()
    with pytest.raises(RegistryError, match=f"deleted or damaged, `coos models prune {NAME}/1`"):
        promote(f"{NAME}/1", "champion", force=True)


@pytest.mark.parametrize(
    "alias", ["latest", "Latest", "v3", "V12", "", "a b", "a@b", "é", "x" * 201]
)
def test_an_alias_that_mlflow_reserves_or_cannot_hold_is_refused(alias):
    with pytest.raises(RegistryError, match="expected letters"):
        promote(f"{NAME}/1", alias, force=True)


def test_an_alias_that_is_no_reserved_name_is_taken(put):
    put(layer="x" * 200)
    taken = {"v": "1", "v3a": "1", "latest-one": "1", "x" * 200: "1"}
    for alias in taken:
        promote(f"{NAME}/1", alias)
    assert holders().items() >= taken.items()
    assert len(versions_of(NAME)[0].pinned) == 1


def test_a_name_with_a_version_has_no_automatic_alias():
    with pytest.raises(RegistryError, match="name alone"):
        release(f"{NAME}/1", "champion")


def test_only_what_no_alias_needs_may_go(put):
    for error in (5.0, 4.0, 1.0, 3.0, 2.0, 6.0):
        put(left_out_error=error)
    versions.update_champion(NAME)
    promote(f"{NAME}/2", "in-use")
    assert [v.number for v in prunable(NAME, keep=0)] == [1, 4, 5, 6]
    assert [v.number for v in prunable(NAME, keep=2)] == [1, 4]
    assert prunable(NAME, keep=9) == []
    assert prunable(NAME, keep=0, older_than=1) == []
    assert len(prunable(NAME, keep=0, older_than=0)) == 4
    with pytest.raises(RegistryError, match=f"in-use and stays; .*promote {NAME}/VERSION"):
        prunable_version(f"{NAME}/2")


def test_a_pin_protects_a_version_whose_alias_is_elsewhere(put):
    put(left_out_error=9.0)
    put(left_out_error=1.0)
    promote(f"{NAME}/1", "champion")
    MlflowClient().set_registered_model_alias(NAME, "champion", "2")
    assert prunable(NAME, keep=0) == []
    with pytest.raises(RegistryError, match="champion"):
        prunable_version(f"{NAME}/1")


def test_deleting_takes_the_files_and_leaves_the_run(put):
    put()
    version = version_of(f"{NAME}/1")
    assert delete(version).deleted
    client = MlflowClient()
    assert versions_of(NAME) == []
    with pytest.raises(MlflowException):
        client.get_logged_model(version.model.model_id)
    assert client.get_run(version.model.run_id).info.lifecycle_stage == "active"
    again = delete(version)
    assert not again.deleted and "Another process or user" in again.notes[0]


def test_the_run_goes_too_when_asked(put):
    put()
    version = version_of(f"{NAME}/1")
    assert delete(version, with_run=True) == manage.Pruned(version, True)
    assert MlflowClient().get_run(version.model.run_id).info.lifecycle_stage == "deleted"


def test_what_could_not_be_deleted_beside_a_version_is_named(put, monkeypatch):
    def refused(*_):
        raise MlflowException("no right to")

    put()
    version = version_of(f"{NAME}/1")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "delete_logged_model", refused)
        patch.setattr(MlflowClient, "delete_run", refused)
        pruned = delete(version, with_run=True)
    assert pruned.deleted and versions_of(NAME) == []
    files, run = pruned.notes
    assert version.model.model_id in files and version.model.run_id in run
    assert all("(no right to)" in note for note in pruned.notes)


def test_an_alias_set_since_the_list_was_made_keeps_the_version(put):
    put()
    (version,) = prunable(NAME, keep=0)
    promote(f"{NAME}/1", "in-use")
    kept = delete(version)
    assert not kept.deleted and "in-use" in kept.notes[0]
    assert holders()["in-use"] == "1"


def test_an_alias_moved_at_the_very_moment_is_given_back(put, monkeypatch):
    put()
    put()
    MlflowClient().set_registered_model_alias(NAME, "in-use", "2")
    version = version_of(f"{NAME}/1")
    whole = MlflowClient.delete_model_version

    def overtaken(self, name, number):
        self.set_registered_model_alias(name, "in-use", "1")
        whole(self, name, number)

    monkeypatch.setattr(MlflowClient, "delete_model_version", overtaken)
    pruned = delete(version)
    assert pruned.deleted and "points to version 2 again" in pruned.notes[0]
    assert holders()["in-use"] == "2"


def test_an_alias_that_another_takes_away_at_once_is_no_success(put, monkeypatch):
    put()
    put()
    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", lambda *_: None)
    with pytest.raises(RegistryError, match="points to no version now: another process"):
        promote(f"{NAME}/1", "in-use")


def test_files_and_runs_that_another_version_uses_stay(put):
    put()
    client, version = MlflowClient(), version_of(f"{NAME}/1")
    client.create_registered_model("copy")
    try:
        client.copy_model_version(version.model.uri, "copy")
        pruned = delete(version, with_run=True)
        assert pruned.deleted and len(pruned.notes) == 2
        assert client.get_logged_model(version.model.model_id)
        assert client.get_run(version.model.run_id).info.lifecycle_stage == "active"
        assert version_of("copy/1").model.model_id is None
    finally:
        client.delete_registered_model("copy")


def test_models_are_found_beyond_the_first_page(put, monkeypatch):
    put(left_out_error=1.0)
    versions.update_champion(NAME)
    client = MlflowClient()
    others = [f"a{number}" for number in range(3)]
    for name in others:
        client.create_registered_model(name)
    try:
        whole = MlflowClient.search_registered_models
        monkeypatch.setattr(
            MlflowClient,
            "search_registered_models",
            lambda self, **asked: whole(self, max_results=2, **asked),
        )
        assert [m.name for m in versions.registered_models()] == [*others, NAME]
        crowned, headless = inspect.champions()
        assert [v.model.name for v in crowned] == [NAME] and headless == []
        client.delete_registered_model_alias(NAME, "champion")
        assert inspect.champions() == ([], [NAME])
    finally:
        for name in others:
            client.delete_registered_model(name)
