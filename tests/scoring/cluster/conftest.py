"""Schedulers and workers in processes of their own, as on a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forks import Forked, Forks
from waiting import wait_until

OWN_CORE = {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}

IMPORTED = [
    *("distributed.cli.dask_scheduler", "distributed.cli.dask_worker"),
    *("coos_mlflow.scoring.cluster_tasks", "coos_mlflow.representations.texture"),
]


class Machines:
    """A scheduler, and workers that join it; each is a process that can be killed.

    Parameters
    ----------
    folder : Path
        Scratch and logs.
    forks : Forks
        Where the processes come from.
    """

    def __init__(self, folder: Path, forks: Forks) -> None:
        self._folder, self._forks = folder, forks
        self._started: list[subprocess.Popen[bytes] | Forked] = []
        self._file = folder / "scheduler.json"
        self.scheduler = self._start(
            "scheduler", "--port", "0", "--scheduler-file", self._file, "--dashboard-address", ":0"
        )
        # Dask opens the file first, and then writes into it.
        self._wait(lambda: self._file.exists() and self._file.read_text().endswith("}"))
        self.address: str = json.loads(self._file.read_text())["address"]

    def worker(
        self, *, preload: str | None = None, before: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes] | Forked:
        """Start a worker with one thread; nobody starts it again when it dies.

        Parameters
        ----------
        preload : str, optional
            Code for it to run first.
        before : tuple of str
            A command that is to start it, which no fork can be.
        """
        options: list[object] = [self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        options += ["--local-directory", self._folder]
        if preload:
            file = self._folder / f"preload_{len(self._started)}.py"
            file.write_text(preload)
            options += ["--preload", file]
        return self._start("worker", *options, before=before)

    def wait_for_workers(self, client: object, n: int) -> None:
        self._wait(lambda: len(client.scheduler_info()["workers"]) >= n)  # type: ignore[attr-defined]

    def end(self) -> None:
        for process in self._started:
            process.kill()
        for process in self._started:
            process.wait()

    def _start(
        self, what: str, *options: object, before: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes] | Forked:
        module, log = f"distributed.cli.dask_{what}", self._folder / f"{what}-{len(self._started)}"
        errors = log.with_suffix(".errors.log")
        arguments = list(map(str, options))
        if before:
            with errors.open("wb") as file:
                command = [*before, sys.executable, "-m", module, *arguments]
                process: subprocess.Popen[bytes] | Forked = subprocess.Popen(
                    command, stdout=file, stderr=file, env=os.environ | OWN_CORE
                )
        else:
            process = self._forks.start(
                f"from {module} import main; main()",
                [what, *arguments],
                folder=Path.cwd(),
                said=log.with_suffix(".log"),
                errors=errors,
            )
        self._started.append(process)
        return process

    def _wait(self, ready: Callable[[], bool]) -> None:
        wait_until(ready, self.logs)

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("*.log")))


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    """The process that schedulers and workers are forked from."""
    with Forks(IMPORTED, **OWN_CORE) as forks:
        yield forks


@pytest.fixture
def machines(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    made = Machines(tmp_path_factory.mktemp("machines"), forks)
    yield made
    made.end()
