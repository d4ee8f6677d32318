"""Commands of a Python that was built without a module of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == "{name}":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def run(tmp_path: Path, module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    (tmp_path / "sitecustomize.py").write_text(BLOCKED.format(name=module))
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    start = "from coos_mlflow.cli import coos; coos()"
    command = [sys.executable, "-c", start, *map(str, arguments)]
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )


@pytest.mark.parametrize(
    ("module", "name", "package"),
    [("_sqlite3", "sqlite3", "libsqlite3-dev"), ("_lzma", "lzma", "liblzma-dev")],
)
def test_a_python_without_a_module_gets_one_sentence(
    trained, tmp_path, module, name, package
) -> None:
    done = run(tmp_path, module, "drift", "history", "--model", "texture-lr")
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert f"was built without its module {name}" in sentence and package in sentence


@pytest.mark.parametrize("module", ["_sqlite3", "_lzma"])
def test_a_plate_is_checked_without_them(make_plate, tmp_path, module) -> None:
    done = run(tmp_path, module, "check", make_plate())
    assert done.returncode == 0, done.stderr
