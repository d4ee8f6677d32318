"""The script that unpacks COOS-7 as the authors' does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "unpack_coos7.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_images_then_a_refusal_to_write_over_them(make_plate, tmp_path) -> None:
    plate = make_plate(n=3)
    first = run(plate, tmp_path / "images")
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "images/2/COOSv1cell_2_nucleus.tif").is_file()
    second = run(plate, tmp_path / "images")
    assert second.returncode == 7
    assert second.stderr.startswith("error: ") and len(second.stderr.splitlines()) == 1
