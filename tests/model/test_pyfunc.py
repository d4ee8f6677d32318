"""The model as it is loaded and served: what it takes, refuses and answers."""

import ast
import json
import subprocess
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import skops.io
from _coos7 import CLASSES
from mlflow.exceptions import MlflowException
from packaging.version import Version
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.tree import DecisionTreeClassifier

from coos_mlflow.classifiers import fit
from coos_mlflow.classifiers.kinds import kinds
from coos_mlflow.classifiers.protocol import Protocol
from coos_mlflow.errors import RegistryError
from coos_mlflow.model import bundle
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.model.digests import write_digests
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.registry.artifacts import SERVED_PACKAGES, pinned
from coos_mlflow.representations import create, names


@pytest.fixture(scope="module", params=["texture-knn", "texture-lr", "texture-rf"])
def model(request, trained):
    return mlflow.pyfunc.load_model(trained.row(request.param).model.uri)


@pytest.fixture(scope="module")
def cells(new_plate):
    with open_plate(new_plate) as plate:
        return next(plate.batches(12)).images


def test_answer_is_a_table_of_classes_and_probabilities(model, cells):
    table = model.predict(cells)
    probabilities = table[[f"p_{label}" for label in range(7)]].to_numpy()
    assert list(table.columns[:2]) == ["label", "class_name"] and len(table) == len(cells)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(table["label"], probabilities.argmax(axis=1))
    assert [CLASSES[label] for label in table["label"]] == list(table["class_name"])


def test_tensors_of_any_kind_and_flat_lists_give_the_same(model, cells):
    expected = model.predict(cells)
    flat = pd.DataFrame({"cell": list(cells.reshape(len(cells), -1))})
    lists = pd.DataFrame({"cell": [row.tolist() for row in cells.reshape(len(cells), -1)]})
    for same in (cells.astype(np.float32), cells.astype(np.int64), flat, lists):
        pd.testing.assert_frame_equal(model.predict(same), expected)


def test_one_cell_alone_is_scored_as_among_others(model, cells):
    together = model.predict(cells)
    alone = pd.concat([model.predict(cell[None]) for cell in cells], ignore_index=True)
    pd.testing.assert_frame_equal(alone, together, rtol=1e-6)


def spoilt(cells: np.ndarray) -> dict[str, object]:
    constant, negative = cells.copy(), cells.astype(np.int16)
    constant[3, 1] = 7
    negative[2, 0, 5, 5] = -1
    nan = cells.astype(np.float32)
    nan[1, 0, 0, 0] = np.nan
    columns = pd.DataFrame(np.ones((2, 3)))
    return {
        "scaled to": (cells / 65535.0).astype(np.float32),
        "cell 3.*constant": constant,
        "cell 2.*negative": negative,
        "cell 1.*finite": nan,
        "above 65535": cells.astype(np.int64) + 70000,
        "channels last": np.moveaxis(cells, 1, 3),
        "one channel": cells[:, :1],
        "3 axes": cells[0],
        "no cells": cells[:0],
        "columns '0', '1', '2' found": columns,
        "flat list of 8,192 counts": pd.DataFrame({"cell": [[1, 2, 3]]}),
        "cell 0 is missing": pd.DataFrame({"cell": [None]}),
        "dtype": np.array([["a"]]),
        "different lengths": pd.DataFrame({"cell": [[1, [2, 3]]]}),
        "cell 0, channel 0.*scaled to": np.stack([cells[:, 0] / 65535.0, cells[:, 1]], axis=1),
    }


@pytest.mark.parametrize("problem", list(spoilt(np.zeros((4, 2, 64, 64), np.uint16))))
def test_what_the_scorer_refuses_is_a_clean_bad_request(model, cells, problem):
    with pytest.raises(MlflowException, match=problem) as caught:
        model.predict(spoilt(cells)[problem])
    assert caught.value.get_http_status_code() == 400
    assert "\n" not in caught.value.message


def test_a_bundle_holds_no_pickle(trained):
    folder = mlflow.artifacts.download_artifacts(trained.row("texture-rf").model.uri)
    names = [p.name for p in Path(folder).rglob("*") if p.is_file()]
    assert "classifier.skops" in names and "reference.npz" in names
    assert not [n for n in names if n.endswith((".pkl", ".pickle", ".joblib"))]


def test_a_model_of_another_feature_version_is_refused(trained, tmp_path, monkeypatch):
    uri = trained.row("texture-lr").model.uri
    folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path)))
    said = next(folder.rglob("model.json"))
    text = said.read_text()
    said.write_text(text.replace('"representation_version": "1"', '"representation_version": "0"'))
    assert said.read_text() != text
    write_digests(said.parent)
    with pytest.raises(RegistryError, match="features of version 0"):
        CellModel.load(said.parent)


