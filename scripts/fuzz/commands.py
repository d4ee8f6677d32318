"""The commands that are tried, with all that they import and the model that they load."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from rich.console import Console

from coos_mlflow._utils.versions import package_versions
from coos_mlflow.cli import main, plates
from coos_mlflow.plates.summary import inspect
from coos_mlflow.scoring import job
from coos_mlflow.scoring import scorer as scoring
from coos_mlflow.scoring.scorer import Scorer
from fuzz.seeds import make_seeds
from fuzz.worker import Ended, Limits

BIN = Path(sys.executable).parent


def loaded(asked: str = "texture-lr") -> dict[str, Callable[[], object]]:
    """Return `coos` and `coos-score`, the latter with a model that was loaded here and now.

    Its MLflow run is left to `run_real`.
    """
    scorer = Scorer.load(asked)
    # Once here, so that loops and templates are compiled in no child.
    with tempfile.TemporaryDirectory() as folder:
        (seed, *_) = make_seeds(Path(folder))
        plate = Path(folder) / f"{seed.name}.h5"
        plates.print_summary(inspect(plate), Console(file=StringIO()))
        with patch.object(scoring, "with_run", lambda scored: scored):
            scorer.score(plate, Path(folder) / "out")
    versions = package_versions()
    # What is not collected is not copied into the children either.
    gc.collect()
    gc.freeze()

    def score() -> None:
        Scorer.load = lambda *asked, **options: scorer  # type: ignore[method-assign]
        # These take as long as the rest, and no plate changes them.
        scoring.with_run = lambda scored: scored
        job.package_versions = lambda: versions
        main.coos_score()

    return {"check": main.coos, "score": score}


def run_real(name: str, argv: list[str], folder: Path, limits: Limits) -> Ended:
    """Run a command as a process of its own, as a user does; its memory is not measured."""
    command = [str(BIN / "coos"), "check"] if name == "check" else [str(BIN / "coos-score")]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen([*command, *argv], cwd=folder, stdout=out, stderr=err)
        try:
            code = process.wait(4 * limits.seconds + 60)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        stdout, stderr = (os.pread(file.fileno(), 2**24, 0) for file in (out, err))
    return Ended(code, stdout, stderr, time.perf_counter() - began, 0.0)
