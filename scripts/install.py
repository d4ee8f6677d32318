"""Install the locked packages and this project into the running virtual environment.

Only the standard library is used: nothing else is there yet.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def main() -> None:
    """Install in two steps: what the lock names, then the project itself, editable."""
    # Without --no-compile pip spends half of its time on modules that nobody will import.
    pip("install", "--no-compile", *torch_index(), "-r", str(ROOT / "requirements.lock"))
    pip("install", "--no-deps", "--no-build-isolation", "-e", str(ROOT))


def torch_index() -> list[str]:
    """Prefer the CPU build of torch, where no NVIDIA driver asks for the one of several GB."""
    if not sys.platform.startswith("linux") or shutil.which("nvidia-smi"):
        return []
    try:
        with urllib.request.urlopen(f"{TORCH_CPU_INDEX}/torch/", timeout=3):
            return ["--extra-index-url", TORCH_CPU_INDEX]
    except OSError:
        return []


def pip(*arguments: str) -> None:
    """Run pip of the running environment."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
