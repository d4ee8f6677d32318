"""Let the running virtual environment serve as the one that `mlflow run .` looks for.

MLflow names the environment of a project by a hash of its python_env.yaml and takes a folder of
that name under $MLFLOW_ENV_ROOT (default ~/.mlflow/envs) as it is; only without one does it ask
for pyenv. The hash does not know where the project lies: with two clones, the one set up last
serves both. The name comes from a private function of MLflow, so this lives here alone, with
MLflow pinned and a test.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mlflow.utils.environment import _PythonEnv
from mlflow.utils.virtualenv import _get_mlflow_virtualenv_root, _get_virtualenv_name

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Point MLflow's name for the environment to the one that runs this script."""
    place = Path(_get_mlflow_virtualenv_root()) / environment_name()
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}-{os.getpid()}")
    partial.symlink_to(sys.prefix, target_is_directory=True)
    if place.is_dir() and not place.is_symlink():
        partial.unlink()
        sys.exit(f"error: MLflow made an environment {place}; remove it to use {sys.prefix}.")
    partial.replace(place)
    print(f"mlflow run {ROOT} will use {sys.prefix}")


def environment_name() -> str:
    """Return MLflow's name for the environment of python_env.yaml."""
    return _get_virtualenv_name(_PythonEnv.from_yaml(ROOT / "python_env.yaml"), ROOT)


if __name__ == "__main__":
    main()
