"""Install the oldest direct dependencies that pyproject.toml allows; `make test-min` runs this.

The tools of the tests come after, and may not change what the first step installed.
"""

from __future__ import annotations

import subprocess
import sys

from install import ROOT, pip, torch_index

CONSTRAINTS = ROOT / "build" / "min.txt"


def main() -> None:
    """Install in two steps, by uv: pip cannot ask for the lowest versions."""
    pip("install", "-q", "uv")
    # uv takes torch alone from PyTorch's own index so; without access to it, from PyPI.
    backend = ["--torch-backend", "cpu"] if torch_index() else []
    uv("install", *backend, "--resolution", "lowest-direct", "-e", str(ROOT))
    CONSTRAINTS.write_text(uv("freeze", "--exclude-editable").stdout)
    uv("install", *backend, "--constraint", str(CONSTRAINTS), "-e", f"{ROOT}[dev]")


def uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `uv pip` on the running environment."""
    command = [sys.executable, "-m", "uv", "pip", *arguments, "--python", sys.executable]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)


if __name__ == "__main__":
    main()
