"""The requests of docs/serving.md, as they stand there."""

import json
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from coos_mlflow.scoring.remote import packed
from coos_mlflow.serving.limits import NPY

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
BLOCKS = [
    textwrap.dedent(block)
    for block in re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", PAGE, re.MULTILINE)
]
ADDRESS = "http://127.0.0.1:5001"


def blocks(beginning: str) -> list[str]:
    found = [block for block in BLOCKS if block.lstrip().startswith(beginning)]
    assert found
    return found


def test_the_python_of_the_page_gets_a_table(server, new_plate, tmp_path, monkeypatch):
    shutil.copy(new_plate, tmp_path / "new_plate.h5")
    monkeypatch.chdir(tmp_path)
    for code in [*blocks("import io"), *blocks("from pathlib import Path")]:
        said: dict[str, object] = {}
        assert ADDRESS in code
        exec(code.replace(ADDRESS, server.url), said)
        assert len(said["table"]) == 160


def test_the_commands_of_the_page_get_a_row_for_each_cell(server, cells, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / "cells.npy").write_bytes(packed(cells))
    (tmp_path / "cells.json").write_text(json.dumps({"inputs": cells.tolist()}))
    commands = [*blocks("curl -H"), *blocks("gzip -c")]
    assert len(commands) == 3 and NPY in commands[0]
    for command in commands:
        shell = command.replace(ADDRESS, server.url).replace("curl", "curl --silent")
        done = subprocess.run(
            shell, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert len(json.loads(done.stdout)["predictions"]) == len(cells)
