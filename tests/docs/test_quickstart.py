"""The Python of docs/quickstart.md, as it stands there, in a fresh process and an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import coos_mlflow

PAGE = (Path(__file__).parents[2] / "docs" / "quickstart.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

CHECKS = """
assert rows[0].model.name == "texture-lr" and set(rows[0].errors) >= {"training", "test4"}
assert result.verdict in ("in range", "shifted", "cannot tell")
low, high = result.error_range
assert low <= result.estimated_error <= (100 if high is None else high)
assert len(result.predictions) == result.wells["cells"].sum() == 1680
assert result.report.is_file() and result.run_id
assert len(model.predict(images)) == 10
"""


@pytest.mark.slow
def test_the_code_of_the_page_runs_from_top_to_bottom(tmp_path):
    assert len(BLOCKS) >= 8
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "COOS_CACHE": str(tmp_path / "cache"),
    }
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join([*BLOCKS, CHECKS])],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("nowhere.h5: no such file")


def test_the_package_is_imported_without_anything_heavy():
    code = (
        "import sys, coos_mlflow; "
        "sys.exit([m for m in ('torch', 'mlflow', 'sklearn', 'numpy') if m in sys.modules] or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("first", ["coos_mlflow", "coos_mlflow.representations"])
def test_every_public_name_is_there_whatever_was_imported_before(first):
    code = f"""
import {first}, coos_mlflow
assert coos_mlflow.representations() == ("deeploc", "fusion", "pci", "resnet", "texture", "vgg16")
for name in coos_mlflow.__all__:
    public = getattr(coos_mlflow, name)
    assert name == "__version__" or callable(public), name
    assert name == "__version__" or public.__doc__
assert set(coos_mlflow.__all__) <= set(dir(coos_mlflow))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "name", ["CoosError", "PlateWriter", "load_model", "open_plate", "score", "train"]
)
def test_public_names_show_an_example(name):
    assert f"coos_mlflow.{name}" in getattr(coos_mlflow, name).__doc__
