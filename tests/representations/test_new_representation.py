"""A representation that is added as one file, in a copy of the package: no other file changes."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import coos_mlflow
from coos_mlflow.representations import names

ROOT = Path(__file__).parents[2]

SOURCE = '''
"""Counts of pixels by brightness."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np

from coos_mlflow.representations.base import Range, Representation


class Histogram(Representation):
    """Histograms of both channels."""

    key, version, title, layers = "histogram", "1", "Histogram", ("counts",)

    def __init__(self, bins: Annotated[int, Range(2, 256)] = 16) -> None:
        self.bins = bins

    def params(self) -> dict[str, Any]:
        return {"bins": self.bins}

    def feature_names(self, layer: str) -> tuple[str, ...]:
        return tuple(f"{c} {n}" for c in ("protein", "nucleus") for n in range(self.bins))

    def compute(
        self, prepared: np.ndarray, layers: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        counts = [[np.histogram(c, self.bins, (0, 65535))[0] for c in cell] for cell in prepared]
        return {"counts": np.array(counts, np.float32).reshape(len(prepared), -1)}


REPRESENTATION = Histogram
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with one file more."""
    copy = tmp_path_factory.mktemp("project")
    for part in ("docs", "scripts"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(Path(coos_mlflow.__file__).parent, copy / "coos_mlflow")
    (copy / "coos_mlflow" / "representations" / "histogram.py").write_text(SOURCE)
    return copy


@pytest.fixture
def python(project, tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PYTHONPATH": str(project),
            "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
            "COOS_CACHE": str(tmp_path / "cache"),
            "COLUMNS": "200",
        }
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


COOS = ("-c", "from coos_mlflow.cli.main import coos; coos()")


def test_help_and_the_table_of_the_protocol_take_it_up(project, python):
    listed = ", ".join(sorted([*names(), "histogram"]))
    assert listed in " ".join(python(*COOS, "train", "--help").stdout.split())
    assert python(str(project / "scripts" / "presets_table.py")).returncode == 0
    assert "| histogram | bins | `16` | |" in (project / "docs" / "protocol.md").read_text()


TRAINED_WITH = """
import sys
from coos_mlflow.cli.main import coos
for value in ("abc", "1", "0.5"):
    sys.argv = ["coos", "train", "histogram", "--set", f"bins={value}"]
    try:
        coos()
    except SystemExit as ended:
        print(ended.code)
"""


def test_its_settings_are_checked(python):
    ended = python("-c", TRAINED_WITH)
    assert ended.stdout.split() == ["2", "2", "2"]
    sentences = ended.stderr.splitlines()
    assert len(sentences) == 3
    for sentence in sentences:
        assert "histogram bins=" in sentence and "a whole number from 2 to 256" in sentence


@pytest.mark.slow
def test_table3_lists_it(trained, python):
    ended = python(*COOS, "table3", "--dry-run", "--data", str(trained.data))
    assert ended.returncode == 0, ended.stderr
    assert "Histogram" in ended.stdout


@pytest.mark.slow
def test_mlflow_run_trains_it(trained, python):
    """By the command of the entry point `train`, as MLflow fills it in."""
    entry = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]["train"]
    given = {"representation": "histogram", "settings": "bins=8", "data": str(trained.data)}
    given |= {"classifiers": "lr", "preset": "quick"}
    values = {name: one.get("default") for name, one in entry["parameters"].items()} | given
    command = entry["command"].format(**{k: shlex.quote(str(v)) for k, v in values.items()})
    ended = python(*COOS, *shlex.split(command)[1:])
    assert ended.returncode == 0, ended.stderr
    assert "histogram-lr v1" in ended.stdout
