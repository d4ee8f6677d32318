"""The project file, its environments and the lock say the same; entry points run as they are."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import mlflow
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
    extras = project["optional-dependencies"]
    asked = [Requirement(text) for text in project["dependencies"] + extras["dev"]]
    own = {extra for one in asked if one.name == project["name"] for extra in one.extras}
    asked += [Requirement(text) for extra in own for text in extras[extra]]
    for requirement in (one for one in asked if one.name != project["name"]):
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


LOCAL = ("--env-manager", "local")
NAMED = ("--experiment-name", "coos-7")

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """Neither conda nor pyenv, and the running environment seeded as the project's."""
    found = os.environ | {
        "MLFLOW_ENV_ROOT": str(tmp_path_factory.mktemp("envs")),
        "OMP_NUM_THREADS": "1",  # two run at a time
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    for name in ("CONDA_EXE", "PYENV_ROOT", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
        found.pop(name, None)
    seed = [sys.executable, str(ROOT / "scripts" / "seed_mlflow_env.py")]
    subprocess.run(seed, env=found, check=True, capture_output=True)
    return found


def run_project(folder: Path, environment: dict[str, str], *arguments: str) -> Done:
    """Run the project with a cache of its own and the store that is in the folder."""
    own = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "COOS_CACHE": str(folder / "cache"),
    }
    return subprocess.run(
        [str(BIN / "mlflow"), "run", str(ROOT), *arguments],
        cwd=folder,
        env=environment | own,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder for each entry point, with an empty store; making one takes seconds, copying none.

    Scoring has the store in which the models already are.
    """
    folder = tmp_path_factory.mktemp("project")
    mlflow.MlflowClient(f"sqlite:///{folder}/empty.db").search_experiments()
    for entry in ("texture", "deeploc", "pci", "table3", "vgg16"):
        (folder / entry).mkdir()
        shutil.copy(folder / "empty.db", folder / entry / "mlflow.db")
    (folder / "score").mkdir()
    store = os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")
    (folder / "score" / "mlflow.db").symlink_to(store)
    return folder


@pytest.fixture(scope="module")
def runs(home, environment, trained, new_plate) -> Iterator[dict[str, Future[Done]]]:
    """The entry points on their way, two at a time: most of what they do is to import."""
    begun: dict[str, Future[Done]] = {}

    def begin(entry: str, *options: str, **parameters: object) -> None:
        given = (part for name, value in parameters.items() for part in ("-P", f"{name}={value}"))
        arguments = ("-e", entry, *options, *given)
        begun[entry] = pool.submit(run_project, home / entry, environment, *arguments)

    data = trained.data
    tiny = {"data": data, "width": 0.05}
    with ThreadPoolExecutor(2) as pool:
        begin("texture", *NAMED, data=data, classifiers="lr", cv_folds=2)
        begin("deeploc", *LOCAL, *NAMED, **tiny, iterations=4, crops=1, classifiers="own")
        begin("pci", *LOCAL, *NAMED, **tiny, epochs=1, batch=64, layers="conv3", classifiers="knn")
        begin("table3", *LOCAL, *NAMED, data=data, rows="texture-lr", out=home / "table3" / "found")
        begin("vgg16", *LOCAL)
        begin("score", plate=new_plate, out=home / "score" / "scores")
        yield begun
        pool.shutdown(cancel_futures=True)


def printed(done: Done) -> str:
    """What a run that succeeded has printed."""
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_the_texture_entry_point_runs_bare(runs):
    """With neither conda nor pyenv: the seeded environment serves."""
    said = printed(runs["texture"].result())
    assert "SIMULATED" in said and "texture-lr v1" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entry", "made"),
    [("deeploc", "deeploc v1"), ("pci", "pci-knn v1"), ("table3", "found/table3.html")],
)
def test_entry_points_run_in_the_local_environment(runs, entry, made):
    said = printed(runs[entry].result())
    assert "SIMULATED" in said and made in said


@pytest.mark.slow
def test_vgg16_without_its_weights_says_how_to_get_them(runs):
    done = runs["vgg16"].result()
    assert done.returncode != 0
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "coos weights vgg16" in said


@pytest.mark.slow
def test_the_score_entry_point_scores(runs, home):
    printed(runs["score"].result())
    assert (home / "score" / "scores" / "new_plate" / "drift.json").exists()
