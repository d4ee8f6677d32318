"""Processes forked from one that has imported what they need, so that none waits for imports.

    python forks.py MODULE ...

imports the modules, then answers each line of its input, a JSON object, by one of its output:
``{"code": ..., "arguments": ..., "folder": ..., "environment": ..., "said": ..., "errors": ...}``
by the id of a process that runs the code, and ``{"ended": id}`` by its exit code, or null.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from waiting import PATIENCE


class Forks:
    """The process that has imported everything; a context manager that ends it.

    Parameters
    ----------
    modules : sequence of str
        To import before anything is forked.
    environment : str
        Variables that differ from those here; all that is forked has them too.
    """

    def __init__(self, modules: Sequence[str], **environment: str) -> None:
        self._environment = {"MLFLOW_DISABLE_TELEMETRY": "true"} | environment
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, __file__, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | self._environment,
            text=True,
            start_new_session=True,
        )

    def start(
        self,
        code: str,
        arguments: Sequence[object],
        *,
        folder: Path,
        said: Path,
        errors: Path,
    ) -> Forked:
        """Start a process that runs code in a folder, with `arguments` as `sys.argv`.

        Parameters
        ----------
        said, errors : Path
            Get what it prints.
        """
        asked = {
            "code": code,
            "arguments": list(map(str, arguments)),
            "folder": str(folder),
            "environment": os.environ | self._environment,
            "said": str(said),
            "errors": str(errors),
        }
        return Forked(self, self.ask(asked))

    def ask(self, asked: dict[str, Any]) -> Any:
        """Return the answer to a line."""
        assert self._process.stdin and self._process.stdout
        with self._asking:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)  # with all that it has forked
        self._process.communicate()


class Forked:
    """A process, as `subprocess.Popen` would give it."""

    def __init__(self, forks: Forks, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._forks = forks

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        if self.returncode is None:
            self.returncode = self._forks.ask({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float = PATIENCE) -> int:
        """Return the exit code once it has ended."""
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise TimeoutError(f"process {self.pid} has not ended in {timeout} seconds")
            time.sleep(0.002)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended; its id stays its own until it is asked about."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def become(asked: dict[str, Any]) -> None:
    """Be a process of its own, to the end of the interpreter."""
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    for number, place in ((0, os.devnull), (1, asked["said"]), (2, asked["errors"])):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY
        os.dup2(os.open(place, flags), number)
    sys.argv = asked["arguments"]
    exec(asked["code"], {"__name__": "__main__"})


def ended(child: int) -> int | None:
    found, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def main() -> None:
    """Import, then answer lines until there are no more."""
    for module in sys.argv[1:]:
        import_module(module)
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        if "ended" in asked:
            answer = ended(asked["ended"])
        elif not (answer := os.fork()):
            return become(asked)
        print(json.dumps(answer), flush=True)
    return None


if __name__ == "__main__":
    main()
