"""The commands as a shell sees them: output, sentences, exit codes."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import h5py
import pytest
import typer
from _coos7 import SPLITS
from waiting import PATIENCE

from coos_mlflow import representations
from coos_mlflow._utils.signals import SIGNALS
from coos_mlflow.classifiers.forest_search import SEARCHES
from coos_mlflow.classifiers.protocol import FOLDS, PRESETS
from coos_mlflow.cli import main
from coos_mlflow.cli import train as cli_train
from coos_mlflow.cli.main import app
from coos_mlflow.simulate.coos7_layout import POPULATIONS
from coos_mlflow.training.row import KIND_TITLES

BIN = Path(sys.executable).parent

Done = subprocess.CompletedProcess[str]


def shell(*arguments: object, **environment: str) -> Done:
    command = [str(BIN / str(arguments[0])), *map(str, arguments[1:])]
    settings = os.environ | {"COLUMNS": "200"} | environment
    return subprocess.run(
        command, capture_output=True, text=True, env=settings, check=False, timeout=PATIENCE
    )


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """What `shell` does, in this process, where everything is imported: the same entry points."""
    entry_points = {"coos": main.coos, "coos-score": main.coos_score}

    def run(*arguments: object, **environment: str) -> Done:
        words = list(map(str, arguments))
        capsys.readouterr()
        kept = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            with (
                patch.object(sys, "argv", words),
                patch.dict(os.environ, {"COLUMNS": "200"} | environment),
                pytest.raises(SystemExit) as ended,
            ):
                entry_points[words[0]]()
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)
        return Done(words, ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2E+4", -20000.0),
        ("0.5", 0.5),
        ("200", 200),
        ("true", True),
        ("random", "random"),
        ("[1, 2]", [1, 2]),
        ("", None),
    ],
)
def test_a_setting_is_read_as_what_it_looks_like(text, value):
    (found,) = cli_train._settings([f"name={text}"]).values()
    assert found == value and type(found) is type(value)


def test_a_setting_that_is_auto_is_left_to_the_preset():
    assert cli_train._settings(["width=auto", "batch = 7"]) == {"batch": 7}


def commands() -> list[str]:
    return sorted(typer.main.get_command(app).commands)


@pytest.mark.parametrize("name", commands())
def test_every_command_explains_itself_with_an_example(name):
    command = typer.main.get_command(app).commands[name]
    assert "Example: coos" in command.help
    documented = [p for p in command.params if p.name != "help"]
    assert all(getattr(p, "help", None) for p in documented), name


def test_help_lists_every_command_once_in_one_line_of_a_usual_terminal(command):
    said = command("coos", "--help", COLUMNS="80").stdout
    listed = re.findall(r"^  (\w[\w-]*)  +\S.*\.$", said, re.MULTILINE)
    assert listed == [name for names in main.GROUPS.values() for name in names]
    assert sorted(listed) == commands() and "..." not in said.partition("Data:")[2]


@pytest.mark.parametrize("group", ["models", "drift"])
def test_help_of_a_group_cuts_no_line_short(command, group):
    said = command("coos", group, "--help", COLUMNS="80").stdout
    assert "..." not in said.partition("Commands:")[2]


def option_help(name: str, parameter: str) -> str:
    command = typer.main.get_command(app).commands[name]
    (found,) = [p.help for p in command.params if p.name == parameter]
    return found


def test_help_names_every_split_that_a_plate_can_be_like():
    help_text = option_help("simulate-plate", "like")
    assert tuple(re.findall("training|test[0-9]", help_text.partition(":")[0])) == SPLITS
    assert set(POPULATIONS) <= set(re.findall(r"\w+", help_text))


def test_help_names_every_value_that_training_takes():
    names = {
        "representation": representations.names(),
        "preset": ("auto", *PRESETS),
        "search": SEARCHES,
        "folds": FOLDS,
        "classifiers": ("all", *KIND_TITLES),
    }
    for parameter, values in names.items():
        words = re.findall(r"\w+", option_help("train", parameter))
        assert set(values) <= set(words), parameter
    assert set(SEARCHES) <= set(re.findall(r"\w+", option_help("table3", "search")))


def test_a_plate_like_no_split_is_one_sentence_that_names_the_splits(command, tmp_path):
    done = command("coos", "simulate-plate", tmp_path / "new" / "p.h5", "--like", "test5")
    is_one_sentence(done, 2, "training, test1, test2, test3, test4, wild, defocus, haze")
    assert not (tmp_path / "new").exists()


def test_the_commands_load_nothing_heavy_to_explain_themselves():
    heavy = "'numpy' in sys.modules or 'mlflow' in sys.modules"
    code = f"import sys, coos_mlflow.cli.main; sys.exit({heavy})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_score_from_the_shell_without_torch(trained, new_plate, tmp_path, command):
    arguments = ["coos-score", new_plate, "--out", tmp_path, "--model"]
    done = shell(*arguments, "texture-lr", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "mlflow" in imported and "torch" not in imported
    assert "simulated" in done.stdout and "report.html" in done.stdout
    assert (tmp_path / "new_plate" / "report.html").exists()
    again = command(*arguments, "texture-lr")
    assert again.returncode == 0 and "nothing to do" in again.stdout
    other = command(*arguments, "texture-knn")
    assert other.returncode == 7
    assert other.stderr.startswith("error: ") and other.stderr.count("\n") == 1


def test_a_condition_that_is_met_is_exit_code_4_and_results(trained, new_plate, tmp_path, command):
    options = ["--model", "texture-lr", "--out", tmp_path, "--fail-on", "error>0"]
    done = command("coos-score", new_plate, *options)
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("error: new_plate.h5: ") and done.stderr.count("\n") == 1
    assert "MLflow run" in done.stdout
    assert (tmp_path / "new_plate" / "predictions.parquet").exists()


def test_a_dry_run_writes_nothing(trained, new_plate, tmp_path, command):
    done = command(
        "coos-score", new_plate, "--model", "texture-lr", "--out", tmp_path / "x", "--dry-run"
    )
    assert done.returncode == 0 and "160 cells" in done.stdout
    assert not (tmp_path / "x").exists()


def test_a_dry_run_looks_at_every_cell(trained, make_plate, tmp_path, command):
    plate = make_plate(n=30)
    with h5py.File(plate, "r+") as file:
        file["data"][29, 1] = 9
    asked = ["coos-score", plate, "--model", "texture-lr", "--out", tmp_path, "--dry-run"]
    done = command(*asked)
    assert done.returncode == 0 and "1 of 30 cells cannot be scored" in done.stdout
    with h5py.File(plate, "r+") as file:
        file["data"][28, 1] = 9
    done = command(*asked)
    assert done.returncode == 2 and "cell 28" in done.stderr


def test_a_bad_plate_among_many_is_named_at_the_end(trained, make_plate, tmp_path, command):
    good, bad, last = (make_plate(f"plates/{name}.h5") for name in ("a", "b", "c"))
    with h5py.File(bad, "r+") as file:
        file["data"][20:, 1] = 9
    pattern, out = tmp_path / "plates" / "*.h5", tmp_path / "out"
    arguments = ["coos-score", pattern, "--model", "texture-lr", "--out", out, "--keep-going"]
    done = command(*arguments, "--fail-on", "cannot-tell", "--profile")
    assert done.returncode == 5, done.stderr
    first, *met = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "b.h5" in first and "cell 20" in first
    assert [line.split()[1] for line in met] == ["a.h5:", "c.h5:"]
    assert "represent" in done.stdout and "drift and report" in done.stdout
    assert {p.name for p in out.iterdir()} == {good.stem, last.stem, "overview.html"}
    nothing = command("coos-score", tmp_path / "*.hdf5", "--model", "texture-lr")
    assert nothing.returncode == 2 and "no file matches" in nothing.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["coos", "check", "none.h5"], 2, "none.h5"),
        (["coos", "train", "textures"], 2, "texture"),
        (["coos", "train", "--preset", "fast"], 2, "paper or quick"),
        (["coos", "train", "--classifiers", "svm"], 2, "knn, lr, rf"),
        (["coos", "train", "--set", "scales=[0]"], 2, "from 1 to 128"),
        (["coos", "train", "--set", "scales=[33]"], 2, "from 1 to 32, half of the 64 pixels"),
        (["coos", "train", "--set", "colour=red"], 2, "scales, reading"),
        (["coos", "train", "--data", "nowhere"], 2, "nowhere"),
        (["coos", "train", "--set", "scales=[1"], 2, "scales=[1"),
        (["coos", "train", "--set", "scales=2020-13-01"], 2, "scales=2020-13-01"),
        (["coos", "train", "deeploc", "--set", "width=.inf"], 2, "width=inf"),
        (["coos", "train", "--search-samples", "\u00b2"], 2, "whole number"),
        (["coos", "simulate", "x", "--scale", "-1"], 2, "scale"),
        (["coos", "simulate-plate", "x.h5", "--classes", "0,9"], 2, "0..6"),
        (["coos-score", "none.h5", "--model", "no-such-model"], 2, "none.h5: no such file"),
        (["coos", "models", "show", "no-such-model"], 3, "no-such-model"),
    ],
)
def test_bad_input_is_one_sentence_and_an_exit_code(
    trained, tmp_path, command, arguments, code, sentence
):
    done = command(*arguments, COOS_CACHE=str(tmp_path))
    is_one_sentence(done, code, sentence)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["coos", "train", "--set", "scales=[0]"], 2, "from 1 to 128"),
        (["coos", "models", "show", "no-such-model"], 3, "no-such-model"),
    ],
)
def test_a_shell_sees_the_sentence_and_the_exit_code(trained, arguments, code, sentence):
    is_one_sentence(shell(*arguments), code, sentence)


def is_one_sentence(done: Done, code: int, sentence: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ") and sentence in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1


def test_a_store_that_is_not_there_or_does_not_answer_is_named(command, tmp_path):
    (tmp_path / "text.db").write_text("no database")
    sentences = {
        "/proc/nowhere/mlflow.db": "/proc/nowhere/mlflow.db: no such store",
        f"{tmp_path}/text.db": f"sqlite:///{tmp_path}/text.db does not answer",
    }
    for file, sentence in sentences.items():
        done = command("coos", "models", "list", "--tracking-uri", f"sqlite:///{file}")
        is_one_sentence(done, 3, sentence)


def test_models_lists_names_errors_and_where_they_come_from(trained, command):
    done = command("coos", "models", "list")
    assert done.returncode == 0
    for name in ("texture-knn v1", "texture-lr v1", "SIMULATED"):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nope.h5", "--model", "texture-lr"], "nope.h5: no such file"),
        (["nope.h5", "--model", "texture-lr", "--fail-on", "maybe"], "--fail-on 'maybe' found"),
        (["nope.h5", "--model", "texture-lr", "--precision", "half"], "precision='half' found"),
    ],
)
def test_a_file_that_is_not_there_is_told_before_mlflow_is_imported(arguments, sentence):
    script = (
        "import sys\n"
        "from coos_mlflow.cli.main import coos_score\n"
        "try:\n"
        "    coos_score()\n"
        "except SystemExit as ended:\n"
        "    heavy = {'mlflow', 'sklearn', 'scipy', 'torch', 'pandas'} & set(sys.modules)\n"
        "    print(ended.code, heavy or 'light')\n"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "light"]
    assert sentence in done.stderr
