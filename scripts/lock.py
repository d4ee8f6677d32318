"""Write requirements.lock: the exact versions that the ranges of pyproject.toml resolve to today.

Run in a fresh virtual environment (`make lock` makes one); it installs the project with its
development extra and freezes what came.
"""

from __future__ import annotations

import subprocess
import sys

from install import ROOT, pip, torch_index

HEADER = """\
# Exact versions of everything that `make` and the MLflow environments install; `make lock` renews.
"""


def main() -> None:
    """Resolve, install, freeze."""
    pip("install", *torch_index(), "setuptools>=77", f"{ROOT}[dev]")
    frozen = subprocess.run(
        [sys.executable, "-m", "pip", "freeze", "--all", "--exclude", "coos-mlflow"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    # A local version such as 2.13.0+cpu names a build that another index does not have.
    lines = [line.partition("+")[0] for line in frozen if not line.startswith("pip==")]
    (ROOT / "requirements.lock").write_text(HEADER + "\n".join(sorted(lines)) + "\n")


if __name__ == "__main__":
    main()
