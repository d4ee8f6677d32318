"""`best`: the best champion of a data set, by its error on left-out Training plates."""

from __future__ import annotations

from collections.abc import Callable

import mlflow
import pytest
from mlflow import MlflowClient

from coos_mlflow.errors import RegistryError
from coos_mlflow.registry import versions
from coos_mlflow.registry.runs import prepare_store

USUAL = {
    "fingerprint": "f",
    "dataset": "COOS-7",
    "simulated": "False",
    "representation": "texture",
    "training_classes": "7",
    "training_cells": "100",
    "left_out_by": "plates",
}

Put = Callable[..., str]


@pytest.fixture
def put(own_store, tmp_path) -> Put:
    """Factory ``put(name, kind, error, **tags)`` of champions without files."""
    prepare_store()
    client = MlflowClient()

    def make(name: str, kind: str, error: float, **tags: object) -> str:
        client.create_registered_model(name)
        said = USUAL | {"classifier": kind, "left_out_error": str(error)}
        said |= {tag: str(value) for tag, value in tags.items()}
        version = client.create_model_version(name, tmp_path.as_uri(), tags=said)
        client.set_registered_model_alias(name, versions.CHAMPION, version.version)
        return str(version.version)

    return make


def test_best_is_the_champion_with_the_lowest_left_out_error_whatever_the_splits_say(put):
    put("texture-knn", "knn", 9.0, error_test3=0.1)
    put("texture-lr", "lr", 3.0, error_test3=90)
    put("texture-rf", "rf", 4.0)
    found = versions.resolve("best")
    assert (found.name, found.alias) == ("texture-lr", "champion")
    assert versions.resolve("models:/best").uri == found.uri == "models:/texture-lr/1"


@pytest.mark.parametrize(
    "tags",
    [
        {"left_out_by": "cells"},
        {"left_out_by": "folds"},
        {"left_out_by": ""},
        {"adapted_from": 1},
        {"simulated": True, "dataset": "simulated"},
        {"training_classes": 2},
        {"left_out_error": "n/a"},
    ],
)
def test_errors_that_say_less_do_not_win(put, tags):
    put("texture-lr", "lr", 30.0)
    put("deeploc", "own", 0.1, representation="deeploc", **tags)
    assert versions.resolve("best").name == "texture-lr"


def test_a_network_that_saw_no_labels_may_win(put):
    put("texture-lr", "lr", 3.0)
    put("pci-lr", "lr", 2.0, representation="pci", left_out_by="network")
    assert versions.resolve("best").name == "pci-lr"


def test_equal_errors_go_by_name(put):
    put("texture-rf", "rf", 3.0)
    put("texture-lr", "lr", 3.0)
    assert versions.resolve("best").name == "texture-lr"


def test_other_data_sets_have_a_best_of_their_own(put):
    put("texture-lr", "lr", 3.0)
    put("lab.texture-rf", "rf", 1.0, dataset="lab")
    put("lab.own-net", "own", 2.0, dataset="lab", representation="own-net")
    assert versions.resolve("best").name == "texture-lr"
    assert versions.resolve("lab.best").name == "lab.texture-rf"
    with pytest.raises(RegistryError, match=r"there is best \(texture-lr\), lab\.best \(lab\.text"):
        versions.resolve("other.best")


def test_without_coos7_the_others_are_named(put):
    put("lab.texture-rf", "rf", 1.0, dataset="lab")
    with pytest.raises(RegistryError, match=r"best found, .* there is lab\.best \(lab\.texture-rf"):
        versions.resolve("best")


def test_without_any_model_the_message_says_so(put):
    with pytest.raises(RegistryError, match="none of other data sets"):
        versions.resolve("best")


def test_a_model_that_is_registered_as_best_comes_first(put):
    put("texture-lr", "lr", 3.0)
    put("best", "own", 50.0, representation="best")
    assert versions.resolve("best").name == "best"


@pytest.mark.parametrize("asked", ["best@champion", "best/1", "texture-best", "bester"])
def test_only_the_bare_name_means_the_best(put, asked):
    put("texture-lr", "lr", 3.0)
    with pytest.raises(RegistryError, match="is not in"):
        versions.resolve(asked)


def test_tags_are_read_and_no_files(put, monkeypatch):
    put("texture-lr", "lr", 3.0)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was asked for")

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", refuse)
    monkeypatch.setattr(mlflow.artifacts, "load_dict", refuse)
    monkeypatch.setattr(MlflowClient, "get_run", refuse)
    assert versions.resolve("best").name == "texture-lr"


def test_an_error_that_can_be_compared_makes_the_champion(put, tmp_path):
    put("net", "own", 0.1, representation="net", left_out_by="cells")
    tags = USUAL | {"fingerprint": "g", "left_out_error": "5", "left_out_by": "plates"}
    MlflowClient().create_model_version("net", tmp_path.as_uri(), tags=tags)
    assert versions.update_champion("net").version == "2"
