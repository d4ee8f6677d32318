"""Schedulers and workers in processes of their own, as on a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PATIENCE = 90
"""Seconds for a scheduler or worker to come up on a busy machine."""


class Machines:
    """A scheduler, and workers that join it; each is a process that can be killed.

    Parameters
    ----------
    folder : Path
        Scratch and logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._file = folder / "scheduler.json"
        self.scheduler = self._start(
            "scheduler", "--port", "0", "--scheduler-file", self._file, "--no-dashboard"
        )
        self._wait(self._file.exists)
        self.address: str = json.loads(self._file.read_text())["address"]

    def worker(
        self, *, preload: str | None = None, before: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a worker with one thread; nobody starts it again when it dies."""
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
    ) -> subprocess.Popen[bytes]:
        command = [
            *before,
            sys.executable,
            "-m",
            "distributed.cli.dask_" + what,
            *map(str, options),
        ]
        with (self._folder / f"{what}-{len(self._started)}.log").open("wb") as log:
            environment = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self._started.append(process)
        return process

    def _wait(self, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not ready():
            assert time.monotonic() < end, self._logs()
            time.sleep(0.05)

    def _logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("*.log")))


@pytest.fixture
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    made = Machines(tmp_path_factory.mktemp("machines"))
    yield made
    made.end()
