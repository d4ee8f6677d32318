"""The project file, its environments and the lock say the same; entry points run as they are."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

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
    needed = project["dependencies"] + project["optional-dependencies"]["dev"]
    for requirement in map(Requirement, needed):
        assert locked[requirement.name.lower()] in requirement.specifier, requirement
    assert str(locked["torch"]) == "2.13.0" and str(locked["mlflow"]) == "3.17.2"


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


def run_project(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_ENV_ROOT": str(folder / "envs"),
        "COOS_CACHE": str(folder / "cache"),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    for name in ("CONDA_EXE", "PYENV_ROOT", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
        environment.pop(name, None)
    seed = [sys.executable, str(ROOT / "scripts" / "seed_mlflow_env.py")]
    subprocess.run(seed, env=environment, check=True, capture_output=True)
    return subprocess.run(
        [str(BIN / "mlflow"), "run", str(ROOT), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.mark.slow
@pytest.mark.parametrize("manager", [[], ["--env-manager", "local"]])
def test_the_texture_entry_point_runs_bare(trained, tmp_path, manager):
    """With neither conda nor pyenv: the seeded environment serves; or the local one."""
    done = run_project(
        tmp_path,
        *("-e", "texture", *manager, "--experiment-name", "coos-7"),
        *("-P", f"data={trained.data}", "-P", "classifiers=lr", "-P", "cv_folds=2"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "SIMULATED" in done.stdout and "texture-lr v1" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entry", "small", "made"),
    [
        ("deeploc", "width=0.05 iterations=4 crops=1 classifiers=own", "deeploc v1"),
        ("pci", "width=0.05 epochs=1 batch=64 layers=conv3 classifiers=knn", "pci-knn v1"),
        ("table3", "rows=texture-lr out=found", "found/table3.html"),
    ],
)
def test_entry_points_run(trained, tmp_path, entry, small, made):
    settings = (f"data={trained.data}", *small.split())
    done = run_project(
        tmp_path,
        *("-e", entry, "--env-manager", "local", "--experiment-name", "coos-7"),
        *(argument for setting in settings for argument in ("-P", setting)),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "SIMULATED" in done.stdout and made in done.stdout


@pytest.mark.slow
def test_vgg16_without_its_weights_says_how_to_get_them(tmp_path):
    done = run_project(tmp_path, "-e", "vgg16", "--env-manager", "local")
    assert done.returncode != 0
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "coos weights vgg16" in said


@pytest.mark.slow
def test_the_score_entry_point_scores(trained, new_plate, tmp_path):
    """Through the store in which the models already are."""
    (tmp_path / "mlflow.db").symlink_to(
        os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")
    )
    done = run_project(
        tmp_path,
        *("-e", "score", "-P", f"plate={new_plate}", "-P", f"out={tmp_path}/scores"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "scores" / "new_plate" / "drift.json").exists()
