"""`coos adapt` from labels beside results to a version of the plate, and back to its scores."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from stores import forget_experiment
from typer.testing import CliRunner

from coos_mlflow.audit.labels_file import CANNOT_SEE, NONE_WORDS, append, sample_of
from coos_mlflow.cli.main import app
from coos_mlflow.errors import CoosError, DataError, RegistryError, RunNotLoggedError
from coos_mlflow.labelling.adapt import choice, collect
from coos_mlflow.labelling.adapt.plate import adapt
from coos_mlflow.model import bundle
from coos_mlflow.plates.layout import read_layout
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.registry import outbox, retry, versions
from coos_mlflow.registry.results import AUDIT
from coos_mlflow.scoring.audited import frame_of, new_label, order_of
from coos_mlflow.scoring.scorer import Scorer


@pytest.fixture(autouse=True)
def few_folds(monkeypatch):
    monkeypatch.setattr(choice, "FOLDS", 3)
    monkeypatch.setattr(choice, "INNER_FOLDS", 2)


@pytest.fixture
def store(trained, tmp_path, monkeypatch) -> str:
    """A copy of the store with the trained models."""
    shared = os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")
    file = shutil.copy(shared, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    forget_experiment(monkeypatch)
    return f"sqlite:///{file}"


@pytest.fixture(scope="module")
def scored(trained, new_plate, tmp_path_factory) -> Path:
    """Results of the plate by texture-lr, without labels."""
    out = tmp_path_factory.mktemp("scores")
    return Scorer.load("texture-lr").score(new_plate, out, log=False).job.folder


@pytest.fixture
def results(scored, store, tmp_path) -> Path:
    return Path(shutil.copytree(scored, tmp_path / "scores" / scored.name))


@pytest.fixture
def labelled(results, new_plate):
    """Factory ``labelled(n)`` of results with the true labels of n cells."""

    def label(n: int, answers: dict[int, str] | None = None) -> Path:
        drift = json.loads((results / "drift.json").read_text())
        names = [one["name"] for one in drift["dataset"]["classes"]]
        frame = frame_of(results, drift)
        order, sample = order_of(frame), sample_of(drift)
        with open_plate(new_plate) as plate:
            truths = plate.labels
        append(
            results / AUDIT,
            [
                new_label(
                    frame,
                    order,
                    place,
                    (answers or {}).get(place, names[truths[frame.cells[order[place]]]]),
                    "Ada",
                    sample,
                )
                for place in range(n)
            ],
        )
        return results

    return label


def coos(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    if isinstance(done.exception, CoosError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def error_of(folder: Path, plate: Path) -> float:
    import pandas as pd

    with open_plate(plate) as opened:
        truths = opened.labels
    labels = pd.read_parquet(folder / "predictions.parquet")["label"].to_numpy()
    return 100 * float(np.mean([np.mean(labels[truths == c] != c) for c in np.unique(truths)]))


def test_a_version_for_the_plate_is_registered_and_scores_it_better(labelled, new_plate, tmp_path):
    folder = labelled(60)
    said = coos("adapt", folder)
    assert "60 cells of new_plate.h5 labelled by Ada" in said
    for title in ("class weights", "plate offset", "last layer"):
        assert f"  {title}, penalty" in said
    command = next(line for line in said.splitlines() if "coos-score" in line)
    assert "--model texture-lr@plate-new_plate" in command

    model = versions.resolve("texture-lr@plate-new_plate")
    parent = versions.resolve("texture-lr/1")
    assert model.version == "2" and model.tags["adapted_from"] == "1"
    drift = json.loads((folder / "drift.json").read_text())
    assert model.tags["adapted_plate"] == "new_plate.h5"
    assert model.tags["adapted_plate_sha256"] == drift["plate_file"]["sha256"]
    assert model.tags["adapted_labels"] == "60"
    before, after = (float(model.tags[f"adapted_error_{when}"]) for when in ("before", "after"))
    assert after < before
    for tag in ("dataset", "dataset_digest", "layer", "classifier", "training_cells", "simulated"):
        assert model.tags[tag] == parent.tags[tag]
    assert not any(tag.startswith("error_") for tag in model.tags)

    # Neither champion nor the alias of its layer, even after the next training.
    versions.update_champion("texture-lr")
    for alias in ("champion", parent.tags["layer"]):
        assert versions.resolve(f"texture-lr@{alias}").version == "1"

    run = mlflow.get_run(model.run_id)
    assert run.data.tags["adapted_from"] == "1" and run.data.metrics["adapted_labels"] == 60
    assert run.data.metrics["adapted_error_after"] == pytest.approx(after, rel=1e-5)
    (plate,) = [given.dataset for given in run.inputs.dataset_inputs]
    assert plate.name == "new_plate.h5"
    description = MlflowClient().get_model_version("texture-lr", "2").description
    assert description.startswith(
        r"Adapted to the plate new\_plate.h5 from texture-lr version 1 by"
    )
    assert "Predicts the class of single cells" in description

    out = tmp_path / "adapted"
    again = Scorer.load("texture-lr@plate-new_plate").score(new_plate, out, log=False)
    assert error_of(again.job.folder, new_plate) < error_of(folder, new_plate)
    # What is calibrated for the version before is not said of this one.
    for entry in (again.drift, *again.drift["plates"]):
        assert entry["error"]["answer"] == "cannot tell"
        assert "adapted to this plate by 60 labelled cells" in entry["error"]["reason"]
    report = " ".join((again.job.folder / "report.md").read_text().split())
    assert f"{after:.1f} %" in report
    assert "texture-lr version 2 was adapted to this plate" in report
    assert "was measured on labelled cells of this plate, left out when the model" in report


def test_another_plate_is_told_that_the_model_is_not_for_it(labelled, make_plate, tmp_path):
    model = adapt(labelled(60)).model
    other = Scorer.load(model.uri).score(make_plate("other.h5"), tmp_path / "other", log=False)
    assert other.drift["error"]["balanced_error"] is None
    assert "another plate, new_plate.h5" in other.drift["error"]["reason"]
    report = (other.job.folder / "report.md").read_text()
    assert r"was adapted to another plate, new\_plate.h5" in report


def test_the_same_labels_again_make_no_second_version(labelled):
    folder = labelled(60)
    first = adapt(folder)
    assert adapt(folder).model == first.model
    assert len(versions.versions("texture-lr")) == 2


def test_lists_tell_that_a_version_is_adapted(labelled, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    adapt(labelled(60))
    said = coos("models", "list", "texture-lr")
    assert "from v1" in said and "plate-new_plate" in said
    said = coos("models", "show", "texture-lr/2")
    assert "version 1 by 60 labelled cells" in said and "new_plate.h5 alone" in said
    assert "warning" not in said
    (_, line) = coos("models", "list", "texture-lr", "--json").splitlines()
    found = json.loads(line)["adapted"]
    assert found["parent"] == "1" and found["labels"] == 60
    assert found["after"][0] < found["before"][0]
    assert coos("models", "compare", "texture-lr/1", "texture-lr/2")


def test_it_becomes_champion_by_force_alone_and_can_be_deleted(labelled):
    adapt(labelled(60))
    with pytest.raises(RegistryError, match="for that plate alone"):
        coos("models", "promote", "texture-lr/2", "--alias", "champion")
    coos("models", "promote", "texture-lr/2", "--alias", "champion", "--force")
    with pytest.raises(RegistryError, match="is held by the alias champion and stays"):
        coos("models", "prune", "texture-lr/2", "--yes")
    coos("models", "promote", "texture-lr", "--automatic")
    assert "deleted" in coos("models", "prune", "texture-lr/2", "--yes")
    assert [v.version for v in versions.versions("texture-lr")] == [1]
    assert versions.resolve("texture-lr").version == "1"


def test_another_plate_of_the_same_name_has_an_alias_of_its_own(labelled):
    model = adapt(labelled(60)).model
    other = {**model.tags, "adapted_plate_sha256": "f" * 64, "fingerprint": "other"}
    client = MlflowClient()
    made = client.create_model_version("texture-lr", model.uri, tags=other)
    from coos_mlflow.registry.adapted import give_alias

    assert give_alias(versions.model_ref(made)).alias == "plate-new_plate-ffffff"
    assert versions.resolve("texture-lr@plate-new_plate").version == model.version


def test_an_alias_that_cannot_be_given_is_one_sentence_and_given_later(labelled, monkeypatch):
    folder = labelled(60)
    adapt(folder)

    def refused(*_arguments):
        raise MlflowException("no permission")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", refused)
        patch.setattr(retry, "RETRY_SECONDS", 0)
        with pytest.raises(RegistryError, match="no permission"):
            coos("adapt", folder)
    assert "Registered as texture-lr version 2" in coos("adapt", folder)


def test_a_dry_run_registers_nothing(labelled):
    said = coos("adapt", labelled(60), "--dry-run")
    assert "Nothing was registered (--dry-run)" in said and "coos-score" not in said
    assert len(versions.versions("texture-lr")) == 1


def test_where_nothing_helps_nothing_is_registered(labelled, monkeypatch):
    monkeypatch.setattr(choice, "MARGIN", 1000.0)
    said = coos("adapt", labelled(40))
    assert "Nothing helped" in said
    assert len(versions.versions("texture-lr")) == 1


def test_a_store_that_is_away_keeps_the_version_for_sync(labelled, monkeypatch):
    folder = labelled(60)

    def gone(*_args, **_options):
        raise MlflowException("the store is gone")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow, "log_metrics", gone)
        patch.setattr(retry, "RETRY_SECONDS", 0)
        with pytest.raises(RunNotLoggedError, match=r"adapted to new_plate.h5.*`coos sync`"):
            coos("adapt", folder)
    assert len(outbox.pending_models()) == 1
    assert "registered texture-lr version 2" in coos("sync")
    assert versions.resolve("texture-lr@plate-new_plate").version == "2"
    assert versions.resolve("texture-lr").version == "1"


def test_cells_of_no_class_or_not_seen_do_not_teach(labelled):
    folder = labelled(40, {0: NONE_WORDS, 1: CANNOT_SEE, 2: NONE_WORDS})
    found = adapt(folder, dry_run=True)
    assert found.labels.strangers == 2 and len(found.labels.rows) == 37
    assert (1 / found.labels.weights <= 1).all()


def test_wells_that_a_plate_map_names_teach_and_are_not_judged(
    store, new_plate, labelled, results, tmp_path, monkeypatch
):
    with open_plate(new_plate) as plate:
        wells, first = np.unique(plate.well_ids.names, return_index=True)
        truths = plate.labels[first]
    lines = [f"{well},{truth}" for well, truth in zip(wells, truths, strict=True)]
    (tmp_path / "map.csv").write_text("\n".join(["well,class", *lines]))
    layout = read_layout(tmp_path / "map.csv")
    shutil.rmtree(results)
    Scorer.load("texture-lr").score(new_plate, results.parent, log=False, layout=layout)
    folder = labelled(22)
    monkeypatch.setattr(collect, "FEWEST", 1)
    few = [line for line in (folder / AUDIT).read_text().splitlines() if ",Ada," in line]
    in_two = {line.split(",")[2] for line in few[:2]}
    kept = [line for line in few if line.split(",")[2] in in_two]
    header = (folder / AUDIT).read_text().splitlines()[0]
    (folder / AUDIT).write_text("\n".join([header, *kept, ""]))
    found = adapt(folder, dry_run=True)
    assert len(found.labels.rows) == len(kept)
    assert found.n_controls == (len(wells) - len(in_two)) * 20


@pytest.mark.parametrize("n", [0, 7])
def test_too_few_labels_are_one_sentence(results, labelled, n):
    folder = labelled(n) if n else results
    with pytest.raises(DataError, match=r"expected at least 20; `coos label") as caught:
        coos("adapt", folder)
    assert ("no cell has a label" in str(caught.value)) == (n == 0)
    assert "\n" not in str(caught.value)


def test_a_plate_that_is_gone_or_another_is_one_sentence(labelled, new_plate, tmp_path, make_plate):
    folder = labelled(30)
    drift = json.loads((folder / "drift.json").read_text())
    (folder / "drift.json").write_text(
        json.dumps(drift | {"plate_path": str(tmp_path / "gone.h5")})
    )
    with pytest.raises(DataError, match=r"gone\.h5: the plate file is not there.*--plate"):
        coos("adapt", folder)
    with pytest.raises(DataError, match="is not the file that was scored"):
        coos("adapt", folder, "--plate", make_plate("new_plate.h5"))
    assert "Nothing" in coos("adapt", folder, "--plate", new_plate, "--dry-run")


def test_a_folder_without_results_is_one_sentence(tmp_path, store):
    with pytest.raises(DataError, match="no such folder"):
        coos("adapt", tmp_path / "nowhere")
    with pytest.raises(DataError, match="no results of coos-score"):
        coos("adapt", tmp_path)


def test_results_of_a_version_that_is_gone_are_one_sentence(labelled):
    folder = labelled(30)
    MlflowClient().delete_model_version("texture-lr", "1")
    with pytest.raises(RegistryError, match=r"'texture-lr/1' is not in"):
        coos("adapt", folder)


def test_results_of_an_adapted_version_are_not_adapted_again(labelled, new_plate, tmp_path):
    model = adapt(labelled(60)).model
    folder = Scorer.load(model.uri).score(new_plate, tmp_path / "again", log=False).job.folder
    with pytest.raises(DataError, match="adapted from version 1"):
        adapt(folder)


def test_the_files_of_the_parent_are_in_the_adapted_bundle(labelled, store):
    model = adapt(labelled(60)).model
    bundles = []
    for uri in ("models:/texture-lr/1", model.uri):
        bundles.append(bundle.find(Path(mlflow.artifacts.download_artifacts(uri))))
    old, new = ({p.name: p.read_bytes() for p in b.rglob("*") if p.is_file()} for b in bundles)
    assert set(new) - set(old) == {"correction.npz"}
    assert {name for name in old if old[name] != new[name]} == {"digests.json"}
