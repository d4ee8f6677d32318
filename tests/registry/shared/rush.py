"""Processes that log, register and crown at once, each with a cache of its own like a machine.

    python rush.py PROCESSES FOLDER PREFIX

MLflow is imported once and the process forked, so that all begin in the same moment. Each makes a
version that one other process makes too, and one that all make.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import alembic.command  # noqa: F401 - these three, so that no child imports them by itself
import mlflow
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store

from coos_mlflow.registry import versions
from coos_mlflow.registry.artifacts import describe_dataset, log_input
from coos_mlflow.registry.runs import prepare_store, run


def left_out_error(pair: int) -> float:
    """Return the error of a pair's version; the best is in the middle."""
    return 1.0 + abs(pair - 1)


def register(prefix: str, name: str, fingerprint: str, error: float) -> None:
    """Log a made-up model in a run and make it a version, as a row of the benchmark does."""
    name = f"{prefix}-{name}"
    with run(f"{name} {fingerprint}", prefix, {"fingerprint": fingerprint}) as active:
        mlflow.log_param("fingerprint", fingerprint)
        log_input(describe_dataset(Path("cells.h5"), "the same cells", "0" * 64), "training", {})
        mlflow.log_metric("left_out_error", error)
        mlflow.log_dict({"error": error}, "evaluation.json")
        model = mlflow.initialize_logged_model("model", source_run_id=active.info.run_id)
        mlflow.finalize_logged_model(model.model_id, "READY")
        tags = {"fingerprint": fingerprint, "left_out_error": error, "layer": "made-up"}
        versions.register(name, f"models:/{model.model_id}", tags)
    versions.update_champion(name)


def work(number: int, prefix: str) -> None:
    """Be one of the machines."""
    prepare_store()
    pair = number // 2
    register(prefix, "pairs", f"pair-{pair}", left_out_error(pair))
    register(prefix, "same", "the-same", 1.0)


def fork(number: int, folder: Path, begin: int, prefix: str) -> int:
    """Start a process that waits for a byte in the pipe `begin`; return its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ["COOS_CACHE"] = str(folder / f"machine-{number}")
        os.read(begin, 1)
        work(number, prefix)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Start all processes, let them go, and say how many of them failed."""
    n, folder, prefix = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    begin, gate = os.pipe()
    children = [fork(number, folder, begin, prefix) for number in range(n)]
    os.write(gate, b"." * n)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(sum(code != 0 for code in codes))


if __name__ == "__main__":
    main()
