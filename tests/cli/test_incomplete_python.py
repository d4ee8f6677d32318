"""A Python that was built without lzma or sqlite3 is named in one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from coos_mlflow.errors import IncompletePythonError, whole_python

ROOT = Path(__file__).parents[2]
WITHOUT = """
import sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "_{name}":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Finder)
for name in ("{name}", "_{name}"):
    sys.modules.pop(name, None)
"""


@pytest.fixture
def coos(tmp_path):
    """Factory ``coos(lacking, *arguments)``: a command of a Python without a module."""

    def run(lacking, *arguments):
        (tmp_path / "sitecustomize.py").write_text(WITHOUT.format(name=lacking))
        paths = os.pathsep.join([str(tmp_path), str(ROOT)])
        code = "import sys; sys.argv[0] = 'coos'; from coos_mlflow.cli.main import coos; coos()"
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lacking", "arguments"),
    [
        ("lzma", ("download", "--dry-run")),
        ("sqlite3", ("models", "list")),
    ],
)
def test_a_command_says_which_module_its_python_lacks(coos, own_store, lacking, arguments):
    done = coos(lacking, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert f"was built without its module {lacking}, which this command needs" in done.stderr
    assert f"lib{lacking}-dev" in done.stderr


@pytest.mark.parametrize("lacking", ["lzma", "sqlite3"])
def test_plates_are_checked_and_packed_without_modules_that_only_mlflow_needs(
    coos, make_plate, tmp_path, lacking
):
    plate = make_plate()
    for words in (("check", plate), ("unpack", plate, tmp_path / "images")):
        done = coos(lacking, *words)
        assert done.returncode == 0, done.stderr


def test_a_module_that_a_library_hides_behind_its_own_error_is_found():
    lacking = ModuleNotFoundError("No module named '_ctypes'", name="_ctypes")
    said = r"without its module ctypes.*libffi-dev"
    with pytest.raises(IncompletePythonError, match=said), whole_python():
        raise ImportError("scipy seems to be broken") from lacking


def test_a_package_that_is_not_installed_is_not_taken_for_one_of_python():
    with pytest.raises(ModuleNotFoundError, match="psycopg2"), whole_python():
        raise ModuleNotFoundError("No module named 'psycopg2'", name="psycopg2")