@pytest.mark.parametrize(("field", "value"), [("left_child", 0), ("right_child", 9999)])
def test_a_tree_that_points_astray_is_refused_before_it_predicts(tmp_path, field, value):
    rng = np.random.default_rng(0)
    forest = RandomForestClassifier(2, random_state=0).fit(rng.random((50, 4)), np.arange(50) % 7)
    tree = forest.estimators_[1].tree_
    state = tree.__getstate__()
    state["nodes"][field][0] = value
    tree.__setstate__(state)
    path = tmp_path / "classifier.skops"
    skops.io.dump(Pipeline([("classify", forest)]), path)
    with pytest.raises(RegistryError, match="outside it"):
        bundle.load_classifier(tmp_path)


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        (make_pipeline(ExtraTreesClassifier(2)), "holds a ExtraTreesClassifier"),
        (
            make_pipeline(SelectFromModel(DecisionTreeClassifier()), RandomForestClassifier(2)),
            "holds a SelectFromModel",
        ),
        (
            make_pipeline(OneVsRestClassifier(DecisionTreeClassifier())),
            "trees outside a random forest",
        ),
    ],
)
def test_a_tree_that_is_not_checked_is_refused(tmp_path, pipeline, words):
    rng = np.random.default_rng(0)
    skops.io.dump(
        pipeline.fit(rng.random((50, 4)), np.arange(50) % 7), tmp_path / "classifier.skops"
    )
    with pytest.raises(RegistryError, match=words):
        bundle.load_classifier(tmp_path)


class Foreign(LogisticRegression):
    """A type that this package never fits."""


def test_a_type_of_another_package_is_refused(tmp_path):
    foreign = Foreign().fit(np.eye(2), [0, 1])
    skops.io.dump(make_pipeline(foreign), tmp_path / "classifier.skops")
    with pytest.raises(RegistryError, match="holds types that this package does not fit"):
        bundle.load_classifier(tmp_path)


@pytest.mark.parametrize("kind", kinds())
def test_what_this_package_fits_is_loaded(tmp_path, kind):
    X = np.random.default_rng(0).random((50, 4))
    pipeline = fit.build_pipeline(kind, Protocol())
    if kinds()[kind].searched:
        pipeline.set_params(classify__n_estimators=3)
    plates = {"classify__plates": (np.arange(50) // 25).astype(str)} if kind == "plates" else {}
    fitted = pipeline.fit(X, np.arange(50) % 7, **plates)
    skops.io.dump(fitted, tmp_path / "classifier.skops")
    loaded = bundle.load_classifier(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))


def test_requirements_are_versions_that_the_package_index_has():
    versions = {"torch": "2.13.0+cpu", "numpy": "2.4.0", "mlflow": "3.17.2", "rich": "15.0rc1+a.b"}
    assert pinned({"torch", "numpy", "rich"}, versions) == [
        "numpy==2.4.0",
        "rich==15.0rc1",
        "torch==2.13.0",
    ]


def test_a_model_is_logged_with_them(trained):
    folder = Path(mlflow.artifacts.download_artifacts(trained.row("texture-lr").model.uri))
    needed = {*SERVED_PACKAGES, *create("texture").packages}
    versions = {name: Version(version(name)).public for name in needed}
    said = (folder / "requirements.txt").read_text().split()
    assert said == [f"{name}=={versions[name]}" for name in sorted(versions)]


LOADED = """
import importlib, json, sys

loaded = {}
for key in sys.argv[1:]:
    for name in [name for name in sys.modules if name.startswith("coos_mlflow")]:
        del sys.modules[name]
    importlib.import_module("coos_mlflow.model.mlflow_code")
    importlib.import_module(f"coos_mlflow.representations.{key}")
    own = (module for name, module in sys.modules.items() if name.startswith("coos_mlflow"))
    loaded[key] = [module.__file__ for module in own]
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """Files of this package that loading a model imports, by its representation."""
    command = [sys.executable, "-W", "ignore", "-c", LOADED, *names()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("key", names())
def test_a_model_asks_for_what_its_code_imports_and_no_more(loaded, key):
    """The packages of a served model, found by reading the modules that loading it imports."""
    owners, made = packages_distributions(), create(key)
    needed = {
        min(owners[name], key=len).lower()
        for part in (made, *made.parts)
        for file in loaded[part.key]
        for name in imported(Path(file))
        if name not in sys.stdlib_module_names and name != "coos_mlflow"
    }
    assert needed == {*SERVED_PACKAGES, *made.packages}


def imported(file: Path) -> set[str]:
    """Top-level names that a module imports when it is itself imported."""
    names = set()
    for node in ast.parse(file.read_text()).body:
        for part in ast.walk(node) if isinstance(node, ast.Try) else [node]:
            if isinstance(part, ast.Import):
                names |= {alias.name.split(".")[0] for alias in part.names}
            elif isinstance(part, ast.ImportFrom):
                names.add(str(part.module).split(".")[0])
    return names
