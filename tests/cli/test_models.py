"""`coos models` as a shell sees it: pages of 80 columns, JSON lines, questions, refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
import typer
from _coos7 import SPLITS
from mlflow import MlflowClient
from mlflow.models import Model
from typer.testing import CliRunner

from coos_mlflow import __version__
from coos_mlflow.cli import models
from coos_mlflow.errors import CoosError, DataError, RegistryError
from coos_mlflow.metrics import difference
from coos_mlflow.registry import versions
from coos_mlflow.registry.runs import prepare_store

NAME = "shelf"
Put = Callable[..., str]


@pytest.fixture
def invoke(monkeypatch):
    """Factory ``invoke(*arguments)`` of `coos models`; what a user can mend is raised."""
    monkeypatch.setenv("COLUMNS", "80")
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback()(lambda: None)
    models.register(app)

    def run(*arguments: object) -> str:
        done = CliRunner().invoke(app, ["models", *map(str, arguments)])
        if isinstance(done.exception, CoosError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """A registry that no other test file uses."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def put(store, tmp_path, monkeypatch):
    """Factory of versions of one model; keywords are tags."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    prepare_store()
    client = MlflowClient()
    client.create_registered_model(NAME)
    Model().save(tmp_path / "MLmodel")

    def make(**tags: object) -> str:
        usual = {
            "fingerprint": tmp_path.name,
            "package_version": __version__,
            "dataset": "COOS-7",
            "simulated": False,
            "layer": "conv3_3",
            "training_classes": 7,
        }
        plain = {key: str(value) for key, value in (usual | tags).items()}
        return str(client.create_model_version(NAME, tmp_path.as_uri(), tags=plain).version)

    yield make
    client.delete_registered_model(NAME)


def fits_the_terminal(text: str) -> bool:
    """Tell whether no figure was cut; only the store and sentences may be longer than 80."""
    table = [line for line in text.splitlines() if "`" not in line and "sqlite:" not in line]
    return max(map(len, table)) <= 80 and "…" not in text


def lines_with(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_without_a_verb_the_verbs_are_named():
    app = typer.Typer()
    app.callback()(lambda: None)
    models.register(app)
    said = CliRunner().invoke(app, ["models"]).output
    assert all(verb in said for verb in ("list", "show", "compare", "promote", "prune"))


@pytest.mark.parametrize("verb", ["list", "show", "compare", "promote", "prune"])
def test_every_verb_explains_itself_with_an_example(verb):
    app = typer.Typer()
    models.register(app)
    command = typer.main.get_command(app).commands["models"].commands[verb]
    assert f"Example: coos models {verb}" in command.help
    assert all(getattr(p, "help", None) for p in command.params if p.name != "help")


def test_the_champions_with_their_errors(trained, invoke):
    text = invoke("list")
    assert fits_the_terminal(text)
    (line,) = lines_with(text, "texture-lr v1")
    assert "SIMULATED" in line
    for error in trained.row("texture-lr").errors.values():
        assert f" {error:.1f} " in line


def test_the_best_champion_is_marked(trained, invoke):
    text = invoke("list")
    left_out = {row.model.name: float(row.model.tags["left_out_error"]) for row in trained.rows}
    best = min(left_out, key=left_out.__getitem__)
    assert lines_with(text, " v1 *") == lines_with(text, f"{best} v1")
    assert f"* best is {best}: the lowest error on left-out Training plates." in text
    listed = [json.loads(line) for line in invoke("list", "--json").splitlines()]
    assert [one["name"] for one in listed if one["best"]] == [best]
    assert invoke("show", "best") == invoke("show", best)


def test_champions_of_several_data_sets_have_tables_of_their_own(put, invoke, store):
    put(error_training=1, error_test1=2, error_test2=3)
    versions.update_champion(NAME)
    client = MlflowClient()
    client.create_registered_model("lab.shelf")
    (version,) = client.search_model_versions(f"name='{NAME}'")
    tags = {**version.tags, "dataset": "lab", "splits": "training,near,far-away"}
    tags |= {"error_far-away": "8", "error_near": "7", "error_training": "6"}
    for tag in ("error_test1", "error_test2"):
        del tags[tag]
    client.create_model_version("lab.shelf", version.source, tags=tags)
    versions.update_champion("lab.shelf")
    try:
        text = invoke("list")
        assert fits_the_terminal(text)
        coos7, lab = text.split("Champions on ")[1:]
        assert coos7.startswith("COOS-7; balanced error") and lab.startswith("lab; balanced error")
        assert re.search(r"Train\W+Test1\W+Test2\W+CV", coos7) and NAME in coos7
        assert re.search(r"Train\W+Near\W+Far-away\W+CV", lab) and "lab.shelf" in lab
        assert re.search(r"6\.0\W+7\.0\W+8\.0", lab) and "Test1" not in lab
        listed = [json.loads(line) for line in invoke("list", "--json").splitlines()]
        assert [list(one["errors"]) for one in listed] == [
            ["training", "near", "far-away"],
            ["training", "test1", "test2"],
        ]
        (line,) = lines_with(invoke("compare", NAME, "lab.shelf"), "Near")
        assert line.split()[1:] == ["A", "-", "-"]
    finally:
        client.delete_registered_model("lab.shelf")


def test_all_versions_of_a_model(trained, invoke):
    text = invoke("list", "texture-lr")
    assert fits_the_terminal(text)
    (line,) = lines_with(text, "SIMULATED")
    row = trained.row("texture-lr")
    left_out = float(row.model.tags["left_out_error"])
    figures = [left_out, *(row.errors[split] for split in SPLITS[1:])]
    shown = re.findall(r"\d+\.\d(?!\.)\b", line.replace(__version__, ""))
    assert shown == [f"{figure:.1f}" for figure in figures]
    assert "champion" in text and "haralick" in line and __version__ in line


@pytest.mark.parametrize("words", [["list"], ["promote", "--automatic"]])
def test_a_name_may_be_spelled_as_mlflow_does_but_has_no_version(trained, invoke, words):
    assert "texture-lr" in invoke(*words, "models:/texture-lr")
    with pytest.raises(RegistryError, match=r"'texture-lr/1' found, expected .* name alone"):
        invoke(*words, "texture-lr/1")


def test_versions_as_json(trained, invoke):
    (said,) = map(json.loads, invoke("list", "texture-lr", "--json").splitlines())
    assert said["aliases"] == ["champion", "haralick"] and said["pinned"] == []
    assert said["simulated"] is True and said["fits"] is True
    assert said["errors"] == pytest.approx(trained.row("texture-lr").errors, rel=1e-4)
    names = [json.loads(line)["name"] for line in invoke("list", "--json").splitlines()]
    assert names == sorted(names) and {"texture-knn", "texture-lr", "texture-rf"} <= set(names)


def test_everything_about_a_version(trained, invoke):
    text = invoke("show", "texture-rf")
    model = trained.row("texture-rf").model
    assert fits_the_terminal(text)
    for words in (
        "texture-rf version 1",
        "SIMULATED cells",
        model.tags["dataset_digest"],
        model.tags["fingerprint"],
        model.run_id,
        model.model_id,
        "scikit-learn==",
        "MB",
        "search_samples",
        "texture.scales",
    ):
        assert words in text
    for split, evaluation in trained.row("texture-rf").evaluations.items():
        low, high = evaluation.interval
        assert f"{evaluation.balanced_error:.1f}  " in text, split
        assert f"{low:.1f}–{high:.1f}" in text, split


def test_everything_as_json(trained, invoke):
    said = json.loads(invoke("show", "texture-rf/1", "--json"))
    row = trained.row("texture-rf")
    for split, evaluation in row.evaluations.items():
        bounds = {"error": evaluation.balanced_error}
        bounds |= dict(zip(("low", "high"), evaluation.interval, strict=True))
        assert said["errors"][split] == pytest.approx(bounds)
    assert said["run_id"] == row.model.run_id and said["size_bytes"] > 10_000
    assert said["params"]["search_samples"] == "2"
    assert said["missing"] == []


def test_models_side_by_side(trained, invoke):
    text = invoke("compare", "texture-lr", "texture-knn")
    assert fits_the_terminal(text)
    a, b = (trained.row(name) for name in ("texture-lr", "texture-knn"))
    rows = [line for line in text.splitlines() if re.match(r"\s+B\s+\d", line)]
    for split, line in zip(SPLITS, rows, strict=True):
        assert f"{b.errors[split] - a.errors[split]:+.1f}" in line
        low, high = difference(b.evaluations[split], a.evaluations[split])
        assert f"{low:+.1f} to {high:+.1f}" in line
    assert "may be equal" in " ".join(text.split()) and "warning" not in text
    (settings,) = lines_with(text, "classifier ", "knn")
    assert settings.split()[:3] == ["classifier", "lr", "knn"]


def test_a_model_beside_itself_differs_in_nothing(trained, invoke):
    text = invoke("compare", "texture-lr", "texture-lr/1")
    assert text.count("+0.0 to +0.0") == len(SPLITS)
    assert "do not differ" in text


def test_incomparable_models_are_compared_with_a_warning(put, invoke):
    put(dataset_digest="a" * 64, error_test1=10)
    put(dataset_digest="b" * 64, error_test1=12, simulated=True, training_classes=2)
    text = invoke("compare", f"{NAME}/1", f"{NAME}/2")
    for words in ("a" * 12, "b" * 12, "B is of simulated cells", "knows 7 classes, B 2"):
        assert any(words in line for line in lines_with(text, "warning:"))
    (line,) = lines_with(text, "+2.0")
    assert line.split()[-2:] == ["+2.0", "-"]
    with pytest.raises(DataError, match="expected 2 to 26"):
        invoke("compare", NAME + "/1")


def test_a_version_of_which_little_is_left_is_shown_for_what_it_is(put, invoke):
    put(package_version="9.1.0", left_out_error="n/a", error_test1=10)
    text = invoke("show", f"{NAME}/1")
    assert f"9.1.0, unfit for {__version__}" in text and "10.0" in text
    assert len(lines_with(text, "warning:")) == 2
    said = json.loads(invoke("show", f"{NAME}/1", "--json"))
    assert said["errors"]["test1"] == {"error": 10.0, "low": None, "high": None}
    assert said["left_out_error"] is None and said["fits"] is False and len(said["missing"]) == 2
    assert "unfit" in invoke("list", NAME)


def test_names_and_tags_are_text_and_nothing_else(put, invoke):
    put(dataset="[red]x[/red]\x1b[31m", layer="[/]\u202e", error_test1="[b]")
    for arguments in (("list", NAME), ("show", f"{NAME}/1"), ("compare", NAME + "/1", NAME + "/1")):
        text = invoke(*arguments)
        assert "\x1b" not in text and "\u202e" not in text
        assert arguments[0] == "compare" or "[red]" in text


def test_a_promotion_says_what_the_alias_pointed_to(put, invoke):
    put(fingerprint="a", left_out_error=9.0)
    put(fingerprint="b", left_out_error=1.0)
    versions.update_champion(NAME)
    planned = invoke("promote", f"{NAME}/1", "--dry-run")
    assert f"{NAME}@champion pointed to version 2, would point to version 1" in planned
    done = invoke("promote", f"{NAME}/1")
    assert f"{NAME}@champion pointed to version 2, now points to version 1" in done
    assert f"`coos models promote {NAME} --automatic --alias champion`" in done
    assert "as before" in invoke("promote", f"{NAME}/1")
    assert "(pinned)" in invoke("list") and "(pinned)" in invoke("list", NAME)
    assert "champion (pinned)" in invoke("show", NAME)
    assert "now points to version 2." in invoke("promote", NAME, "--automatic")
    assert "(pinned)" not in invoke("list", NAME)


def test_a_forced_promotion_says_what_is_doubtful(put, invoke):
    put(fingerprint="a")
    put(fingerprint="b", simulated=True)
    versions.update_champion(NAME)
    with pytest.raises(RegistryError, match="--force makes it so"):
        invoke("promote", f"{NAME}/2")
    assert lines_with(invoke("promote", f"{NAME}/2", "--force"), "warning:", "simulated cells")


def test_a_model_without_a_champion_is_listed_with_what_to_do(put, invoke):
    put()
    assert f"`coos models promote {NAME} --automatic`" in invoke("list")
    invoke("promote", NAME, "--automatic")
    assert f"{NAME} v1" in invoke("list")


def test_pruning_lists_asks_and_deletes(put, invoke, store, monkeypatch):
    for number in range(6):
        put(fingerprint=number, left_out_error=number)
    versions.update_champion(NAME)
    planned = invoke("prune", NAME, "--dry-run")
    assert [line.split()[0] for line in lines_with(planned, "COOS-7")] == ["2", "3"]
    with pytest.raises(DataError, match="--yes deletes"):
        invoke("prune", NAME)
    asked: list[str] = []
    monkeypatch.setattr(models, "on_a_terminal", lambda: True)
    monkeypatch.setattr(typer, "confirm", lambda text: asked.append(text) or False)
    invoke("prune", NAME)
    assert asked == ["Delete 2 versions?"] and len(versions.versions(NAME)) == 6
    done = invoke("prune", NAME, "--yes")
    assert len(lines_with(done, "deleted", "version")) >= 2
    assert f"mlflow gc --backend-store-uri {store}" in done
    assert [str(v.version) for v in versions.versions(NAME)] == ["1", "4", "5", "6"]
    assert "Nothing to delete" in invoke("prune", NAME, "--yes")


def test_a_version_with_aliases_is_not_pruned(put, invoke):
    put()
    versions.update_champion(NAME)
    with pytest.raises(RegistryError, match="champion, conv3_3 and stays"):
        invoke("prune", f"{NAME}/1", "--yes")
    with pytest.raises(DataError, match="expected either"):
        invoke("prune", f"{NAME}/1", "--keep", 0, "--yes")
    assert len(versions.versions(NAME)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "nobody"),
        ("show", "nobody"),
        ("compare", "nobody", "nobody"),
        ("promote", "nobody/1"),
        ("promote", "nobody", "--automatic"),
        ("prune", "nobody"),
        ("prune", "nobody/1"),
        ("list", "no'body"),
    ],
)
def test_a_model_that_is_not_there_is_one_sentence(trained, invoke, arguments):
    with pytest.raises(RegistryError, match="texture-lr") as caught:
        invoke(*arguments)
    assert "\n" not in str(caught.value)
