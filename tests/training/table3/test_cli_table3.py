"""`coos table3` as a shell sees it: what it refuses, lists, prints and writes."""

from __future__ import annotations

import csv
import io
import re

import mlflow
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from coos_mlflow.classifiers import protocol
from coos_mlflow.classifiers.forest_search import FOREST_GRID
from coos_mlflow.cli import table3
from coos_mlflow.errors import CoosError, DataError, OutputError
from coos_mlflow.training.table3.summary import summarise


@pytest.fixture
def invoke():
    """Factory ``invoke(*arguments)`` of finished commands; what a user can mend is raised."""
    app = typer.Typer(pretty_exceptions_enable=False)
    table3.register(app)

    def run(*arguments):
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if isinstance(done.exception, CoosError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done

    return run


def printed(table) -> list[str]:
    stream = io.StringIO()
    table3.print_table(summarise(table), Console(file=stream, width=100, highlight=False))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_table_fits_100_columns_with_every_number(make_table, seeds):
    found = printed(make_table(seeds=seeds))
    assert max(map(len, found)) <= 100
    (at,) = [n for n, line in enumerate(found) if line.startswith("Texture") and " kNN" in line]
    numbers = re.findall(r"[\d.]+(?:±[\d.]+)?", found[at])
    if len(seeds) == 1:
        assert numbers[:5] == ["10.9", "12.3", "11.7", "18.1", "26.1"]
        below = ["8.7–13.1", "9.8–14.8", "9.4–14.0", "14.5–21.7", "20.9–31.3"]
        assert found[at + 1].split() == below
        ends = [found[at].index(number) + len(number) for number in numbers[:5]]
        assert [found[at + 1].index(interval) + len(interval) for interval in below] == ends
    else:
        assert "–" not in "".join(found)
        assert numbers[:5] == ["11.9±1.0", "13.3±1.0", "12.7±1.0", "19.1±1.0", "27.1±1.0"]
    assert numbers[5:] == ["10.4", "11.8", "11.2", "17.6", "25.6"]


def test_simulated_and_missing_rows_say_so_on_the_terminal(make_table):
    text = "\n".join(printed(make_table(missing=("vgg16",))))
    assert text.startswith("Simulated cells: no figure here")
    assert text.count("weights missing: coos weights vgg16") == 9
    assert "COOS-7, published" in text


def test_a_table_of_several_seeds_opens_with_them_and_their_number(make_table, lines):
    opening = printed(make_table(lines[4:5], seeds=(4, 5)))
    assert opening[3].startswith("Mean ± standard deviation over n = 2 seeds (4, 5)")


def test_the_best_are_bold_on_the_terminal(make_table, lines):
    stream = io.StringIO()
    console = Console(file=stream, width=100, force_terminal=True, color_system="standard")
    table3.print_table(summarise(make_table(lines[:4])), console)
    bold = re.findall(r"\x1b\[1;32m\s*([\d.]+)\x1b", stream.getvalue())
    assert sorted(bold) == sorted(
        ["1.6", "1.6", "1.9", "1.9", "7.3", "4.6", "1.1", "1.1", "1.4", "1.4", "6.8", "4.1"]
    )


def test_a_dry_run_lists_rows_and_makes_nothing(invoke, tmp_path):
    done = invoke("--rows", "texture-*", "--dry-run", "--seeds", "2", "--out", tmp_path / "t")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["texture-knn", "texture-lr", "texture-rf"]
    assert lines[3] == "3 rows, each with n = 2 seeds (0, 1)"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--rows", "texture-svm"], DataError, "matches no row"),
        (["--preset", "fast"], DataError, "paper or quick"),
        (["--search", "grid"], DataError, "random"),
        (["--seed", 2**32 - 1, "--seeds", 2], DataError, "4294967295"),
        (["--rows", "texture-*", "--data", "nowhere"], DataError, "nowhere"),
    ],
)
def test_bad_input_is_refused_before_any_work(invoke, tmp_path, arguments, error, words):
    with pytest.raises(error, match=words):
        invoke(*arguments, "--out", tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_results_are_not_replaced_unasked(invoke, tmp_path):
    (tmp_path / "table3.csv").touch()
    with pytest.raises(OutputError, match="--force"):
        invoke("--rows", "texture-*", "--out", tmp_path)
    (tmp_path / "thesis.md").touch()
    with pytest.raises(OutputError, match=r"thesis\.md"):
        invoke("--rows", "texture-*", "--out", tmp_path, "--force")


def artifacts_of(run_id: str) -> set[str]:
    return {file.path for file in mlflow.MlflowClient().list_artifacts(run_id)}


def test_registered_rows_are_recalled_printed_written_and_logged(
    invoke, trained, own_store, tmp_path
):
    out = tmp_path / "table"
    rows = ("--rows", "texture-knn,texture-lr", "--data", trained.data)
    done = invoke(*rows, "--out", out)
    assert "row 2 of 2: texture-lr, " in done.stderr
    assert "SIMULATED" in done.stdout and str(out / "table3.html") in done.stdout
    assert "\nseed 0\n" in done.stdout
    found = {
        (row["row"], row["split"]): float(row["error"])
        for row in csv.DictReader((out / "table3.csv").read_text().splitlines())
    }
    expected = trained.row("texture-lr").errors
    assert {s: found["texture-lr", s] for s in expected} == pytest.approx(expected, rel=1e-5)
    (run,) = mlflow.search_runs(
        search_all_experiments=True,
        filter_string="tags.`mlflow.runName` = 'table3'",
        max_results=1,
        output_format="list",
    )
    assert run.info.status == "FINISHED" and run.data.tags["simulated"] == "True"
    assert artifacts_of(run.info.run_id) == {path.name for path in out.iterdir()}
    again = tmp_path / "again"
    invoke(*rows, "--out", again)
    for file in ("table3.csv", "table3.md", "table3.html", "errors.png"):
        assert (out / file).read_bytes() == (again / file).read_bytes(), file


@pytest.mark.slow
def test_a_table_is_trained_and_goes_on_where_it_was(
    invoke, trained, own_store, tmp_path, monkeypatch
):
    monkeypatch.setitem(FOREST_GRID, "n_estimators", [20, 40])
    monkeypatch.setitem(protocol.PRESETS["quick"], "search_samples", 2)
    rows = ("--rows", "texture-knn,texture-rf", "--data", trained.data, "--seeds", 2)
    done = invoke(*rows, "--out", tmp_path / "a")
    assert "row 2 of 2: texture-rf, " in done.stderr
    assert "\nn = 2 seeds (0, 1)\n" in done.stdout
    assert "over n = 2 seeds (0, 1)" in done.stdout.replace("\n", " ")
    invoke(*rows, "--out", tmp_path / "b")
    first, second = ((tmp_path / name / "table3.csv").read_bytes() for name in "ab")
    assert first == second
    neighbours, forest = list(csv.DictReader(first.decode().splitlines()))[4::5]
    assert float(neighbours["sd"]) == 0  # no chance in kNN on texture features
    assert len(set(forest["error_by_seed"].split())) == 2
