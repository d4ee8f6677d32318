"""The project file, its environments and the lock say the same; entry points run as they are."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import mlflow.cli
import pytest
import yaml
from click.testing import CliRunner
from mlflow.projects._project_spec import load_project
from packaging.requirements import Requirement
from packaging.version import Version
from typer.testing import CliRunner as TyperRunner

from coos_mlflow.cli.main import app
from coos_mlflow.errors import MissingWeightsError

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def project() -> dict:
    return yaml.safe_load((ROOT / "MLproject").read_text())


@pytest.fixture(scope="module")
def locked() -> dict[str, Version]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name.lower().replace("_", "-"): Version(version) for name, version in pairs}


def test_exactly_one_root_entry_is_called_mlproject():
    """MLflow takes the first root entry of that name in any case, folder or not."""
    names = [entry.name for entry in ROOT.iterdir()]
    assert [name for name in names if name.lower() == "mlproject"] == ["MLproject"]


def test_both_environments_install_the_lock_and_the_project():
    wanted = ["-r requirements.lock", "-e ."]
    assert yaml.safe_load((ROOT / "python_env.yaml").read_text())["dependencies"] == wanted
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    assert conda[-1]["pip"] == wanted and "python=3.11" in conda


def test_the_lock_lies_within_the_ranges(locked):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(text) for text in project["dependencies"] + extras["dev"]]
    own = {extra for one in asked if one.name == project["name"] for extra in one.extras}
    asked += [Requirement(text) for extra in own for text in extras[extra]]
    for requirement in (one for one in asked if one.name != project["name"]):
        assert locked[requirement.name.lower()] in requirement.specifier, requirement
    assert str(locked["torch"]) == "2.13.0" and str(locked["mlflow"]) == "3.17.2"


@pytest.mark.parametrize(
    "version",
    ["pandas==2.3.3", "torch==2.4.1", "numpy==1.26.4", "scikit-learn==1.5.2", "pyarrow==17.0.0"],
)
def test_the_ranges_admit_what_other_packages_need(version):
    """docs/install.md: anndata needs pandas below 3, older networks an older torch."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = {one.name: one.specifier for one in map(Requirement, project["dependencies"])}
    name, _, number = version.partition("==")
    assert number in ranges[name]


def test_every_entry_point_calls_one_verb_with_all_its_parameters(project):
    for name, entry in project["entry_points"].items():
        used = set(re.findall(r"\{(\w+)\}", entry["command"]))
        assert used == set(entry["parameters"]), name
        assert re.match(r"coos \w+", entry["command"]), name


def test_defaults_are_the_papers(project):
    defaults = {
        k: v["default"] for k, v in project["entry_points"]["texture"]["parameters"].items()
    }
    assert (defaults["neighbours"], defaults["inverse_penalty"]) == (11, 1)
    assert yaml.safe_load(defaults["scales"]) == [1, 2, 4, 8, 16]
    assert defaults["data"] == defaults["preset"] == "auto"


