"""A real scoring server for benches and tests: `mlflow models serve`, up, asked, and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

BIN = Path(sys.executable).parent
"""Where the commands of this environment are."""

PATIENCE = 240
"""Seconds in which a server has to be up, or gone."""


@dataclass(frozen=True)
class Served:
    """A server that is up.

    Parameters
    ----------
    url : str
    log : Path
        What it has said so far.
    process : subprocess.Popen
        Leads a session of its own.
    start : float
        Seconds from the command to its first answer.
    """

    url: str
    log: Path
    process: subprocess.Popen[bytes]
    start: float

    @property
    def invocations(self) -> str:
        """Where requests go."""
        return f"{self.url}/invocations"

    @property
    def answering_pid(self) -> int:
        """The process that answers: `mlflow` only starts it, and waits (Linux)."""
        pid = self.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)


@contextmanager
def served(model: str, folder: Path, workers: int = 1) -> Iterator[Served]:
    """Serve a model by `mlflow models serve` on a free port of this machine.

    Parameters
    ----------
    model : str
        Its URI.
    folder : Path
        Gets the log.
    workers : int
        Processes that answer.
    """
    port = free_port()
    options = ["-m", model, "--env-manager", "local", "--port", str(port)]
    command = [str(BIN / "mlflow"), "models", "serve", *options, "--workers", str(workers)]
    log = folder / "server.log"
    # `mlflow` starts other commands of its environment by their names.
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    began = time.perf_counter()
    with log.open("wb") as file:
        server = subprocess.Popen(
            command, stdout=file, stderr=file, start_new_session=True, env=environment
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/ping", server)
        yield Served(url, log, server, time.perf_counter() - began)
    except BaseException:
        print(log.read_text(errors="replace")[-2000:])
        raise
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(PATIENCE)


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Return once something answers there.

    Raises
    ------
    RuntimeError
        When the server ended, or did not come up in `PATIENCE` seconds.
    """
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.poll() is None:
        try:
            requests.get(url, timeout=1).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.1)
    raise RuntimeError("the server has not come up")
