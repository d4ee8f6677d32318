"""`coos generalise` as a shell sees it: what it refuses, lists, prints and writes."""

from __future__ import annotations

import csv

import mlflow
import pytest
import typer
from typer.testing import CliRunner

from coos_mlflow.cli import generalise
from coos_mlflow.errors import CoosError, DataError, OutputError
from coos_mlflow.training.generalise.files import FILES


@pytest.fixture
def invoke():
    """Factory ``invoke(*arguments)`` of finished commands; what a user can mend is raised."""
    app = typer.Typer(pretty_exceptions_enable=False)
    generalise.register(app)

    def run(*arguments: object):
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if isinstance(done.exception, CoosError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done

    return run


def test_a_dry_run_lists_rows_and_makes_nothing(invoke, tmp_path):
    done = invoke("--rows", "texture-knn,texture-lr", "--dry-run", "--out", tmp_path / "t")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["texture-knn", "texture-lr"]
    assert lines[2] == "2 rows, each with n = 3 seeds (0, 1, 2)"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--rows", "texture-svm"], DataError, "matches no row"),
        (["--preset", "fast"], DataError, "paper or quick"),
        (["--seed", 2**32 - 1, "--seeds", 2], DataError, "4294967295"),
        (["--rows", "texture-*", "--data", "nowhere"], DataError, "nowhere"),
    ],
)
def test_bad_input_is_refused_before_any_work(invoke, tmp_path, arguments, error, words):
    with pytest.raises(error, match=words):
        invoke(*arguments, "--out", tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_results_are_not_replaced_unasked(invoke, tmp_path):
    (tmp_path / "generalise.csv").touch()
    with pytest.raises(OutputError, match="--force"):
        invoke("--rows", "texture-*", "--out", tmp_path)


def test_rows_are_trained_tested_printed_written_and_logged(
    invoke, trained, own_store, small_worlds, tmp_path
):
    out = tmp_path / "out"
    rows = ("--rows", "texture-knn,texture-lr", "--data", trained.data, "--seeds", 1)
    done = invoke(*rows, "--out", out)
    assert "row 2 of 2: texture-lr, tested on 2 worlds" in done.stderr
    assert "texture-lr RC" in done.stdout and "SIMULATED" in done.stdout
    assert {file.name for file in out.iterdir()} == set(FILES)
    found = list(csv.DictReader((out / "generalise.csv").read_text().splitlines()))
    assert {row["set"] for row in found} >= {"left out", "test4", "new plates", "wild"}
    (run,) = mlflow.search_runs(
        search_all_experiments=True,
        filter_string="tags.`mlflow.runName` = 'generalise'",
        output_format="list",
    )
    assert run.info.status == "FINISHED" and run.data.tags["simulated"] == "True"
    logged = mlflow.MlflowClient().list_artifacts(run.info.run_id)
    assert {file.path for file in logged} == set(FILES)
    again = tmp_path / "again"
    invoke(*rows, "--out", again)
    for file in ("generalise.csv", "generalise.html", "errors.png"):
        assert (out / file).read_bytes() == (again / file).read_bytes(), file