LOCAL = ("--env-manager", "local")
NAMED = ("--experiment-name", "coos-7")

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """Neither conda nor pyenv, and the running environment seeded as the project's."""
    found = os.environ | {
        "MLFLOW_ENV_ROOT": str(tmp_path_factory.mktemp("envs")),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    for name in ("CONDA_EXE", "PYENV_ROOT", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
        found.pop(name, None)
    seed = [sys.executable, str(ROOT / "scripts" / "seed_mlflow_env.py")]
    subprocess.run(seed, env=found, check=True, capture_output=True)
    return found


@pytest.fixture
def run(
    environment: dict[str, str], empty_store: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> Callable[..., Done]:
    """Factory ``run(entry, *options, **parameters)``: what `mlflow run` does, in this process.

    The entry point is a process of its own; its store is empty unless `store` is given. With
    `shell`, `mlflow` is a process too, and the cache is empty.
    """

    def run(
        entry: str, *options: str, store: Path | None = None, shell: bool = False, **parameters
    ) -> Done:
        given = (part for name, value in parameters.items() for part in ("-P", f"{name}={value}"))
        command = ["run", str(ROOT), "-e", entry, *options, *given]
        file = store or shutil.copy(empty_store, tmp_path / "mlflow.db")
        own = {"MLFLOW_TRACKING_URI": f"sqlite:///{file}"}
        own |= {"COOS_CACHE": str(tmp_path / "cache")} if shell else {}
        capfd.readouterr()
        with (
            patch.dict(os.environ, environment | own, clear=True),
            patch("mlflow.tracking.fluent._active_experiment_id", None),
        ):
            if shell:
                code = subprocess.run([BIN / "mlflow", *command], check=False).returncode
                return Done(command, code, *capfd.readouterr())
            done = CliRunner().invoke(mlflow.cli.cli, command)
        said, errors = capfd.readouterr()
        return Done(command, done.exit_code, said, f"{errors}{done.output}{done.exception or ''}")

    return run


def printed(done: Done) -> str:
    """What a run that succeeded has printed."""
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_the_texture_entry_point_runs_bare(run, trained):
    """With neither conda nor pyenv: the seeded environment serves."""
    asked = {"data": trained.data, "classifiers": "lr", "cv_folds": 2}
    said = printed(run("texture", *NAMED, shell=True, **asked))
    assert "SIMULATED" in said and "texture-lr v1" in said


@pytest.mark.slow
def test_the_table_entry_point_runs_in_the_local_environment(run, trained, tmp_path):
    asked = {"data": trained.data, "rows": "texture-lr", "out": tmp_path / "found"}
    said = printed(run("table3", *LOCAL, *NAMED, **asked))
    assert "SIMULATED" in said and "found/table3.html" in said


def command_of(entry: str, **parameters: object) -> list[str]:
    """Return what `mlflow run` would have a shell run for an entry point, as a list of words."""
    command = load_project(str(ROOT)).get_entry_point(entry).compute_command(parameters, None)
    program, *words = shlex.split(command)
    assert program == "coos"
    return words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entry", "asked", "made"),
    [
        (
            "deeploc",
            {"width": 0.05, "iterations": 4, "crops": 1, "classifiers": "own"},
            "deeploc v1",
        ),
        (
            "pci",
            {"width": 0.05, "epochs": 1, "batch": 64, "layers": "conv3", "classifiers": "knn"},
            "pci-knn v1",
        ),
        (
            "resnet",
            {"width": 0.05, "iterations": 4, "hold_out": "plates", "classifiers": "own"},
            "resnet v1",
        ),
        (
            "fusion",
            {"members": "[texture]", "classifiers": "knn"},
            "fusion-texture-knn",
        ),
        (
            "vicreg",
            {"width": 0.05, "blocks": 1, "iterations": 4, "classifiers": "knn"},
            "vicreg-knn v1",
        ),
    ],
)
def test_commands_of_network_entry_points_train(trained, own_store, entry, asked, made):
    """In this process: networks take long to import."""
    done = TyperRunner().invoke(app, command_of(entry, data=trained.data, **asked))
    assert done.exit_code == 0, (done.output, done.exception)
    assert "SIMULATED" in done.output and made in done.output


@pytest.mark.slow
def test_vgg16_without_its_weights_says_how_to_get_them(trained, own_store):
    done = TyperRunner().invoke(app, command_of("vgg16", data=trained.data))
    assert isinstance(done.exception, MissingWeightsError)
    assert "coos weights vgg16" in str(done.exception)


@pytest.mark.slow
def test_the_score_entry_point_scores(run, trained, new_plate, tmp_path):
    """In the store in which the models already are."""
    store = Path(os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///"))
    printed(run("score", store=store, plate=new_plate, out=tmp_path / "scores"))
    assert (tmp_path / "scores" / "new_plate" / "drift.json").exists()
    (made,) = mlflow.search_runs(
        search_all_experiments=True,
        filter_string="tags.`mlflow.project.entryPoint` = 'score'",
        output_format="list",
    )
    assert (made.info.run_name, made.info.status) == ("score new_plate", "FINISHED")
    assert made.data.metrics["n_cells"] == 160
